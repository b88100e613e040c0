"""What gateways can do with a running cloud, and what it believes them, over real gRPC."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc import StatusCode

from protocols.fleet.v1 import (
    campaigns_pb2,
    diagnostics_pb2,
    gateway_pb2,
    vehicles_pb2,
)
from tests.support.cloud import (
    BLOWER,
    CCU,
    CHECK_IN_NONCE,
    ECUS,
    IMAGES,
    OTHER_VIN,
    VIN,
    Client,
    Published,
    chunks_of,
    connected,
    files_of,
    header,
    on_a_loop,
    refusal,
    running_cloud,
    snapshot,
    updated,
)


async def _vehicle(client: Client) -> vehicles_pb2.Vehicle:
    return await client.vehicles.GetVehicle(vehicles_pb2.GetVehicleRequest(name=f"vehicles/{VIN}"))


async def _assignment(client: Client, campaign: str) -> campaigns_pb2.Assignment:
    request = campaigns_pb2.GetCampaignRequest(name=campaign)
    return (await client.campaigns.GetCampaign(request)).assignments[0]


@on_a_loop
async def test_a_check_in_tells_what_the_ecus_run(tmp_path: Path) -> None:
    async with running_cloud(tmp_path, poll_s=7.5) as client:
        await client.register()
        answer = await client.check_in()
        assert not answer.HasField("offer")
        assert answer.next_check_in.ToTimedelta().total_seconds() == 7.5
        seen = await _vehicle(client)
        assert seen.HasField("last_seen_time")
        assert [ecu.software_version for ecu in seen.ecus] == ["1.0.0", "1.0.0"]
        assert seen.ecus[0].image_sha256 == CCU.read_back(IMAGES["ccu", "1.0.0"], b"").image_sha256


@on_a_loop
async def test_a_vehicle_that_is_not_registered_cannot_check_in(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        refused = await refusal(client.check_in())
        assert refused.code is StatusCode.NOT_FOUND
        assert refused.resource().resource_name == f"vehicles/{VIN}"


@on_a_loop
async def test_an_inventory_without_a_valid_signature_proves_no_digest(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        inventory = CCU.inventory(IMAGES["ccu", "1.0.0"])
        inventory.read_back.CopyFrom(BLOWER.read_back(IMAGES["ccu", "1.0.0"], CHECK_IN_NONCE))
        await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN, ecus=[inventory]))
        ccu = (await _vehicle(client)).ecus[0]
        assert (ccu.software_version, ccu.image_sha256) == ("1.0.0", b"")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i: setattr(i, "error", "no answer in 2 s"), "blower: could not be read: no answer"),
        (lambda i: setattr(i, "hardware_id", "BLW-9"), "blower: reports hardware 'BLW-9'"),
        (lambda i: setattr(i, "serial_number", "X"), "blower: reports serial number 'X'"),
        (lambda i: i.ClearField("read_back"), "blower: it has a single slot and did not prove"),
        (
            lambda i: i.read_back.CopyFrom(BLOWER.read_back(b"foreign", CHECK_IN_NONCE)),
            "blower: it has a single slot and runs an image that was never published",
        ),
    ],
)
@on_a_loop
async def test_an_ecu_that_cannot_be_relied_on_refuses_the_vehicle(
    change: Callable[[gateway_pb2.EcuInventory], None], said: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        for version in ("1.0.0", "2.0.0"):
            await client.publish(version, files_of(version))
        blower = BLOWER.inventory(IMAGES["blower", "1.0.0"])
        change(blower)
        ecus = [CCU.inventory(IMAGES["ccu", "1.0.0"]), blower]
        await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN, ecus=ecus))
        (assignment,) = (await client.start_campaign()).assignments
        assert assignment.outcome == campaigns_pb2.OUTCOME_REFUSED
        assert assignment.reason.startswith(said)


@on_a_loop
async def test_an_offer_is_the_same_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        assert len(offer.nonce) == 32
        ccu, blower = offer.images
        assert (ccu.ecu, ccu.HasField("present")) == ("ccu", False)
        assert (
            blower.present.image_sha256
            == BLOWER.read_back(IMAGES["blower", "1.0.0"], b"").image_sha256
        )
        # Also while the ECUs run the new release on trial.
        assert (await client.check_in(version="2.0.0")).offer == offer


@on_a_loop
async def test_seeded_nonces_repeat_and_unseeded_do_not(tmp_path: Path) -> None:
    nonces = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6), ("d", None), ("e", None)):
        async with running_cloud(tmp_path / name, seed=seed) as client:
            nonces.append((await client.offered()).nonce)
    assert nonces[0] == nonces[1]
    assert len(set(nonces)) == 4


@on_a_loop
async def test_a_download_goes_on_at_any_offset(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    file = Published(hardware_id="CCU-2", name="ccu.bin", content=content, address=0)
    big = vehicles_pb2.Vehicle(vin=VIN, model="bench", ecus=[CCU.registration()])
    big.ecus[0].slot_size = 2_000_000
    async with running_cloud(tmp_path) as client:
        big.ecus[0].application_base = 0
        await client.vehicles.CreateVehicle(vehicles_pb2.CreateVehicleRequest(vehicle=big))
        await client.publish("raw", [file])
        inventory = CCU.inventory(IMAGES["ccu", "1.0.0"])
        await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN, ecus=[inventory]))
        await client.start_campaign("raw")
        for offset in (0, 1, 262_144, len(content) - 1, len(content)):
            assert await client.download(file.sha256, offset=offset) == content[offset:]
        refused = await refusal(client.download(file.sha256, offset=len(content) + 1))
        assert refused.code is StatusCode.OUT_OF_RANGE
        assert refused.violation().field == "offset"


@on_a_loop
async def test_only_offered_files_can_be_downloaded(tmp_path: Path) -> None:
    (ccu_old, blower_old), (ccu_new, blower_new) = files_of("1.0.0"), files_of("2.0.0")
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        await client.register(OTHER_VIN)
        for file in (ccu_new, blower_new, blower_old):
            assert await client.download(file.sha256) == file.content
        for vin, digest in (
            (VIN, ccu_old.sha256),
            (VIN, bytes(32)),
            (OTHER_VIN, ccu_new.sha256),
        ):
            refused = await refusal(client.download(digest, vin=vin))
            assert refused.code is StatusCode.PERMISSION_DENIED
            assert refused.resource().resource_name == digest.hex()
        await client.submit(updated(offer))
        refused = await refusal(client.download(ccu_new.sha256))
        assert refused.code is StatusCode.PERMISSION_DENIED


@on_a_loop
async def test_only_newer_progress_counts_and_phases_never_go_back(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()

        async def report(sequence: int, phase: campaigns_pb2.Phase.ValueType, done: int) -> None:
            ecu = campaigns_pb2.EcuProgress(
                ecu="ccu", step="transferring", bytes_done=done, bytes_total=100
            )
            await client.gateway.ReportProgress(
                gateway_pb2.ReportProgressRequest(
                    vin=VIN,
                    campaign=offer.campaign,
                    sequence=sequence,
                    phase=phase,
                    ecus=[ecu],
                )
            )

        for sequence, phase, done, phase_then, done_then in (
            (0, campaigns_pb2.PHASE_DOWNLOADING, 5, campaigns_pb2.PHASE_DOWNLOADING, 5),
            (4, campaigns_pb2.PHASE_STAGING, 40, campaigns_pb2.PHASE_STAGING, 40),
            (4, campaigns_pb2.PHASE_ACTIVATING, 41, campaigns_pb2.PHASE_STAGING, 40),
            (3, campaigns_pb2.PHASE_ACTIVATING, 39, campaigns_pb2.PHASE_STAGING, 40),
            (5, campaigns_pb2.PHASE_DOWNLOADING, 50, campaigns_pb2.PHASE_STAGING, 50),
            (6, campaigns_pb2.PHASE_DONE, 60, campaigns_pb2.PHASE_STAGING, 60),
        ):
            await report(sequence, phase, done)
            assignment = await _assignment(client, offer.campaign)
            assert assignment.phase == phase_then
            assert assignment.ecus[0].bytes_done == done_then


@on_a_loop
async def test_a_proved_update_counts_and_is_known_from_then_on(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        answer = await client.submit(updated(offer))
        assert (answer.outcome, answer.reason) == (campaigns_pb2.OUTCOME_UPDATED, "")
        assert [ecu.software_version for ecu in (await _vehicle(client)).ecus] == ["2.0.0"] * 2
        assert not (await client.check_in(version="2.0.0")).HasField("offer")
        (again,) = (await client.start_campaign()).assignments
        assert again.outcome == campaigns_pb2.OUTCOME_UPDATED
        assert "ran it already" in again.reason


def _replayed(offer: gateway_pb2.Offer) -> gateway_pb2.ReadBack:
    assert offer.nonce != CHECK_IN_NONCE
    return CCU.read_back(IMAGES["ccu", "2.0.0"], CHECK_IN_NONCE)


@pytest.mark.parametrize(
    ("read_back", "said"),
    [
        (lambda _: None, "ccu: nothing was read back"),
        (_replayed, "ccu: the read-back is signed over another nonce"),
        (
            lambda offer: BLOWER.read_back(IMAGES["ccu", "2.0.0"], offer.nonce),
            "ccu: the signature of the read-back does not verify",
        ),
        (
            lambda offer: CCU.read_back(IMAGES["ccu", "1.0.0"], offer.nonce),
            "ccu: it runs an image with SHA-256",
        ),
    ],
    ids=["none", "replayed", "another ECU's", "the old image"],
)
@on_a_loop
async def test_an_update_without_proof_is_not_believed(
    read_back: Callable[[gateway_pb2.Offer], gateway_pb2.ReadBack | None],
    said: str,
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        report = updated(offer)
        report.ecus[0].ClearField("read_back")
        if (found := read_back(offer)) is not None:
            report.ecus[0].read_back.CopyFrom(found)
        answer = await client.submit(report)
        assert answer.outcome == campaigns_pb2.OUTCOME_FAILED_SAFE
        assert said in answer.reason
        assignment = await _assignment(client, offer.campaign)
        assert (assignment.outcome, assignment.reason) == (answer.outcome, answer.reason)


@on_a_loop
async def test_an_ecu_that_the_report_leaves_out_is_not_updated(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        report = updated(await client.offered())
        del report.ecus[1]
        answer = await client.submit(report)
        assert answer.outcome == campaigns_pb2.OUTCOME_FAILED_SAFE
        assert "blower: the report does not speak of it" in answer.reason


@on_a_loop
async def test_a_roll_back_is_believed_unless_an_ecu_proves_otherwise(tmp_path: Path) -> None:
    for name, runs, outcome in (
        ("old", "1.0.0", campaigns_pb2.OUTCOME_ROLLED_BACK),
        ("new", "2.0.0", campaigns_pb2.OUTCOME_FAILED_SAFE),
    ):
        async with running_cloud(tmp_path / name) as client:
            offer = await client.offered()
            report = updated(offer)
            report.outcome = campaigns_pb2.OUTCOME_ROLLED_BACK
            report.reason = "blower: does not start"
            for index, ecu in enumerate(ECUS):
                result = ecu.result(
                    IMAGES[ecu.name, "2.0.0"], offer.nonce, runs=IMAGES[ecu.name, runs]
                )
                report.ecus[index].CopyFrom(result)
            answer = await client.submit(report)
            assert answer.outcome == outcome
            assert "blower: does not start" in answer.reason


@on_a_loop
async def test_a_second_report_gets_the_first_ones_answer(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        first = await client.submit(updated(offer))
        assert await client.submit(updated(offer)) == first
        other = updated(offer)
        other.outcome = campaigns_pb2.OUTCOME_FAILED_SAFE
        assert await client.submit(other) == first


@on_a_loop
async def test_a_report_must_be_about_an_offer(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        nameless, endless = updated(offer), updated(offer)
        nameless.campaign = "campaigns/other"
        endless.outcome = campaigns_pb2.OUTCOME_UNSPECIFIED
        assert (await refusal(client.submit(nameless))).code is StatusCode.NOT_FOUND
        refused = await refusal(client.submit(endless))
        assert refused.violation().field == "report.outcome"
        draft = await client.campaigns.CreateCampaign(
            campaigns_pb2.CreateCampaignRequest(release="releases/2.0.0", vins=[VIN])
        )
        early = updated(offer)
        early.campaign = draft.name
        assert (await refusal(client.submit(early))).code is StatusCode.FAILED_PRECONDITION


@on_a_loop
async def test_snapshots_are_kept_once_and_come_newest_first(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        sent = [snapshot(f"s{number}", seconds=number) for number in range(3)]
        for message in [*sent, sent[0]]:
            await client.gateway.UploadSnapshot(
                gateway_pb2.UploadSnapshotRequest(vin=VIN, snapshot=message)
            )
        names = []
        request = diagnostics_pb2.ListSnapshotsRequest(parent=f"vehicles/{VIN}", page_size=2)
        while True:
            page = await client.diagnostics.ListSnapshots(request)
            names += [one.name.rpartition("/")[2] for one in page.snapshots]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert names == ["s2", "s1", "s0"]
        latest = await client.diagnostics.GetSnapshot(
            diagnostics_pb2.GetSnapshotRequest(name=f"vehicles/{VIN}/snapshots/latest")
        )
        assert latest == sent[2]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: setattr(s, "name", f"vehicles/{OTHER_VIN}/snapshots/a"), "snapshot.name"),
        (lambda s: setattr(s, "name", f"vehicles/{VIN}/snapshots/latest"), "snapshot.name"),
        (lambda s: setattr(s, "occasion", "why not"), "snapshot.occasion"),
        (lambda s: s.signals[0].values.append(1.0), "snapshot.signals[0].values"),
        (lambda s: setattr(s.time, "seconds", 1 << 60), "snapshot.time"),
    ],
)
@on_a_loop
async def test_a_snapshot_that_cannot_be_is_refused_by_field(
    change: Callable[[diagnostics_pb2.DiagnosticSnapshot], None], field: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        message = snapshot("a")
        change(message)
        request = gateway_pb2.UploadSnapshotRequest(vin=VIN, snapshot=message)
        refused = await refusal(client.gateway.UploadSnapshot(request))
        assert refused.code is StatusCode.INVALID_ARGUMENT
        assert refused.violation().field == field


@on_a_loop
async def test_a_virtual_clock_is_set_by_its_callers_and_goes_on_after_a_restart(
    tmp_path: Path,
) -> None:
    moment_us = 1_790_000_000_123_456
    async with running_cloud(tmp_path, virtual_clock=True) as client:
        await client.register()
        assert (await _vehicle(client)).create_time.seconds == 1_780_300_800
        for value in (moment_us, moment_us - 5):
            await client.gateway.CheckIn(
                gateway_pb2.CheckInRequest(vin=VIN), metadata=(("canota-time-us", str(value)),)
            )
            assert (await _vehicle(client)).last_seen_time.ToMicroseconds() == moment_us
        call = client.gateway.CheckIn(
            gateway_pb2.CheckInRequest(vin=VIN), metadata=(("canota-time-us", "noon"),)
        )
        assert (await refusal(call)).violation().field == "canota-time-us"
    async with running_cloud(tmp_path, virtual_clock=True) as client:
        await client.register(OTHER_VIN)
        got = await client.vehicles.GetVehicle(
            vehicles_pb2.GetVehicleRequest(name=f"vehicles/{OTHER_VIN}")
        )
        assert got.create_time.ToMicroseconds() == moment_us


_PROGRAM = """
import asyncio, pathlib, sys
from cloud.app import Cloud, CloudOptions
async def main():
    async with Cloud(CloudOptions(state_directory=pathlib.Path(sys.argv[1]))) as cloud:
        print(cloud.target, flush=True)
        await cloud.wait()
