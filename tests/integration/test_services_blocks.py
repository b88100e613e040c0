"""An ECU with several logical blocks and a secondary boot loader that comes into RAM."""

import asyncio
import zlib
from pathlib import Path

import pytest

from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from protocols.uds.routine_status import CheckStatus
from tests.support.bench import (
    APPLICATION,
    CHARACTERISTICS,
    LANGUAGE,
    LOADER,
    START_LOADER,
    block_image,
    blocks,
    checked,
    enter_loader,
    image,
    loader_image,
    on_bench,
    program,
    program_image,
    with_application,
)
from tests.support.ecu import RawTester
from tests.support.programming import erase, erase_request, expect, transfer, unlock


def _download(address: int, size: int) -> bytes:
    return bytes.fromhex("34 00 44") + address.to_bytes(4) + size.to_bytes(4)


def test_an_application_waits_in_its_boot_loader_for_every_block(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        assert node.mode is Mode.BOOTLOADER
        assert node.reason == "block characteristics does not fit: not_an_image"
        await enter_loader(tester, node)
        await program(tester, CHARACTERISTICS, block_image("characteristics"))
        await expect(tester, "31 01 FF 01", "71 01 ff 01 01")
        await expect(tester, "11 01", "51 01")
        await asyncio.sleep(1.0)
        assert node.reason == "block language does not fit: not_an_image"

    on_bench(tmp_path, test)


def test_with_all_blocks_it_runs_and_keeps_them_over_resets(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "22 F1 89", "62 f1 89 31 2e 30 2e 30")
        node.kill()
        node.power_on()
        await node.booted()
        assert node.mode is Mode.APPLICATION

    on_bench(tmp_path, with_application(test))


@pytest.mark.parametrize("address", [APPLICATION, CHARACTERISTICS, LANGUAGE])
def test_flash_takes_nothing_without_the_secondary_loader(tmp_path: Path, address: int) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await unlock(tester, node)
        await expect(tester, erase_request(address, 0x1000), "7f 31 22")
        await expect(tester, _download(address, 0x100), "7f 34 22")
        await expect(tester, START_LOADER, "7f 31 24")
        await transfer(tester, LOADER, loader_image())
        # It is there, but does not run yet.
        await expect(tester, erase_request(address, 0x1000), "7f 31 22")
        await expect(tester, START_LOADER, "71 01 03 01 00")
        await erase(tester, address, 0x1000)

    on_bench(tmp_path, test)


def test_the_secondary_loader_is_gone_with_the_reset(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await enter_loader(tester, node)
        await expect(tester, "11 01", "51 01")
        await asyncio.sleep(1.0)
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await unlock(tester, node)
        await expect(tester, erase_request(LANGUAGE, 0x1000), "7f 31 22")

    on_bench(tmp_path, test)


@pytest.mark.parametrize(
    ("loader", "status"),
    [
        (loader_image(hardware_id="CCU-2"), CheckStatus.WRONG_HARDWARE),
        (loader_image()[:-1] + b"\x00", CheckStatus.DAMAGED),
        (bytes(300), CheckStatus.NOT_AN_IMAGE),
        # An image of this ECU, but no loader.
        (program_image(), CheckStatus.NOT_AN_IMAGE),
    ],
    ids=["foreign", "damaged", "no image", "application"],
)
def test_only_a_secondary_loader_of_this_ecu_is_started(
    tmp_path: Path, loader: bytes, status: CheckStatus
) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await unlock(tester, node)
        await transfer(tester, LOADER, loader)
        await expect(tester, START_LOADER, f"71 01 03 01 {status:02x}")
        await expect(tester, erase_request(LANGUAGE, 0x1000), "7f 31 22")

    on_bench(tmp_path, test)


def test_blocks_are_ranges_of_their_own(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await enter_loader(tester, node)
        await expect(tester, erase_request(CHARACTERISTICS, 0x5000), "7f 31 31")
        await expect(tester, erase_request(CHARACTERISTICS + 0x80, 0x80), "7f 31 31")
        await expect(tester, _download(LANGUAGE + 0x1000, 0x2000), "7f 34 31")
        await expect(tester, _download(0x0030_0000, 0x100), "7f 34 31")
        await expect(tester, _download(LOADER, 0x2001), "7f 34 31")
        await expect(tester, bytes.fromhex("31 01 03 01 20 00 00 10"), "7f 31 31")
        # Erasing one block leaves the others alone.
        for address, data in blocks().items():
            await program(tester, address, data)
        await erase(tester, LANGUAGE, 0x1000)
        characteristics = block_image("characteristics")
        assert await checked(tester, CHARACTERISTICS, characteristics) == CheckStatus.CORRECT
        wrong = block_image("other")
        assert await checked(tester, CHARACTERISTICS, wrong) == CheckStatus.WRONG_CHECKSUM
        option = LANGUAGE.to_bytes(4) + bytes(4)
        await expect(tester, bytes.fromhex("31 01 02 02") + option, "7f 31 22")

    on_bench(tmp_path, test)


def test_dependencies_are_judged_over_all_blocks(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await enter_loader(tester, node)
        await program(tester, CHARACTERISTICS, block_image("characteristics"))
        await program(tester, LANGUAGE, block_image("language", version=(2, 0, 0)))
        await expect(tester, "31 01 FF 01", f"71 01 ff 01 {CheckStatus.WRONG_DEPENDENCY:02x}")
        foreign = image(b"language", hardware_id="CCU-2")
        await erase(tester, LANGUAGE, len(foreign))
        await transfer(tester, LANGUAGE, foreign)
        await expect(tester, "31 01 FF 01", f"71 01 ff 01 {CheckStatus.WRONG_HARDWARE:02x}")
        await program(tester, LANGUAGE, block_image("language", version=(1, 7, 0)))
        await expect(tester, "31 01 FF 01", "71 01 ff 01 00")

    on_bench(tmp_path, test)


def test_application_and_blocks_go_to_a_new_major_version_together(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        new = program_image(version=(2, 0, 0))
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await enter_loader(tester, node)
        await erase(tester, APPLICATION, len(new))
        await transfer(tester, APPLICATION, new)
        crc = zlib.crc32(new).to_bytes(4)
        await expect(tester, bytes.fromhex("31 01 02 02") + crc, "71 01 02 02 00")
        await expect(tester, "31 01 FF 01", f"71 01 ff 01 {CheckStatus.WRONG_DEPENDENCY:02x}")
        for address, data in blocks(version=(2, 0, 0)).items():
            await program(tester, address, data)
        await expect(tester, "31 01 FF 01", "71 01 ff 01 00")
        await expect(tester, "11 01", "51 01")
        await asyncio.sleep(1.0)
        assert node.mode is Mode.APPLICATION, node.reason
        await expect(tester, "22 F1 89", "62 f1 89 32 2e 30 2e 30")

    on_bench(tmp_path, with_application(test))


def test_a_power_cut_in_a_block_is_found_at_the_next_start(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await enter_loader(tester, node)
        data = block_image("language", version=(1, 1, 0)) * 3
        await erase(tester, LANGUAGE, len(data))
        await transfer(tester, LANGUAGE, data, blocks=1)
        node.kill()
        node.power_on()
        await node.booted()
        assert node.mode is Mode.BOOTLOADER
        assert node.reason == "block language does not fit: not_an_image"

    on_bench(tmp_path, with_application(test))
