"""A server with data and memory of every kind, for tests of the services on them."""

from dataclasses import dataclass, field, replace

from ecu_sim.diagnostics import Job, Nrc, Refusal
from ecu_sim.ecus import ControlledOutput, OutputRecord, ecu_type
from ecu_sim.outputs import OutputChannels, Outputs
from ecu_sim.scaling import Scalings
from protocols.uds.routine_status import Precondition
from protocols.uds.rules import (
    EXTENDED,
    Access,
    DataRules,
    DynamicRules,
    MemoryRegion,
    PeriodicRules,
    ServerRules,
    Storage,
    two_slot_application,
)
from tests.support.diagnostics import Bench, BenchDevice

OPEN = Access(sessions=EXTENDED, functional=False)
PROGRAMMER = Access(sessions=EXTENDED, secured=True, level=1, functional=False)
ENGINEER = Access(sessions=EXTENDED, secured=True, level=3, functional=False)

RAM, IMAGE, KEYS = 0x2000, 0x4000, 0x8000
SIZE = 0x200

MEMORY = (
    MemoryRegion(storage=Storage.RAM, start=RAM, size=SIZE, read=OPEN, write=ENGINEER),
    MemoryRegion(
        storage=Storage.APPLICATION, start=IMAGE, size=SIZE, read=PROGRAMMER, upload=PROGRAMMER
    ),
    MemoryRegion(storage=Storage.KEYS, start=KEYS, size=SIZE),
)
DATA = DataRules(
    max_identifiers=8,
    readable={0x0200: OPEN, 0x0201: ENGINEER},
    writable={0x0200: ENGINEER},
    outputs={0x0180: OPEN, 0x0181: ENGINEER},
    scaling=True,
    periodic=PeriodicRules(
        sessions=EXTENDED,
        identifiers={0xF201: 0x0100, 0xF202: 0x0102, 0xF203: 0x0201, 0xF204: 0xF190},
        limit=3,
    ),
    dynamic=DynamicRules(by_address=OPEN, limit=2, elements=4, max_record=20),
    memory=MEMORY,
)

_BLOWER = ControlledOutput(
    channel=0, name="Blower", unit="%", scale=1.0, maximum=100.0, default=5.0
)
#: The climate control unit with records of outputs of the tests' own.
ECU = replace(
    ecu_type("ccu"),
    output_records={
        0x0180: OutputRecord(name="Blower", outputs=(_BLOWER,)),
        0x0181: OutputRecord(
            name="All",
            outputs=(
                _BLOWER,
                ControlledOutput(channel=1, name="Blend", unit="", scale=0.01, maximum=1.0),
                ControlledOutput(channel=2, name="Recirculation", unit="", scale=1.0, maximum=1.0),
            ),
        ),
    },
)


def data_rules(data: DataRules = DATA) -> ServerRules:
    return two_slot_application(more_levels=(3,), data=data)


@dataclass
class BenchMemory:
    """`MemoryAccess`: a byte for each address, and what 35 may carry in one block."""

    cells: dict[int, int] = field(default_factory=dict)
    max_block_length: int = 18

    def read_memory(self, address: int, size: int) -> bytes:
        return bytes(self.cells.get(at, at & 0xFF) for at in range(address, address + size))

    def write_memory(self, address: int, data: bytes) -> Job:
        yield 0.002
        self.cells |= dict(enumerate(data, address))
        return b""

    def request_upload(self, address: int, size: int, data_format: int) -> int:  # noqa: ARG002 the port's arguments
        if data_format:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        return self.max_block_length


@dataclass
class BenchChannels:
    """Output channels of an application that writes `asked`."""

    asked: dict[int, float] = field(default_factory=lambda: {0: 30.0, 1: 0.25, 2: 1.0})
    overridden: dict[int, float] = field(default_factory=dict)
    moving: bool = False

    def value(self, channel: int) -> float:
        return self.overridden.get(channel, self.asked[channel])

    def override(self, channel: int, value: float | None) -> None:
        if value is None:
            self.overridden.pop(channel, None)
        else:
            self.overridden[channel] = value

    def hindrances(self) -> tuple[Precondition, ...]:
        return (Precondition.VEHICLE_MOVING,) if self.moving else ()

    @property
    def channels(self) -> OutputChannels:
        return OutputChannels(value=self.value, override=self.override, hindrances=self.hindrances)


class DataBench(Bench):
    """A `Bench` whose device has every optional port."""

    def __init__(self, data: DataRules = DATA) -> None:
        self.memory = BenchMemory()
        self.channels = BenchChannels()
        controls = Outputs(ECU, self.channels.channels)
        device = BenchDevice(
            memory_access=self.memory, input_output=controls, scaling=Scalings(ECU)
        )
        device.data |= {
            0x0100: b"\x01\x02",
            0x0101: b"\x00\xd7",
            0x0102: b"\x07",
            0x0200: b"\x00\x05",
            0x0201: b"\x0b\x0c",
        }
        super().__init__(data_rules(data), device)
