"""Whether the supply lasts for an update and for the way back (UN R156 7.2.2.1.2).

`EnergyReserve` is what the batteries can give, divided by what the update needs twice over: at 1
it is just enough to update and to roll back again. The model is simple and on the safe side:

* need: time out of use and a minute more, twice, at the vehicle's current and 12 V;
* the 12 V battery at rest: 11.8 V is empty and 12.8 V is full, in between it is linear; from 13.2 V
  on it is being charged, which hides its state, and it counts as half full. Half of what it
  holds stays in it, so that the car can be started afterwards;
* the drive battery, while its voltage is on the converter (200 V and more): what it holds above
  10 %, at 90 % efficiency.

Only the 12 V reading has to be there: a drive battery that says nothing gives nothing.
"""

import math
from dataclasses import dataclass
from typing import Final

from protocols.preconditions.evaluation import Reading, SignalDefinition

ENERGY_RESERVE: Final = SignalDefinition(name="EnergyReserve", minimum=0.0, max_age_s=2.5)

_NOMINAL_V: Final = 12.0
_MORE_S: Final = 60.0
_EMPTY_V: Final = 11.8
_FULL_V: Final = 12.8
_CHARGING_V: Final = 13.2
_CHARGING_SHARE: Final = 0.5
_USABLE: Final = 0.5
_CONVERTER_V: Final = 200.0
_DRIVE_FLOOR_PERCENT: Final = 10.0
_CONVERTER_EFFICIENCY: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What a vehicle is supplied from."""

    #: The 12 V battery when full, Ah.
    battery_ah: float
    #: What the vehicle draws during an update, A.
    update_current_a: float
    #: The drive battery when full, kWh; 0 without one.
    drive_battery_kwh: float = 0.0


def needed_wh(supply: Supply, *, out_of_use_s: float) -> float:
    """What an update and a roll-back need, Wh."""
    return 2 * (out_of_use_s + _MORE_S) * supply.update_current_a * _NOMINAL_V / 3600


def available_wh(
    supply: Supply, *, battery_v: float, charge_percent: float = 0.0, high_v: float = 0.0
) -> float:
    """What both batteries can give, Wh."""
    share = min(max((battery_v - _EMPTY_V) / (_FULL_V - _EMPTY_V), 0.0), 1.0)
    if battery_v >= _CHARGING_V:
        share = _CHARGING_SHARE
    available = share * _USABLE * supply.battery_ah * _NOMINAL_V
    if high_v >= _CONVERTER_V:
        spare = max(charge_percent - _DRIVE_FLOOR_PERCENT, 0.0) / 100
        available += spare * supply.drive_battery_kwh * 1000 * _CONVERTER_EFFICIENCY
    return available


def energy_reserve(
    supply: Supply,
    *,
    out_of_use_s: float,
    battery: Reading | None,
    charge: Reading | None = None,
    high_voltage: Reading | None = None,
) -> Reading:
    """`EnergyReserve` from the readings of `BatteryVoltage`, `StateOfCharge`, `HighVoltage`."""
    if battery is None or battery.value is None or battery.problem():
        problem = "no BatteryVoltage" if battery is None else battery.problem()
        return Reading(definition=ENERGY_RESERVE, source=f"BatteryVoltage {problem}")
    needed = needed_wh(supply, out_of_use_s=out_of_use_s)
    available = available_wh(
        supply,
        battery_v=battery.value,
        charge_percent=_value(charge),
        high_v=_value(high_voltage),
    )
    used = [one for one in (battery, charge, high_voltage) if one is not None and not one.problem()]
    said = ", ".join(
        f"{one.definition.name} {one.value:g} {one.definition.unit}".rstrip() for one in used
    )
    return Reading(
        definition=ENERGY_RESERVE,
        # In hundredths, and never more than there is.
        value=math.floor(100 * available / needed) / 100,
        age_s=max(one.age_s or 0.0 for one in used),
        source=f"{available:.0f} Wh from {said}; {needed:.1f} Wh needed there and back",
    )


def _value(reading: Reading | None) -> float:
    if reading is None or reading.value is None or reading.problem():
        return 0.0
    return reading.value
