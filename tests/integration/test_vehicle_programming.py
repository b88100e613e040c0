import asyncio
import hashlib
from pathlib import Path

import clock
from ecu_sim.ecus import ecu_names
from ecu_sim.node import MAX_WATCHDOG_RESETS, Mode
from ecu_sim.vehicle import EcuIdentity, Vehicle
from protocols.uds import slot_digest
from tests.support.ecu import (
    FOREIGN_KEY,
    RawTester,
    application,
    crc_image,
    signed_image,
)
from tests.support.programming import (
    erase,
    erase_request,
    expect,
    program_single_slot,
    stage,
    transfer,
    unlock,
)
from tests.support.vehicle import back_in, open_tester, running

#: Data that makes an image longer than several blocks and sectors, behind a good module: a custom
#: section of WebAssembly.
_PADDING = b"\x00" + b"\xff\xff\x01" + b"\x01x" + bytes(0x7FFF - 2)
NEW = signed_image(application() + _PADDING, version=(2, 0, 0), security_counter=2)
HUNG = signed_image(application("(loop (br 0))"), version=(2, 0, 0))
VERSION = "22 F1 89"
V1 = "62 f1 89 31 2e 30 2e 30"
V2 = "62 f1 89 32 2e 30 2e 30"


async def try_out(vehicle: Vehicle, tester: RawTester, image: bytes) -> None:
    """Stage, check, activate and reset; the trial is booting when this returns."""
    await stage(tester, vehicle.nodes["ccu"], image)
    await expect(tester, "31 01 02 02", "71 01 02 02 00")
    await expect(tester, "31 01 FF 01", "71 01 ff 01 00")
    await expect(tester, "31 01 02 10", "71 01 02 10 00")
    await expect(tester, "11 01", "51 01")
    await asyncio.sleep(0.01)


async def confirm(vehicle: Vehicle, tester: RawTester) -> bytes:
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    await unlock(tester, vehicle.nodes["ccu"])
    return await tester.ask(bytes.fromhex("31 01 02 11"))


