"""A release that is taken back: cancelled by an operator, or superseded by a newer campaign."""

from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode

from protocols.fleet.v1 import campaigns_pb2, gateway_pb2
from tests.support.cloud import (
    ECUS,
    IMAGES,
    OTHER_VIN,
    VIN,
    Client,
    files_of,
    on_a_loop,
    refusal,
    running_cloud,
    updated,
)

NAME = "campaigns/2.0.0-1"
NEWER = "campaigns/1.0.0-1"


async def _campaign(client: Client, name: str = NAME) -> campaigns_pb2.Campaign:
    return await client.campaigns.GetCampaign(campaigns_pb2.GetCampaignRequest(name=name))


async def _part(client: Client, name: str = NAME) -> campaigns_pb2.Assignment:
    return (await _campaign(client, name)).assignments[0]


async def _cancel(client: Client, name: str = NAME) -> campaigns_pb2.Campaign:
    return await client.campaigns.CancelCampaign(campaigns_pb2.CancelCampaignRequest(name=name))


async def _asks(client: Client, unfinished: str = NAME) -> gateway_pb2.CheckInResponse:
    """The check-in of a gateway that is at work."""
    return await client.gateway.CheckIn(
        gateway_pb2.CheckInRequest(vin=VIN, unfinished_campaign=unfinished)
    )


async def _at(
    client: Client, phase: campaigns_pb2.Phase.ValueType, sequence: int
) -> gateway_pb2.ReportProgressResponse:
    return await client.gateway.ReportProgress(
        gateway_pb2.ReportProgressRequest(
            vin=VIN, campaign=NAME, sequence=sequence, phase=phase, ecus=[]
        )
    )


def went_back(offer: gateway_pb2.Offer, reason: str) -> gateway_pb2.UpdateReport:
    return gateway_pb2.UpdateReport(
        campaign=offer.campaign,
        release=offer.release,
        outcome=campaigns_pb2.OUTCOME_ROLLED_BACK,
        reason=reason,
        ecus=[
            ecu.result(
                IMAGES[ecu.name, "2.0.0"],
                offer.nonce,
                runs=IMAGES[ecu.name, "1.0.0"],
                version="1.0.0",
            )
            for ecu in ECUS
        ],
    )


