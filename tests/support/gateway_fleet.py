"""A cloud in its thread, a simulated car and its gateway, joined on the virtual loop."""

import hashlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc

from cloud.app import CloudOptions, CloudThread
from dbc.vehicle import describe_vehicle
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions
from firmware import dev_keys, image_path
from protocols.can import CanPort
from protocols.firmware import formats
from protocols.fleet.v1 import (
    campaigns_pb2,
    campaigns_pb2_grpc,
    diagnostics_pb2,
    diagnostics_pb2_grpc,
    releases_pb2,
    releases_pb2_grpc,
    vehicles_pb2,
    vehicles_pb2_grpc,
)
from protocols.stream import ByteStream
from vehicle_gateway.assembly import GatewayOptions
from vehicle_gateway.wires import LinkError

VIN = "WCANATA0000000001"
START = datetime(2026, 6, 1, 8, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SimulatedLinks:
    """`Links` to a simulated vehicle."""

    vehicle: Vehicle

    def can(self, wire: str) -> CanPort:
        try:
            return self.vehicle.can_port(wire, "gateway")
        except VehicleError as error:
            raise LinkError(str(error)) from error

    async def stream(self, wire: str) -> ByteStream:
        try:
            return await self.vehicle.connect(wire)
        except (VehicleError, ConnectionRefusedError) as error:
            raise LinkError(f"{wire}: {error}") from error


@dataclass(slots=True)
class Fleet:
    """One cloud, one car. The operator's calls block: no time passes on the virtual loop."""

    cloud: CloudThread
    vehicle: Vehicle
    folder: Path
    ecus: tuple[str, ...]
    channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.cloud.target)

    def options(self, **changes: object) -> GatewayOptions:
        whole = describe_vehicle()
        values: dict[str, object] = {
            "vin": VIN,
            "cloud": self.cloud.target,
            "state_directory": self.folder / "gateway",
            "description": replace(whole, ecus={name: whole.ecus[name] for name in self.ecus}),
            "diagnostics_master": dev_keys().diagnostics_master,
            "dev_only_keys": True,
            "start_date": START,
            "observe_s": 30.0,
            "rng": random.Random(5),  # noqa: S311 seeded so that a run repeats
        }
        return GatewayOptions(**(values | changes))  # type: ignore[arg-type]  # any of its fields

    def links(self) -> SimulatedLinks:
        return SimulatedLinks(self.vehicle)

    def register(self) -> None:
        ecus = [
            vehicles_pb2.Ecu(
                ecu=one.ecu,
                hardware_id=one.hardware_id,
                serial_number=one.serial,
                public_key=one.public_key,
                wire=one.wire,
                single_slot=one.single_slot,
                application_base=one.base,
                slot_size=one.size,
            )
            for one in self.vehicle.identities()
        ]
        request = vehicles_pb2.CreateVehicleRequest(
            vehicle=vehicles_pb2.Vehicle(vin=VIN, model="bench", ecus=ecus)
        )
        vehicles_pb2_grpc.VehicleServiceStub(self.channel).CreateVehicle(request)

    def publish(
        self,
        version: str,
        files: Sequence[tuple[str, str, bytes]] = (),
        *,
        preconditions: str = "",
    ) -> None:
        """Publish (hardware id, file name, content); without them the built images."""
        files = files or [
            (describe_vehicle().ecus[ecu].hardware_id, path.name, path.read_bytes())
            for ecu in self.ecus
            for path in [image_path(ecu, version)]
        ]
        header = releases_pb2.CreateReleaseRequest.Header(
            release_id=version,
            version=version,
            preconditions=preconditions,
            files=[
                releases_pb2.CreateReleaseRequest.File(
                    hardware_id=hardware_id,
                    file_name=name,
                    file_size=len(content),
                    file_sha256=hashlib.sha256(content).digest(),
                )
                for hardware_id, name, content in files
            ],
        )
        requests = [releases_pb2.CreateReleaseRequest(header=header)]
        for _, _, content in files:
            requests += [
                releases_pb2.CreateReleaseRequest(chunk=content[at : at + 500_000])
                for at in range(0, len(content), 500_000)
            ]
        releases_pb2_grpc.ReleaseServiceStub(self.channel).CreateRelease(iter(requests))

    def start_campaign(self, release: str) -> str:
        stub = campaigns_pb2_grpc.CampaignServiceStub(self.channel)
        request = campaigns_pb2.CreateCampaignRequest(release=f"releases/{release}", vins=[VIN])
        name = stub.CreateCampaign(request).name
        stub.StartCampaign(campaigns_pb2.StartCampaignRequest(name=name))
        return name

    def assignment(self, campaign: str) -> campaigns_pb2.Assignment:
        stub = campaigns_pb2_grpc.CampaignServiceStub(self.channel)
        found = stub.GetCampaign(campaigns_pb2.GetCampaignRequest(name=campaign))
        return found.assignments[0]

    def versions(self) -> dict[str, str]:
        """What the cloud holds to be in the car."""
        stub = vehicles_pb2_grpc.VehicleServiceStub(self.channel)
        found = stub.GetVehicle(vehicles_pb2.GetVehicleRequest(name=f"vehicles/{VIN}"))
        return {ecu.ecu: ecu.software_version for ecu in found.ecus}

    def last_seen_us(self) -> int:
        """When the cloud has heard of the car last, by its own clock."""
        stub = vehicles_pb2_grpc.VehicleServiceStub(self.channel)
        found = stub.GetVehicle(vehicles_pb2.GetVehicleRequest(name=f"vehicles/{VIN}"))
        return found.last_seen_time.ToMicroseconds()

    def snapshots(self) -> list[diagnostics_pb2.DiagnosticSnapshot]:
        stub = diagnostics_pb2_grpc.DiagnosticsServiceStub(self.channel)
        request = diagnostics_pb2.ListSnapshotsRequest(parent=f"vehicles/{VIN}")
        return [
            stub.GetSnapshot(diagnostics_pb2.GetSnapshotRequest(name=one.name))
            for one in stub.ListSnapshots(request).snapshots
        ]


def flashed(ecu: str, version: str) -> bytes:
    """What an image file puts into an ECU."""
    path = image_path(ecu, version)
    content = path.read_bytes()
    return formats.detect(path.name, content).decode(content).data


@asynccontextmanager
async def car(
    folder: Path,
    ecus: tuple[str, ...],
    cloud: CloudThread,
    *,
    images: Mapping[str, bytes] | None = None,
) -> AsyncIterator[Fleet]:
    """A started car; the same folder again is the same car after a power cut.

    Its ECUs begin with `images`, or with the built ones of version 1.0.0.
    """
    keys = dev_keys()
    vehicle = Vehicle(
        VehicleOptions(
            vin=VIN,
            state_directory=folder / "car",
            ecus=ecus,
            seed=7,
            image_public_keys=(keys.image_public_key,),
            diagnostics_master=keys.diagnostics_master,
            boot_mac_master=keys.boot_mac_master,
        )
    )
    for ecu in ecus:
        if not vehicle.is_provisioned(ecu):
            vehicle.provision(ecu, images[ecu] if images else flashed(ecu, "1.0.0"))
    await vehicle.start()
    fleet = Fleet(cloud, vehicle, folder, ecus)
    try:
        yield fleet
    finally:
        fleet.channel.close()
        await vehicle.stop()


def cloud_in(folder: Path, *, port: int = 0) -> CloudThread:
    return CloudThread(
        CloudOptions(state_directory=folder / "cloud", port=port, virtual_clock=True, seed=3)
    )
