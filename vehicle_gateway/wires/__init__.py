"""The gateway's wires: links to CAN and DoIP, the ways to an ECU over them, and the UDS tester.

A link is handed in (a simulated wire) or opened by URI (`uri.py`). `isotp.py` and `doip.py` make
a link into a `Wire`: one `Channel` per ECU that carries whole UDS messages, and a broadcast to
all of them. `tester.py` asks and answers over a channel.
"""

from dataclasses import dataclass
from typing import Protocol

from dbc import EcuDescription
from protocols.can import CanPort
from protocols.stream import ByteStream


class WireError(Exception):
    """Root of what goes wrong between the gateway and an ECU; the message names the ECU or link."""


class LinkError(WireError):
    """A link that cannot be opened, or that broke; the message names its URI or ECU."""


class LinkAwayError(LinkError):
    """Nobody serves the other end of the link; somebody may later."""


class NoAnswerError(WireError):
    """The ECU did not take the request, did not answer in time, or its answer broke off."""


class Links(Protocol):
    """Where the wires of one vehicle come from."""

    def can(self, wire: str) -> CanPort:
        """The gateway's port on the CAN wire of this name; `LinkError` if there is none."""
        ...

    async def stream(self, wire: str) -> ByteStream:
        """A new connection to the DoIP entity on this wire; `LinkError` if nobody answers."""
        ...


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The first part of a long answer is here: P2 is kept, the transport's own timers run now."""


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    message: bytes
    #: Loop time of its last bit in seconds.
    at_s: float


@dataclass(frozen=True, slots=True)
class AnswerBroken:
    """The answer that had started, or the link under it, broke off."""

    reason: str


ChannelEvent = AnswerStarted | AnswerReceived | AnswerBroken


class Channel(Protocol):
    """One ECU's whole UDS messages over its transport. One request at a time."""

    @property
    def longest_request(self) -> int | None:
        """Bytes of the longest request that the transport takes; None: more than any ECU does."""
        ...

    async def send(self, request: bytes) -> float:
        """Send one request; returns at its last bit, with the loop time of it in seconds.

        Raises `NoAnswerError` if the ECU does not take it, `LinkError` if the link is gone. Safe
        to cancel.
        """
        ...

    async def receive(self) -> ChannelEvent:
        """What the ECU sends, in order. Safe to cancel: nothing is lost."""
        ...

    def discard(self) -> None:
        """Forget what arrived and was not received: late answers to an earlier request."""
        ...


class Wire(Protocol):
    """One wire with its ECUs."""

    def channel(self, ecu: EcuDescription) -> Channel:
        """The way to this ECU; one and the same at each call."""
        ...

    async def broadcast(self, request: bytes) -> float:
        """Send to the functional address; returns at the last bit, with its loop time."""
        ...

    def wake(self) -> None:
        """Need the wire for some seconds, so that its nodes are awake; some never sleep."""
        ...

    async def close(self) -> None: ...
