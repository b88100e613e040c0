"""An ordered, reliable stream of bytes (TCP, or its simulation on a paced Ethernet wire)."""

from typing import Protocol


class ByteStream(Protocol):
    async def receive(self) -> bytes:
        """Some bytes as they come, at least one; `b""` once the peer has closed.

        Safe to cancel: no byte is lost.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Hand over all of `data`; returns when it has been taken (not: when it has arrived)."""

    async def close(self) -> None: ...
