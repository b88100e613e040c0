"""One small car, its gateway and a real cloud: an update in it, and what it holds afterwards."""

import asyncio
import hashlib
import random
import shutil
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from canota.bench import VIRTUAL_START, SimulatedLinks
from canota.chaos.images import NEW, OLD, described, image
from canota.chaos.judge import Evidence, Held, Recorded
from canota.chaos.seams import (
    FaultyCalls,
    FaultyJournal,
    FaultySupply,
    FaultyWire,
    Instruments,
    KilledError,
    Life,
    as_interceptor,
)
from canota.cli.client import Operator, ReleaseFile
from canota.cli.output import plain
from canota.cli.vehicle import registration
from canota.identities import as_rows
from cloud.app import CloudOptions, CloudThread
from ecu_sim.boot import Application, ResetReason, boot_profile
from ecu_sim.ecus import EcuType
from ecu_sim.memory import Flash, TwoCopyRecord
from ecu_sim.memory.flash import result_of
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import DATA_FLASH, Vehicle, VehicleOptions
from firmware import dev_keys
from protocols.firmware.formats import Image, intel_hex
from vehicle_gateway.app import CloudAwayError, Gateway
from vehicle_gateway.assembly import GatewayError, GatewayOptions, Seams

#: A gateway that is started so often without an end never comes to one.
LIVES: Final = 8
#: Seconds between two tries of a gateway that found the cloud away.
PAUSE_S: Final = 30.0
#: Of the time in which new DTCs may show up, an observation: what it lasts is no matter here.
OBSERVE_S: Final = 0.25


class Site:
    """What all runs of one process share: a cloud with two releases, and a factory-new car."""

    def __init__(
        self,
        folder: Path,
        types: Mapping[str, EcuType],
        *,
        seed: int = 0,
        versions: tuple[int, ...] = (OLD, NEW),
        failing: frozenset[int] = frozenset(),
        poll_s: float = 30.0,
    ) -> None:
        """Releases `versions`, the first from the factory; those `failing` set a trouble code."""
        self.folder = folder
        self.types = types
        self.description = described(self.types)
        self.seed = seed
        self.versions = versions
        self._failing = failing
        self._options = CloudOptions(
            state_directory=folder / "cloud", virtual_clock=True, seed=seed, poll_s=poll_s
        )

    def open(self) -> None:
        self._start_cloud(self._options)
        for version in self.versions:
            files = [self._file(name, version) for name in self.types]
            self.operator.create_release(f"v{version}", files, version=f"{version}.0.0")

    def close(self) -> None:
        self.operator.close()
        self._cloud.stop()

    def rebuild_cloud(self) -> None:
        """Drop the cloud, and make it again from its files."""
        port = int(self.target.rpartition(":")[2])
        self.close()
        self._start_cloud(replace(self._options, port=port))

    def image(self, name: str, version: int) -> bytes:
        return image(name, version, failed=version in self._failing)

    def _start_cloud(self, options: CloudOptions) -> None:
        self._cloud = CloudThread(options)
        self._cloud.start()
        self.operator = Operator(self._cloud.target)

    @property
    def target(self) -> str:
        return self._cloud.target

    def vehicle(self, vin: str, folder: Path) -> Vehicle:
        """The car whose ECUs' files lie in `folder`; factory-new where there are none."""
        keys = dev_keys()
        new = not folder.exists()
        if new and self._factory.exists():
            shutil.copytree(self._factory, folder)
        vehicle = Vehicle(
            VehicleOptions(
                vin=vin,
                state_directory=folder,
                ecus=tuple(self.types),
                types=self.types,
                seed=self.seed,
                image_public_keys=(keys.image_public_key,),
                diagnostics_master=keys.diagnostics_master,
                boot_mac_master=keys.boot_mac_master,
            )
        )
        if new and not self._factory.exists():
            for name in self.types:
                vehicle.provision(name, self.image(name, self.versions[0]))
            shutil.copytree(folder, self._factory)
        return vehicle

    @property
    def _factory(self) -> Path:
        return self.folder / "factory"

    def _file(self, name: str, version: int) -> ReleaseFile:
        ecu = self.types[name]
        content = Image(address=ecu.application_base, data=self.image(name, version))
        return ReleaseFile(
            hardware_id=ecu.hardware_identifier,
            path=Path(f"{name}-{version}.0.0.hex"),
            content=intel_hex.FORMAT.encode(content),
            address=ecu.application_base,
        )


