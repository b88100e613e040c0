"""What the rest of a car sends on a wire, to a load of one's choice: cyclic frames without meaning.

Where the climate control's own messages and those of `vehicle.dbc` would leave a wire almost
empty, this makes it as busy as a real one. No node reads these frames.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ecu_sim.periodic import Periodic
from protocols.can import CanPort, FrameHeader
from protocols.can.bits import frame_ns

#: Cycle time in seconds -> share of the load, as a body or comfort wire has it.
_MIX: Final = ((0.01, 0.40), (0.02, 0.30), (0.05, 0.15), (0.1, 0.15))
#: First identifier of each cycle time: the faster, the more urgent. None is in a database of ours,
#: and network management begins at 500.
_FIRST_IDENTIFIER: Final = (0x080, 0x0D0, 0x1B0, 0x420)
_CONTENT: Final = bytes.fromhex("00 5A C3 3C 96 0F 78 E1") * 8


class TrafficError(Exception):
    """A load that no traffic makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclicFrame:
    header: FrameHeader
    data: bytes
    period_s: float
    #: Of the first frame within the period: frames of one cycle time are spread over it.
    offset_s: float


def plan(load: float, *, bit_rate: int, data_bit_rate: int = 0) -> tuple[CyclicFrame, ...]:
    """Frames that keep a wire of these bit rates busy for this share of the time, 0.0 to 0.8.

    The load is met to within a frame of the slowest cycle and a hundredth of itself. CAN FD
    frames of 64 bytes where the wire has a data bit rate, else classic ones of eight.
    `TrafficError` for another load.
    """
    if not 0.0 <= load <= 0.8:
        raise TrafficError(f"a load of {load:g}: 0.0 to 0.8 expected")
    fd = data_bit_rate > 0
    data = _CONTENT if fd else _CONTENT[:8]
    found: list[CyclicFrame] = []
    missing = 0.0
    for (period_s, share), first in zip(_MIX, _FIRST_IDENTIFIER, strict=True):
        header = FrameHeader(first, fd=fd, bit_rate_switch=fd)
        one = frame_ns(header, data, bit_rate=bit_rate, data_bit_rate=data_bit_rate) * 1e-9
        # What a faster cycle could not make up with whole frames is left to the slower ones.
        wanted = missing + load * share
        count = int(wanted * period_s / one)
        missing = wanted - count * one / period_s
        found += [
            CyclicFrame(
                header=FrameHeader(first + number, fd=fd, bit_rate_switch=fd),
                data=data,
                period_s=period_s,
                offset_s=(number + 0.5) * period_s / count,
            )
            for number in range(count)
        ]
    return tuple(found)


class Traffic:
    """Sends a plan on one wire; a counter in the first byte makes each frame another one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        port: CanPort,
        frames: Sequence[CyclicFrame],
        *,
        may_send: Callable[[], bool],
    ) -> None:
        self._port = port
        self._may_send = may_send
        self._counters = [0] * len(frames)
        self._frames = tuple(frames)
        self._timers = [
            Periodic(loop, frame.period_s, partial(self._send, number))
            for number, frame in enumerate(frames)
        ]

    def start(self) -> None:
        for timer, frame in zip(self._timers, self._frames, strict=True):
            timer.start(after_s=frame.offset_s - frame.period_s)

    def stop(self) -> None:
        for timer in self._timers:
            timer.stop()

    def _send(self, number: int) -> None:
        if not self._may_send():
            return
        frame, counter = self._frames[number], self._counters[number]
        self._counters[number] = (counter + 1) % 16
        self._port.send(frame.header, (bytes((counter,)) + frame.data[1:],))
