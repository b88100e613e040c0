"""The newest value of every signal on the vehicle's wires, with its age and the wire it came by."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cantools.database import DecodeError

from dbc import load
from protocols.can import CanPort, FrameHeader
from protocols.preconditions import Reading, SignalDefinition
from protocols.preconditions.databases import definitions

if TYPE_CHECKING:
    from cantools.database.can import Message


@dataclass(slots=True)
class _Newest:
    """One message on one wire: its newest frame, decoded when someone asks."""

    wire: str
    message: "Message"
    payload: bytes = b""
    #: Loop time of the newest frame in seconds; None: none was heard.
    at_s: float | None = None
    values: Mapping[str, float] | None = None

    def value(self, signal: str) -> float | None:
        if self.values is None:
            self.values = _decoded(self.message, self.payload)
        return self.values.get(signal)


class VehicleReadings:
    """Listens on wires until `stop`; `read` answers by a signal's name, or message and name."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._signals: dict[str, SignalDefinition] = {}
        #: Message -> what each wire says in it.
        self._newest: dict[str, list[_Newest]] = {}
        self._stops: list[Callable[[], None]] = []
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def signals(self) -> Mapping[str, SignalDefinition]:
        return self._signals

    def listen(self, wire: str, port: CanPort, databases: Sequence[str]) -> None:
        """Hear this wire, too; a message that several wires carry counts where it is newest."""
        messages = [message for name in databases for message in load(name).messages]
        found = definitions(messages)
        # A name that several messages have stands for none of them, also across wires.
        for name, one in found.items():
            other = self._signals.get(name)
            if other is not None and other.message != one.message:
                del self._signals[name]
            else:
                self._signals[name] = one
        tracks = {}
        for message in messages:
            newest = _Newest(wire, message)
            self._newest.setdefault(message.name, []).append(newest)
            tracks[message.frame_id, message.is_extended_frame] = newest

        def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
            self._hear(tracks[header.identifier, header.extended], data, at_s)

        headers = {
            FrameHeader(identifier, extended=extended, fd=fd, bit_rate_switch=switch)
            for identifier, extended in tracks
            for fd, switch in ((False, False), (True, False), (True, True))
        }
        self._stops.append(port.listen(hear, *headers))

    def stop(self) -> None:
        for stop in self._stops:
            stop()
        self._stops = []

    def read(self, name: str) -> Reading | None:
        """The newest value; None for a signal that no wire has."""
        definition = self._signals.get(name)
        if definition is None:
            return None
        heard = [one for one in self._newest[definition.message] if one.at_s is not None]
        newest = max(heard, key=lambda one: one.at_s or 0.0, default=None)
        if newest is None or newest.at_s is None:
            return Reading(definition=definition)
        return Reading(
            definition=definition,
            value=newest.value(definition.name),
            age_s=max(0.0, self._loop.time() - newest.at_s),
            source=newest.wire,
        )

    async def changed(self) -> None:
        """Return at the next frame that says something else than the one before."""
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _hear(self, newest: _Newest, data: bytes, at_s: float) -> None:
        first, newest.at_s = newest.at_s is None, at_s
        # Nobody need have asked for the one before: most messages are nobody's condition.
        if data == newest.payload and not first:
            return
        newest.payload, newest.values = data, None
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


def _decoded(message: "Message", payload: bytes) -> Mapping[str, float]:
    """Physical values; none of a frame that is no frame of this message."""
    try:
        decoded = message.decode_simple(payload, decode_choices=False)
    except DecodeError:
        return {}
    return {name: float(value) for name, value in decoded.items() if isinstance(value, int | float)}
