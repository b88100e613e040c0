"""The bench ECU on a virtual wire: images of its blocks, and its programming sequence."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from clock import run
from ecu_sim.ecus import ecu_type
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from protocols.firmware.containers import crc32
from tests.support.ecu import RawTester, application
from tests.support.programming import erase, expect, transfer, unlock
from tests.support.vehicle import new_vehicle

ECU = ecu_type("bench")
APPLICATION = ECU.application_base
CHARACTERISTICS, LANGUAGE = (block.start for block in ECU.blocks)
LOADER = 0x2000_0000
START_LOADER = bytes.fromhex("31 01 03 01") + LOADER.to_bytes(4)


def image(
    payload: bytes,
    *,
    software_number: str = "BCH-SW",
    version: tuple[int, int, int] = (1, 0, 0),
    hardware_id: str = "BCH-1",
) -> bytes:
    return crc32.encode(
        crc32.Crc32Image(
            hardware_id=hardware_id,
            software_number=software_number,
            supplier_version="test",
            version_numbers=(*version, 0),
            payload=payload,
        )
    )


def program_image(version: tuple[int, int, int] = (1, 0, 0)) -> bytes:
    return image(application(), version=version)


def loader_image(hardware_id: str = "BCH-1") -> bytes:
    return image(bytes(range(256)) * 4, software_number="SBL-1", hardware_id=hardware_id)


def block_image(name: str, version: tuple[int, int, int] = (1, 0, 0)) -> bytes:
    return image(name.encode() * 40, software_number="BCH-DATA", version=version)


Test = Callable[[Vehicle, EcuNode, RawTester], Awaitable[None]]


def on_bench(directory: Path, test: Test) -> None:
    """Run a test with an ECU that has its application, and no block yet."""

    async def whole() -> None:
        vehicle = new_vehicle(directory, "bench")
        try:
            vehicle.provision("bench", program_image())
            await vehicle.start()
            node = vehicle.nodes["bench"]
            address = ECU.can_addresses[0]
            tester = RawTester.can(
                vehicle.can_port(ECU.wire, "tester"), address.request_id, address.response_id
            )
            await test(vehicle, node, tester)
            tester.close()
        finally:
            await vehicle.stop()

    run(whole(), virtual=True)


def with_application(test: Test) -> Test:
    """The same once the blocks are programmed and the application runs."""

    async def whole(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await enter_loader(tester, node)
        for address, data in blocks().items():
            await program(tester, address, data)
        await expect(tester, "31 01 FF 01", "71 01 ff 01 00")
        await expect(tester, "11 01", "51 01")
        await asyncio.sleep(1.0)
        assert node.mode is Mode.APPLICATION, node.reason
        await test(vehicle, node, tester)

    return whole


def blocks(version: tuple[int, int, int] = (1, 0, 0)) -> dict[int, bytes]:
    return {
        CHARACTERISTICS: block_image("characteristics", version),
        LANGUAGE: block_image("language", version),
    }


async def enter_loader(tester: RawTester, node: EcuNode) -> None:
    """Unlocked, with the secondary boot loader started."""
    await expect(tester, "10 02", "50 02 00 32 01 f4")
    await unlock(tester, node)
    await transfer(tester, LOADER, loader_image())
    await expect(tester, START_LOADER, "71 01 03 01 00")


async def program(tester: RawTester, address: int, data: bytes) -> None:
    """Erase, transfer and check one block (not the application)."""
    await erase(tester, address, len(data))
    await transfer(tester, address, data)
    assert await checked(tester, address, data) == 0


async def checked(tester: RawTester, address: int, data: bytes) -> int:
    """The `CheckStatus` of 0202 for a block whose image is to be `data`."""
    option = address.to_bytes(4) + zlib.crc32(data).to_bytes(4)
    answer = await tester.ask(bytes.fromhex("31 01 02 02") + option)
    assert answer[:4] == bytes.fromhex("71 01 02 02"), answer.hex(" ")
    return answer[4]
