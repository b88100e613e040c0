"""The calibration tables of the ECU applications, as C sources.

Integers alone: axes count in thousandths of their unit, values in counts of the table's unit, and
every division rounds down. No floating point and no mathematical library has a say in a byte that
is compared in CI. What the tables say is rough physics of a compact car on purpose: the
controllers around them take up the rest.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_VALUES_PER_LINE: Final = 16
_INT16: Final = range(-0x8000, 0x8000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Equidistant points, in thousandths of the axis' unit."""

    start: int
    step: int
    count: int

    def points(self) -> range:
        return range(self.start, self.start + self.step * self.count, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One lookup table: `value` maps a point (thousandths) to counts of 1/`per_unit`."""

    name: str
    axes: tuple[Axis, ...]
    per_unit: int
    value: Callable[..., int]

    def values(self) -> Iterator[int]:
        for point in itertools.product(*(axis.points() for axis in self.axes)):
            value = self.value(*point)
            if value not in _INT16:
                raise ValueError(f"table {self.name}: {value} at {point} does not fit 16 bits")
            yield value


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


# --- ccu: temperatures in mK, sun in mW, loads in mK --------------------------------------------


def _blower_level(deviation: int, load: int) -> int:
    """0.01 %: a base, more against load, much more while the cabin is far off."""
    far = max(abs(deviation) - 2500, 0)
    return _within(2000 + 23 * abs(load) // 100 + far, 2000, 10_000)


def _outlet(ambient: int, sun: int, setpoint: int) -> int:
    """0.01 degC: the outlet that balances shell, sun and trim at the map's own blower level."""
    excess = ambient - setpoint
    heat_mw = 48 * excess + sun * 17 // 20
    level = _blower_level(0, excess + sun // 50)
    air_mw_per_k = 150 * level // 10  # 150 W/K at 100 %
    return _within((setpoint - heat_mw * 1000 // air_mw_per_k) // 10, 300, 5500)


def _blend(cold: int, outlet: int) -> int:
    """1/10000: share of air over a heater core of 58 degC with 75 % effectiveness."""
    return _within((outlet - cold) * 40_000 // (3 * (58_000 - cold)), 0, 10_000)


_CCU: Final = (
    Table(
        name="outlet_map",
        axes=(
            Axis(start=-35_000, step=1500, count=64),
            Axis(start=0, step=38_000, count=32),
            Axis(start=15_000, step=500, count=32),
        ),
        per_unit=100,
        value=_outlet,
    ),
    Table(
        name="blower_map",
        axes=(
            Axis(start=-16_000, step=250, count=129),
            Axis(start=-48_000, step=1500, count=65),
        ),
        per_unit=100,
        value=_blower_level,
    ),
    Table(
        name="blend_map",
        axes=(
            Axis(start=-10_000, step=750, count=65),
            Axis(start=0, step=500, count=129),
        ),
        per_unit=10_000,
        value=_blend,
    ),
)


# --- blower: level in 0.001 %, supply in mV, drive in thousandths -------------------------------

_SUPPLY: Final = Axis(start=8000, step=60, count=129)
_LEVEL: Final = Axis(start=0, step=800, count=129)
#: Below this level the motor does not turn evenly and stays off.
_LOWEST_LEVEL: Final = 4000


def _drive_uncompensated(level: int, _supply: int) -> int:
    """1/10000: version 1.0.0 takes the supply for nominal."""
    return 0 if level < _LOWEST_LEVEL else min(level // 10, 10_000)


def _drive_compensated(level: int, supply: int) -> int:
    """1/10000: version 2.0.0 drives more when the supply is low, so that the air flow holds."""
    return 0 if level < _LOWEST_LEVEL else min(level * 1350 // supply, 10_000)


def _blower_speed(drive: int, supply: int) -> int:
    """Rpm: in proportion to the mean voltage, 4200 at the nominal 13.5 V."""
    return min(drive * supply * 42 // 135_000, 4200)


def _blower(drive: Callable[[int, int], int]) -> tuple[Table, ...]:
    return (
        Table(name="drive_map", axes=(_LEVEL, _SUPPLY), per_unit=10_000, value=drive),
        Table(
            name="speed_map",
            axes=(Axis(start=0, step=8, count=129), _SUPPLY),
            per_unit=1,
            value=_blower_speed,
        ),
    )


# --- flap: opening in 0.001 %, travel in thousandths, supply in mV ------------------------------

#: Of each flap the lever's travel at which it is wide open, in 1/10000: its end stop.
_STOPS: Final = (10_000, 9_800, 9_900)


def _travel(opening: int, flap: int) -> int:
    """1/10000: a flap is open by t (2 - t) after a travel of t; this is the way back."""
    whole = 10_000 - math.isqrt(10_000 * (10_000 - opening // 10))
    return whole * _STOPS[flap // 1000] // 10_000


def _pace(left: int, supply: int) -> int:
    """1/10000 per second: a motor that gets little voltage, or is nearly there, loses no steps."""
    full = _within(2500 * supply // 12_000, 800, 2500)
    return _within(left * 50, 400, full)


_FLAP: Final = (
    Table(
        name="travel_map",
        axes=(Axis(start=0, step=250, count=401), Axis(start=0, step=1000, count=3)),
        per_unit=10_000,
        value=_travel,
    ),
    Table(
        name="pace_map",
        axes=(Axis(start=0, step=8, count=126), Axis(start=8000, step=60, count=129)),
        per_unit=10_000,
        value=_pace,
    ),
)


# --- ecomp: deviation and ambient in mK, high voltage in mV, speed in thousandths of rpm --------


def _compressor_speed(deviation: int, ambient: int, voltage: int) -> int:
    """Rpm: a base for the day, a share of the deviation, and what the voltage allows."""
    base = _within(1200 + ambient * 7 // 100, 0, 5000)
    ceiling = min(8000, 8000 * voltage // 340_000)
    return _within(base + deviation * 7 // 10, 0, ceiling)


def _discharge(speed: int, ambient: int) -> int:
    """0.01 degC: warmer with speed and with the condenser's air."""
    return _within((ambient + 18_000 + speed * 6 // 1000) // 10, 0, 20_000)


_ECOMP: Final = (
    Table(
        name="speed_map",
        axes=(
            Axis(start=-12_000, step=250, count=97),
            Axis(start=-12_000, step=1500, count=49),
            Axis(start=240_000, step=8000, count=33),
        ),
        per_unit=1,
        value=_compressor_speed,
    ),
    Table(
        name="discharge_map",
        axes=(
            Axis(start=0, step=128_000, count=65),
            Axis(start=-12_000, step=750, count=97),
        ),
        per_unit=100,
        value=_discharge,
    ),
)


# --- ptc: deviation, ambient and air in mK, high voltage in mV -----------------------------------


def _heater_power(deviation: int, ambient: int, voltage: int) -> int:
    """W: so much per kelvin, more in frost, and what a resistance takes at the voltage."""
    per_kelvin = 150 + max(-ambient, 0) // 250
    ceiling = min(6000, 6000 * (voltage // 100) ** 2 // 3600**2)
    return _within(per_kelvin * deviation // 1000, 0, ceiling)


def _air_target(ambient: int, air: int) -> int:
    """0.01 degC: what air over a heater core of 58 degC has, which is a little warmer on mild days.

    Air that is far too warm already moves the target down, so that a hot element is left alone.
    """
    target = 43_500 + ambient // 4
    return _within((target - max(air - 70_000, 0) // 2) // 10, 0, 5500)


_PTC: Final = (
    Table(
        name="power_map",
        axes=(
            Axis(start=-12_000, step=750, count=81),
            Axis(start=-30_000, step=1500, count=33),
            Axis(start=240_000, step=7000, count=31),
        ),
        per_unit=1,
        value=_heater_power,
    ),
    Table(
        name="target_map",
        axes=(
            Axis(start=-30_000, step=750, count=65),
            Axis(start=-30_000, step=2000, count=97),
        ),
        per_unit=100,
        value=_air_target,
    ),
)


# --- rear: temperatures in mK -------------------------------------------------------------------

_REAR_AXES: Final = (
    Axis(start=-5000, step=750, count=81),
    Axis(start=15_000, step=400, count=41),
    Axis(start=-5000, step=750, count=81),
)


def _rear_blower(rear: int, setpoint: int, cabin: int) -> int:
    """1/10000: a base, more while the zone is off, a little for a cabin that is off too."""
    off = 11 * abs(rear - setpoint) // 10 + abs(cabin - setpoint) // 10
    return _within(5500 + off, 0, 10_000)


def _rear_blend(rear: int, setpoint: int, cabin: int) -> int:
    """1/10000: warm air for a zone that is too cold, and for the neighbour that cools it."""
    return _within(300 + 3 * (setpoint - rear) // 2 + 3 * (setpoint - cabin) // 10, 0, 10_000)


_REAR: Final = (
    Table(name="rear_blower_map", axes=_REAR_AXES, per_unit=10_000, value=_rear_blower),
    Table(name="rear_blend_map", axes=_REAR_AXES, per_unit=10_000, value=_rear_blend),
)

#: (ECU, version) -> its tables.
TABLES: Final = {
    ("ccu", "1.0.0"): _CCU,
    ("ccu", "2.0.0"): _CCU,
    ("blower", "1.0.0"): _blower(_drive_uncompensated),
    ("blower", "2.0.0"): _blower(_drive_compensated),
    ("flap", "1.0.0"): _FLAP,
    ("flap", "2.0.0"): _FLAP,
    ("ecomp", "1.0.0"): _ECOMP,
    ("ecomp", "2.0.0"): _ECOMP,
    ("ptc", "1.0.0"): _PTC,
    ("ptc", "2.0.0"): _PTC,
    ("rear", "1.0.0"): _REAR,
    ("rear", "2.0.0"): _REAR,
}


def c_source(ecu: str, version: str) -> str:
    """A C source that defines the tables declared in `src/<ecu>/<ecu>.h`."""
    parts = [f'#include "{ecu}.h"\n']
    parts.extend(_definition(table) for table in TABLES[ecu, version])
    return "\n".join(parts)


def _definition(table: Table) -> str:
    values = [str(value) for value in table.values()]
    lines = [
        ", ".join(values[start : start + _VALUES_PER_LINE])
        for start in range(0, len(values), _VALUES_PER_LINE)
    ]
    axes = "".join(
        f"    .{name} = {{{axis.start} / 1000.0, {axis.step} / 1000.0, {axis.count}}},\n"
        for name, axis in zip("xyz", table.axes, strict=False)
    )
    return (
        f"static const int16_t {table.name}_values[{len(values)}] = {{\n"
        + ",\n".join(lines)
        + f"}};\nconst struct map{len(table.axes)} {table.name} = {{\n{axes}"
        + f"    .unit = 1.0 / {table.per_unit},\n    .values = {table.name}_values,\n}};\n"
    )
