"""A fleet in miniature for tests of the cloud: vehicles that can sign, files that decode."""

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio
from grpc_status import rpc_status

from cloud.app import Cloud, CloudOptions
from protocols.firmware.formats import Image, intel_hex
from protocols.fleet.v1 import (
    campaigns_pb2,
    campaigns_pb2_grpc,
    diagnostics_pb2,
    diagnostics_pb2_grpc,
    gateway_pb2,
    gateway_pb2_grpc,
    releases_pb2,
    releases_pb2_grpc,
    reports_pb2_grpc,
    vehicles_pb2,
    vehicles_pb2_grpc,
)
from protocols.uds import slot_digest

VIN = "WCANHVAC000000001"
OTHER_VIN = "WCANHVAC000000002"
CHECK_IN_NONCE = b"chosen by the gateway"

_P = ParamSpec("_P")


def on_a_loop(test: Callable[_P, Coroutine[object, object, None]]) -> Callable[_P, None]:
    """Run an asynchronous test on a real loop of its own, for at most a minute."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchEcu:
    """An ECU that signs for what it runs."""

    name: str
    hardware_id: str
    serial: str
    single_slot: bool
    base: int = 0x1000
    size: int = 0x10000

    @property
    def key(self) -> Ed25519PrivateKey:
        seed = hashlib.sha256(self.serial.encode()).digest()
        return Ed25519PrivateKey.from_private_bytes(seed)

    def registration(self) -> vehicles_pb2.Ecu:
        return vehicles_pb2.Ecu(
            ecu=self.name,
            hardware_id=self.hardware_id,
            serial_number=self.serial,
            public_key=self.key.public_key().public_bytes_raw(),
            wire="comfort",
            single_slot=self.single_slot,
            application_base=self.base,
            slot_size=self.size,
        )

    def read_back(self, image: bytes, nonce: bytes) -> gateway_pb2.ReadBack:
        digest = hashlib.sha256(image).digest()
        return gateway_pb2.ReadBack(
            nonce=nonce,
            image_sha256=digest,
            signature=slot_digest.sign(
                self.key,
                hardware_id=self.hardware_id,
                serial=self.serial,
                nonce=nonce,
                sha256=digest,
            ),
        )

    def inventory(self, image: bytes, *, version: str = "1.0.0") -> gateway_pb2.EcuInventory:
        return gateway_pb2.EcuInventory(
            ecu=self.name,
            hardware_id=self.hardware_id,
            serial_number=self.serial,
            software_number=f"{self.hardware_id}-SW",
            software_version=version,
            supplier_version="S1",
            read_back=self.read_back(image, CHECK_IN_NONCE),
        )

    def result(
        self, image: bytes, nonce: bytes, *, runs: bytes | None = None, version: str = "2.0.0"
    ) -> gateway_pb2.EcuResult:
        """Report an update to `image`; `runs` is what the boot loader really finds."""
        return gateway_pb2.EcuResult(
            ecu=self.name,
            hardware_id=self.hardware_id,
            wire="comfort",
            version_before="1.0.0",
            version_after=version,
            image_sha256=hashlib.sha256(image).digest(),
            image_bytes=len(image),
            read_back=self.read_back(image if runs is None else runs, nonce),
            transfer_seconds=2.0,
            bound_seconds=1.9,
            staging_seconds=3.0,
            out_of_use_seconds=0.5,
        )


CCU = BenchEcu(name="ccu", hardware_id="CCU-2", serial="CCU-0001", single_slot=False)
BLOWER = BenchEcu(name="blower", hardware_id="BLW-1", serial="BLW-0001", single_slot=True)
ECUS = (CCU, BLOWER)

#: (ECU, version) -> what stands in the ECU's memory.
IMAGES = {
    (ecu.name, version): f"{ecu.hardware_id} {version} ".encode() * 40
    for ecu in ECUS
    for version in ("1.0.0", "2.0.0")
}


def vehicle(vin: str = VIN, ecus: Sequence[BenchEcu] = ECUS) -> vehicles_pb2.Vehicle:
    return vehicles_pb2.Vehicle(vin=vin, model="bench", ecus=[ecu.registration() for ecu in ecus])


def hex_file(image: bytes, *, address: int = 0x1000) -> bytes:
    return intel_hex.FORMAT.encode(Image(address=address, data=image))


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A file on its way into a release."""

    hardware_id: str
    name: str
    content: bytes
    address: int = 0

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.content).digest()

    def announcement(self) -> releases_pb2.CreateReleaseRequest.File:
        return releases_pb2.CreateReleaseRequest.File(
            hardware_id=self.hardware_id,
            file_name=self.name,
            file_size=len(self.content),
            file_sha256=self.sha256,
            address=self.address,
        )


