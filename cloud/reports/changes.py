"""The trouble codes of one update, judged with what the update itself did to the ECUs."""

from datetime import timedelta
from typing import Final

from cloud.fleet.dtcs import DtcChange, Reset, compare
from cloud.reports.model import VehicleReport

#: Steps in which the gateway resets an ECU, by the gateway's names.
_RESETTING: Final = frozenset({"activate", "revert"})
_CLEARING: Final = "clear DTCs"


def changes_of(vehicle: VehicleReport) -> tuple[DtcChange, ...]:
    """What became of each code that a reading before or after the update mentions."""
    ends = [
        (step, step.start + timedelta(seconds=step.seconds))
        for step in vehicle.steps
        if not step.failed
    ]
    return compare(
        vehicle.before,
        vehicle.after,
        resets=[
            Reset(ecu=step.ecu, start=step.start, end=end)
            for step, end in ends
            if step.step in _RESETTING and step.ecu
        ],
        cleared=max((end for step, end in ends if step.step == _CLEARING), default=None),
    )
