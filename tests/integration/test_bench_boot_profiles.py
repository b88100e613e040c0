"""Bench ECUs whose boot loaders swap or overwrite, programmed over the wire by the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

import clock
from dbc.vehicle import describe_vehicle
from ecu_sim.describe import describe
from ecu_sim.memory import PowerBudget, Tear
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from tests.support.ecu import DIAGNOSTICS_MASTER, signed_image
from tests.support.flashing import NONCE, START, SimLinks
from tests.support.vehicle import new_vehicle
from vehicle_gateway.flashing import updaters
from vehicle_gateway.update import EcuUpdater, UpdateJob
from vehicle_gateway.wires import testers

HARDWARE = {"bench_swap": "BCH-SWP", "bench_overwrite": "BCH-OVW"}


@dataclass(frozen=True, slots=True)
class Bench:
    vehicle: Vehicle
    updater: EcuUpdater
    job: UpdateJob

    @property
    def node(self) -> EcuNode:
        return self.vehicle.nodes[self.job.ecu]

    async def version(self) -> str:
        found = await self.updater.inventory(NONCE)
        assert found.read_back is not None, found.error
        return found.software_version

    async def write(self) -> None:
        await self.updater.stage(self.job, resume_from=0, progress=lambda _: None)
        await self.updater.activate(self.job, resume_from=0, progress=lambda _: None)


@asynccontextmanager
async def bench(folder: Path, ecu: str) -> AsyncIterator[Bench]:
    description = folder / "vehicle.toml"
    description.write_text(describe(ecu), "utf-8")
    described = describe_vehicle(description)
    hardware_id = HARDWARE[ecu]
    old = signed_image(hardware_id=hardware_id)
    new = signed_image(hardware_id=hardware_id, version=(2, 0, 0), security_counter=2)
    vehicle = new_vehicle(folder / "state", ecu)
    vehicle.provision(ecu, old)
    await vehicle.start()
    try:
        async with testers.Testers(described, SimLinks(vehicle)) as opened:
            master = DIAGNOSTICS_MASTER
            updater = updaters(opened, diagnostics_master=master, start_date=START)[ecu]
            job = UpdateJob(
                ecu=ecu,
                image=new,
                address=described.ecus[ecu].application_base,
                image_sha256=sha256(new).digest(),
                version="2.0.0",
                nonce=NONCE,
                before_sha256=sha256(old).digest(),
                present=old,
                present_address=described.ecus[ecu].application_base,
            )
            yield Bench(vehicle, updater, job)
    finally:
        await vehicle.stop()


@pytest.mark.parametrize("ecu", HARDWARE)
def test_a_bench_ecu_is_updated_and_keeps_the_new_image(tmp_path: Path, ecu: str) -> None:
    async def drive() -> None:
        async with bench(tmp_path, ecu) as on:
            assert await on.version() == "1.0.0"
            await on.write()
            assert await on.version() == "2.0.0"
            await on.updater.confirm(on.job)
            on.node.kill()
            on.node.power_on()
            await on.node.booted()
            assert await on.version() == "2.0.0"

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("ecu", HARDWARE)
def test_a_bench_ecu_is_brought_back_before_it_is_confirmed(tmp_path: Path, ecu: str) -> None:
    async def drive() -> None:
        async with bench(tmp_path, ecu) as on:
            await on.write()
            await on.updater.revert(on.job, progress=lambda _: None)
            assert await on.version() == "1.0.0"

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("ecu", HARDWARE)
def test_power_that_goes_in_a_boot_loader_s_copy_only_delays_it(tmp_path: Path, ecu: str) -> None:
    async def drive() -> None:
        async with bench(tmp_path, ecu) as on:
            await on.updater.stage(on.job, resume_from=0, progress=lambda _: None)
            flash = on.node.hardware.memory.flash

            def cut_the_boot(mode: Mode) -> None:
                if mode is Mode.BOOTING and flash.power is None:
                    flash.power = PowerBudget(operations=5, cut=Tear(done=0.25))
                if mode is Mode.OFF:
                    flash.power = PowerBudget(operations=1_000_000)
                    on.vehicle._loop.call_soon(on.node.power_on)  # noqa: SLF001 its own loop

            on.node.on_mode.append(cut_the_boot)
            await on.updater.activate(on.job, resume_from=0, progress=lambda _: None)
            assert await on.version() == "2.0.0"
            assert on.node.boots > 2

    clock.run(drive(), virtual=True)


def test_a_boot_that_swaps_takes_the_time_of_its_memory(tmp_path: Path) -> None:
    async def drive() -> None:
        async with bench(tmp_path, "bench_swap") as on:
            await on.updater.stage(on.job, resume_from=0, progress=lambda _: None)
            figures = await on.updater.activate(on.job, resume_from=0, progress=lambda _: None)
            # One sector: scratch, second and first slot are erased and programmed, and the marks.
            slot = on.node.ecu.slot
            pages = slot.sector_size // slot.page_size
            least_s = 3 * (slot.erase_s + pages * slot.program_s) + on.node.ecu.boot_s
            assert least_s < figures.out_of_use_s < 3 * least_s

    clock.run(drive(), virtual=True)
