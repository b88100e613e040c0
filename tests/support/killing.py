"""A gateway that is killed as by `kill -9`: from one moment on nothing leaves it any more."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protocols.can import CanPort, FrameHeader, Receive, ReceiveRun, Sent
from protocols.stream import ByteStream
from vehicle_gateway.wires import Links


@dataclass(kw_only=True)
class Lifeline:
    """`Links` that carry a gateway until its journal has so many entries, and then no more.

    The first frame that would go out with those entries on disk is the moment of its death: the
    effect of the newest has not begun, and what the others began is done as far as it was. What
    is on its disk then is copied to `remains`. With `entries_lost` the newest entries are cut off
    there: killed after an effect and before the entry that tells of it.
    """

    links: Links
    state: Path
    remains: Path
    entries: int
    entries_lost: int = 0
    died: asyncio.Event = field(default_factory=asyncio.Event)
    _size: int = 0

    def can(self, wire: str) -> CanPort:
        return _Port(self, self.links.can(wire))

    async def stream(self, wire: str) -> ByteStream:
        return _Stream(self, await self.links.stream(wire))

    def lives(self) -> bool:
        """Whether what the gateway is about to do still happens."""
        self.look()
        return not self.died.is_set()

    def look(self) -> None:
        """Whether this is the moment."""
        if self.died.is_set():
            return
        journal = self.state / "journal.jsonl"
        size = journal.stat().st_size
        if size == self._size:
            return
        self._size = size
        lines = journal.read_bytes().splitlines(keepends=True)
        if len(lines) < self.entries:
            return
        shutil.copytree(self.state, self.remains)
        left = lines[: self.entries - self.entries_lost]
        (self.remains / "journal.jsonl").write_bytes(b"".join(left))
        self.died.set()


@dataclass(frozen=True, slots=True)
class _Port:
    lifeline: Lifeline
    port: CanPort

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        if self.lifeline.lives():
            self.port.send(header, payloads, sent)
        elif sent is not None:
            # Nobody waits for the dead: what is left of its tasks cleans up without delay.
            loop = asyncio.get_running_loop()
            loop.call_soon(sent, loop.time())

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        return self.port.listen(receive, *headers, receive_run=receive_run)


@dataclass(frozen=True, slots=True)
class _Stream:
    lifeline: Lifeline
    stream: ByteStream

    async def receive(self) -> bytes:
        return await self.stream.receive()

    async def send(self, data: bytes) -> None:
        if self.lifeline.lives():
            await self.stream.send(data)

    async def close(self) -> None:
        await self.stream.close()
