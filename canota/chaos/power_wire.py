"""Some of the power cuts over real UDS: the gateway's updater finds the ECU and finishes its work.

The ECU is a node on a simulated wire in virtual time, of its own type but for a flash of a few
sectors. Its supply is gone for a second at one operation of the update.
"""

import asyncio
import hashlib
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import clock
from canota.bench import VIRTUAL_START, SimulatedLinks
from canota.chaos.images import Firmware, module
from canota.chaos.power import Finding, Point, Scenario, cut_text
from canota.chaos.small_ecu import NEW, SweepError, ecu_of, encoder_of
from dbc.vehicle import VehicleDescription, describe_vehicle
from ecu_sim.boot import Application, ResetReason, boot_profile
from ecu_sim.boot.mcuboot_swap import status_size
from ecu_sim.describe import describe
from ecu_sim.ecus import EcuType
from ecu_sim.memory import Cut, Flash, PowerBudget, Tear, Torn, TwoCopyRecord
from ecu_sim.memory.flash import result_of
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import DATA_FLASH, Vehicle, VehicleOptions
from firmware import dev_keys
from vehicle_gateway.flashing import updaters
from vehicle_gateway.update import EcuUpdater, UpdateError, UpdateJob
from vehicle_gateway.wires.testers import Testers

_SECTOR: Final = 0x400
_SLOT: Final = 4 * _SECTOR
_IMAGE: Final = 2 * _SECTOR + 100
_VIN: Final = "WCANPWR0000000001"
_NONCE: Final = bytes(range(32))
#: Seconds without supply, and those after which an ECU that was to come back has not.
_OFF_S: Final = 1.0
_BACK_S: Final = 60.0
#: Updates that a gateway tries before it gives up.
_TRIES: Final = 3
_UNLIMITED: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    vehicle: Vehicle
    node: EcuNode
    updater: EcuUpdater
    job: UpdateJob

    async def finish(self) -> None:
        """As after a restart of the gateway: confirm what runs, or begin anew."""
        if await self.version() == NEW:
            await self.updater.confirm(self.job)
            return
        if not self.updater.single_slot:
            await self.updater.revert(self.job, progress=lambda _: None)
        await self.update()

    async def update(self) -> None:
        await self.updater.stage(self.job, resume_from=0, progress=lambda _: None)
        await self.updater.activate(self.job, resume_from=0, progress=lambda _: None)
        await self.updater.confirm(self.job)

    async def version(self) -> str:
        """What the ECU proves that it runs."""
        found = await self.updater.inventory(_NONCE)
        proved = found.read_back is not None and found.read_back.image_sha256
        return found.software_version if proved == self.job.image_sha256 else found.error or "?"


def findings(profile: str, *, seed: int, count: int) -> Iterator[Finding]:
    """So many cuts of an update over UDS, at operations drawn by the seed."""
    rng = random.Random(f"{seed}/{profile}/wire")  # noqa: S311 repeatable
    with tempfile.TemporaryDirectory(prefix="canota-power-") as folder:
        counting = PowerBudget(operations=_UNLIMITED)
        clock.run(_count(profile, Path(folder) / "count", counting), virtual=True)
        for number, operation in enumerate(
            sorted(rng.sample(range(counting.drawn), min(count, counting.drawn)))
        ):
            cut = rng.choice(_cuts(rng))
            state = Path(folder) / str(number)
            yield clock.run(_one(profile, state, operation, cut), virtual=True)


def _cuts(rng: random.Random) -> Sequence[Cut | Tear]:
    seed = rng.getrandbits(32)
    return (Cut.BEFORE, Tear(done=0.5), Tear(how=Torn.HALFWAY, done=0.0, seed=seed), Cut.AFTER)


async def _count(profile: str, folder: Path, power: PowerBudget) -> None:
    async with _bench(profile, folder) as bench:
        _supply(bench.node, power)
        await bench.update()
        if (found := await bench.version()) != NEW:
            raise SweepError(f"{profile}: an update without a cut ends with {found}")
        _supply(bench.node, None)


