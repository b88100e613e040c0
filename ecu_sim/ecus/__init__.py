"""ECU types: data alone. One module per type, each with its `ECU = EcuType(...)`, found by name."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Final

from ecu_sim.memory import FlashGeometry
from protocols.editions import Editions
from protocols.isotp import IsoTpParameters
from protocols.uds.data_formats import DataFormat
from protocols.uds.dtc import COUNTER_FAILED, COUNTER_PASSED, FunctionalGroup, Severity
from protocols.uds.rules import (
    EVERY_CONTROL,
    EXTENDED,
    DataRules,
    DtcRules,
    RoutineRule,
    SpecialRules,
)


@dataclass(frozen=True, slots=True)
class Plant:
    """A sensor of the cabin model, by the name of its property."""

    sensor: str


@dataclass(frozen=True, slots=True)
class Signal:
    """A decoded DBC signal as it was last heard; `default` until then."""

    database: str
    message: str
    signal: str
    default: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Seconds since a DBC message was last heard (since power-on, if never)."""

    database: str
    message: str


@dataclass(frozen=True, slots=True)
class OutputOf:
    """What the application last wrote to one of its output channels, times `gain`."""

    channel: int
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that nothing in the vehicle provides yet."""

    value: float


@dataclass(frozen=True, slots=True)
class BusOff:
    """1 where the ECU's CAN controller is, or was since the look before, bus-off; else 0."""


