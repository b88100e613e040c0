"""An ECU with a staging area: filled while it works, copied at a reset, programmed if need be."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clock import run
from ecu_sim.boot import ResetReason
from ecu_sim.boot.update_agent import AgentRecord, State
from ecu_sim.memory import Cut, PowerBudget
from ecu_sim.node import EcuNode, Mode
from protocols.firmware.containers import crc32, sha512
from tests.support.flashing import NONCE, Bench, Line, bench, job
from vehicle_gateway.flashing.direct import flash, load_for
from vehicle_gateway.flashing.firmware_file import LoaderParts
from vehicle_gateway.flashing.load import Part
from vehicle_gateway.flashing.updater import SequenceUpdater
from vehicle_gateway.update import UpdateError, UpdateJob

FLAP, EVERYONE = 0x7A2, 0x7DF


def on_bench(
    state: Path, main: Callable[[Bench], Awaitable[None]], line: Line | None = None
) -> None:
    async def whole() -> None:
        wire = line or Line()
        async with bench(
            state, "ccu", "flap", outgoing=wire.outgoing, incoming=wire.incoming
        ) as found:
            await main(found)

    run(whole(), virtual=True)


def state_of(node: EcuNode) -> State:
    return AgentRecord.decode(node.hardware.memory.record.read()).state


async def runs(on: Bench) -> str:
    return (await on.updaters["flap"].inventory(NONCE)).software_version


def that_traps(update: UpdateJob) -> UpdateJob:
    """The same, with an image that every check lets pass and that does not run."""
    good = sha512.decode(update.image)
    image = sha512.encode(replace(good, payload=b"no module"))
    assert isinstance(good, crc32.Crc32Image)
    return replace(update, image=image, image_sha256=hashlib.sha256(image).digest())


def test_it_is_staged_by_its_application_and_nobody_else_is_disturbed(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["flap"], job("flap")
        staging = asyncio.create_task(updater.stage(update, resume_from=0, progress=on.progress))
        while not staging.done():
            assert on.vehicle.nodes["flap"].mode is Mode.APPLICATION
            await asyncio.sleep(0.1)
        figures = staging.result()
        assert figures.out_of_use_s == 0.0
        # The others on the wire go on sending: of blocks this short they take a few per cent.
        assert 0.95 * figures.transfer_s <= figures.bound_s <= figures.transfer_s
        assert figures.staging_s > figures.transfer_s
        assert state_of(on.vehicle.nodes["flap"]) is State.STAGED
        assert await runs(on) == "1.0.0"

    on_bench(tmp_path, main, line)
    assert line.sequence(EVERYONE) == []
    said = line.sequence(FLAP)
    first = said.index("10 03")
    assert said[first : said.index("31 01 02 02") + 1] == [
        *("10 03", "27 01", "27 02", "2E F1 5A", "31 01 FF 00", "34", "36", "37", "31 01 02 02"),
    ]


def test_activating_it_waits_for_the_agents_copy(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update, node = on.updaters["flap"], job("flap"), on.vehicle.nodes["flap"]
        await updater.stage(update, resume_from=0, progress=on.progress)
        line.requests.clear()
        figures = await updater.activate(update, resume_from=0, progress=on.progress)
        assert await runs(on) == "2.0.0"
        assert state_of(node) is State.IDLE
        slot, size = node.ecu.slot, len(update.image)
        copy_s = -(-size // slot.sector_size) * slot.erase_s
        copy_s += -(-size // slot.page_size) * slot.program_s
        copy_s += 2 * size / node.ecu.hash_bytes_per_s
        assert copy_s > 0.8
        assert node.ecu.boot_s + copy_s < figures.out_of_use_s < node.ecu.boot_s + copy_s + 1.0

    on_bench(tmp_path, main, line)
    said = line.sequence(FLAP)
    assert "10 02" not in said
    assert "34" not in said
    assert said.index("31 01 FF 01") < said.index("31 01 02 10") < said.index("11 01")


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("operations", [0, 7, 100])
def test_a_supply_that_fails_while_the_agent_copies_costs_nothing_but_time(
    tmp_path: Path, operations: int, cut: Cut
) -> None:
    async def main(on: Bench) -> None:
        updater, update, node = on.updaters["flap"], job("flap"), on.vehicle.nodes["flap"]
        await updater.stage(update, resume_from=0, progress=on.progress)
        flash_chip = node.hardware.memory.flash
        flash_chip.power = PowerBudget(operations=operations, cut=cut)
        off = asyncio.Event()
        node.on_mode.append(lambda mode: off.set() if mode is Mode.OFF else None)
        activating = asyncio.create_task(
            updater.activate(update, resume_from=0, progress=on.progress)
        )
        await off.wait()
        assert f"power lost ({cut.value})" in node.reason
        assert state_of(node) is State.TRIGGERED
        flash_chip.power = None
        node.power_on()
        await activating
        assert await runs(on) == "2.0.0"
        await updater.confirm(update)

    on_bench(tmp_path, main)


def test_a_new_image_that_does_not_run_is_replaced_through_the_boot_loader(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["flap"], that_traps(job("flap"))
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        assert on.vehicle.nodes["flap"].mode is Mode.BOOTLOADER
        found = await updater.inventory(NONCE)
        assert (found.application_runs, found.read_back) == (False, None)
        with pytest.raises(UpdateError, match="flap: confirming"):
            await updater.confirm(update)
        line.requests.clear()
        figures = await updater.revert(update, progress=on.progress)
        assert await runs(on) == "1.0.0"
        assert figures.out_of_use_s > figures.transfer_s > 0

    on_bench(tmp_path, main, line)
    assert "10 02" in line.sequence(FLAP)
    assert {"85 82", "28 83 01", "28 80 01"} <= set(line.sequence(EVERYONE))


def test_it_goes_back_by_staging_the_image_from_before(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["flap"], job("flap")
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        line.requests.clear()
        figures = await updater.revert(update, progress=on.progress)
        assert await runs(on) == "1.0.0"
        assert 0 < figures.out_of_use_s < figures.transfer_s

    on_bench(tmp_path, main, line)
    assert "10 02" not in line.sequence(FLAP)


def test_an_activation_that_was_cut_off_before_its_reset_is_taken_back(tmp_path: Path) -> None:
    line = Line()
    line.lose_request = lambda _identifier, begun: begun[:2] == b"\x11\x01"

    async def main(on: Bench) -> None:
        updater, update, node = on.updaters["flap"], job("flap"), on.vehicle.nodes["flap"]
        await updater.stage(update, resume_from=0, progress=on.progress)
        with pytest.raises(UpdateError, match="does not reset"):
            await updater.activate(update, resume_from=0, progress=on.progress)
        assert state_of(node) is State.TRIGGERED
        await updater.revert(update, progress=on.progress)
        assert state_of(node) is State.STAGED
        node.reset(ResetReason.SOFTWARE)
        await node.booted()
        assert await runs(on) == "1.0.0"

    on_bench(tmp_path, main, line)


def test_an_ecu_without_an_application_is_not_staged_but_programmed(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        updater, update, node = on.updaters["flap"], job("flap"), on.vehicle.nodes["flap"]
        chip = node.hardware.memory.flash
        node.kill()
        for _ in chip.erase(0, chip.geometry.sector_size):
            pass
        node.power_on()
        await node.booted()
        assert node.mode is Mode.BOOTLOADER
        figures = await updater.stage(update, resume_from=0, progress=on.progress)
        assert figures.transfer_s == 0.0
        figures = await updater.activate(update, resume_from=0, progress=on.progress)
        assert figures.transfer_s > 0.0
        assert await runs(on) == "2.0.0"
        await updater.confirm(update)

    on_bench(tmp_path, main)


@pytest.mark.parametrize("application", [True, False], ids=["application", "boot loader"])
def test_a_file_is_flashed_into_it_whatever_runs(
    tmp_path: Path,
    application: bool,  # noqa: FBT001 a parameter of the table
) -> None:
    async def main(on: Bench) -> None:
        updater, update, node = on.updaters["flap"], job("flap"), on.vehicle.nodes["flap"]
        assert isinstance(updater, SequenceUpdater)
        site = updater._site  # noqa: SLF001 the same ECU, without a vehicle's update
        if not application:
            node.reset(ResetReason.PROGRAMMING)
            await node.booted()
        part = Part(name="image", address=update.address, data=update.image)
        report = await flash(site, load_for((part,), LoaderParts()), progress=on.progress)
        assert report.proved
        assert report.after["software_version"] == "2.0.0"

    on_bench(tmp_path, main)