asyncio.run(main())
"""


@on_a_loop
async def test_a_cloud_killed_in_the_middle_of_an_upload_loses_only_that(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    target = (await process.stdout.readline()).decode().strip()
    big = Published(hardware_id="CCU-2", name="ccu.bin", content=os.urandom(3_500_000))
    async with connected(target) as client:
        offer = await client.offered()
        call = client.upload()
        await call.write(header("3.0.0", [big]))
        for chunk in chunks_of(big.content[:3_000_000], 1 << 19):
            await call.write(chunk)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with running_cloud(tmp_path) as client:
        assert not list((tmp_path / "objects" / "uploads").glob("*"))
        assert (await client.check_in()).offer == offer
        assert await client.download(files_of("2.0.0")[0].sha256)
        assert len((await client.publish("3.0.0", [big])).images) == 1


@on_a_loop
async def test_files_that_no_release_speaks_of_are_swept_at_the_start(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.offered()
    files = tmp_path / "objects" / "files"
    orphan = files / ("0" * 64)
    orphan.write_bytes(b"kept, but never published")
    known = set(files.iterdir()) - {orphan}
    assert known
    async with running_cloud(tmp_path):
        assert set(files.iterdir()) == known


@on_a_loop
async def test_an_offer_that_was_not_begun_ends_where_another_part_has_come(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        silent = gateway_pb2.EcuInventory(ecu="ccu", error="does not answer")
        answer = await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN, ecus=[silent]))
        assert answer.offer == offer  # it is waited for
        other = CCU.inventory(IMAGES["ccu", "1.0.0"])
        other.serial_number = "CCU-0002"
        answer = await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN, ecus=[other]))
        assert not answer.HasField("offer")
        campaign = await client.campaigns.GetCampaign(
            campaigns_pb2.GetCampaignRequest(name=offer.campaign)
        )
        (assignment,) = campaign.assignments
        assert assignment.outcome == campaigns_pb2.OUTCOME_REFUSED
        assert "ccu: reports serial number 'CCU-0002'" in assignment.reason
