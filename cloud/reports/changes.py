"""The trouble codes of one update, judged with what the update itself did to the ECUs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud.fleet.dtcs import DtcChange, Reset, compare
from cloud.reports.model import Step, VehicleReport

#: Steps in which the gateway resets an ECU, by the gateway's names.
_RESETTING: Final = frozenset({"activate", "revert"})
_CLEARING: Final = "clear DTCs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What an update itself did that trouble codes can come from, or go by."""

    resets: tuple[Reset, ...]
    #: When the codes were cleared, if they were.
    cleared: datetime | None


def acts_of(steps: Iterable[Step]) -> Acts:
    """Its acts, by the steps that it took."""
    ends = [
        (step, step.start + timedelta(seconds=step.seconds)) for step in steps if not step.failed
    ]
    return Acts(
        resets=tuple(
            Reset(ecu=step.ecu, start=step.start, end=end)
            for step, end in ends
            if step.step in _RESETTING and step.ecu
        ),
        cleared=max((end for step, end in ends if step.step == _CLEARING), default=None),
    )


def clearing(moment: datetime) -> Step:
    """An operator's clearing of the codes, as a step."""
    return Step(start=moment, seconds=0.0, ecu="", step=_CLEARING)


def changes_of(vehicle: VehicleReport) -> tuple[DtcChange, ...]:
    """What became of each code that a reading before or after the update mentions."""
    acts = acts_of(vehicle.steps)
    return compare(vehicle.before, vehicle.after, resets=acts.resets, cleared=acts.cleared)
