"""Puts the frames of a log onto wires again, at the times that they had in it.

The running loop gives the time, so the same code replays in real time onto a car's wires and in
virtual time onto simulated ones. There, with the wire's bit rates known, each frame is queued by
its own length before its stamp: its last bit comes where it was in the log, to the nanosecond.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from protocols.can import CanPort
from protocols.can.bits import INTERMISSION_BITS, NS_PER_S, frame_ns
from recording.records import CanErrorFrame, CanFrame, EthernetFrame, Record

#: Frames that wait for a wire at most; more is a wire that cannot keep up, and the replay waits.
_WAITING: Final = 64
#: A wire that has taken no frame for so long takes none any more.
_STUCK_S: Final = 5.0


class ReplayError(Exception):
    """A wire that does not take the frames; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The wire that a log's channel is replayed onto."""

    name: str
    port: CanPort
    #: bit/s; with them frames end at their stamps instead of beginning there. 0: not known.
    bit_rate: int = 0
    data_bit_rate: int = 0

    def lead_ns(self, frame: CanFrame) -> int:
        """From the start of a frame to its last bit."""
        header = frame.header
        if not self.bit_rate or (header.bit_rate_switch and not self.data_bit_rate):
            return 0
        whole_ns = frame_ns(
            header, frame.data, bit_rate=self.bit_rate, data_bit_rate=self.data_bit_rate
        )
        return whole_ns - INTERMISSION_BITS * NS_PER_S // self.bit_rate


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What has become of the records so far."""

    sent: int = 0
    #: What a port cannot send, or what has no wire to go to.
    error_frames: int = 0
    remote_frames: int = 0
    ethernet_frames: int = 0
    without_wire: int = 0
    #: Stamp of the last record, counted from the first one's.
    position_ns: int = 0
    #: How far the wires were behind the log at most, in seconds of the loop.
    behind_s: float = 0.0


class Replay:
    """One replay; `report` may be read while `run` runs.

    `speed` 2 is twice as fast as the log, 0 as fast as the wires take it. A pause in the log that
    is longer than `longest_gap_s` is cut to it.
    """

    def __init__(
        self,
        targets: Mapping[int, Target],
        *,
        speed: float = 1.0,
        longest_gap_s: float | None = None,
    ) -> None:
        self._targets = targets
        self._speed = speed
        self._longest_gap_ns = None if longest_gap_s is None else round(longest_gap_s * NS_PER_S)
        self._waiting = 0
        self._moved = asyncio.Event()
        self.report = Replayed()

    async def run(self, records: Iterable[Record]) -> Replayed:
        """Send them all; returns at the last bit of the last one. `ReplayError` names a wire."""
        loop = asyncio.get_running_loop()
        clock = _LogClock(loop.time(), self._speed, self._longest_gap_ns)
        name = ""
        for record in records:
            self.report.position_ns = clock.position_ns
            target = self._target(record)
            if target is None or not isinstance(record, CanFrame):
                continue
            name = target.name
            due_s = clock.due_s(record.at_ns, target.lead_ns(record))
            if self._speed:
                await _until(loop, due_s)
                self.report.behind_s = max(self.report.behind_s, loop.time() - due_s)
            await self._room(name, _WAITING)
            self._waiting += 1
            target.port.send(record.header, (record.data,), self._sent)
            self.report.sent += 1
            self.report.position_ns = clock.position_ns
        await self._room(name, 1)
        return self.report

    def _target(self, record: Record) -> Target | None:
        """The wire of a frame that can be sent; the others are counted."""
        report = self.report
        match record:
            case CanErrorFrame():
                report.error_frames += 1
            case EthernetFrame():
                report.ethernet_frames += 1
            case CanFrame(remote=int()):
                report.remote_frames += 1
            case CanFrame(channel=channel):
                target = self._targets.get(channel)
                report.without_wire += target is None
                return target
        return None

    async def _room(self, name: str, limit: int) -> None:
        """Wait until fewer than `limit` frames wait for the wires."""
        while self._waiting >= limit:
            self._moved.clear()
            try:
                async with asyncio.timeout(_STUCK_S):
                    await self._moved.wait()
            except TimeoutError as error:
                text = f"{name}: the wire has taken no frame for {_STUCK_S:g} s"
                raise ReplayError(f"{text}; {self._waiting} wait") from error

    def _sent(self, _: float) -> None:
        self._waiting -= 1
        self._moved.set()


class _LogClock:
    """Stamps of a log as times of the loop."""

    def __init__(self, start_s: float, speed: float, longest_gap_ns: int | None) -> None:
        self._start_s = start_s
        self._speed = speed
        self._longest_gap_ns = longest_gap_ns
        self._first_ns: int | None = None
        self._last_ns = 0
        #: Start of the first frame, so that no later one is due before the loop's time.
        self._cut_ns = 0
        self.position_ns = 0

    def due_s(self, at_ns: int, lead_ns: int) -> float:
        if self._first_ns is None:
            self._first_ns = at_ns - lead_ns
            self._last_ns = at_ns
        gap_ns = at_ns - self._last_ns
        if self._longest_gap_ns is not None and gap_ns > self._longest_gap_ns:
            self._cut_ns += gap_ns - self._longest_gap_ns
        self._last_ns = at_ns
        self.position_ns = at_ns - self._first_ns
        after_ns = at_ns - lead_ns - self._first_ns - self._cut_ns
        return self._start_s + after_ns / NS_PER_S / (self._speed or 1.0)


async def _until(loop: asyncio.AbstractEventLoop, at_s: float) -> None:
    if at_s <= loop.time():
        return
    due: asyncio.Future[None] = loop.create_future()
    timer = loop.call_at(at_s, due.set_result, None)
    try:
        await due
    finally:
        timer.cancel()