@on_a_loop
async def test_a_draft_and_an_offer_that_nobody_has_taken_are_cancelled_at_once(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.offered()
        await client.register(OTHER_VIN)
        draft = await client.campaigns.CreateCampaign(
            campaigns_pb2.CreateCampaignRequest(release="releases/2.0.0", vins=[OTHER_VIN])
        )
        done = await _cancel(client, draft.name)
        assert done.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        assert done.HasField("cancel_time")
        assert done.assignments[0].outcome == campaigns_pb2.OUTCOME_REFUSED
        assert done.assignments[0].withdrawal == campaigns_pb2.WITHDRAWAL_ACCEPTED
        assert done.assignments[0].reason == "cancelled by an operator before the vehicle had begun"
        refused = await refusal(
            client.campaigns.StartCampaign(campaigns_pb2.StartCampaignRequest(name=draft.name))
        )
        assert refused.code is StatusCode.FAILED_PRECONDITION


@on_a_loop
async def test_a_vehicle_at_work_is_told_at_every_call_until_it_reports(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        await _at(client, campaigns_pb2.PHASE_STAGING, 1)
        assert not (await _asks(client)).HasField("withdrawal")
        cancelled = await _cancel(client)
        assert cancelled.state == campaigns_pb2.CAMPAIGN_STATE_CANCELLING
        assert cancelled.assignments[0].withdrawal == campaigns_pb2.WITHDRAWAL_REQUESTED
        assert cancelled.assignments[0].phase == campaigns_pb2.PHASE_STAGING
        # Twice, by either call, with an answer that got lost in between.
        for answer in (await _asks(client), await _asks(client)):
            assert answer.withdrawal.campaign == NAME
            assert answer.withdrawal.reason == "cancelled by an operator"
            assert not answer.HasField("offer")
        assert (await _at(client, campaigns_pb2.PHASE_STAGING, 2)).HasField("withdrawal")
        again = await _cancel(client)
        assert again.state == campaigns_pb2.CAMPAIGN_STATE_CANCELLING
        assert again.cancel_time == cancelled.cancel_time
        await _at(client, campaigns_pb2.PHASE_REVERTING, 3)
        assert (await _part(client)).withdrawal == campaigns_pb2.WITHDRAWAL_ACCEPTED
        for _ in range(2):
            judged = await client.submit(went_back(offer, "cancelled by an operator"))
            assert judged.outcome == campaigns_pb2.OUTCOME_ROLLED_BACK
        ended = await _campaign(client)
        assert ended.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        assert ended.assignments[0].reason == "cancelled by an operator"
        assert (await _cancel(client)) == ended
        assert not (await client.check_in()).HasField("offer")


@on_a_loop
async def test_a_vehicle_that_has_committed_is_named_and_nothing_is_cancelled(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        await _at(client, campaigns_pb2.PHASE_CONFIRMING, 1)
        before = await _campaign(client)
        refused = await refusal(_cancel(client))
        assert refused.code is StatusCode.FAILED_PRECONDITION
        assert f"{VIN} has committed" in refused.message
        assert refused.precondition().type == "NOT_COMMITTED"
        assert await _campaign(client) == before
        await client.submit(updated(offer))
        finished = await refusal(_cancel(client))
        assert finished.code is StatusCode.FAILED_PRECONDITION
        assert "has finished" in finished.message


@pytest.mark.parametrize("tells", [True, False], ids=["progress comes", "progress is lost"])
@on_a_loop
async def test_a_commit_that_the_cloud_does_not_know_yet_wins_over_the_cancel(
    tmp_path: Path, *, tells: bool
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        await _at(client, campaigns_pb2.PHASE_ACTIVATING, 1)
        assert (await _cancel(client)).state == campaigns_pb2.CAMPAIGN_STATE_CANCELLING
        if tells:
            answer = await _at(client, campaigns_pb2.PHASE_CONFIRMING, 2)
            assert not answer.HasField("withdrawal")
        await client.submit(updated(offer))
        ended = await _campaign(client)
        assert ended.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        assert ended.assignments[0].outcome == campaigns_pb2.OUTCOME_UPDATED
        assert ended.assignments[0].withdrawal == campaigns_pb2.WITHDRAWAL_TOO_LATE


@on_a_loop
async def test_a_vehicle_that_was_away_and_had_not_begun_ends_when_it_asks(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()  # handed out, and lost on the way
        assert (await _cancel(client)).state == campaigns_pb2.CAMPAIGN_STATE_CANCELLING
        assert not (await client.check_in()).HasField("offer")
        ended = await _campaign(client)
        assert ended.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        assert ended.assignments[0].outcome == campaigns_pb2.OUTCOME_REFUSED
        # A copy of that check-in had been late: the gateway is at work after all, and is believed.
        assert (await _asks(client)).withdrawal.campaign == NAME
        judged = await client.submit(went_back(offer, "cancelled by an operator"))
        assert judged.outcome == campaigns_pb2.OUTCOME_ROLLED_BACK
        assert (await _part(client)).outcome == campaigns_pb2.OUTCOME_ROLLED_BACK


@on_a_loop
async def test_a_newer_campaign_takes_the_vehicle_and_is_offered_when_it_has_gone_back(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.offered()
        offer = (await client.check_in()).offer
        await _at(client, campaigns_pb2.PHASE_STAGING, 1)
        await client.publish("2.1.0", files_of("2.0.0"))
        newer = await client.start_campaign("2.1.0")
        assert newer.assignments[0].phase == campaigns_pb2.PHASE_WAITING
        older = await _part(client)
        assert older.withdrawal == campaigns_pb2.WITHDRAWAL_REQUESTED
        assert older.superseded_by == newer.name
        told = (await _asks(client)).withdrawal
        assert told.superseded_by == newer.name
        assert told.reason == f"superseded by {newer.name}"
        await client.submit(went_back(offer, told.reason))
        assert (await _part(client, newer.name)).phase == campaigns_pb2.PHASE_WAITING
        next_offer = (await client.check_in()).offer
        assert next_offer.campaign == newer.name
        assert next_offer.images[1].HasField("present")
        assert next_offer.nonce != offer.nonce
        assert (await _part(client, newer.name)).phase == campaigns_pb2.PHASE_OFFERED


@on_a_loop
async def test_a_campaign_that_has_committed_is_finished_before_the_newer_one(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        await _at(client, campaigns_pb2.PHASE_CONFIRMING, 1)
        newer = await client.start_campaign("1.0.0")
        assert newer.assignments[0].phase == campaigns_pb2.PHASE_WAITING
        assert (await _part(client)).withdrawal == campaigns_pb2.WITHDRAWAL_TOO_LATE
        assert not (await _asks(client)).HasField("withdrawal")
        await client.submit(updated(offer))
        # Judged by what the car holds now, not by what it held when the campaign started.
        again = (await client.check_in(version="2.0.0")).offer
        assert again.campaign == newer.name
        assert again.images[1].present.image_sha256 == offer.images[1].image.image_sha256


@on_a_loop
async def test_the_newest_of_three_campaigns_is_the_one_that_is_offered(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        offer = await client.offered()
        second = await client.start_campaign("1.0.0")
        third = await client.start_campaign("2.0.0")
        overtaken = await _campaign(client, second.name)
        assert overtaken.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        assert overtaken.assignments[0].superseded_by == third.name
        assert (await _part(client)).superseded_by == second.name
        await client.submit(went_back(offer, "superseded"))
        assert (await client.check_in()).offer.campaign == third.name


@on_a_loop
async def test_a_newer_campaign_that_has_nothing_for_the_vehicle_leaves_it_at_work(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.offered()
        await client.publish("other", [replace(files_of("2.0.0")[0], hardware_id="XXX-1")])
        refused = await client.start_campaign("other")
        assert refused.assignments[0].outcome == campaigns_pb2.OUTCOME_REFUSED
        assert (await _part(client)).withdrawal == campaigns_pb2.WITHDRAWAL_UNSPECIFIED