#: Where a value that an application reads, or that an ECU sends, comes from.
Source = Plant | Signal | Silence | OutputOf | Constant | BusOff


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output channel of the application."""

    name: str
    #: What the output stage can do, in the output's unit: the application must not ask for more.
    minimum: float = 0.0
    maximum: float = 1.0
    #: Attribute of the cabin model that it drives; empty where only a message carries it.
    actuator: str = ""
    #: A flap stays where it is when its ECU stops; a motor is switched off.
    holds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclicMessage:
    """A DBC message that the ECU sends; its identifier and period stand in the database."""

    database: str
    message: str
    signals: Mapping[str, Source]
    #: Number of the node that it is for alone, by which 28 may silence it; 0: for everyone.
    node: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcTraits:
    """How one trouble code behaves; fields as in `ecu_sim.diagnostics.dtc.DtcDefinition`."""

    severity: int = Severity.MAINTENANCE_ONLY
    functional_unit: int = 0
    confirm_cycles: int = 1
    aging_cycles: int = 40
    indicator: bool = False
    #: Steps of the fault detection counter per result of the application's monitor, which has
    #: debounced by time itself: whole steps.
    failed_step: int = COUNTER_FAILED
    passed_step: int = -COUNTER_PASSED
    group: FunctionalGroup | None = None
    readiness_group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WireMonitor:
    """Watches the ECU's wire with every control step, beside what the application watches.

    It rests while the ECU takes no part in the wire. A result of its own is debounced by the steps
    of its trouble code's fault detection counter.
    """

    source: Source
    #: The test fails where the source is above this.
    above: float = 0.5


#: Two control steps with bus-off fail; ten without pass.
BUS_OFF_TRAITS: Final = DtcTraits(failed_step=64, passed_step=13)


#: Four control steps with a command out of range fail; ten without pass.
OUTPUT_TRAITS: Final = DtcTraits(
    severity=Severity.CHECK_IMMEDIATELY, failed_step=32, passed_step=13
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveValue:
    """A data identifier that reads a live value: raw = round(value / scale), big endian."""

    name: str
    source: Source
    unit: str
    scale: float = 1.0
    length: int = 2
    signed: bool = True


#: Bytes of one calibration value.
CALIBRATION_LENGTH: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """An offset that is added to an input of the application: two bytes, signed, big endian.

    It can be written by its data identifier and, where the ECU's memory has a calibration region,
    by its address: there they stand one after the other. It outlives resets and updates.
    """

    name: str
    #: Input channel of the application.
    channel: int
    unit: str
    #: raw = round(value / scale); the limits are in the unit.
    scale: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlledOutput:
    """One output in a record of 2F: raw = round(value / scale), unsigned, one byte."""

    #: Output channel of the application.
    channel: int
    name: str
    unit: str
    scale: float
    #: Largest value in the output's own unit.
    maximum: float
    #: What resetToDefault gives.
    default: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecord:
    """A data identifier whose record is the state of outputs, in this order."""

    name: str
    outputs: tuple[ControlledOutput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A routine that drives an output from one value to another, step by step, and measures."""

    name: str
    #: Output channel of the application.
    channel: int
    first: float
    last: float
    #: Steps from the first to the last, of so many seconds each.
    steps: int = 10
    step_s: float = 0.5
    #: Before the first step, so long at most until what is measured is at the first value.
    settle_s: float = 0.0
    #: What follows the output: raw = round(value / scale), two bytes, unsigned.
    measured: Source
    unit: str
    scale: float = 1.0
    access: RoutineRule = field(
        default_factory=lambda: RoutineRule(
            sessions=EXTENDED, functional=False, controls=EVERY_CONTROL
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CanAddress:
    """A pair of identifiers: tester -> ECU and ECU -> tester."""

    request_id: int
    response_id: int
    extended: bool = False
    #: First data byte of each frame to and from the ECU (extended or mixed addressing).
    request_extension: int | None = None
    response_extension: int | None = None
    #: Identifier of single frames that the ECU sends by itself (2A, response message type 2).
    periodic_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalBlock:
    """A part of the program memory beside the application, programmed for itself."""

    name: str
    #: Logical address and bytes, whole sectors of the slots' flash.
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondaryLoader:
    """The RAM that takes the secondary boot loader."""

    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuType:
    name: str
    #: Whether vehicles have it; others are for test benches, and served only by name.
    in_vehicle: bool = True
    hardware_identifier: str
    wire: str
    #: Physical CAN addresses, the vehicle description's first; none for an ECU on DoIP.
    can_addresses: tuple[CanAddress, ...] = ()
    logical_address: int
    #: A module of `ecu_sim.boot`.
    boot_profile: str
    #: Nothing in the ECU leads back to its old image once the new one is in place.
    single_slot: bool
    #: Single-slot ECUs only: behind the slot lies an area of its size, which the running
    #: application fills, and from which the boot loader copies at the next reset.
    staging_area: bool = False
    #: Bytes behind slots and blocks that a boot loader needs which swaps: one sector to swap
    #: through, and whole sectors for its marks (`ecu_sim.boot.mcuboot_swap.status_size`).
    scratch_size: int = 0
    #: Start of the logical application area that testers and HEX files address.
    application_base: int
    #: One application slot.
    slot: FlashGeometry
    #: Bytes per second that the ECU's core hashes when it checks an image.
    hash_bytes_per_s: float
    max_block_length: int
    #: dataFormatIdentifier -> how a download may come besides plain (00).
    data_formats: Mapping[int, DataFormat] = field(default_factory=dict)
    security_level: int = 1
    #: Levels of 27 besides the one that programming needs.
    more_levels: tuple[int, ...] = ()
    editions: Editions = field(default_factory=Editions)
    #: Flow control, padding and timers of ISO-TP; lengths, addresses and edition stand elsewhere.
    isotp: IsoTpParameters = field(default_factory=IsoTpParameters)
    #: Data and memory of the application, and who may reach them.
    data: DataRules = field(default_factory=DataRules)
    #: Services that few ECUs have.
    special: SpecialRules = field(default_factory=SpecialRules)
    #: Single-slot ECUs only: blocks beside the application, and the loader that programs them.
    blocks: tuple[LogicalBlock, ...] = ()
    secondary_loader: SecondaryLoader | None = None
    p2_s: float = 0.05
    p2_star_s: float = 5.0
    s3_s: float = 5.0
    #: Power-on or reset to the first answer, in seconds.
    boot_s: float
    #: DTC number -> text; but for those of `wire_monitors` and `output_monitor` in the order of the
    #: application's monitor indices.
    dtcs: Mapping[int, str]
    #: DTC number -> what of the wire it is about.
    wire_monitors: Mapping[int, WireMonitor] = field(default_factory=dict)
    #: DTC that an application's command out of an output's range sets; 0: there is none.
    output_monitor: int = 0
    #: What differs from the defaults, by DTC number.
    dtc_traits: Mapping[int, DtcTraits] = field(default_factory=dict)
    #: Trouble code memories besides the primary one.
    dtc_rules: DtcRules = field(default_factory=DtcRules)
    live_values: Mapping[int, LiveValue] = field(default_factory=dict)
    #: Data identifiers of calibration values, in the order of their addresses.
    calibrations: Mapping[int, Calibration] = field(default_factory=dict)
    #: Data identifiers of outputs; `data.outputs` says who may control them.
    output_records: Mapping[int, OutputRecord] = field(default_factory=dict)
    #: Routines that run on, by their identifiers.
    sweeps: Mapping[int, Sweep] = field(default_factory=dict)
    #: What the self-test (0213) drives: each has to be followed from its first to its last value.
    self_test: tuple[Sweep, ...] = ()
    inputs: Mapping[int, Source]
    outputs: Mapping[int, Output]
    #: What must hold while it is updated, in the language of preconditions; empty: nothing of its
    #: own.
    preconditions: str = ""
    cyclic: tuple[CyclicMessage, ...] = ()

    @property
    def slots(self) -> int:
        """Areas that an application can be started from."""
        return 1 if self.single_slot else 2

    @property
    def stages(self) -> bool:
        """Whether its running application writes a new image beside the one that runs."""
        return self.staging_area or not self.single_slot

    @property
    def areas(self) -> int:
        """Areas of a slot's size, one after the other: the slots, and the staging area."""
        return self.slots + self.staging_area

    @property
    def scratch_at(self) -> int:
        """Where in the flash the scratch begins, behind everything else."""
        return self.areas * self.slot.size + sum(block.size for block in self.blocks)

    @property
    def application_dtcs(self) -> tuple[int, ...]:
        """Those that the application's monitors report, by their indices."""
        own = {*self.wire_monitors, self.output_monitor}
        return tuple(code for code in self.dtcs if code not in own)

    @property
    def nodes(self) -> frozenset[int]:
        """Nodes that have messages of their own from this ECU."""
        return frozenset(message.node for message in self.cyclic if message.node)

    @property
    def data_identifiers(self) -> dict[int, str]:
        """What a gateway reads of the ECU, with its name: identification and live values."""
        return IDENTIFICATION | {did: live.name for did, live in self.live_values.items()}

    @property
    def engineering_identifiers(self) -> dict[int, str]:
        """Every other DID that the application has: calibration, outputs, periodic ones."""
        names = {did: one.name for did, one in self.calibrations.items()}
        names |= {did: one.name for did, one in self.output_records.items()}
        periodic = {} if self.data.periodic is None else self.data.periodic.identifiers
        known = self.data_identifiers | names
        return names | {did: f"{known[of]} (periodic)" for did, of in periodic.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class WireType:
    #: "can", "canfd" or "doip".
    kind: str
    #: bit/s, arbitration (CAN) or line rate.
    bit_rate: int
    #: bit/s of the data phase, 0 where there is none.
    data_bit_rate: int = 0
    #: Identifier or logical address that addresses every ECU.
    functional_id: int
    #: Whether the nodes of a CAN wire sleep when nobody needs it.
    network_management: bool = False
    databases: tuple[str, ...] = ()


#: The wires of the vehicle.
WIRES: Final = MappingProxyType(
    {
        "comfort": WireType(
            kind="can",
            bit_rate=500_000,
            functional_id=0x7DF,
            network_management=True,
            databases=("hvac_comfort", "vehicle", "gateway"),
        ),
        "thermal": WireType(
            kind="canfd",
            bit_rate=500_000,
            data_bit_rate=2_000_000,
            functional_id=0x7DF,
            network_management=True,
            databases=("hvac_thermal", "vehicle", "gateway"),
        ),
        "rear": WireType(kind="doip", bit_rate=100_000_000, functional_id=0xE400),
    }
)

#: Identification that every ECU type answers.
IDENTIFICATION: Final = {
    0xF188: "ECU software number",
    0xF189: "ECU software version",
    0xF18C: "ECU serial number",
    0xF190: "VIN",
    0xF191: "ECU hardware number",
    0xF195: "Supplier software version",
    0xF15A: "Programming fingerprint",
    0xF186: "Active diagnostic session",
}


@cache
def ecu_type(name: str) -> EcuType:
    """The type of that name; `LookupError` names those there are."""
    if name not in all_ecu_names():
        raise LookupError(f"no ECU type {name!r}; there are: {', '.join(all_ecu_names())}")
    found = importlib.import_module(f"{__name__}.{name}").ECU
    if not isinstance(found, EcuType):
        raise TypeError(f"{__name__}.{name}.ECU is not an EcuType")
    return found


@cache
def ecu_names() -> tuple[str, ...]:
    """Those of a vehicle, in the order of their logical addresses."""
    types = [its for its in map(ecu_type, all_ecu_names()) if its.in_vehicle]
    return tuple(its.name for its in sorted(types, key=lambda its: its.logical_address))


@cache
def all_ecu_names() -> tuple[str, ...]:
    """Those of a vehicle, and those of a test bench."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
