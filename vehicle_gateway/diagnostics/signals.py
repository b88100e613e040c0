"""Records the signals of a CAN wire: bounded in memory, thinned out in time."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cantools.database import DecodeError

from dbc import load
from protocols.can import CanPort, FrameHeader
from vehicle_gateway.diagnostics import SignalSeries

if TYPE_CHECKING:
    from cantools.database.can import Message

#: A message is kept at most so often; its signals change at 10 Hz at most.
DEFAULT_PERIOD_S: Final = 0.5
#: Samples kept per message: 20 minutes at the default period.
DEFAULT_CAPACITY: Final = 2400


@dataclass(slots=True)
class _Track:
    """One message's recording: raw frames, decoded only when someone asks for the window."""

    message: "Message"
    frames: deque[tuple[float, bytes]]
    due_s: float = field(default=float("-inf"))


class SignalRecorder:
    """Listens to the messages of some databases on one wire until `stop`."""

    def __init__(
        self,
        wire: str,
        port: CanPort,
        databases: Sequence[str],
        *,
        period_s: float = DEFAULT_PERIOD_S,
        capacity: int = DEFAULT_CAPACITY,
        only: Collection[str] | None = None,
    ) -> None:
        """`only`: of the databases' messages those of these names."""
        self.wire = wire
        self._port = port
        self._databases = databases
        self._period_s = period_s
        messages = [
            message
            for name in databases
            for message in load(name).messages
            if only is None or message.name in only
        ]
        self.messages = tuple(messages)
        self._tracks = {
            (message.frame_id, message.is_extended_frame): _Track(message, deque(maxlen=capacity))
            for message in messages
        }
        #: Frames that carry a database's identifier and do not decode by it.
        self.undecodable = 0
        headers = {
            FrameHeader(
                message.frame_id, extended=message.is_extended_frame, fd=fd, bit_rate_switch=switch
            )
            for message in messages
            for fd, switch in ((False, False), (True, False), (True, True))
        }
        self._stop: Callable[[], None] = port.listen(self._hear, *headers)

    def stop(self) -> None:
        self._stop()

    def narrowed(
        self, only: Collection[str], *, period_s: float, capacity: int
    ) -> "SignalRecorder":
        """Another recorder on the same wire, of these messages alone."""
        return SignalRecorder(
            self.wire,
            self._port,
            self._databases,
            period_s=period_s,
            capacity=capacity,
            only=only,
        )

    def window(self, since_s: float, until_s: float) -> tuple[SignalSeries, ...]:
        """Every signal's values with loop times in `[since_s, until_s]`, by message and name."""
        series = [
            one for track in self._tracks.values() for one in self._decode(track, since_s, until_s)
        ]
        return tuple(sorted(series, key=lambda one: (one.message, one.signal)))

    def latest(self, message: str, signal: str) -> tuple[float, float] | None:
        """Loop time and value of a signal's newest sample, None if it was never heard."""
        for track in self._tracks.values():
            if track.message.name == message and track.frames:
                at_s = track.frames[-1][0]
                for one in self._decode(track, at_s, at_s):
                    if one.signal == signal:
                        return one.times_s[-1], one.values[-1]
        return None

    def _hear(self, header: FrameHeader, data: bytes, at_s: float) -> None:
        track = self._tracks[header.identifier, header.extended]
        if at_s >= track.due_s:
            track.due_s = at_s + self._period_s
            track.frames.append((at_s, data))

    def _decode(self, track: _Track, since_s: float, until_s: float) -> list[SignalSeries]:
        columns: dict[str, list[tuple[float, float]]] = {}
        for at_s, data in track.frames:
            if not since_s <= at_s <= until_s:
                continue
            try:
                decoded = track.message.decode_simple(data, decode_choices=False)
            except DecodeError:
                self.undecodable += 1
                continue
            for name, value in decoded.items():
                if isinstance(value, int | float):
                    columns.setdefault(name, []).append((at_s, float(value)))
        return [
            SignalSeries(
                wire=self.wire,
                message=track.message.name,
                signal=one.name,
                unit=one.unit or "",
                times_s=tuple(at_s for at_s, _ in columns[one.name]),
                values=tuple(value for _, value in columns[one.name]),
            )
            for one in track.message.signals
            if one.name in columns
        ]


async def record_for(recorder: SignalRecorder, seconds: float) -> tuple[SignalSeries, ...]:
    """What the wire says in the next so many seconds."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    await asyncio.sleep(seconds)
    return recorder.window(start_s, loop.time())
