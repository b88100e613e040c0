"""The ECU that the benchmarks program: a boot loader of the vehicle's over memory without a pause.

It is the real node, boot loader and UDS server; only its flash takes no time, so that what is
measured is the way to it.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter, process_time
from typing import Final

from dbc import VehicleDescription, WireDescription
from dbc.vehicle import describe_vehicle
from ecu_sim.boot import BootMemory, Trust
from ecu_sim.device import Identity
from ecu_sim.ecus import CanAddress, EcuType, ecu_type
from ecu_sim.memory import Flash, FlashGeometry, TwoCopyRecord
from ecu_sim.node import EcuNode
from ecu_sim.plant import Cabin
from ecu_sim.program import Hardware
from ecu_sim.vehicle import DATA_FLASH, NVM_ADDRESS, NVM_COPY_SIZE
from protocols.can import CanPort, FrameHeader
from protocols.uds import Session, requests
from protocols.uds.slot_digest import derive_signing_key
from vehicle_gateway.flashing.bound import wire_time
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.keys import DerivedKeys
from vehicle_gateway.flashing.transfer import Download
from vehicle_gateway.update import Progress
from vehicle_gateway.wires import Links
from vehicle_gateway.wires.testers import Testers

#: Name of the ECU and of its wire.
NAME: Final = "bench"
MASTER: Final = bytes(32)
SERIAL: Final = "BENCH-1"
BASE: Final = 0x0800_0000
BIT_RATE: Final = 500_000
REQUEST_ID: Final = 0x7A0
RESPONSE_ID: Final = 0x7A8
FUNCTIONAL_ID: Final = 0x7DF
FUNCTIONAL_ADDRESS: Final = 0xE400


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchEcu:
    """One ECU on one wire."""

    #: "can", "canfd" or "doip".
    kind: str
    #: bit/s of the data phase (CAN FD) or of the line (DoIP).
    fast_bit_rate: int = 0
    #: Largest request, service id and counter included.
    max_block_length: int
    #: Bytes of flash.
    memory_size: int = 0x100_0000
    #: Bytes of one page, the unit in which memory is programmed.
    page_size: int = 0x20

    @property
    def fd(self) -> bool:
        return self.kind == "canfd"

    @property
    def geometry(self) -> FlashGeometry:
        return FlashGeometry(
            size=self.memory_size,
            sector_size=0x4000,
            page_size=self.page_size,
            erase_s=0.0,
            program_s=0.0,
        )

    def header(self, identifier: int) -> FrameHeader:
        return FrameHeader(identifier, fd=self.fd, bit_rate_switch=self.fd)

    def type(self) -> EcuType:
        on_can = (CanAddress(request_id=REQUEST_ID, response_id=RESPONSE_ID),)
        return replace(
            ecu_type("blower"),
            name=NAME,
            wire=NAME,
            can_addresses=() if self.kind == "doip" else on_can,
            application_base=BASE,
            slot=self.geometry,
            max_block_length=self.max_block_length,
        )

    def node(self, port: CanPort | None, cells: bytearray) -> EcuNode:
        """The ECU over these cells, switched off; `port` is None on DoIP."""
        data_flash = Flash(bytearray(b"\xff" * DATA_FLASH.size), DATA_FLASH)
        ecu = self.type()
        return EcuNode(
            Hardware(
                ecu=ecu,
                memory=BootMemory(
                    flash=Flash(cells, self.geometry),
                    slot_size=self.memory_size,
                    base=BASE,
                    record=TwoCopyRecord(data_flash, address=0, copy_size=DATA_FLASH.sector_size),
                ),
                data_flash=data_flash,
                identity=Identity(
                    vin="BENCH000000000001",
                    serial=SERIAL,
                    diagnostics_master=MASTER,
                    signing_key=derive_signing_key(MASTER, SERIAL),
                ),
                trust=Trust(hardware_identifier=ecu.hardware_identifier, public_keys={}),
                port=port,
                functional=None if port is None else self.header(FUNCTIONAL_ID),
                functional_address=FUNCTIONAL_ADDRESS,
                cabin=Cabin(),
                random_bytes=random.Random(SERIAL).randbytes,  # noqa: S311 the same seeds in every run
            ),
            nvm_address=NVM_ADDRESS,
            nvm_size=NVM_COPY_SIZE,
        )

    def description(self) -> VehicleDescription:
        """The ECU as the gateway knows it."""
        vehicle, geometry = describe_vehicle(), self.geometry
        ecu = replace(
            vehicle.ecus["blower"],
            name=NAME,
            wire=NAME,
            request_id=REQUEST_ID,
            response_id=RESPONSE_ID,
            application_base=BASE,
            slot_size=geometry.size,
            sector_size=geometry.sector_size,
            page_size=geometry.page_size,
            erase_s=geometry.erase_s,
            program_s=geometry.program_s,
            max_block_length=self.max_block_length,
        )
        doip = self.kind == "doip"
        wire = WireDescription(
            name=NAME,
            kind=self.kind,
            bit_rate=self.fast_bit_rate if doip else BIT_RATE,
            data_bit_rate=0 if doip else self.fast_bit_rate,
            functional_id=FUNCTIONAL_ADDRESS if doip else FUNCTIONAL_ID,
        )
        return replace(vehicle, wires={NAME: wire}, ecus={NAME: ecu})

    def image(self, size: int, *, number: int = 0) -> bytes:
        """Random bytes, the same in every run; another number, other bytes."""
        name = f"{self.kind}{self.fast_bit_rate}" + (f" {number}" if number else "")
        return random.Random(name).randbytes(min(size, self.memory_size))  # noqa: S311 the same data in every run


@dataclass(frozen=True, slots=True, kw_only=True)
class Programmed:
    """What one programming took."""

    image_bytes: int
    #: 34 to 37, on the loop's clock, and the CPU seconds of this process meanwhile.
    transfer_s: float
    transfer_cpu_s: float
    #: The whole sequence on the loop's clock, on the wall, and in CPU time.
    loop_s: float
    wall_s: float
    cpu_s: float
    #: The requests of the download, as they went.
    requests: Sequence[bytes] = field(repr=False)


async def program(ecu: BenchEcu, links: Links, image: bytes) -> Programmed:
    """One whole programming sequence by the gateway's engine: session, key, erase, download."""
    loop = asyncio.get_running_loop()
    vehicle = ecu.description()
    description = vehicle.ecus[NAME]
    async with Testers(vehicle, links) as testers:
        dialogue = Dialogue(testers.tester(NAME), description, keys=DerivedKeys(MASTER))
        download = Download(
            dialogue,
            image,
            address=BASE,
            offset=0,
            wire=wire_time(vehicle.wires[NAME], description),
            progress=_ignore,
        )
        start = loop.time(), perf_counter(), process_time()
        await dialogue.ask("entering", requests.session_control(Session.PROGRAMMING))
        await dialogue.unlock("unlocking", description.security_level)
        memory = requests.MemoryRange(address=BASE, size=len(image))
        option = bytes([memory.format]) + memory.encode()
        erase = requests.start_routine(vehicle.routines.erase_memory, option)
        await dialogue.ask("erasing", erase)
        plan = await download.plan(ecu.max_block_length)
        download_cpu = process_time()
        figures = await download.run(plan)
        end = loop.time(), perf_counter(), process_time()
    return Programmed(
        image_bytes=len(image),
        transfer_s=figures.transfer_s,
        transfer_cpu_s=end[2] - download_cpu,
        loop_s=end[0] - start[0],
        wall_s=end[1] - start[1],
        cpu_s=end[2] - start[2],
        requests=plan.requests,
    )


def _ignore(progress: Progress) -> None:
    """Nobody watches."""