def test_a_staged_image_runs_after_activation_and_stays_after_the_confirm(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await stage(tester, node, NEW)
            await expect(tester, VERSION, V1)
            await try_out(vehicle, tester, NEW)
            await back_in(node, Mode.APPLICATION)
            await expect(tester, VERSION, V2)
            assert await confirm(vehicle, tester) == bytes.fromhex("71 01 02 11 00")
            await expect(tester, "31 01 02 13", "71 01 02 13 00 00")
            tester.close()
        async with running(tmp_path, "ccu") as vehicle:
            tester = open_tester(vehicle, "ccu")
            await expect(tester, VERSION, V2)
            tester.close()

    clock.run(drive(), virtual=True)


def test_the_digest_of_the_running_slot_is_that_of_the_transferred_bytes(tmp_path: Path) -> None:
    nonce = bytes(range(16))

    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await try_out(vehicle, tester, NEW)
            await back_in(node, Mode.APPLICATION)
            answer = await tester.ask(bytes.fromhex("31 01 02 14") + nonce)
            assert answer[:5] == bytes.fromhex("71 01 02 14 00")
            digest, signature = answer[5:37], answer[37:]
            assert digest == hashlib.sha256(NEW).digest()
            (identity,) = vehicle.identities()
            assert slot_digest.verify(
                identity.public_key,
                signature,
                hardware_id="CCU-2",
                serial=identity.serial,
                nonce=nonce,
                sha256=digest,
            )
            await expect(tester, bytes.fromhex("31 01 02 14") + nonce[:15], "7f 31 13")
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_trial_that_hangs_is_reset_by_its_watchdog_and_reverts(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await try_out(vehicle, tester, HUNG)
            await asyncio.sleep(2.0)
            await back_in(node, Mode.APPLICATION)
            assert node.watchdog_resets == 1
            await expect(tester, VERSION, V1)
            assert (await confirm(vehicle, tester)).hex(" ") == "7f 31 22"
            tester.close()

    clock.run(drive(), virtual=True)


def test_an_application_that_never_runs_leaves_a_boot_loader_that_can_be_reached(
    tmp_path: Path,
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "blower") as vehicle:
            node, tester = vehicle.nodes["blower"], open_tester(vehicle, "blower")
            await program_single_slot(tester, node, crc_image(application("unreachable")))
            await asyncio.sleep(5.0)
            await back_in(node, Mode.BOOTLOADER)
            assert node.watchdog_resets == MAX_WATCHDOG_RESETS
            assert "watchdog" in node.reason
            tester.close()

    clock.run(drive(), virtual=True)


def test_an_image_of_another_signer_is_refused_before_any_reset(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            boots = node.boots
            await stage(tester, node, signed_image(version=(2, 0, 0), key=FOREIGN_KEY))
            await expect(tester, "31 01 02 02", "71 01 02 02 03")
            await expect(tester, "31 01 02 10", "7f 31 22")
            await expect(tester, VERSION, V1)
            assert node.boots == boots
            tester.close()

    clock.run(drive(), virtual=True)


def test_an_interrupted_transfer_goes_on_at_a_sector(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            base, sector = node.ecu.application_base, node.ecu.slot.sector_size
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await unlock(tester, node)
            await erase(tester, base, len(NEW))
            await transfer(tester, base, NEW, blocks=5)
            await asyncio.sleep(0.1)
            node.kill()
            await asyncio.sleep(0.1)
            node.power_on()
            await back_in(node, Mode.APPLICATION)
            await expect(tester, VERSION, V1)
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await unlock(tester, node)
            await erase(tester, base + 2 * sector, len(NEW) - 2 * sector)
            await transfer(tester, base + 2 * sector, NEW[2 * sector :])
            await expect(tester, "31 01 02 02", "71 01 02 02 00")
            tester.close()

    clock.run(drive(), virtual=True)


def test_memory_that_is_not_the_applications_is_out_of_range(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            base = node.ecu.application_base
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await expect(tester, erase_request(base, 0x2000), "7f 31 33")
            await unlock(tester, node)
            await expect(tester, erase_request(base - 0x2000, 0x2000), "7f 31 31")
            await expect(tester, erase_request(base + 1, 0x2000), "7f 31 31")
            await expect(tester, erase_request(base, 0x8_0001), "7f 31 31")
            await expect(tester, "34 00 44 08 04 00 01 00 00 10 00", "7f 34 31")
            await expect(tester, "34 20 44 08 04 00 00 00 00 10 00", "7f 34 31")
            tester.close()

    clock.run(drive(), virtual=True)


def test_writing_over_what_was_not_erased_is_a_programming_failure(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            base = node.ecu.application_base
            await stage(tester, node, NEW)
            answer = await tester.ask(
                bytes.fromhex("34 00 44") + base.to_bytes(4) + (0x100).to_bytes(4)
            )
            assert answer[0] == 0x74
            await expect(tester, b"\x36\x01" + bytes(range(1, 256)) + b"\x01", "76 01")
            await expect(tester, "37", "7f 37 72")
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_single_slot_ecu_is_programmed_by_its_boot_loader(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "blower") as vehicle:
            node, tester = vehicle.nodes["blower"], open_tester(vehicle, "blower")
            await program_single_slot(tester, node, crc_image(version=(2, 0, 0)))
            await asyncio.sleep(0.01)
            await back_in(node, Mode.APPLICATION)
            await expect(tester, VERSION, V2)
            tester.close()

    clock.run(drive(), virtual=True)


def test_foreign_bytes_are_written_without_secure_boot_do_not_run_and_can_be_replaced(
    tmp_path: Path,
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "blower") as vehicle:
            node, tester = vehicle.nodes["blower"], open_tester(vehicle, "blower")
            await program_single_slot(tester, node, b"not an image of ours" * 20)
            await asyncio.sleep(0.01)
            await back_in(node, Mode.BOOTLOADER)
            # Written, but not running: no statement of it is to be had.
            await expect(tester, bytes.fromhex("31 01 02 14") + bytes(16), "7f 31 22")
            assert node.reason == "no application (written)"
            await expect(tester, VERSION, "7f 22 22")
            await program_single_slot(tester, node, crc_image())
            await asyncio.sleep(0.01)
            await back_in(node, Mode.APPLICATION)
            await expect(tester, VERSION, V1)
            tester.close()

    clock.run(drive(), virtual=True)


def test_erasing_takes_the_time_of_the_chip(tmp_path: Path) -> None:
    async def drive() -> float:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await unlock(tester, node)
            before = asyncio.get_running_loop().time()
            await erase(tester, node.ecu.application_base, node.ecu.slot.size)
            tester.close()
            return asyncio.get_running_loop().time() - before

    assert 64 * 0.02 < clock.run(drive(), virtual=True) < 64 * 0.02 + 0.01


def test_identities_are_derived_from_the_vehicle_and_repeat(tmp_path: Path) -> None:
    async def drive(directory: Path) -> list[EcuIdentity]:
        async with running(directory) as vehicle:
            return vehicle.identities()

    first = clock.run(drive(tmp_path / "a"), virtual=True)
    assert first == clock.run(drive(tmp_path / "b"), virtual=True)
    assert len({identity.serial for identity in first}) == len(ecu_names())
