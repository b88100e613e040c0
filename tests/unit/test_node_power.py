import asyncio
import gc
import weakref
from collections import Counter
from pathlib import Path

import pytest

import clock
from ecu_sim.boot import ResetReason, boot_profile
from ecu_sim.ecus import ecu_names, ecu_type
from ecu_sim.memory import Cut, MemoryFaultError, PowerBudget
from ecu_sim.memory.flash import finish
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from tests.support.ecu import crc_image, signed_image
from tests.support.programming import erase, expect, stage, transfer, unlock
from tests.support.vehicle import back_in, new_vehicle, open_tester, running, small_images

NEW = signed_image(bytes(2000), version=(2, 0, 0), security_counter=2)
V1 = "62 f1 89 31 2e 30 2e 30"
V2 = "62 f1 89 32 2e 30 2e 30"


@pytest.mark.parametrize("cut", Cut)
def test_an_ecu_whose_supply_fails_while_it_programs_goes_dark_and_boots_the_old_image(
    tmp_path: Path, cut: Cut
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await unlock(tester, node)
            await erase(tester, node.ecu.application_base, len(NEW))
            flash = node.hardware.memory.flash
            flash.power = PowerBudget(operations=1, cut=cut)
            tester.send(
                bytes.fromhex("34 00 44")
                + node.ecu.application_base.to_bytes(4)
                + len(NEW).to_bytes(4)
            )
            await tester.answer()
            # Acknowledged on receipt, programmed after it.
            await expect(tester, b"\x36\x01" + NEW, "76 01")
            await asyncio.sleep(1.0)
            assert node.mode is Mode.OFF
            assert f"power lost ({cut.value}) programming" in node.reason
            flash.power = None
            node.power_on()
            await back_in(node, Mode.APPLICATION)
            await expect(tester, "22 F1 89", V1)
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_process_that_dies_leaves_what_its_ecus_had_written(tmp_path: Path) -> None:
    async def die_while_programming() -> None:
        vehicle = new_vehicle(tmp_path, "blower")
        vehicle.provision("blower", small_images()["blower"])
        await vehicle.start()
        node, tester = vehicle.nodes["blower"], open_tester(vehicle, "blower")
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await unlock(tester, node)
        image = crc_image(bytes(2000))
        await erase(tester, node.ecu.application_base, len(image))
        await transfer(tester, node.ecu.application_base, image, blocks=3)
        node.kill()
        tester.close()
        await vehicle.stop()

    async def come_back() -> None:
        async with running(tmp_path, "blower") as vehicle:
            node, tester = vehicle.nodes["blower"], open_tester(vehicle, "blower")
            assert node.mode is Mode.BOOTLOADER
            assert "programming" in node.reason
            assert node.hardware.memory.flash.read(0, 4) == b"CRC1"
            tester.close()

    clock.run(die_while_programming(), virtual=True)
    clock.run(come_back(), virtual=True)


def test_wear_is_kept_with_the_flash(tmp_path: Path) -> None:
    async def wear_a_sector() -> list[int]:
        async with running(tmp_path, "blower") as vehicle:
            node = vehicle.nodes["blower"]
            node.kill()
            finish(node.hardware.memory.flash.erase(0x4000, 0x1000))
            node.hardware.memory.flash.spoil(0x5000)
            return node.hardware.memory.flash.wear

    async def look() -> list[int]:
        async with running(tmp_path, "blower") as vehicle:
            flash = vehicle.nodes["blower"].hardware.memory.flash
            with pytest.raises(MemoryFaultError, match="0x5000 is bad"):
                finish(flash.erase(0x4000, 0x2000))
            return flash.wear

    before = clock.run(wear_a_sector(), virtual=True)
    assert before[4] == 1
    after = clock.run(look(), virtual=True)
    assert after[4:6] == [2, 1]
    assert after[:4] == before[:4]


#: Modules whose objects belong to one run of one program, and end with it.
VOLATILE = (
    "ecu_sim.address_space",
    "ecu_sim.boot",
    "ecu_sim.calibration",
    "ecu_sim.device",
    "ecu_sim.diagnostics",
    "ecu_sim.file_store",
    "ecu_sim.logical_blocks",
    "ecu_sim.memory.nvm",
    "ecu_sim.network",
    "ecu_sim.outputs",
    "ecu_sim.program",
    "ecu_sim.runtime",
    "ecu_sim.scaling",
    "ecu_sim.transport",
    "ecu_sim.values",
)
#: What stands there and belongs to the hardware: keys, memory, and what nobody changes.
LASTING = {"BootMemory", "Trust", "Identity", "Hardware"}


def volatile_objects() -> list[object]:
    gc.collect()
    return [
        one
        for one in gc.get_objects()
        if str(type(one).__module__).startswith(VOLATILE) and type(one).__name__ not in LASTING
    ]


@pytest.mark.parametrize("ecu", ecu_names())
def test_no_object_of_a_program_survives_a_reset(tmp_path: Path, ecu: str) -> None:
    async def drive() -> None:
        # Shared tables (a profile's come with its module), and what other tests have left.
        boot_profile(ecu_type(ecu).boot_profile)
        others = volatile_objects()
        known = {id(one) for one in others}
        async with running(tmp_path, ecu) as vehicle:
            node = vehicle.nodes[ecu]
            # The car around the ECU keeps its own.
            lasting = Counter(NetworkNode=int(node.hardware.port is not None))
            await asyncio.sleep(1.0)
            for reset in (ResetReason.SOFTWARE, ResetReason.WATCHDOG, ResetReason.PROGRAMMING):
                before = [one for one in volatile_objects() if id(one) not in known]
                kinds = {type(one).__name__ for one in before}
                assert kinds >= {"Program", "EcuDevice", "UdsServer", "DtcMemory", "Nvm"}
                ended = Ended(before)
                del before
                node.reset(reset)
                await node.booted()
                # Connections and timers of what has ended close a moment later.
                await asyncio.sleep(1.0)
                gc.collect()
                assert ended.alive() == +lasting

    clock.run(drive(), virtual=True)


class Ended:
    """Objects that nobody may hold any longer, as far as they can be watched."""

    def __init__(self, objects: list[object]) -> None:
        self._references = [
            weakref.ref(one) for one in objects if type(one).__weakrefoffset__ and _mutable(one)
        ]

    def alive(self) -> Counter[str]:
        return Counter(type(one).__name__ for ref in self._references if (one := ref()) is not None)


def _mutable(one: object) -> bool:
    parameters = getattr(type(one), "__dataclass_params__", None)
    return parameters is None or not parameters.frozen


def test_an_ecu_without_power_is_silent(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            tester = open_tester(vehicle, "ccu")
            vehicle.nodes["ccu"].kill()
            tester.send(bytes.fromhex("3E 00"))
            with pytest.raises(TimeoutError):
                await tester.answer()
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_motor_stops_with_its_ecu_and_a_flap_stays(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu", "blower") as vehicle:
            vehicle.cabin.blower_drive, vehicle.cabin.blend = 0.7, 0.4
            for ecu in ("ccu", "blower"):
                vehicle.nodes[ecu].kill()
            assert vehicle.cabin.blower_drive == 0.0
            assert vehicle.cabin.blend == 0.4

    clock.run(drive(), virtual=True)


def test_provisioning_a_running_ecu_is_refused(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            with pytest.raises(RuntimeError, match="ccu: provisioning"):
                vehicle.provision("ccu", NEW)

    clock.run(drive(), virtual=True)


def test_the_fingerprint_survives_the_power(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await expect(tester, "22 F1 5A", "62 f1 5a ff")
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await unlock(tester, node)
            await expect(tester, "2E F1 5A 26 06 01 41", "6e f1 5a")
            node.kill()
            node.power_on()
            await node.booted()
            await expect(tester, "22 F1 5A", "62 f1 5a 26 06 01 41")
            tester.close()

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize(
    ("reset", "status"),
    [
        # A new operation cycle: not failed, and not tested, in this one.
        ("01", "6d"),
        ("02", "6d"),
        ("03", "2f"),
    ],
)
def test_a_fault_found_just_before_a_reset_is_told_after_it(
    tmp_path: Path, reset: str, status: str
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            assert node.program is not None
            node.program.dtcs.report(0x9A0100, failed=True)
            await expect(tester, f"11 {reset}", f"51 {reset}")
            await asyncio.sleep(0.01)
            await back_in(node, Mode.APPLICATION)
            await expect(tester, "19 02 08", f"59 02 ff 9a 01 00 {status}")
            tester.close()

    clock.run(drive(), virtual=True)


def test_an_ecu_whose_data_flash_is_bad_works_on_and_forgets_its_codes(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            assert node.program is not None
            flash = node.hardware.data_flash
            for address in range(0, flash.geometry.size, flash.geometry.sector_size):
                flash.spoil(address)
            node.program.dtcs.report(0x9A0100, failed=True)
            await asyncio.sleep(5.0)
            await expect(tester, "19 02 08", "59 02 ff 9a 01 00 2f")
            await expect(tester, "11 01", "51 01")
            await asyncio.sleep(0.01)
            await back_in(node, Mode.APPLICATION)
            await expect(tester, "19 02 08", "59 02 ff")
            tester.close()

    clock.run(drive(), virtual=True)


async def on_its_way_to_a_trial(vehicle: Vehicle) -> EcuNode:
    node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
    await stage(tester, node, signed_image(version=(2, 0, 0), security_counter=2))
    await expect(tester, "31 01 02 10", "71 01 02 10 00")
    tester.close()
    return node


def test_what_a_boot_loader_writes_takes_its_time(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node = await on_its_way_to_a_trial(vehicle)
            loop = asyncio.get_running_loop()
            started_s = loop.time()
            node.reset(ResetReason.SOFTWARE)
            await back_in(node, Mode.APPLICATION)
            # The record: one sector and two pages of the data flash.
            took_s = loop.time() - started_s
            assert took_s == pytest.approx(node.ecu.boot_s + 0.004 + 2 * 0.00005, abs=1e-6)

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("cut", Cut)
def test_a_supply_that_fails_while_the_boot_loader_writes_leaves_an_ecu_that_boots(
    tmp_path: Path, cut: Cut
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node = await on_its_way_to_a_trial(vehicle)
            node.reset(ResetReason.SOFTWARE)
            await asyncio.sleep(node.ecu.boot_s / 2)
            node.hardware.data_flash.power = PowerBudget(operations=1, cut=cut)
            await asyncio.sleep(node.ecu.boot_s)
            assert node.mode is Mode.OFF
            assert f"power lost ({cut.value}) programming" in node.reason
            node.hardware.data_flash.power = None
            node.power_on()
            await back_in(node, Mode.APPLICATION)
            tester = open_tester(vehicle, "ccu")
            await expect(tester, "22 F1 89", V2)
            tester.close()

    clock.run(drive(), virtual=True)