def files_of(version: str) -> list[Published]:
    return [
        Published(
            hardware_id=ecu.hardware_id,
            name=f"{ecu.name}-{version}.hex",
            content=hex_file(IMAGES[ecu.name, version]),
        )
        for ecu in ECUS
    ]


def header(
    release_id: str, files: Sequence[Published], *, version: str | None = None
) -> releases_pb2.CreateReleaseRequest:
    return releases_pb2.CreateReleaseRequest(
        header=releases_pb2.CreateReleaseRequest.Header(
            release_id=release_id,
            version=release_id if version is None else version,
            description="a release",
            files=[file.announcement() for file in files],
        )
    )


def chunks_of(content: bytes, size: int = 1000) -> list[releases_pb2.CreateReleaseRequest]:
    return [
        releases_pb2.CreateReleaseRequest(chunk=content[start : start + size])
        for start in range(0, len(content), size)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Every service of one cloud."""

    channel: aio.Channel
    vehicles: "vehicles_pb2_grpc.VehicleServiceAsyncStub"
    releases: "releases_pb2_grpc.ReleaseServiceAsyncStub"
    campaigns: "campaigns_pb2_grpc.CampaignServiceAsyncStub"
    diagnostics: "diagnostics_pb2_grpc.DiagnosticsServiceAsyncStub"
    reports: "reports_pb2_grpc.ReportServiceAsyncStub"
    gateway: "gateway_pb2_grpc.GatewayServiceAsyncStub"

    async def register(self, vin: str = VIN) -> vehicles_pb2.Vehicle:
        request = vehicles_pb2.CreateVehicleRequest(vehicle=vehicle(vin))
        return await self.vehicles.CreateVehicle(request)

    def upload(
        self,
    ) -> aio.StreamUnaryCall[releases_pb2.CreateReleaseRequest, releases_pb2.Release]:
        """Begin an upload that is written by hand."""
        return self.releases.CreateRelease()  # type: ignore[call-arg]  # the types know only iterators

    async def publish(
        self, release_id: str, files: Sequence[Published], *, version: str | None = None
    ) -> releases_pb2.Release:
        requests = [header(release_id, files, version=version)]
        for file in files:
            requests += chunks_of(file.content)
        return await self.releases.CreateRelease(iter(requests))

    async def check_in(self, vin: str = VIN, version: str = "1.0.0") -> gateway_pb2.CheckInResponse:
        ecus = [ecu.inventory(IMAGES[ecu.name, version], version=version) for ecu in ECUS]
        return await self.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=vin, ecus=ecus))

    async def start_campaign(
        self, release: str = "2.0.0", vins: Sequence[str] = (VIN,)
    ) -> campaigns_pb2.Campaign:
        campaign = await self.campaigns.CreateCampaign(
            campaigns_pb2.CreateCampaignRequest(release=f"releases/{release}", vins=vins)
        )
        request = campaigns_pb2.StartCampaignRequest(name=campaign.name)
        return await self.campaigns.StartCampaign(request)

    async def offered(self) -> gateway_pb2.Offer:
        """Make a fleet of one vehicle that has an offer to go from 1.0.0 to 2.0.0."""
        await self.register()
        await self.publish("1.0.0", files_of("1.0.0"))
        await self.publish("2.0.0", files_of("2.0.0"))
        await self.check_in()
        await self.start_campaign()
        return (await self.check_in()).offer

    async def download(self, file_sha256: bytes, *, vin: str = VIN, offset: int = 0) -> bytes:
        request = gateway_pb2.DownloadRequest(vin=vin, file_sha256=file_sha256, offset=offset)
        data = b""
        async for response in self.gateway.Download(request):
            assert response.offset == offset + len(data)
            data += response.data
        return data

    async def submit(self, report: gateway_pb2.UpdateReport) -> gateway_pb2.SubmitReportResponse:
        request = gateway_pb2.SubmitReportRequest(vin=VIN, report=report)
        return await self.gateway.SubmitReport(request)


def updated(offer: gateway_pb2.Offer) -> gateway_pb2.UpdateReport:
    """Report that all went well, with a proof from every ECU."""
    return gateway_pb2.UpdateReport(
        campaign=offer.campaign,
        release=offer.release,
        outcome=campaigns_pb2.OUTCOME_UPDATED,
        ecus=[ecu.result(IMAGES[ecu.name, "2.0.0"], offer.nonce) for ecu in ECUS],
    )


def snapshot(
    snapshot_id: str, *, vin: str = VIN, seconds: int = 0, values: Sequence[float] = (21.5, 22.0)
) -> diagnostics_pb2.DiagnosticSnapshot:
    message = diagnostics_pb2.DiagnosticSnapshot(
        name=f"vehicles/{vin}/snapshots/{snapshot_id}",
        occasion="before_update",
        ecus=[
            diagnostics_pb2.EcuDiagnostics(
                ecu="ccu",
                data_identifiers=[
                    diagnostics_pb2.DataIdentifier(
                        data_identifier=0xF189, text="version", record=b"1.0.0", value="1.0.0"
                    )
                ],
                dtcs=[
                    diagnostics_pb2.Dtc(
                        code=0x9A0100,
                        display="B1A01-00",
                        text="Cabin temperature control deviation",
                        status=0x2F,
                        snapshots=[diagnostics_pb2.DtcRecord(record_number=1, record=b"\x01\x02")],
                    )
                ],
            )
        ],
        signals=[
            diagnostics_pb2.SignalSeries(
                wire="comfort",
                message="CCU_Status",
                signal="CabinTemperature",
                unit="degC",
                offsets_seconds=[float(index) for index in range(len(values))],
                values=values,
            )
        ],
    )
    message.time.seconds = 1_780_000_000 + seconds
    return message


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Client]:
    async with aio.insecure_channel(target) as channel:
        yield Client(
            channel=channel,
            vehicles=vehicles_pb2_grpc.VehicleServiceStub(channel),
            releases=releases_pb2_grpc.ReleaseServiceStub(channel),
            campaigns=campaigns_pb2_grpc.CampaignServiceStub(channel),
            diagnostics=diagnostics_pb2_grpc.DiagnosticsServiceStub(channel),
            reports=reports_pb2_grpc.ReportServiceStub(channel),
            gateway=gateway_pb2_grpc.GatewayServiceStub(channel),
        )


@asynccontextmanager
async def running_cloud(directory: Path, **options: object) -> AsyncIterator[Client]:
    """Run a cloud in `directory` and connect to it; the same directory again is a restart."""
    made = CloudOptions(state_directory=directory, **options)  # type: ignore[arg-type]  # any of its fields
    async with Cloud(made) as cloud, connected(cloud.target) as client:
        yield client


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that did not work, with its `google.rpc` details."""

    code: StatusCode
    message: str
    status: status_pb2.Status

    def violation(self) -> error_details_pb2.BadRequest.FieldViolation:
        found = error_details_pb2.BadRequest()
        assert any(part.Unpack(found) for part in self.status.details), self.status
        return found.field_violations[0]

    def resource(self) -> error_details_pb2.ResourceInfo:
        found = error_details_pb2.ResourceInfo()
        assert any(part.Unpack(found) for part in self.status.details), self.status
        return found

    def precondition(self) -> error_details_pb2.PreconditionFailure.Violation:
        found = error_details_pb2.PreconditionFailure()
        assert any(part.Unpack(found) for part in self.status.details), self.status
        return found.violations[0]


async def refusal(call: Awaitable[object]) -> Refused:
    """Await a call that must be refused."""
    try:
        await call
    except aio.AioRpcError as error:
        # Also checks that the details tell the same code and message as the call.
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # has all of a call it needs
        assert status is not None, "the refusal brings no details"
        return Refused(code=error.code(), message=error.details() or "", status=status)
    raise AssertionError("the call was not refused")
