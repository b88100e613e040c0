"""A whole bench on one loop: a real cloud on loopback, a simulated vehicle and its gateway.

The cloud runs on a real loop in a thread of its own, and all that is said to it goes through real
gRPC; vehicle and gateway share the running loop, whose clock may be virtual.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from canota.cli.client import Operator, ReleaseFile
from canota.cli.vehicle import registration
from canota.identities import as_rows
from canota.link_proxy import LinkProxy
from clock import is_virtual
from cloud.app import CloudOptions, CloudThread
from dbc.vehicle import describe_vehicle
from ecu_sim.bus.capture import Capture, channels_of
from ecu_sim.ecus import ecu_names
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions
from firmware import dev_keys, image_path
from protocols.can import CanPort
from protocols.firmware.formats import detect
from protocols.link import Link, Profile
from protocols.stream import ByteStream
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from vehicle_gateway.app import CloudAwayError, Gateway
from vehicle_gateway.assembly import GatewayOptions
from vehicle_gateway.update import Progress
from vehicle_gateway.wires import LinkError

#: When a virtual run begins.
VIRTUAL_START: Final = datetime(2026, 6, 1, 8, 0, 0, tzinfo=UTC)
FACTORY_VERSION: Final = "1.0.0"
ECUS: Final = ecu_names()
#: Seconds before a cloud that was away is asked again.
_AWAY_S: Final = 20.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    vin: str
    #: Where cloud, gateway and ECUs keep what they have.
    directory: Path
    seed: int
    #: Seconds for which the gateway watches the vehicle after an update, before the last reading.
    observe_s: float
    ecus: tuple[str, ...] = ECUS
    #: ECU -> what it leaves its factory with, in place of release 1.0.0.
    factory_images: Mapping[str, bytes] = field(default_factory=dict)
    #: DER public keys that secure boot trusts beside the published development key.
    image_public_keys: tuple[bytes, ...] = ()
    #: The date when the bench begins.
    start_date: datetime = VIRTUAL_START
    #: What the rest of the car keeps each CAN wire busy for: see `VehicleOptions`.
    traffic: float = 0.0
    #: A log to write what goes over the vehicle's wires to; its ending names the format.
    capture: Path | None = None
    #: The wireless link between gateway and cloud; None: there is nothing between them.
    link: Profile | None = None


class SimulatedLinks:
    """The wires of a simulated vehicle, as its gateway takes them, or another node."""

    def __init__(self, vehicle: Vehicle, *, node: str = "gateway") -> None:
        self._vehicle = vehicle
        self._node = node

    def can(self, wire: str) -> CanPort:
        try:
            return self._vehicle.can_port(wire, self._node)
        except VehicleError as error:
            raise LinkError(str(error)) from error

    async def stream(self, wire: str) -> ByteStream:
        try:
            return await self._vehicle.connect(wire)
        except (VehicleError, OSError) as error:
            raise LinkError(str(error)) from error


class Bench:
    """An async context manager: everything runs inside, and nothing is left behind."""

    def __init__(
        self, options: BenchOptions, *, on_progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.options = options
        self._on_progress = on_progress
        self._stack = AsyncExitStack()
        self._loop = asyncio.get_running_loop()
        self._begin = self._loop.time()

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            self.cloud = await stack.enter_async_context(running_cloud(self.options))
            self.operator = stack.enter_context(Operator(self.cloud.target, time_us=self.time_us))
            self.vehicle = await stack.enter_async_context(running_vehicle(self.options))
            cloud, link = await self._linked(stack)
            gateway = gateway_of(
                self.options,
                self.vehicle,
                cloud,
                on_progress=self._on_progress,
                began_s=self._begin,
                link=link,
            )
            self.gateway = await stack.enter_async_context(gateway)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _linked(self, stack: AsyncExitStack) -> tuple[str, Link | None]:
        """Where the gateway finds its cloud, and the link of its calls in virtual time."""
        if self.options.link is None:
            return self.cloud.target, None
        link = Link(self.options.link, self.options.seed)
        if is_virtual(self._loop):
            return self.cloud.target, link
        host, _, port = self.cloud.target.rpartition(":")
        proxy = await stack.enter_async_context(LinkProxy(link, to=(host, int(port))))
        return proxy.target, None

    async def turn(self) -> None:
        """Have the gateway do all there is to do, however often the link lets it down meanwhile."""
        while True:
            try:
                if await self.gateway.run_once() is None:
                    return
            except CloudAwayError:
                await asyncio.sleep(_AWAY_S)

    def time_us(self) -> int:
        """Unix time in microseconds by the bench's own clock."""
        passed_us = round((self._loop.time() - self._begin) * 1e6)
        return round(self.options.start_date.timestamp() * 1e6) + passed_us

    async def ask(self, call: Callable[[Operator], T]) -> T:
        """Make an operator's call; a virtual clock stands still meanwhile."""
        return await self._loop.run_in_executor(None, call, self.operator)

    async def register(self) -> None:
        """Make the vehicle known to the cloud, with its ECUs' public keys."""
        await self.ask(lambda operator: register(self.options, self.vehicle, operator))

    async def publish(self, release_id: str, version: str, files: Sequence[ReleaseFile]) -> None:
        await self.ask(lambda operator: operator.create_release(release_id, files, version=version))