async def _one(profile: str, folder: Path, operation: int, cut: Cut | Tear) -> Finding:
    point = Point(
        profile=profile,
        layout=f"{_SLOT // _SECTOR} x {_SECTOR} B over UDS",
        scenario=Scenario.WIRE,
        life=0,
        operation=operation + 1,
        cut=cut_text(cut),
    )
    async with _bench(profile, folder) as bench:
        node, booted = bench.node, ""
        loop = asyncio.get_running_loop()

        def changed(mode: Mode) -> None:
            nonlocal booted
            if mode is Mode.OFF:
                booted = _would_boot(node)
                _supply(node, None)
                loop.call_later(_OFF_S, node.power_on)

        node.on_mode.append(changed)
        _supply(node, PowerBudget(operations=operation, cut=cut))
        failure = ""
        for tried in range(_TRIES):
            try:
                await (bench.finish() if tried else bench.update())
                found = await bench.version()
            except UpdateError as error:
                failure = str(error)
                async with asyncio.timeout(_BACK_S):
                    await node.booted()
            else:
                failure = "" if found == NEW else f"{found} runs in the end, not {NEW}"
                if not failure:
                    break
        node.on_mode.remove(changed)
        if node.hardware.memory.flash.power is not None:
            raise SweepError(f"{point}: the operation was not reached")
        return Finding(point=point, booted=booted, failure=failure)


def _would_boot(node: EcuNode) -> str:
    """The version that the next boot starts, on a copy of the cells: "" for none."""
    hardware = node.hardware
    memory = replace(
        hardware.memory,
        flash=_copy(hardware.memory.flash),
        record=TwoCopyRecord(
            _copy(hardware.data_flash), address=0, copy_size=DATA_FLASH.sector_size
        ),
    )
    boot = boot_profile(node.ecu.boot_profile).open(memory, hardware.trust)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    return decision.declared.software_version if isinstance(decision, Application) else ""


def _copy(flash: Flash) -> Flash:
    return Flash(bytearray(flash.read(0, flash.geometry.size)), flash.geometry)


def _supply(node: EcuNode, power: PowerBudget | None) -> None:
    node.hardware.memory.flash.power = power
    node.hardware.data_flash.power = power


@asynccontextmanager
async def _bench(profile: str, folder: Path) -> AsyncIterator[_Bench]:
    ecu = _small(ecu_of(profile))
    description = _described(ecu, folder)
    keys = dev_keys()
    vehicle = Vehicle(
        VehicleOptions(
            vin=_VIN,
            state_directory=folder / "state",
            ecus=(ecu.name,),
            types={ecu.name: ecu},
            seed=1,
            image_public_keys=(keys.image_public_key,),
            diagnostics_master=keys.diagnostics_master,
            boot_mac_master=keys.boot_mac_master,
        )
    )
    old, new = _images(ecu)
    vehicle.provision(ecu.name, old)
    await vehicle.start()
    try:
        async with Testers(description, SimulatedLinks(vehicle)) as testers:
            found = updaters(
                testers, diagnostics_master=keys.diagnostics_master, start_date=VIRTUAL_START
            )
            job = UpdateJob(
                ecu=ecu.name,
                image=new,
                address=ecu.application_base,
                image_sha256=hashlib.sha256(new).digest(),
                version=NEW,
                nonce=_NONCE,
                before_sha256=hashlib.sha256(old).digest(),
                present=old,
                present_address=ecu.application_base,
            )
            yield _Bench(
                vehicle=vehicle,
                node=vehicle.nodes[ecu.name],
                updater=found[ecu.name],
                job=job,
            )
    finally:
        await vehicle.stop()


def _small(ecu: EcuType) -> EcuType:
    page = min(ecu.slot.page_size, _SECTOR // 8)
    scratch = _SECTOR + status_size(sectors=_SLOT // _SECTOR, sector_size=_SECTOR, page_size=page)
    slot = replace(ecu.slot, size=_SLOT, sector_size=_SECTOR, page_size=page)
    return replace(ecu, slot=slot, scratch_size=scratch if ecu.scratch_size else 0)


def _described(ecu: EcuType, folder: Path) -> VehicleDescription:
    folder.mkdir()
    path = folder / "vehicle.toml"
    path.write_text(describe(ecu.name), encoding="utf-8")
    whole = describe_vehicle(path)
    told = replace(
        whole.ecus[ecu.name],
        slot_size=ecu.slot.size,
        sector_size=ecu.slot.sector_size,
        page_size=ecu.slot.page_size,
    )
    return replace(whole, ecus={ecu.name: told})


def _images(ecu: EcuType) -> tuple[bytes, bytes]:
    """The old and the new image."""
    old, new = (
        encoder_of(ecu.boot_profile)(
            Firmware(
                ecu=ecu, version=(version, 0, 0), module=module(ecu.name, version, size=_IMAGE)
            )
        )
        for version in (1, 2)
    )
    return old, new
