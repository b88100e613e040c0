"""Faults of frames: a port between an ECU and its CAN wire, simulated or real.

What the port loses on the way out is never on the wire, and a recorder does not see it; what it
loses on the way in was there, and the ECU has not heard it.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, TypeVar

from clock import Timer
from ecu_sim.faults import End, Given, Hits, Layer
from ecu_sim.faults.readings import (
    COUNT,
    IDENTIFIER,
    SEED,
    SHARE,
    TIME,
    Direction,
    one_of,
    whole,
)
from protocols.can import CanPort, FrameHeader, Receive, ReceiveRun, Sent

_DIRECTION: Final = one_of(Direction)
#: High nibbles of the first byte of an ISO-TP frame (ISO 15765-2, N_PCI types).
_CONSECUTIVE, _FLOW_CONTROL = 2, 3
_WAIT, _OVERFLOW = 1, 2
#: Largest identifier of a base frame.
_BASE: Final = 0x7FF


@dataclass(frozen=True, slots=True, kw_only=True)
class LostFrames:
    """Frames get lost between ECU and wire, and neither side is told."""

    layer = Layer.FRAMES
    share: Annotated[float, Given(SHARE, "share of the frames")]
    direction: Annotated[
        Direction, Given(_DIRECTION, "what the ECU sends (tx), what it receives (rx), or both")
    ] = Direction.BOTH
    seed: Annotated[int, Given(SEED, "repeats the draws")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFrames:
    """Every frame of the ECU is sent late; their order is kept."""

    layer = Layer.FRAMES
    by_s: Annotated[float, Given(TIME, "how late")]
    jitter_s: Annotated[float, Given(TIME, "up to so much more, at random")] = 0.0
    seed: Annotated[int, Given(SEED, "repeats the draws")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptFrames:
    """Frames of the ECU end in error frames and are repeated, up to bus-off."""

    layer = Layer.FRAMES
    share: Annotated[float, Given(SHARE, "share of the tries")]
    seed: Annotated[int, Given(SEED, "repeats the draws")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """Nothing that the ECU sends reaches the wire."""

    layer = Layer.FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaf:
    """Nothing on the wire reaches the ECU."""

    layer = Layer.FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Babble:
    """The ECU keeps sending a frame that nobody wants: a babbling idiot."""

    layer = Layer.FRAMES
    identifier: Annotated[int, Given(IDENTIFIER, "11 bits; 29 bits if it is above 7FF")]
    every_s: Annotated[float, Given(TIME, "period")] = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class LostConsecutiveFrame:
    """In each message of several frames one ConsecutiveFrame gets lost."""

    layer = Layer.ISO_TP
    number: Annotated[int, Given(COUNT, "which, from 1")]
    direction: Annotated[
        Direction, Given(_DIRECTION, "of the ECU's messages (tx), its testers' (rx), or both")
    ] = Direction.TX


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSequence:
    """In each message of the ECU one ConsecutiveFrame has a wrong SequenceNumber."""

    layer = Layer.ISO_TP
    number: Annotated[int, Given(COUNT, "which, from 1")]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFlowControl:
    """The ECU never sends FlowControl."""

    layer = Layer.ISO_TP


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOverflow:
    """The ECU answers each FirstFrame with FlowControl overflow."""

    layer = Layer.ISO_TP


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowWait:
    """Before each FlowControl that lets the tester go on, the ECU sends some that say wait."""

    layer = Layer.ISO_TP
    number: Annotated[int, Given(whole(1, 10_000), "how many")]
    every_s: Annotated[float, Given(TIME, "time between them")] = 0.1


#: Frames of a burst -> those that are left of it.
_Frames = list[bytes]


class _Filter:
    """What one fault does to bursts of one direction."""

    def outgoing(self, header: FrameHeader, frames: _Frames) -> _Frames:  # noqa: ARG002 the port's arguments
        return frames

    def incoming(self, header: FrameHeader, frames: Sequence[bytes]) -> Sequence[bool]:  # noqa: ARG002 the same
        return [True] * len(frames)


class _Losing(_Filter):
    def __init__(self, fault: LostFrames, hits: Hits, rng: random.Random) -> None:
        self._share, self._hits, self._rng = fault.share, hits, rng
        self._tx = fault.direction is not Direction.RX
        self._rx = fault.direction is not Direction.TX

    def _kept(self) -> bool:
        lost = self._rng.random() < self._share
        self._hits.add(int(lost))
        return not lost

    def outgoing(self, header: FrameHeader, frames: _Frames) -> _Frames:
        del header
        return [frame for frame in frames if self._kept()] if self._tx else frames

    def incoming(self, header: FrameHeader, frames: Sequence[bytes]) -> Sequence[bool]:
        del header
        return [not self._rx or self._kept() for _ in frames]


class _Cut(_Filter):
    def __init__(self, hits: Hits, *, tx: bool, rx: bool) -> None:
        self._hits, self._tx, self._rx = hits, tx, rx

    def outgoing(self, header: FrameHeader, frames: _Frames) -> _Frames:
        del header
        self._hits.add(len(frames) if self._tx else 0)
        return [] if self._tx else frames

    def incoming(self, header: FrameHeader, frames: Sequence[bytes]) -> Sequence[bool]:
        del header
        self._hits.add(len(frames) if self._rx else 0)
        return [not self._rx] * len(frames)


class _Consecutive(_Filter):
    """Counts the ConsecutiveFrames of each message and does something to one of them."""

    def __init__(
        self,
        fault: LostConsecutiveFrame | WrongSequence,
        hits: Hits,
        offset_of: Callable[[FrameHeader], int | None],
    ) -> None:
        self._fault, self._hits, self._offset_of = fault, hits, offset_of
        direction = fault.direction if isinstance(fault, LostConsecutiveFrame) else Direction.TX
        self._tx, self._rx = direction is not Direction.RX, direction is not Direction.TX
        self._counted: dict[int, int] = {}

    def _is_it(self, header: FrameHeader, frame: bytes, at: int) -> bool:
        kind = frame[at] >> 4 if len(frame) > at else 0
        if kind == _CONSECUTIVE:
            number = self._counted[header.identifier] = self._counted.get(header.identifier, 0) + 1
            if number == self._fault.number:
                self._hits.add()
                return True
        elif kind != _FLOW_CONTROL:
            self._counted[header.identifier] = 0
        return False

    def outgoing(self, header: FrameHeader, frames: _Frames) -> _Frames:
        at = self._offset_of(header) if self._tx else None
        if at is None:
            return frames
        left = []
        for frame in frames:
            if not self._is_it(header, frame, at):
                left.append(frame)
            elif isinstance(self._fault, WrongSequence):
                left.append(_with(frame, at, frame[at] ^ 0x08))
        return left

    def incoming(self, header: FrameHeader, frames: Sequence[bytes]) -> Sequence[bool]:
        at = self._offset_of(header) if self._rx else None
        if at is None:
            return [True] * len(frames)
        return [not self._is_it(header, frame, at) for frame in frames]


class _FlowControls(_Filter):
    def __init__(
        self,
        fault: NoFlowControl | FlowOverflow,
        hits: Hits,
        offset_of: Callable[[FrameHeader], int | None],
    ) -> None:
        self._fault, self._hits, self._offset_of = fault, hits, offset_of

    def outgoing(self, header: FrameHeader, frames: _Frames) -> _Frames:
        at = self._offset_of(header)
        if at is None or not _is_flow_control(frames, at):
            return frames
        self._hits.add()
        if isinstance(self._fault, NoFlowControl):
            return []
        return [_with(frame, at, _FLOW_CONTROL << 4 | _OVERFLOW) for frame in frames]


def _is_flow_control(frames: Sequence[bytes], at: int) -> bool:
    return len(frames[0]) > at and frames[0][at] >> 4 == _FLOW_CONTROL


def _with(frame: bytes, at: int, byte: int) -> bytes:
    return frame[:at] + bytes((byte,)) + frame[at + 1 :]


class FaultyPort:
    """A `CanPort` with faults; without any it hands everything on."""

    def __init__(
        self,
        port: CanPort,
        *,
        offsets: Mapping[int, int],
        corrupt: Callable[[float, random.Random | None], None] | None,
    ) -> None:
        self._port = port
        #: Identifier of an ISO-TP channel -> first byte of the N_PCI in its frames.
        self._offsets = offsets
        self._corrupt = corrupt
        self._loop = asyncio.get_running_loop()
        self._filters: list[_Filter] = []
        self._late: list[tuple[LateFrames, Hits, random.Random]] = []
        self._waits: list[tuple[FlowWait, Hits]] = []
        self._corruptions: list[tuple[CorruptFrames, random.Random]] = []
        self._last_due = 0.0

    def begin(self, fault: object, hits: Hits, rng: random.Random) -> End:
        """Let a fault of this module act; what it returns ends it."""
        match fault:
            case LostFrames():
                return _added(self._filters, _Losing(fault, hits, rng))
            case Silent():
                return _added(self._filters, _Cut(hits, tx=True, rx=False))
            case Deaf():
                return _added(self._filters, _Cut(hits, tx=False, rx=True))
            case LostConsecutiveFrame() | WrongSequence():
                return _added(self._filters, _Consecutive(fault, hits, self._offset_of))
            case NoFlowControl() | FlowOverflow():
                return _added(self._filters, _FlowControls(fault, hits, self._offset_of))
            case LateFrames():
                return _added(self._late, (fault, hits, rng))
            case FlowWait():
                return _added(self._waits, (fault, hits))
            case Babble():
                return _Babbling(self._port, fault, hits).stop
            case CorruptFrames():
                return self._begin_corruption(fault, rng)
            case _:
                raise TypeError(f"{type(fault).__name__} is no fault of frames")

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        plain = not (self._filters or self._late or self._waits)
        if plain and self._last_due <= self._loop.time():
            self._send(header, payloads, sent)
            return
        frames = list(payloads)
        for one in tuple(self._filters):
            frames = one.outgoing(header, frames) if frames else frames
        if not frames:
            if sent is not None:
                # The controller knows nothing of it: to the ECU the burst is out.
                self._loop.call_soon(lambda: sent(self._loop.time()))
            return
        delay_s = self._wait_s(header, frames) + self._late_s()
        due = max(self._loop.time() + delay_s, self._last_due)
        if due > self._loop.time():
            self._last_due = due
            self._loop.call_at(due, self._send, header, frames, sent)
        else:
            self._send(header, frames, sent)

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
            if not self._filters or all(self._passed(header, (data,))):
                receive(header, data, at_s)

        if receive_run is None:
            return self._port.listen(hear, *headers)
        return self._port.listen(
            hear, *headers, receive_run=partial(self._hear_run, receive, receive_run)
        )

    def _hear_run(
        self,
        receive: Receive,
        receive_run: ReceiveRun,
        header: FrameHeader,
        payloads: Sequence[bytes],
        times: Sequence[float],
    ) -> None:
        if not self._filters:
            receive_run(header, payloads, times)
            return
        passed = self._passed(header, payloads)
        left = [one for one, kept in zip(payloads, passed, strict=True) if kept]
        at = [one for one, kept in zip(times, passed, strict=True) if kept]
        if len(left) == 1:
            receive(header, left[0], at[0])
        elif left:
            receive_run(header, left, at)

    def _passed(self, header: FrameHeader, payloads: Sequence[bytes]) -> list[bool]:
        passed = [True] * len(payloads)
        for one in tuple(self._filters):
            passed = [a and b for a, b in zip(passed, one.incoming(header, payloads), strict=True)]
        return passed

    def _send(self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None) -> None:
        self._port.send(header, payloads, sent)

    def _offset_of(self, header: FrameHeader) -> int | None:
        return self._offsets.get(header.identifier)

    def _late_s(self) -> float:
        late_s = 0.0
        for fault, hits, rng in self._late:
            hits.add()
            late_s += fault.by_s + rng.random() * fault.jitter_s
        return late_s

    def _wait_s(self, header: FrameHeader, frames: _Frames) -> float:
        """Send the WAIT frames that come before a FlowControl; how long they take."""
        at = self._offset_of(header)
        if not self._waits or at is None or not _is_flow_control(frames, at):
            return 0.0
        fault, hits = self._waits[-1]
        hits.add()
        waiting = _with(frames[0], at, _FLOW_CONTROL << 4 | _WAIT)
        for number in range(fault.number):
            self._loop.call_later(number * fault.every_s, self._send, header, (waiting,), None)
        return fault.number * fault.every_s

    def _begin_corruption(self, fault: CorruptFrames, rng: random.Random) -> End:
        entry = (fault, rng)
        self._corruptions.append(entry)
        self._corrupt_most()

        def end() -> None:
            if entry in self._corruptions:
                self._corruptions.remove(entry)
                self._corrupt_most()

        return end

    def _corrupt_most(self) -> None:
        if self._corrupt is None:
            return
        if not self._corruptions:
            self._corrupt(0.0, None)
            return
        fault, rng = max(self._corruptions, key=lambda one: one[0].share)
        self._corrupt(fault.share, rng)


class _Babbling:
    def __init__(self, port: CanPort, fault: Babble, hits: Hits) -> None:
        self._port, self._fault, self._hits = port, fault, hits
        self._header = FrameHeader(fault.identifier, extended=fault.identifier > _BASE)
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(self._loop, self._send)
        self._stopped = False
        self._due = self._loop.time()
        self._timer.set(self._due)

    def stop(self) -> None:
        self._stopped = True
        self._timer.cancel()

    def _send(self) -> None:
        self._hits.add()
        self._due = self._loop.time() + self._fault.every_s
        self._port.send(self._header, (bytes(8),), self._sent)

    def _sent(self, at_s: float) -> None:
        """One at a time: a wire that is full does not pile them up."""
        if not self._stopped:
            self._timer.set(max(self._due, at_s))


_T = TypeVar("_T")


def _added(members: list[_T], one: _T) -> End:
    members.append(one)

    def end() -> None:
        if one in members:
            members.remove(one)

    return end
