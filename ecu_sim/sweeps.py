"""Output sweeps: routines that run on (31 01), can be stopped (31 02) and asked for (31 03).

An output goes in steps from one value to another while something that follows it is measured. The
tester's hands (2F) and a sweep never hold one output together, and a sweep ends when the car moves.
"""

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

from ecu_sim.diagnostics import Job
from ecu_sim.ecus import EcuType, Source, Sweep
from ecu_sim.outputs import OutputChannels, Outputs
from protocols.uds import Nrc, Refusal
from protocols.uds.routine_status import Precondition, RoutineState

#: State, steps taken, least and greatest value measured.
_STATUS: Final = struct.Struct(">BBHH")
_GREATEST: Final = 0xFFFF
#: How far what is measured may be from the ends of a sweep, as a share of it.
TOLERANCE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What a sweep drives, and where it measures."""

    outputs: Outputs
    output_channels: OutputChannels
    value_of: Callable[[Source], float]


class OutputSweep:
    """One run of a sweep (`ecu_sim.diagnostics.BackgroundRoutine`)."""

    def __init__(self, sweep: Sweep, channels: Channels) -> None:
        self._sweep = sweep
        self._channels = channels
        self._state = RoutineState.RUNNING
        self._steps = 0
        self._measured: list[int] = []

    def start(self) -> Job:
        """Take the output; the job goes on to the last step."""
        if self._moving():
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "the vehicle moves")
        self._channels.outputs.take(self._sweep.channel)
        return self._run()

    def status(self) -> bytes:
        least = min(self._measured, default=0)
        greatest = max(self._measured, default=0)
        return _STATUS.pack(self._state, self._steps, least, greatest)

    def stop(self) -> None:
        if self._state is RoutineState.RUNNING:
            self._end(RoutineState.STOPPED)

    def _run(self) -> Job:
        sweep = self._sweep
        yield from self._settle()
        for step in range(sweep.steps + 1):
            value = sweep.first + (sweep.last - sweep.first) * step / sweep.steps
            self._channels.output_channels.override(sweep.channel, value)
            yield sweep.step_s
            if self._moving():
                self._end(RoutineState.ABORTED)
                return b""
            self._steps = step
            self._measured.append(self._measure())
        self._end(RoutineState.FINISHED)
        return b""

    def _settle(self) -> Generator[float, None, None]:
        """Go to the first value, which what is measured may be far from."""
        sweep, waited_s = self._sweep, 0.0
        self._channels.output_channels.override(sweep.channel, sweep.first)
        while waited_s < sweep.settle_s and self._measure() != round(sweep.first / sweep.scale):
            yield sweep.step_s
            waited_s += sweep.step_s

    def _measure(self) -> int:
        measured = round(self._channels.value_of(self._sweep.measured) / self._sweep.scale)
        return min(max(measured, 0), _GREATEST)

    def _end(self, state: RoutineState) -> None:
        self._state = state
        self._channels.outputs.give_back(self._sweep.channel)

    def _moving(self) -> bool:
        return Precondition.VEHICLE_MOVING in self._channels.output_channels.hindrances()

    @property
    def followed(self) -> bool:
        """Whether what was measured went from about the first value to about the last."""
        ends = [value / self._sweep.scale for value in (self._sweep.first, self._sweep.last)]
        allowed = TOLERANCE * abs(ends[1] - ends[0])
        reached = (min(self._measured, default=0), max(self._measured, default=0))
        return self._state is RoutineState.FINISHED and all(
            abs(found - wanted) <= allowed
            for found, wanted in zip(reached, sorted(ends), strict=True)
        )


def sweep_of(ecu: EcuType, rid: int, option: bytes, channels: Channels) -> OutputSweep:
    """The routine of that identifier; `Refusal` for an option that it does not take."""
    sweep = ecu.sweeps.get(rid)
    if sweep is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no routine {rid:04X} that runs on")
    if option:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "no option record")
    return OutputSweep(sweep, channels)
