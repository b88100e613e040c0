"""What the vehicle is at, by the signals of its wires: whether it is used, and what may be done."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from protocols.preconditions import Evaluation, Expression, Verdict, evaluate, parse
from vehicle_gateway.diagnostics.orders import Finding
from vehicle_gateway.diagnostics.readings import VehicleReadings

#: What has to be true for an actuator to be moved from afar, or a memory of faults to be cleared.
STANDING_IN_PARK: Final = "Speed == 0 km/h and Gear == P"
#: Whoever drives or sits in the car has switched this on; a car that is parked has not.
_IGNITION: Final = "Terminal15"
#: Seconds in which wires that are woken say their values: boot times, and the slowest cycle.
_HEARD_WITHIN_S: Final = 3.0
_LOOK_S: Final = 0.1
_IN_USE: Final = parse(f"{_IGNITION} == On")


class VehicleState:
    """What may be done with the vehicle now, by the newest values of its wires."""

    def __init__(self, readings: VehicleReadings) -> None:
        self._readings = readings

    def evaluate(self, expression: Expression) -> Evaluation:
        return evaluate(expression, self._readings.read)

    async def heard(self, expression: Expression, wake: Callable[[], None]) -> Evaluation:
        """The same; where the wires sleep they are woken first, and their values waited for."""
        evaluation = self.evaluate(expression)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _HEARD_WITHIN_S
        if evaluation.verdict is Verdict.UNKNOWN:
            wake()
        while evaluation.verdict is Verdict.UNKNOWN:
            if loop.time() >= until_s:
                break
            # What is said again as it was before the sleep is no change.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._readings.changed()
            evaluation = self.evaluate(expression)
        return evaluation

    @property
    def in_use(self) -> bool:
        """Whether terminal 15 is on; a vehicle that does not tell of it counts as used."""
        return _IGNITION not in self._readings.signals or self.evaluate(_IN_USE).met


def findings(evaluation: Evaluation) -> tuple[Finding, ...]:
    """Every comparison as the cloud gets it."""
    return tuple(
        Finding(
            condition=one.condition,
            met=one.verdict is Verdict.MET,
            value=one.problem or one.shown,
            source=", ".join(part for part in (one.message, one.source) if part),
        )
        for one in evaluation.findings
    )


def unmet(evaluation: Evaluation) -> str:
    """What stands in the way, in words."""
    return "; ".join(one.words for one in evaluation.unmet)
