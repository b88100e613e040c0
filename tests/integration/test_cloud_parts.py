"""The cloud: ECUs that stay in their boot loader, and parts that a workshop has replaced."""

from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode

from protocols.fleet.v1 import campaigns_pb2, gateway_pb2, vehicles_pb2
from tests.support.cloud import (
    BLOWER,
    CCU,
    IMAGES,
    VIN,
    Client,
    files_of,
    on_a_loop,
    refusal,
    running_cloud,
)

NEW_PART = replace(CCU, serial="CCU-0002")


async def _published(client: Client) -> None:
    await client.register()
    for version in ("1.0.0", "2.0.0"):
        await client.publish(version, files_of(version))


def _boot_loader() -> gateway_pb2.EcuInventory:
    return gateway_pb2.EcuInventory(
        ecu="blower", hardware_id=BLOWER.hardware_id, serial_number=BLOWER.serial
    )


async def _checks_in(
    client: Client, *ecus: gateway_pb2.EcuInventory
) -> gateway_pb2.CheckInResponse:
    return await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN, ecus=ecus))


async def _dry_run(client: Client) -> campaigns_pb2.VehicleVerdict:
    made = await client.campaigns.CreateCampaign(
        campaigns_pb2.CreateCampaignRequest(release="releases/2.0.0", vins=[VIN])
    )
    request = campaigns_pb2.DryRunCampaignRequest(name=made.name)
    return (await client.campaigns.DryRunCampaign(request)).verdicts[0]


@on_a_loop
async def test_an_ecu_without_an_application_is_repaired_with_what_it_last_proved(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await _published(client)
        ccu = CCU.inventory(IMAGES["ccu", "1.0.0"])
        await _checks_in(client, ccu, BLOWER.inventory(IMAGES["blower", "1.0.0"]))
        await _checks_in(client, ccu, _boot_loader())
        verdict = await _dry_run(client)
        assert verdict.verdict == campaigns_pb2.VERDICT_UPDATE
        assert "blower: no application runs, it is repaired" in verdict.warnings
        await client.start_campaign()
        offer = (await _checks_in(client, ccu, _boot_loader())).offer
        old = BLOWER.read_back(IMAGES["blower", "1.0.0"], b"").image_sha256
        assert offer.images[1].present.image_sha256 == old


@on_a_loop
async def test_an_ecu_without_an_application_that_never_proved_one_is_refused(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await _published(client)
        await _checks_in(client, CCU.inventory(IMAGES["ccu", "1.0.0"]), _boot_loader())
        verdict = await _dry_run(client)
        assert verdict.verdict == campaigns_pb2.VERDICT_REFUSED
        assert "what it should run is not known" in verdict.reasons[0]


@pytest.mark.parametrize("committed", [False, True])
@on_a_loop
async def test_what_an_ecu_should_run_is_the_new_image_once_its_update_has_committed(
    tmp_path: Path, *, committed: bool
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        blower = BLOWER.result(IMAGES["blower", "2.0.0"], offer.nonce)
        blower.ClearField("read_back")
        report = gateway_pb2.UpdateReport(
            campaign=offer.campaign,
            release=offer.release,
            outcome=campaigns_pb2.OUTCOME_FAILED_SAFE,
            reason="blower: given up",
            ecus=[CCU.result(IMAGES["ccu", "2.0.0"], offer.nonce), blower],
            steps=[gateway_pb2.Step(step="commit", failed=not committed)],
        )
        await client.submit(report)
        ccu = CCU.inventory(IMAGES["ccu", "2.0.0"], version="2.0.0")
        await _checks_in(client, ccu, _boot_loader())
        again = await client.start_campaign()
        assert again.assignments[0].phase == campaigns_pb2.PHASE_OFFERED
        (image,) = (await _checks_in(client, ccu, _boot_loader())).offer.images
        version = "2.0.0" if committed else "1.0.0"
        wanted = BLOWER.read_back(IMAGES["blower", version], b"").image_sha256
        assert image.present.image_sha256 == wanted


@on_a_loop
async def test_a_replaced_part_is_shown_and_gets_nothing_before_it_is_registered(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await _published(client)
        blower = BLOWER.inventory(IMAGES["blower", "1.0.0"])
        part = NEW_PART.inventory(IMAGES["ccu", "1.0.0"])
        await _checks_in(client, part, blower)
        name = f"vehicles/{VIN}"
        seen = await client.vehicles.GetVehicle(vehicles_pb2.GetVehicleRequest(name=name))
        assert seen.ecus[0].serial_number == "CCU-0001"
        assert seen.ecus[0].reported_serial_number == "CCU-0002"
        assert seen.ecus[0].reported_hardware_id == "CCU-2"
        verdict = await _dry_run(client)
        assert "ccu: reports serial number 'CCU-0002', registered is" in verdict.reasons[0]

        request = vehicles_pb2.ReplaceEcuRequest(
            name=f"{name}/ecus/ccu",
            serial_number="CCU-0002",
            public_key=NEW_PART.key.public_key().public_bytes_raw(),
        )
        for _ in range(2):
            found = await client.vehicles.ReplaceEcu(request)
            assert found.ecus[0].serial_number == "CCU-0002"
        assert "has not reported it yet" in (await _dry_run(client)).reasons[0]
        await _checks_in(client, part, blower)
        assert (await _dry_run(client)).verdict == campaigns_pb2.VERDICT_UPDATE


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"name": f"vehicles/{VIN}/ecus/toaster"}, StatusCode.NOT_FOUND, "ecus/toaster"),
        ({"name": "vehicles/WCANHVAC000000009/ecus/ccu"}, StatusCode.NOT_FOUND, "000009"),
        ({"name": f"vehicles/{VIN}"}, StatusCode.INVALID_ARGUMENT, "name"),
        ({"serial_number": ""}, StatusCode.INVALID_ARGUMENT, "serial_number"),
        ({"public_key": b"short"}, StatusCode.INVALID_ARGUMENT, "public_key: ccu: 5 bytes"),
    ],
)
@on_a_loop
async def test_a_part_that_cannot_be_registered_is_refused_by_its_field(
    changes: dict[str, object], code: StatusCode, words: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        whole: dict[str, object] = {
            "name": f"vehicles/{VIN}/ecus/ccu",
            "serial_number": "CCU-0002",
            "public_key": bytes(32),
        }
        request = vehicles_pb2.ReplaceEcuRequest(**(whole | changes))  # type: ignore[arg-type]  # a table of fields
        refused = await refusal(client.vehicles.ReplaceEcu(request))
        assert refused.code is code
        assert words in refused.message
