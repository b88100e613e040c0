"""The vehicle as its gateway knows it: names, addresses, layouts, routine identifiers.

`vehicle.toml` is generated from `ecu_sim/ecus` (`python -m ecu_sim describe`); an engineer with
ECUs of their own writes one by hand.
"""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

_VEHICLE_TOML = Path(__file__).with_name("vehicle.toml")


class DescriptionError(Exception):
    """A vehicle description that cannot be used; the message names file and field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireDescription:
    name: str
    #: "can", "canfd" or "doip".
    kind: str
    #: Nominal bit rate in bit/s (CAN), or the line rate (DoIP on 100BASE-T1).
    bit_rate: int
    #: Data phase bit rate in bit/s; 0 where the wire has none.
    data_bit_rate: int = 0
    #: Functional (all ECUs) request identifier on CAN, logical address on DoIP.
    functional_id: int
    #: First data byte of functional requests (extended and mixed addressing); None: none.
    functional_extension: int | None = None
    #: Whether nodes on this CAN wire sleep when nobody needs it (network management).
    network_management: bool = False
    #: Signal databases whose messages are on this wire.
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the big-endian number in a data record becomes a physical value."""

    scale: float = 1.0
    unit: str = ""
    signed: bool = True

    def physical(self, record: bytes) -> str:
        """The value with its unit, for people."""
        raw = int.from_bytes(record, "big", signed=self.signed)
        decimals = max(0, -math.floor(math.log10(self.scale))) if self.scale < 1 else 0
        return f"{raw * self.scale:.{decimals}f} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuDescription:
    name: str
    #: An ECU model, as Uptane and the release say it.
    hardware_id: str
    wire: str
    #: CAN identifiers tester -> ECU and ECU -> tester; 0 for an ECU on DoIP.
    request_id: int = 0
    response_id: int = 0
    #: Identifiers of 29 bits, whatever their value.
    extended_ids: bool = False
    #: First data byte of each frame to and from the ECU (extended and mixed addressing).
    request_extension: int | None = None
    response_extension: int | None = None
    logical_address: int
    #: True: one application slot; nothing in the ECU leads back to its old image. Programmed
    #: through the boot loader while the car waits, unless there is a staging area.
    single_slot: bool
    #: Only with a single slot: its running application fills a staging area in the background,
    #: from which the boot loader copies at the next reset.
    staging_area: bool = False
    #: Its flash sequence: a file (relative to the description's), or the name of one of the
    #: gateway's; empty: the gateway's for its number of slots.
    sequence: str = ""
    #: Start and size in bytes of the logical application area that a tester addresses.
    application_base: int
    slot_size: int
    #: Erase unit and program unit in bytes, and the seconds that one of each takes.
    sector_size: int
    page_size: int
    erase_s: float
    program_s: float
    #: maxNumberOfBlockLength of 34's answer, service id and counter included; 0: not known.
    max_block_length: int
    #: seed/key level of programming (27 `level` / `level + 1`).
    security_level: int
    #: ECU timing in seconds: P2, P2*, S3, and from power-on or reset to the first answer.
    p2_s: float
    p2_star_s: float
    s3_s: float
    boot_s: float
    #: DTC number -> text.
    dtcs: Mapping[int, str]
    #: dataFormatIdentifier of 34 -> what it stands for (`zlib`, `aes-ctr`, `zlib+aes-ctr`), besides
    #: 00 for plain data.
    data_formats: Mapping[int, str] = field(default_factory=dict)
    #: Data identifier -> name.
    data_identifiers: Mapping[int, str]
    #: Data identifier -> how its number is read; text or bytes where there is none.
    scalings: Mapping[int, Scaling] = field(default_factory=dict)
    #: What must hold while this ECU is updated, whatever the release says, in the language of
    #: preconditions; empty: nothing.
    preconditions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutineIdentifiers:
    erase_memory: int
    check_memory: int
    check_dependencies: int
    check_preconditions: int
    activate: int
    confirm: int
    revert: int
    self_test: int
    slot_digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """When this vehicle may be changed. Expressions of preconditions; an empty one always holds."""

    #: For a release that brings none of its own.
    default: str = ""
    #: For staging, which happens while the car is in use.
    staging: str = ""
    #: Until this holds no ECU is reset while an update goes back.
    safe: str = ""
    #: How it is seen that the vehicle obeys the interlock.
    held: str = ""
    #: Charge of the 12 V battery when full, Ah.
    battery_ah: float = 60.0
    #: What the vehicle draws from it during an update, A.
    update_current_a: float = 15.0
    #: Energy of the drive battery when full, kWh; 0: there is none that charges the 12 V battery.
    drive_battery_kwh: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleDescription:
    model: str
    wires: Mapping[str, WireDescription]
    ecus: Mapping[str, EcuDescription]
    routines: RoutineIdentifiers
    #: The gateway's own tester address on DoIP.
    tester_address: int
    conditions: Conditions = field(default_factory=Conditions)

    def on_wire(self, wire: str) -> tuple[EcuDescription, ...]:
        return tuple(ecu for ecu in self.ecus.values() if ecu.wire == wire)