@dataclass(slots=True)
class Car:
    """One run's car and gateway, from their files."""

    site: Site
    vin: str
    folder: Path
    instruments: Instruments
    lives: int = 0
    vehicle: Vehicle = field(init=False)
    state: Path = field(init=False)
    began_s: float = field(init=False)
    _life: Life | None = None
    _process: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.began_s = asyncio.get_running_loop().time()
        self.state = self.folder / "gateway-0"
        self.state.mkdir(parents=True)

    async def start(self) -> None:
        self.vehicle = self.site.vehicle(self.vin, self.folder / "ecus")
        self.instruments.nodes = self.vehicle.nodes
        if self.instruments.wants_flash:
            for name, node in self.vehicle.nodes.items():
                supply = FaultySupply(name, self.instruments)
                node.hardware.memory.flash.power = supply
                node.hardware.data_flash.power = supply
        await self.vehicle.start()

    async def stop(self) -> None:
        await self.vehicle.stop()

    async def drop(self) -> None:
        """Every object of the car and of its gateway is gone: `start` again makes new ones."""
        await self.kill_gateway()
        await self.vehicle.kill()

    async def begin(self) -> None:
        """Start the gateway's process: it works until it is killed."""
        self._process = asyncio.create_task(self.live(lambda gateway: gateway.run()))

    async def kill_gateway(self) -> None:
        if self._process is not None:
            await asyncio.sleep(0)  # It has at least begun.
            if self._life is not None:
                self._life.end()
            await self._process
            self._process = None

    @property
    def nodes(self) -> Mapping[str, EcuNode]:
        return self.vehicle.nodes

    async def introduce(self) -> None:
        """What has happened before: the cloud knows the car, and what it runs."""
        rows = as_rows(self.vehicle.identities())
        self.site.operator.create_vehicle(
            registration(self.vin, self.site.description.model, rows, source="vehicle")
        )
        if restless := await self.rest():
            raise GatewayError(restless)

    def begin_campaign(self, campaign: str, version: int = NEW) -> None:
        """Have the car brought to a release."""
        self.site.operator.create_campaign(campaign, f"v{version}", [self.vin])
        self.site.operator.start_campaign(campaign)

    async def evidence(self, campaign: str, *, restless: str) -> Evidence:
        """All that a judgement stands on; the battery is gone for a moment in between."""
        holds = self.holds()
        await self.power_cycle()
        (assignment,) = self.site.operator.campaign(campaign).assignments
        return Evidence(
            restless=restless,
            holds=holds,
            runs=self.runs(),
            outcome=str(plain(assignment)["outcome"]),
            reason=assignment.reason,
            record=self.record(),
        )

    def record(self) -> dict[str, Recorded]:
        """What the cloud holds of each ECU."""
        return {
            ecu.ecu: Recorded(version=ecu.software_version, sha256=ecu.image_sha256)
            for ecu in self.site.operator.vehicle(self.vin).ecus
        }

    async def live(self, work: Callable[[Gateway], Coroutine[None, None, None]]) -> None:
        """One life of the gateway, in which `work` is done; shorter if it is killed."""
        self.lives += 1
        life = self._life = Life(self.state, self.folder / f"gateway-{self.lives}")
        instruments = self.instruments
        seams = Seams(
            open_journal=lambda path: FaultyJournal(path, instruments, life),
            around_wire=lambda name, wire: FaultyWire(name, wire, instruments, life),
            interceptors=(as_interceptor(FaultyCalls(instruments, life)),),
        )
        gateway = Gateway(self._options(), SimulatedLinks(self.vehicle), seams=seams)
        dying = asyncio.create_task(life.died.wait())
        try:
            async with gateway:
                working = asyncio.create_task(work(gateway))
                await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
                if life.died.is_set():
                    working.cancel()
                with suppress(asyncio.CancelledError, KilledError):
                    await working
        finally:
            dying.cancel()
            with suppress(asyncio.CancelledError):
                await dying
        if life.died.is_set():
            self.state = life.remains

    def _options(self) -> GatewayOptions:
        return GatewayOptions(
            vin=self.vin,
            cloud=self.site.target,
            state_directory=self.state,
            description=self.site.description,
            diagnostics_master=dev_keys().diagnostics_master,
            dev_only_keys=True,
            start_date=VIRTUAL_START - timedelta(seconds=self.began_s),
            observe_s=OBSERVE_S,
            rng=random.Random(f"{self.site.seed}/{self.lives}"),  # noqa: S311 repeatable, no secret
        )

    async def rest(self, *, tries: int = 20) -> str:
        """Let the gateway work, restarted as it needs, until it finds nothing more to do.

        The reason why it never did, empty if it did.
        """
        reason = "the gateway was killed again and again"

        async def work(gateway: Gateway) -> None:
            nonlocal reason
            for _ in range(tries):
                try:
                    if await gateway.run_once() is None:
                        reason = ""
                        return
                except CloudAwayError as error:
                    reason = f"the cloud is away: {error}"
                    await asyncio.sleep(PAUSE_S)
                except GatewayError as error:
                    reason = str(error)
                    await asyncio.sleep(PAUSE_S)

        for _ in range(LIVES):
            await self.live(work)
            if not reason:
                break
        return reason

    async def power_cycle(self) -> None:
        """The battery is gone for a moment; returns when every ECU has booted."""
        for node in self.nodes.values():
            node.kill()
        for node in self.nodes.values():
            node.power_on()
        for node in self.nodes.values():
            await node.booted()

    def runs(self) -> dict[str, str]:
        """The version that each ECU's application says it has; why none runs, where none does."""
        said = {}
        for name, node in self.nodes.items():
            program = node.program
            application = program.application if program is not None else None
            runs = application is not None and node.mode is Mode.APPLICATION
            said[name] = (
                application.declared.software_version if application and runs else node.reason
            )
        return said

    def holds(self) -> dict[str, Held]:
        """What each ECU would boot if its power came back now, by a copy of its flash."""
        return {name: self._held(ecu) for name, ecu in self.site.types.items()}

    def _held(self, ecu: EcuType) -> Held:
        images = {version: self.site.image(ecu.name, version) for version in self.site.versions}
        return held_by(self.nodes[ecu.name], images)


def held_by(node: EcuNode, images: Mapping[int, bytes]) -> Held:
    """What an ECU would boot, by a copy of its flash; `images` are those that it may hold."""
    memory = node.hardware.memory
    data = _copy(node.hardware.data_flash)
    record = TwoCopyRecord(data, address=0, copy_size=DATA_FLASH.sector_size)
    copied = replace(memory, flash=_copy(memory.flash), record=record)
    boot = boot_profile(node.ecu.boot_profile).open(copied, node.hardware.trust)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    if not isinstance(decision, Application):
        return Held(version=0, flaw=f"stays in its boot loader: {decision.reason}")
    held = boot.active_image()
    sha256 = hashlib.sha256(held).digest()
    for version, content in images.items():
        if held == content:
            flaw = "only on trial" if decision.on_trial else ""
            return Held(version=version, sha256=sha256, flaw=flaw)
    return Held(version=0, sha256=sha256, flaw=f"boots {len(held)} bytes of none of its images")


def _copy(flash: Flash) -> Flash:
    return Flash(bytearray(flash.read(0, flash.geometry.size)), flash.geometry)
