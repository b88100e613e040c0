"""Flashing at wire speed: the gateway's engine programs an ECU whose memory takes no time.

Everything on the way is the real thing: the gateway's tester and transfer engine, ISO-TP at both
ends, the simulated wire bit by bit, the ECU's node, boot loader, UDS server and flash.

real_time_ratio  transferred bytes per second of real time, over what the wire carries in full
                 consecutive frames of this very data: 1.0 is never reached, for flow control,
                 answers and first frames take their time on the wire too
virtual_factor   simulated seconds per second of wall time, on the virtual clock, for the whole
                 sequence (session, key, erase, plan, download)
core_share       CPU seconds per second of real time, gateway and ECU and wire together
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Final

import clock
from dbc import VehicleDescription, WireDescription
from dbc.vehicle import describe_vehicle
from ecu_sim.boot import BootMemory, Trust
from ecu_sim.bus import CanWire
from ecu_sim.device import Identity
from ecu_sim.ecus import CanAddress, ecu_type
from ecu_sim.memory import Flash, FlashGeometry, TwoCopyRecord
from ecu_sim.node import EcuNode
from ecu_sim.plant import Cabin
from ecu_sim.program import Hardware
from ecu_sim.vehicle import DATA_FLASH, NVM_ADDRESS, NVM_COPY_SIZE
from protocols.can import CanPort, FrameHeader
from protocols.can.bits import NS_PER_S, burst_ns
from protocols.isotp import segment
from protocols.stream import ByteStream
from protocols.uds import Session
from protocols.uds.slot_digest import derive_signing_key
from vehicle_gateway.flashing.bound import wire_time
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.transfer import Download
from vehicle_gateway.flashing.write import memory_range
from vehicle_gateway.update import Progress
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.testers import Testers

_MASTER: Final = bytes(32)
_SERIAL: Final = "BENCH-1"
_BASE: Final = 0x0800_0000
_GEOMETRY: Final = FlashGeometry(
    size=0x100_0000, sector_size=0x4000, page_size=0x20, erase_s=0.0, program_s=0.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    data_bit_rate: int
    max_block_length: int
    #: Bytes that the wire carries in about a second.
    bytes_per_s: int

    @property
    def fd(self) -> bool:
        return self.data_bit_rate > 0


CASES: Final = (
    Case(name="can_500k", data_bit_rate=0, max_block_length=4095, bytes_per_s=30_000),
    Case(name="canfd_2m", data_bit_rate=2_000_000, max_block_length=65515, bytes_per_s=181_000),
    Case(name="canfd_5m", data_bit_rate=5_000_000, max_block_length=65515, bytes_per_s=355_000),
)
_BIT_RATE: Final = 500_000
#: Seconds on the wire per case in real time, and simulated ones in virtual time.
_REAL_S, _VIRTUAL_S = 40, 60
_QUICK_REAL_S, _QUICK_VIRTUAL_S = 9, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    image_bytes: int
    #: 34 to 37, on the loop's clock.
    transfer_s: float
    #: The whole sequence on the loop's clock, on the wall, and in CPU time.
    loop_s: float
    wall_s: float
    cpu_s: float
    #: Bytes per second in full consecutive frames.
    limit_bytes_per_s: float

    @property
    def ratio(self) -> float:
        """Transferred bytes over what full consecutive frames would have carried meanwhile."""
        return self.image_bytes / self.transfer_s / self.limit_bytes_per_s


def run(*, quick: bool) -> dict[str, dict[str, float]]:
    """Measure every case; takes under three minutes, or under 40 s if `quick`."""
    real_s, virtual_s = (_QUICK_REAL_S, _QUICK_VIRTUAL_S) if quick else (_REAL_S, _VIRTUAL_S)
    return {case.name: _measure(case, real_s=real_s, virtual_s=virtual_s) for case in CASES}


def table(results: dict[str, dict[str, float]]) -> str:
    """The results for a reader."""
    columns = list(next(iter(results.values())))
    lines = [" ".join(("wire".ljust(10), *(column.rjust(16) for column in columns)))]
    for name, figures in results.items():
        values = (f"{figures[column]:16.4f}" for column in columns)
        lines.append(" ".join((name.ljust(10), *values)))
    return "\n".join(lines)


def _measure(case: Case, *, real_s: int, virtual_s: int) -> dict[str, float]:
    long, short = make_image(case, virtual_s), make_image(case, real_s)
    virtual = clock.run(program(case, long), virtual=True)
    real = clock.run(program(case, short), virtual=False)
    return {
        "real_time_ratio": round(real.ratio, 4),
        "virtual_factor": round(virtual.loop_s / virtual.wall_s, 1),
        "core_share": round(real.cpu_s / real.wall_s, 4),
    }


def make_image(case: Case, seconds: int) -> bytes:
    """Random bytes for about so many seconds on the wire, the same in every run."""
    size = min(case.bytes_per_s * seconds, _GEOMETRY.size)
    return random.Random(case.name).randbytes(size)  # noqa: S311 the same data in every run


async def program(case: Case, image: bytes) -> Measured:
    """One whole programming sequence into an empty ECU, which waits in its boot loader."""
    loop = asyncio.get_running_loop()
    wire = CanWire(case.name, bit_rate=_BIT_RATE, data_bit_rate=case.data_bit_rate, loop=loop)
    cells = bytearray(b"\xff" * _GEOMETRY.size)
    node = _node(case, wire, cells)
    vehicle = _description(case)
    ecu = vehicle.ecus["bench"]
    node.power_on()
    await node.booted()
    try:
        async with Testers(vehicle, _Links(wire)) as testers:
            dialogue = Dialogue(testers.tester("bench"), ecu, master=_MASTER)
            download = Download(
                dialogue,
                image,
                address=_BASE,
                offset=0,
                wire=wire_time(vehicle.wires["bench"], ecu),
                progress=_ignore,
            )
            start = loop.time(), perf_counter(), process_time()
            await dialogue.enter("entering", Session.PROGRAMMING)
            await dialogue.unlock("unlocking")
            await dialogue.check(
                "erasing", vehicle.routines.erase_memory, memory_range(_BASE, len(image))
            )
            plan = await download.plan(case.max_block_length)
            figures = await download.run(plan)
            end = loop.time(), perf_counter(), process_time()
    finally:
        node.power_off()
        await node.closed()
        wire.close()
    if cells[: len(image)] != image:
        raise RuntimeError(f"{case.name}: what is in the ECU's flash is not what was sent")
    return Measured(
        image_bytes=len(image),
        transfer_s=figures.transfer_s,
        loop_s=end[0] - start[0],
        wall_s=end[1] - start[1],
        cpu_s=end[2] - start[2],
        limit_bytes_per_s=consecutive_frame_limit(case, plan.requests),
    )


def consecutive_frame_limit(case: Case, requests: Sequence[bytes]) -> float:
    """Payload of all full consecutive frames of these requests over their time on the wire."""
    length = 64 if case.fd else 8
    payload = time_ns = 0
    for request in requests:
        frames = segment(request, length)[1:-1]  # without the last one, which may be padded
        if frames:
            rates = {"bit_rate": _BIT_RATE, "data_bit_rate": case.data_bit_rate}
            time_ns += int(burst_ns(_header(case, 0x7A0), frames, **rates).sum())
            payload += (length - 1) * len(frames)
    return payload * NS_PER_S / time_ns


def _header(case: Case, identifier: int) -> FrameHeader:
    return FrameHeader(identifier, fd=case.fd, bit_rate_switch=case.fd)


def _node(case: Case, wire: CanWire, cells: bytearray) -> EcuNode:
    data_flash = Flash(bytearray(b"\xff" * DATA_FLASH.size), DATA_FLASH)
    ecu = replace(
        ecu_type("blower"),
        name="bench",
        wire="bench",
        can_addresses=(CanAddress(request_id=0x7A0, response_id=0x7A8),),
        application_base=_BASE,
        slot=_GEOMETRY,
        max_block_length=case.max_block_length,
    )
    return EcuNode(
        Hardware(
            ecu=ecu,
            memory=BootMemory(
                flash=Flash(cells, _GEOMETRY),
                slot_size=_GEOMETRY.size,
                base=_BASE,
                record=TwoCopyRecord(data_flash, address=0, copy_size=DATA_FLASH.sector_size),
            ),
            data_flash=data_flash,
            identity=Identity(
                vin="BENCH000000000001",
                serial=_SERIAL,
                diagnostics_master=_MASTER,
                signing_key=derive_signing_key(_MASTER, _SERIAL),
            ),
            trust=Trust(hardware_identifier=ecu.hardware_identifier, public_keys={}),
            port=wire.port("bench"),
            functional=_header(case, 0x7DF),
            cabin=Cabin(),
            random_bytes=random.Random(_SERIAL).randbytes,  # noqa: S311 the same seeds in every run
        ),
        nvm_address=NVM_ADDRESS,
        nvm_size=NVM_COPY_SIZE,
    )


def _description(case: Case) -> VehicleDescription:
    """The bench ECU as the gateway knows it."""
    vehicle = describe_vehicle()
    ecu = replace(
        vehicle.ecus["blower"],
        name="bench",
        wire="bench",
        request_id=0x7A0,
        response_id=0x7A8,
        application_base=_BASE,
        slot_size=_GEOMETRY.size,
        sector_size=_GEOMETRY.sector_size,
        page_size=_GEOMETRY.page_size,
        erase_s=_GEOMETRY.erase_s,
        program_s=_GEOMETRY.program_s,
        max_block_length=case.max_block_length,
    )
    wire = WireDescription(
        name="bench",
        kind="canfd" if case.fd else "can",
        bit_rate=_BIT_RATE,
        data_bit_rate=case.data_bit_rate,
        functional_id=0x7DF,
    )
    return replace(vehicle, wires={"bench": wire}, ecus={"bench": ecu})


class _Links:
    def __init__(self, wire: CanWire) -> None:
        self._wire = wire

    def can(self, wire: str) -> CanPort:
        del wire  # there is one
        return self._wire.port("gateway")

    async def stream(self, wire: str) -> ByteStream:
        raise LinkError(f"{wire}: the bench has no Ethernet")


def _ignore(progress: Progress) -> None:
    """Nobody watches."""