@asynccontextmanager
async def running_cloud(options: BenchOptions) -> AsyncIterator[CloudThread]:
    """The bench's cloud, on loopback, in a thread of its own."""
    loop = asyncio.get_running_loop()
    cloud = CloudThread(
        CloudOptions(
            state_directory=options.directory / "cloud",
            virtual_clock=is_virtual(loop),
            seed=options.seed,
            start_date=options.start_date,
        )
    )
    await loop.run_in_executor(None, cloud.start)
    try:
        yield cloud
    finally:
        await loop.run_in_executor(None, cloud.stop)


@asynccontextmanager
async def running_vehicle(options: BenchOptions) -> AsyncIterator[Vehicle]:
    """The bench's vehicle, every ECU with its image from the factory and switched on."""
    keys = dev_keys()
    began_s = asyncio.get_running_loop().time()
    vehicle = Vehicle(
        VehicleOptions(
            vin=options.vin,
            state_directory=options.directory / "ecus",
            ecus=options.ecus,
            seed=options.seed,
            image_public_keys=(keys.image_public_key, *options.image_public_keys),
            diagnostics_master=keys.diagnostics_master,
            boot_mac_master=keys.boot_mac_master,
            traffic=options.traffic,
        )
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(vehicle.stop)
        for ecu in options.ecus:
            if not vehicle.is_provisioned(ecu):
                vehicle.provision(ecu, options.factory_images.get(ecu) or factory_image(ecu))
        if options.capture is not None:
            _capture(options, options.capture, vehicle, stack, began_s)
        await vehicle.start()
        yield vehicle


def gateway_of(
    options: BenchOptions,
    vehicle: Vehicle,
    cloud: str,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    began_s: float = 0.0,
    link: Link | None = None,
) -> Gateway:
    """The vehicle's gateway, whose cloud is at `cloud`; loop time `began_s` is the start date."""
    known = describe_vehicle()
    ecus = {ecu: known.ecus[ecu] for ecu in options.ecus if ecu in known.ecus}
    keys = dev_keys()
    return Gateway(
        GatewayOptions(
            vin=options.vin,
            cloud=cloud,
            state_directory=options.directory / "gateway",
            description=replace(known, ecus=ecus),
            diagnostics_master=keys.diagnostics_master,
            dev_only_keys=True,
            start_date=options.start_date - timedelta(seconds=began_s),
            observe_s=options.observe_s,
            link=link,
            rng=random.Random(f"{options.seed}/gateway"),  # noqa: S311 repeatable, no secret
        ),
        SimulatedLinks(vehicle),
        on_progress=on_progress,
    )


def register(options: BenchOptions, vehicle: Vehicle, operator: Operator) -> None:
    """Make the vehicle known to the cloud, with its ECUs' public keys."""
    identities = as_rows(vehicle.identities())
    model = describe_vehicle().model
    operator.create_vehicle(registration(options.vin, model, identities, source="vehicle"))


def factory_image(ecu: str) -> bytes:
    """What an ECU of the bench leaves its factory with."""
    path = image_path(ecu, FACTORY_VERSION)
    content = path.read_bytes()
    return detect(path.name, content).decode(content).data


def _capture(
    options: BenchOptions, path: Path, vehicle: Vehicle, stack: AsyncExitStack, began_s: float
) -> None:
    recorder = Recorder(
        path, channels_of(vehicle.wires), start_ns=since_epoch_ns(options.start_date)
    )
    stack.callback(recorder.close)
    start_date = options.start_date - timedelta(seconds=began_s)
    stack.callback(Capture(recorder, vehicle.wires, start_date=start_date).close)


def release_files(
    version: str, replaced: Mapping[str, Path], chosen: Sequence[str] = ECUS
) -> list[ReleaseFile]:
    """The files of one of the bench's own releases, some of them replaced by another file."""
    ecus = describe_vehicle().ecus
    paths = {ecu: replaced.get(ecu) or image_path(ecu, version) for ecu in chosen}
    return [
        ReleaseFile(
            hardware_id=ecus[ecu].hardware_id,
            path=path,
            content=path.read_bytes(),
            address=ecus[ecu].application_base,
        )
        for ecu, path in paths.items()
    ]
