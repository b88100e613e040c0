"""A whole bench on one loop: a real cloud on loopback, a simulated vehicle and its gateway.

The cloud runs on a real loop in a thread of its own, and all that is said to it goes through real
gRPC; vehicle and gateway share the running loop, whose clock may be virtual.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from canota.cli.client import Operator, ReleaseFile
from canota.cli.vehicle import registration
from canota.identities import as_rows
from clock import is_virtual
from cloud.app import CloudOptions, CloudThread
from dbc.vehicle import describe_vehicle
from ecu_sim.bus.capture import Capture, channels_of
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions
from firmware import DevKeys, dev_keys, image_path
from protocols.can import CanPort
from protocols.firmware.formats import detect
from protocols.stream import ByteStream
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from vehicle_gateway.app import Gateway, GatewayOptions
from vehicle_gateway.update import Progress
from vehicle_gateway.wires import LinkError

#: When a virtual run begins.
VIRTUAL_START: Final = datetime(2026, 6, 1, 8, 0, 0, tzinfo=UTC)
FACTORY_VERSION: Final = "1.0.0"
ECUS: Final = ("ccu", "blower", "ecomp", "rear")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    vin: str
    #: Where cloud, gateway and ECUs keep what they have.
    directory: Path
    seed: int
    #: Seconds for which the gateway watches the vehicle after an update, before the last reading.
    observe_s: float
    #: The date at loop time 0.
    start_date: datetime = VIRTUAL_START
    #: What the rest of the car keeps each CAN wire busy for: see `VehicleOptions`.
    traffic: float = 0.0
    #: A log to write what goes over the vehicle's wires to; its ending names the format.
    capture: Path | None = None


class SimulatedLinks:
    """The wires of a simulated vehicle, as its gateway takes them."""

    def __init__(self, vehicle: Vehicle) -> None:
        self._vehicle = vehicle

    def can(self, wire: str) -> CanPort:
        try:
            return self._vehicle.can_port(wire, "gateway")
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
            keys = dev_keys()
            self.cloud = await self._start_cloud(stack)
            self.operator = stack.enter_context(Operator(self.cloud.target, time_us=self.time_us))
            self.vehicle = await self._start_vehicle(stack, keys)
            self.gateway = await stack.enter_async_context(self._make_gateway(keys))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def time_us(self) -> int:
        """Unix time in microseconds by the bench's own clock."""
        passed_us = round((self._loop.time() - self._begin) * 1e6)
        return round(self.options.start_date.timestamp() * 1e6) + passed_us

    async def ask(self, call: Callable[[Operator], T]) -> T:
        """Make an operator's call; a virtual clock stands still meanwhile."""
        return await self._loop.run_in_executor(None, call, self.operator)

    async def register(self) -> None:
        """Make the vehicle known to the cloud, with its ECUs' public keys."""
        options = self.options
        vehicle = registration(
            options.vin,
            describe_vehicle().model,
            as_rows(self.vehicle.identities()),
            source="vehicle",
        )
        await self.ask(lambda operator: operator.create_vehicle(vehicle))

    async def publish(self, release_id: str, version: str, files: Sequence[ReleaseFile]) -> None:
        await self.ask(lambda operator: operator.create_release(release_id, files, version=version))

    async def _start_cloud(self, stack: AsyncExitStack) -> CloudThread:
        cloud = CloudThread(
            CloudOptions(
                state_directory=self.options.directory / "cloud",
                virtual_clock=is_virtual(self._loop),
                seed=self.options.seed,
                start_date=self.options.start_date,
            )
        )
        await self._loop.run_in_executor(None, cloud.start)
        stack.push_async_callback(self._stop_cloud, cloud)
        return cloud

    async def _stop_cloud(self, cloud: CloudThread) -> None:
        await self._loop.run_in_executor(None, cloud.stop)

    async def _start_vehicle(self, stack: AsyncExitStack, keys: DevKeys) -> Vehicle:
        vehicle = Vehicle(
            VehicleOptions(
                vin=self.options.vin,
                state_directory=self.options.directory / "ecus",
                ecus=ECUS,
                seed=self.options.seed,
                image_public_keys=(keys.image_public_key,),
                diagnostics_master=keys.diagnostics_master,
                traffic=self.options.traffic,
            )
        )
        stack.push_async_callback(vehicle.stop)
        for ecu in ECUS:
            path = image_path(ecu, FACTORY_VERSION)
            content = path.read_bytes()
            vehicle.provision(ecu, detect(path.name, content).decode(content).data)
        if self.options.capture is not None:
            start_date = self.options.start_date - timedelta(seconds=self._begin)
            recorder = Recorder(
                self.options.capture,
                channels_of(vehicle.wires),
                start_ns=since_epoch_ns(self.options.start_date),
            )
            stack.callback(recorder.close)
            capture = Capture(recorder, vehicle.wires, start_date=start_date)
            stack.callback(capture.close)
        await vehicle.start()
        return vehicle

    def _make_gateway(self, keys: DevKeys) -> Gateway:
        options = GatewayOptions(
            vin=self.options.vin,
            cloud=self.cloud.target,
            state_directory=self.options.directory / "gateway",
            description=describe_vehicle(),
            diagnostics_master=keys.diagnostics_master,
            dev_only_keys=True,
            start_date=self.options.start_date - timedelta(seconds=self._begin),
            observe_s=self.options.observe_s,
            rng=random.Random(f"{self.options.seed}/gateway"),  # noqa: S311 repeatable, no secret
        )
        return Gateway(options, SimulatedLinks(self.vehicle), on_progress=self._on_progress)


def release_files(version: str, replaced: dict[str, Path]) -> list[ReleaseFile]:
    """The files of one of the bench's own releases, some of them replaced by another file."""
    ecus = describe_vehicle().ecus
    paths = {ecu: replaced.get(ecu) or image_path(ecu, version) for ecu in ECUS}
    return [
        ReleaseFile(
            hardware_id=ecus[ecu].hardware_id,
            path=path,
            content=path.read_bytes(),
            address=ecus[ecu].application_base,
        )
        for ecu, path in paths.items()
    ]
