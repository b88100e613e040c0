"""What operators can do with a running cloud, over real gRPC."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cloud.app import SERVICES, Cloud, CloudError, CloudOptions, CloudThread
from firmware import image_path
from protocols.fleet.v1 import (
    campaigns_pb2,
    diagnostics_pb2,
    releases_pb2,
    reports_pb2,
    vehicles_pb2,
)
from tests.support.cloud import (
    BLOWER,
    CCU,
    IMAGES,
    OTHER_VIN,
    VIN,
    Client,
    Published,
    chunks_of,
    connected,
    files_of,
    header,
    hex_file,
    on_a_loop,
    refusal,
    running_cloud,
    updated,
    vehicle,
)


@on_a_loop
async def test_a_registered_vehicle_is_found_and_listed(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        made = await client.register()
        assert made.name == f"vehicles/{VIN}"
        got = await client.vehicles.GetVehicle(vehicles_pb2.GetVehicleRequest(name=made.name))
        assert got == made
        assert [ecu.ecu for ecu in got.ecus] == ["ccu", "blower"]
        assert not got.HasField("last_seen_time")


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        (lambda v: setattr(v, "vin", "WCANHVAC00000000I"), "vehicle.vin", "'I' is not allowed"),
        (lambda v: setattr(v, "vin", "SHORT"), "vehicle.vin", "5 characters"),
        (lambda v: v.ClearField("ecus"), "vehicle.ecus", "at least one ECU"),
        (lambda v: setattr(v.ecus[1], "ecu", "ccu"), "vehicle.ecus[1].ecu", "vehicle.ecus[0]"),
        (lambda v: setattr(v.ecus[0], "ecu", "../x"), "vehicle.ecus[0].ecu", "../x"),
        (
            lambda v: setattr(v.ecus[0], "public_key", b"short"),
            "vehicle.ecus[0].public_key",
            "ccu: 5 bytes",
        ),
        (lambda v: setattr(v.ecus[0], "slot_size", 1 << 63), "vehicle.ecus[0].slot_size", "ccu"),
        (
            lambda v: setattr(v.ecus[1], "serial_number", ""),
            "vehicle.ecus[1].serial_number",
            "blower",
        ),
    ],
)
@on_a_loop
async def test_a_vehicle_that_cannot_be_is_refused_by_field(
    change: Callable[[vehicles_pb2.Vehicle], None], field: str, said: str, tmp_path: Path
) -> None:
    message = vehicle()
    change(message)
    async with running_cloud(tmp_path) as client:
        request = vehicles_pb2.CreateVehicleRequest(vehicle=message)
        refused = await refusal(client.vehicles.CreateVehicle(request))
        assert refused.code is StatusCode.INVALID_ARGUMENT
        assert refused.violation().field == field
        assert said in refused.violation().description
        listed = await client.vehicles.ListVehicles(vehicles_pb2.ListVehiclesRequest())
        assert not listed.vehicles


@on_a_loop
async def test_a_vin_is_registered_once(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        refused = await refusal(client.register())
        assert refused.code is StatusCode.ALREADY_EXISTS
        assert refused.resource().resource_name == f"vehicles/{VIN}"


@on_a_loop
async def test_listings_come_in_pages_that_miss_nothing(tmp_path: Path) -> None:
    vins = [f"WCANHVAC0000000{number:02}" for number in range(7)]
    async with running_cloud(tmp_path) as client:
        for vin in reversed(vins):
            await client.register(vin)
        seen: list[str] = []
        request = vehicles_pb2.ListVehiclesRequest(page_size=3)
        while True:
            page = await client.vehicles.ListVehicles(request)
            assert len(page.vehicles) <= 3
            seen += [one.vin for one in page.vehicles]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert seen == vins


@pytest.mark.parametrize("token", ["x", "Y2FtcGFpZ25zLzE=", "dmVoaWNsZXMvJyBPUiAx", "é"])
@on_a_loop
async def test_a_page_token_from_elsewhere_is_refused(token: str, tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        request = vehicles_pb2.ListVehiclesRequest(page_token=token)
        refused = await refusal(client.vehicles.ListVehicles(request))
        assert refused.violation().field == "page_token"


@on_a_loop
async def test_a_release_is_stored_as_published_and_described(tmp_path: Path) -> None:
    files = files_of("2.0.0")
    async with running_cloud(tmp_path) as client:
        release = await client.publish("2.0.0", files)
        image = release.images[0]
        assert (image.hardware_id, image.file_name) == ("CCU-2", "ccu-2.0.0.hex")
        assert image.format == releases_pb2.IMAGE_FORMAT_INTEL_HEX
        assert image.file_sha256 == files[0].sha256
        assert (image.address, image.image_size) == (0x1000, len(IMAGES["ccu", "2.0.0"]))
        assert not image.signed
        request = releases_pb2.GetReleaseRequest(name="releases/2.0.0")
        assert await client.releases.GetRelease(request) == release


@on_a_loop
async def test_a_raw_file_takes_its_address_from_the_header(tmp_path: Path) -> None:
    file = Published(hardware_id="CCU-2", name="ccu.bin", content=bytes(range(200)), address=0x4000)
    async with running_cloud(tmp_path) as client:
        (image,) = (await client.publish("raw", [file])).images
        assert image.format == releases_pb2.IMAGE_FORMAT_RAW
        assert (image.address, image.image_size) == (0x4000, 200)


@on_a_loop
async def test_the_same_release_again_is_the_same_release(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        first = await client.publish("2.0.0", files_of("2.0.0"))
        assert await client.publish("2.0.0", files_of("2.0.0")) == first
        refused = await refusal(client.publish("2.0.0", files_of("1.0.0")))
        assert refused.code is StatusCode.ALREADY_EXISTS
        assert refused.resource().resource_name == "releases/2.0.0"
        listed = await client.releases.ListReleases(releases_pb2.ListReleasesRequest())
        assert list(listed.releases) == [first]


def _with_line(content: bytes, line: int, text: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[line - 1] = text + b"\r\n"
    return b"".join(lines)


_GOOD = hex_file(IMAGES["ccu", "2.0.0"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_with_line(_GOOD, 3, b":10zz"), "line 3"),
        (_with_line(_GOOD, 4, _GOOD.splitlines()[3][:-2] + b"00"), "line 4"),
        (_with_line(_GOOD, 5, _GOOD.splitlines()[2]), "line 5"),
        (b"not a hex file at all", "line 1"),
    ],
    ids=["malformed", "wrong checksum", "overlap", "no record"],
)
@on_a_loop
async def test_a_malformed_file_is_refused_by_name_and_line(
    content: bytes, said: str, tmp_path: Path
) -> None:
    good, _ = files_of("2.0.0")
    bad = Published(hardware_id="BLW-1", name="blower.hex", content=content)
    async with running_cloud(tmp_path) as client:
        refused = await refusal(client.publish("2.0.0", [good, bad]))
        assert refused.code is StatusCode.INVALID_ARGUMENT, refused
        assert refused.violation().field == "blower.hex"
        assert said in refused.message
        await _nothing_published(client, tmp_path)


async def _nothing_published(client: Client, directory: Path) -> None:
    listed = await client.releases.ListReleases(releases_pb2.ListReleasesRequest())
    assert not listed.releases
    assert not [path for path in (directory / "objects").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            Published(
                hardware_id="CCU-2",
                name="blower.s19",
                content=image_path("blower", "2.0.0").read_bytes(),
            ),
            "it says of itself that it is for BLW-1, not CCU-2",
        ),
        (
            Published(hardware_id="CCU-2", name="high.bin", content=b"ab", address=0xFFFF_FFFF),
            "2 bytes at 0xffffffff run past 32 bits",
        ),
    ],
    ids=["another hardware", "past 32 bits"],
)
@on_a_loop
async def test_a_file_that_can_fit_no_ecu_is_refused_by_name(
    file: Published, said: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        refused = await refusal(client.publish("2.0.0", [file]))
        assert refused.code is StatusCode.INVALID_ARGUMENT, refused
        assert refused.violation().field == file.name
        assert said in refused.message
        await _nothing_published(client, tmp_path)


@pytest.mark.parametrize("name", ["my firmware (v2).hex", "K\u00fchlung.hex", "-dash", "a" * 128])
@on_a_loop
async def test_a_file_is_called_as_its_maker_called_it(name: str, tmp_path: Path) -> None:
    file = Published(hardware_id="CCU-2", name=name, content=hex_file(b"\x01"))
    async with running_cloud(tmp_path) as client:
        assert (await client.publish("2.0.0", [file])).images[0].file_name == name


@pytest.mark.parametrize(
    "name", ["", "..", "a/b.hex", "a\\b.hex", "a\nb.hex", "a\x1b[31m.hex", "a\u202eb", "a" * 129]
)
@on_a_loop
async def test_what_is_not_a_file_name_is_refused(name: str, tmp_path: Path) -> None:
    file = Published(hardware_id="CCU-2", name=name, content=hex_file(b"\x01"))
    async with running_cloud(tmp_path) as client:
        refused = await refusal(client.publish("2.0.0", [file]))
        assert refused.violation().field == "header.files[0].file_name"
        await _nothing_published(client, tmp_path)


@pytest.mark.parametrize(
    ("announce", "said"),
    [
        (lambda file: setattr(file, "file_size", file.file_size + 1), "bytes came"),
        (lambda file: setattr(file, "file_size", file.file_size - 1), "announced"),
        (lambda file: setattr(file, "file_sha256", bytes(32)), "SHA-256"),
    ],
    ids=["too short", "too long", "flipped"],
)
@on_a_loop
async def test_bytes_that_are_not_the_announced_ones_are_data_loss(
    announce: Callable[[releases_pb2.CreateReleaseRequest.File], None], said: str, tmp_path: Path
) -> None:
    # Bigger than the buffer of an upload, so that pieces are on disk when it fails.
    file = Published(hardware_id="CCU-2", name="ccu.bin", content=bytes(3_000_000))
    first = header("2.0.0", [file])
    announce(first.header.files[0])
    async with running_cloud(tmp_path) as client:
        requests = [first, *chunks_of(file.content, 1 << 19)]
        refused = await refusal(client.releases.CreateRelease(iter(requests)))
        assert refused.code is StatusCode.DATA_LOSS
        assert refused.message.startswith("ccu.bin: ")
        assert said in refused.message
        await _nothing_published(client, tmp_path)


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ([], StatusCode.INVALID_ARGUMENT, "at least one file"),
        (
            [Published(hardware_id="CCU-2", name="../ccu.hex", content=b"x")],
            StatusCode.INVALID_ARGUMENT,
            "../ccu.hex",
        ),
        (
            [Published(hardware_id="CCU-2", name="ccu.hex", content=b"")],
            StatusCode.INVALID_ARGUMENT,
            "ccu.hex is empty",
        ),
        (
            [Published(hardware_id="A", name=f"{n}.bin", content=b"x") for n in range(2)],
            StatusCode.INVALID_ARGUMENT,
            "1.bin and 0.bin are both for A",
        ),
    ],
)
@on_a_loop
async def test_a_header_that_cannot_be_is_refused_before_any_byte(
    files: Sequence[Published], code: StatusCode, said: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        refused = await refusal(client.publish("2.0.0", files))
        assert refused.code is code
        assert said in refused.message
        await _nothing_published(client, tmp_path)


@on_a_loop
async def test_a_file_of_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    first = header("big", [Published(hardware_id="CCU-2", name="big.bin", content=b"x")])
    first.header.files[0].file_size = 65 * 1024 * 1024
    async with running_cloud(tmp_path) as client:
        refused = await refusal(client.releases.CreateRelease(iter([first])))
        assert refused.code is StatusCode.RESOURCE_EXHAUSTED
        assert "big.bin" in refused.message


@on_a_loop
async def test_an_upload_begins_with_a_header_and_goes_on_with_chunks(tmp_path: Path) -> None:
    (file, _) = files_of("2.0.0")
    async with running_cloud(tmp_path) as client:
        for requests in (
            [],
            chunks_of(file.content),
            [header("a", [file]), header("a", [file])],
        ):
            refused = await refusal(client.releases.CreateRelease(iter(requests)))
            assert refused.violation().field == "part"
        await _nothing_published(client, tmp_path)


@on_a_loop
async def test_a_full_store_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    async with running_cloud(tmp_path, free_space=lambda: 100) as client:
        refused = await refusal(client.publish("2.0.0", files_of("2.0.0")))
        assert refused.code is StatusCode.RESOURCE_EXHAUSTED
        assert str(tmp_path / "objects") in refused.message
        await _nothing_published(client, tmp_path)


@on_a_loop
async def test_an_upload_that_its_client_gives_up_leaves_nothing(tmp_path: Path) -> None:
    file = Published(hardware_id="CCU-2", name="ccu.bin", content=bytes(3_000_000))
    async with running_cloud(tmp_path) as client:
        call = client.upload()
        await call.write(header("2.0.0", [file]))
        for chunk in chunks_of(file.content[:2_500_000], 1 << 19):
            await call.write(chunk)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The next call is served after the first one's end is known to the server.
        await client.publish("other", files_of("1.0.0"))
        listed = await client.releases.ListReleases(releases_pb2.ListReleasesRequest())
        assert [release.name for release in listed.releases] == ["releases/other"]
    async with running_cloud(tmp_path):
        assert not list((tmp_path / "objects" / "uploads").glob("*"))


@on_a_loop
async def test_a_dry_run_gives_a_verdict_for_each_vehicle_and_changes_nothing(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        await client.register(OTHER_VIN)
        for version in ("1.0.0", "2.0.0"):
            await client.publish(version, files_of(version))
        await client.check_in()
        made = await client.campaigns.CreateCampaign(
            campaigns_pb2.CreateCampaignRequest(release="releases/2.0.0", vins=[VIN, OTHER_VIN])
        )
        assert made.name == "campaigns/2.0.0-1"
        request = campaigns_pb2.DryRunCampaignRequest(name=made.name)
        good, bad = (await client.campaigns.DryRunCampaign(request)).verdicts
        assert (good.vin, good.verdict) == (VIN, campaigns_pb2.VERDICT_UPDATE)
        assert [change.ecu for change in good.changes] == ["ccu", "blower"]
        assert good.changes[0].version_before == "1.0.0"
        assert any("carries no signature" in warning for warning in good.warnings)
        assert (bad.vin, bad.verdict) == (OTHER_VIN, campaigns_pb2.VERDICT_REFUSED)
        assert "has not checked in" in bad.reasons[0]
        again = await client.campaigns.GetCampaign(campaigns_pb2.GetCampaignRequest(name=made.name))
        assert again == made
        assert (await client.check_in()).HasField("offer") is False


@on_a_loop
async def test_a_started_campaign_offers_or_refuses_each_vehicle(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register(OTHER_VIN)
        await client.offered()
        listed = await client.campaigns.ListCampaigns(campaigns_pb2.ListCampaignsRequest())
        assert [one.name for one in listed.campaigns] == ["campaigns/2.0.0-1"]
        other = await client.start_campaign(vins=[VIN, OTHER_VIN])
        busy, unseen = other.assignments
        assert other.state == campaigns_pb2.CAMPAIGN_STATE_RUNNING
        assert busy.phase == campaigns_pb2.PHASE_WAITING
        assert unseen.outcome == campaigns_pb2.OUTCOME_REFUSED
        assert "has not checked in" in unseen.reason


@pytest.mark.parametrize(
    ("release", "vins", "code", "said"),
    [
        ("releases/2.0.0", [], StatusCode.INVALID_ARGUMENT, "at least one vehicle"),
        ("releases/2.0.0", [VIN, VIN], StatusCode.INVALID_ARGUMENT, "is also vins[0]"),
        ("releases/2.0.0", [OTHER_VIN], StatusCode.NOT_FOUND, f"vehicles/{OTHER_VIN}"),
        ("releases/9", [VIN], StatusCode.NOT_FOUND, "releases/9"),
        ("nonsense", [VIN], StatusCode.INVALID_ARGUMENT, "nonsense"),
    ],
)
@on_a_loop
async def test_a_campaign_that_cannot_be_is_refused(
    release: str, vins: Sequence[str], code: StatusCode, said: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        await client.publish("2.0.0", files_of("2.0.0"))
        request = campaigns_pb2.CreateCampaignRequest(release=release, vins=vins)
        refused = await refusal(client.campaigns.CreateCampaign(request))
        assert refused.code is code
        assert said in refused.message
        listed = await client.campaigns.ListCampaigns(campaigns_pb2.ListCampaignsRequest())
        assert not listed.campaigns


@on_a_loop
async def test_a_campaign_starts_once(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        request = campaigns_pb2.StartCampaignRequest(name=offer.campaign)
        refused = await refusal(client.campaigns.StartCampaign(request))
        assert refused.code is StatusCode.FAILED_PRECONDITION
        assert refused.precondition().subject == offer.campaign


@on_a_loop
async def test_a_watch_shows_every_state_and_ends_with_the_campaign(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        watch = client.campaigns.WatchCampaign(
            campaigns_pb2.WatchCampaignRequest(name=offer.campaign)
        )
        seen = aiter(watch)
        first = await anext(seen)
        assert first.assignments[0].phase == campaigns_pb2.PHASE_OFFERED
        await client.submit(updated(offer))
        last = [campaign async for campaign in seen][-1]
        assert last.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        assert last.assignments[0].outcome == campaigns_pb2.OUTCOME_UPDATED


@on_a_loop
async def test_a_stopping_cloud_lets_watchers_go_at_once(tmp_path: Path) -> None:
    cloud = Cloud(CloudOptions(state_directory=tmp_path))
    await cloud.start()
    async with connected(cloud.target) as client:
        offer = await client.offered()
        watch = aiter(
            client.campaigns.WatchCampaign(campaigns_pb2.WatchCampaignRequest(name=offer.campaign))
        )
        await anext(watch)
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopping = asyncio.create_task(cloud.stop())
        with pytest.raises(aio.AioRpcError) as caught:
            await anext(watch)
        await stopping
        assert caught.value.code() is StatusCode.UNAVAILABLE
        assert loop.time() - began < 0.9


@pytest.mark.parametrize(
    ("format_", "begins"),
    [
        (reports_pb2.REPORT_FORMAT_HTML, b"<!doctype html>"),
        (reports_pb2.REPORT_FORMAT_JSON, b"{"),
        (reports_pb2.REPORT_FORMAT_CSV, b"campaign,"),
    ],
)
@on_a_loop
async def test_a_finished_campaign_is_exported(
    format_: reports_pb2.ReportFormat.ValueType, begins: bytes, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        request = reports_pb2.ExportReportRequest(campaign=offer.campaign, format=format_)
        early = await refusal(anext(aiter(client.reports.ExportReport(request))))
        assert early.code is StatusCode.FAILED_PRECONDITION
        await client.submit(updated(offer))
        content = b"".join(
            [response.chunk async for response in client.reports.ExportReport(request)]
        )
        assert content.lower().startswith(begins)
        assert VIN.encode() in content


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("campaigns/none", StatusCode.NOT_FOUND),
        ("none", StatusCode.INVALID_ARGUMENT),
        ("campaigns/../x", StatusCode.INVALID_ARGUMENT),
    ],
)
@on_a_loop
async def test_an_unknown_campaign_is_named_by_every_method(
    name: str, code: StatusCode, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        service = client.campaigns
        watch = service.WatchCampaign(campaigns_pb2.WatchCampaignRequest(name=name))
        export = client.reports.ExportReport(
            reports_pb2.ExportReportRequest(campaign=name, format=reports_pb2.REPORT_FORMAT_JSON)
        )
        for call in (
            service.GetCampaign(campaigns_pb2.GetCampaignRequest(name=name)),
            service.DryRunCampaign(campaigns_pb2.DryRunCampaignRequest(name=name)),
            service.StartCampaign(campaigns_pb2.StartCampaignRequest(name=name)),
            anext(aiter(watch)),
            anext(aiter(export)),
        ):
            refused = await refusal(call)
            assert refused.code is code
            assert name in refused.message


@on_a_loop
async def test_what_is_not_there_is_not_found_by_name(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        for call, name in (
            (
                client.vehicles.GetVehicle(vehicles_pb2.GetVehicleRequest(name=f"vehicles/{VIN}")),
                f"vehicles/{VIN}",
            ),
            (
                client.releases.GetRelease(releases_pb2.GetReleaseRequest(name="releases/x")),
                "releases/x",
            ),
            (
                client.diagnostics.ListSnapshots(
                    diagnostics_pb2.ListSnapshotsRequest(parent=f"vehicles/{VIN}")
                ),
                f"vehicles/{VIN}",
            ),
            (
                client.diagnostics.GetSnapshot(
                    diagnostics_pb2.GetSnapshotRequest(name=f"vehicles/{VIN}/snapshots/latest")
                ),
                f"vehicles/{VIN}",
            ),
        ):
            refused = await refusal(call)
            assert refused.code is StatusCode.NOT_FOUND
            assert refused.resource().resource_name == name
        await client.register()
        latest = f"vehicles/{VIN}/snapshots/latest"
        request = diagnostics_pb2.GetSnapshotRequest(name=latest)
        refused = await refusal(client.diagnostics.GetSnapshot(request))
        assert refused.resource().resource_name == latest


@on_a_loop
async def test_garbage_instead_of_a_request_is_an_invalid_argument(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        for method in ("VehicleService/GetVehicle", "GatewayService/CheckIn"):
            call = client.channel.unary_unary(
                f"/fleet.v1.{method}", request_serializer=bytes, response_deserializer=bytes
            )
            refused = await refusal(call(b"\xff\xff\xff\xff"))
            assert refused.code is StatusCode.INVALID_ARGUMENT
            assert refused.violation().field == "request"


@on_a_loop
async def test_a_request_of_more_than_four_mebibytes_is_refused(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        request = vehicles_pb2.GetVehicleRequest(name="x" * 5_000_000)
        with pytest.raises(aio.AioRpcError) as caught:
            await client.vehicles.GetVehicle(request)
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED


@on_a_loop
async def test_health_and_reflection_answer_for_every_service(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        checks = health_pb2_grpc.HealthStub(client.channel)
        for name in ("", *SERVICES):
            answer = await checks.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflected = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in reflected.ServerReflectionInfo(iter([request]))]
        names = {service.name for service in answers[0].list_services_response.service}
        assert set(SERVICES) <= names


@on_a_loop
async def test_watches_of_the_health_hold_up_neither_calls_nor_the_end(tmp_path: Path) -> None:
    running = Cloud(CloudOptions(state_directory=tmp_path))
    await running.start()
    before = threading.active_count()
    async with connected(running.target) as client:
        checks = health_pb2_grpc.HealthStub(client.channel)
        watches = [checks.Watch(health_pb2.HealthCheckRequest()) for _ in range(50)]
        for watch in watches:
            answer = await watch.read()
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert threading.active_count() == before
        await client.publish("2.0.0", files_of("2.0.0"))
        watches.pop().cancel()
        await running.stop()
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


@on_a_loop
async def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        name = campaigns_pb2.GetCampaignRequest(name=offer.campaign)
        campaign = await client.campaigns.GetCampaign(name)
        releases = await client.releases.ListReleases(releases_pb2.ListReleasesRequest())
    async with running_cloud(tmp_path) as client:
        assert await client.campaigns.GetCampaign(name) == campaign
        assert await client.releases.ListReleases(releases_pb2.ListReleasesRequest()) == releases
        assert (await client.check_in()).offer == offer
        assert await client.download(files_of("2.0.0")[0].sha256) == files_of("2.0.0")[0].content


@on_a_loop
async def test_a_directory_serves_one_cloud_and_a_port_too(tmp_path: Path) -> None:
    options = CloudOptions(state_directory=tmp_path / "a")
    async with Cloud(options) as cloud:
        with pytest.raises(CloudError, match="another cloud uses it"):
            await Cloud(options).start()
        other = replace(options, state_directory=tmp_path / "b", port=cloud.port)
        with pytest.raises(CloudError, match=cloud.target):
            await Cloud(other).start()


def test_a_cloud_in_a_thread_serves_stops_and_tells_why_it_cannot_start(tmp_path: Path) -> None:
    options = CloudOptions(state_directory=tmp_path)
    with CloudThread(options) as cloud:
        target = cloud.target

        async def ask() -> vehicles_pb2.Vehicle:
            async with connected(target) as client:
                return await client.register()

        assert asyncio.run(ask()).vin == VIN
        with pytest.raises(CloudError, match="another cloud uses it"):
            CloudThread(options).start()
    with CloudThread(options):
        pass


def test_no_ecu_of_the_bench_has_the_others_key() -> None:
    assert CCU.registration().public_key != BLOWER.registration().public_key