T = TypeVar(
    "T",
    Conditions,
    WireDescription,
    Scaling,
    EcuDescription,
    RoutineIdentifiers,
    VehicleDescription,
)


def describe_vehicle(path: Path = _VEHICLE_TOML) -> VehicleDescription:
    """Read a vehicle description; `DescriptionError` names what is wrong with it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DescriptionError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # syntax, encoding, endless digits or brackets
        raise DescriptionError(f"{path}: {error}") from error
    try:
        vehicle = VehicleDescription(
            model=tables["model"],
            tester_address=tables["tester_address"],
            wires={name: _wire(name, table) for name, table in tables["wires"].items()},
            ecus={name: _ecu(name, table, path) for name, table in tables["ecus"].items()},
            routines=_checked(RoutineIdentifiers(**tables["routines"]), "routines"),
            conditions=_checked(Conditions(**tables.get("conditions", {})), "conditions"),
        )
        _checked(vehicle, "the vehicle")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DescriptionError(f"{path}: {error}") from error
    for ecu in vehicle.ecus.values():
        if ecu.wire not in vehicle.wires:
            raise DescriptionError(f"{path}: ecus.{ecu.name}.wire: no wire {ecu.wire!r}")
    return vehicle


def _wire(name: str, table: dict[str, Any]) -> WireDescription:  # Any: TOML is untyped
    databases = tuple(table.get("databases", ()))
    if not all(isinstance(database, str) for database in databases):
        raise ValueError(f"wires.{name}.databases: names of signal databases expected")
    wire = WireDescription(**{**table, "databases": databases} | {"name": name})
    return _checked(wire, f"wires.{name}")


#: Declared type -> whether a value of a TOML file is one; mappings are looked at by their readers.
_FITS: Final[Mapping[object, Callable[[object], bool]]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and math.isfinite(value),
    int | None: lambda value: value is None or (type(value) is int and 0 <= value <= 0xFF),
}


def _checked(described: T, place: str) -> T:
    """What was read, if each of its plain fields is of the type that it is declared with."""
    for one in fields(described):
        value = getattr(described, one.name)
        fits = _FITS.get(one.type)
        if fits is not None and not fits(value):
            raise ValueError(f"{place}: {one.name} = {value!r} does not fit")
    return described


def _ecu(name: str, table: dict[str, Any], path: Path) -> EcuDescription:  # Any: TOML is untyped
    known = {one.name for one in fields(EcuDescription)}
    if unknown := sorted(table.keys() - known):
        raise ValueError(f"ecus.{name}: unknown field {unknown[0]!r}")
    numbered = {
        key: {int(number, 16): text for number, text in texts.items()}
        for key, texts in (
            ("dtcs", table["dtcs"]),
            ("data_identifiers", table["data_identifiers"]),
            ("data_formats", table.get("data_formats", {})),
        )
    }
    if not all(0 < number <= 0xFF for number in numbered["data_formats"]):
        raise ValueError(f"ecus.{name}.data_formats: 01 to FF expected")
    scalings = {
        int(number, 16): _checked(Scaling(**scaling), f"ecus.{name}.scalings.{number}")
        for number, scaling in table.get("scalings", {}).items()
    }
    if not all(isinstance(text, str) for texts in numbered.values() for text in texts.values()):
        raise ValueError(f"ecus.{name}: names of DTCs and identifiers are texts")
    if any(scaling.scale <= 0 for scaling in scalings.values()):
        raise ValueError(f"ecus.{name}.scalings: a scale is above 0")
    ecu = EcuDescription(**{**table, **numbered, "scalings": scalings, "name": name})
    _checked(ecu, f"ecus.{name}")
    if ecu.staging_area and not ecu.single_slot:
        raise ValueError(f"ecus.{name}: staging_area = true goes with single_slot = true")
    if not ecu.sequence.endswith(".toml"):
        return ecu
    return replace(ecu, sequence=str(path.parent / ecu.sequence))
