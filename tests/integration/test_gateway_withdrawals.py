"""Cancelled and superseded campaigns from the operator's call to the ECUs, and back."""

import asyncio
from pathlib import Path

import grpc
import pytest

import clock
from protocols.fleet.v1 import campaigns_pb2, campaigns_pb2_grpc
from tests.support.gateway_fleet import VIN, Fleet, car, cloud_in
from vehicle_gateway.app import Gateway
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.vehicle import Phase

ECUS = ("ccu", "blower")


def _cancel(fleet: Fleet, campaign: str) -> campaigns_pb2.Campaign:
    stub = campaigns_pb2_grpc.CampaignServiceStub(fleet.channel)
    return stub.CancelCampaign(campaigns_pb2.CancelCampaignRequest(name=campaign))


async def _under_way(fleet: Fleet, gateway: Gateway) -> tuple[str, "asyncio.Task[Outcome | None]"]:
    fleet.register()
    fleet.publish("1.0.0")
    fleet.publish("2.0.0")
    await asyncio.sleep(5)
    assert await gateway.run_once() is None
    campaign = fleet.start_campaign("2.0.0")
    return campaign, asyncio.create_task(gateway.run_once())


@pytest.mark.parametrize("cancelled_at_s", [0.3, 3.0, 6.6, 7.2])
def test_a_cancelled_campaign_goes_back_and_the_status_says_so(
    tmp_path: Path, cancelled_at_s: float
) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ECUS, cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                campaign, updating = await _under_way(fleet, gateway)
                await asyncio.sleep(cancelled_at_s)
                assert _cancel(fleet, campaign).state == campaigns_pb2.CAMPAIGN_STATE_CANCELLING
                outcome = await updating
                assert outcome in {Outcome.ROLLED_BACK, Outcome.REFUSED}
                assignment = fleet.assignment(campaign)
                assert assignment.phase == campaigns_pb2.PHASE_DONE
                assert assignment.reason == "cancelled by an operator"
                assert assignment.withdrawal == campaigns_pb2.WITHDRAWAL_ACCEPTED
                assert await gateway.run_once() is None
                assert fleet.versions() == dict.fromkeys(ECUS, "1.0.0")

    clock.run(walk(), virtual=True)


def test_a_car_that_is_away_goes_back_when_its_gateway_starts_again(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ECUS, cloud) as fleet:
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    campaign, updating = await _under_way(fleet, gateway)
                    await asyncio.sleep(3.0)
                    updating.cancel()
                    await asyncio.gather(updating, return_exceptions=True)
                _cancel(fleet, campaign)
                away = fleet.assignment(campaign)
                assert away.withdrawal == campaigns_pb2.WITHDRAWAL_REQUESTED
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    assert await gateway.run_once() is Outcome.ROLLED_BACK
                assert fleet.assignment(campaign).phase == campaigns_pb2.PHASE_DONE

    clock.run(walk(), virtual=True)


def test_behind_the_commit_the_cancel_is_refused_with_the_vehicle_s_name(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ECUS, cloud) as fleet:
                committed = asyncio.Event()

                def on_phase(phase: Phase) -> None:
                    if phase is Phase.CONFIRMING:
                        committed.set()

                async with Gateway(fleet.options(), fleet.links(), on_phase=on_phase) as gateway:
                    campaign, updating = await _under_way(fleet, gateway)
                    await committed.wait()
                    await asyncio.sleep(2)  # its progress message is on the way
                    with pytest.raises(grpc.RpcError) as refused:
                        _cancel(fleet, campaign)
                    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                    assert f"{VIN} has committed" in (refused.value.details() or "")
                    assert await updating is Outcome.UPDATED

    clock.run(walk(), virtual=True)


def test_a_newer_campaign_is_carried_out_when_the_older_one_has_gone_back(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ECUS, cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                older, updating = await _under_way(fleet, gateway)
                await asyncio.sleep(3.0)
                newer = fleet.start_campaign("2.0.0")
                assert fleet.assignment(newer).phase == campaigns_pb2.PHASE_WAITING
                assert await updating is Outcome.ROLLED_BACK
                ended = fleet.assignment(older)
                assert ended.reason == f"superseded by {newer}"
                assert ended.superseded_by == newer
                assert await gateway.run_once() is Outcome.UPDATED
                assert fleet.assignment(newer).outcome == campaigns_pb2.OUTCOME_UPDATED
                assert await gateway.run_once() is None
                assert fleet.versions() == dict.fromkeys(ECUS, "2.0.0")

    clock.run(walk(), virtual=True)


def test_behind_the_commit_the_older_campaign_is_finished_first(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ECUS, cloud) as fleet:
                committed = asyncio.Event()

                def on_phase(phase: Phase) -> None:
                    if phase is Phase.CONFIRMING:
                        committed.set()

                async with Gateway(fleet.options(), fleet.links(), on_phase=on_phase) as gateway:
                    older, updating = await _under_way(fleet, gateway)
                    await committed.wait()
                    newer = fleet.start_campaign("1.0.0")
                    assert await updating is Outcome.UPDATED
                    assert fleet.assignment(older).outcome == campaigns_pb2.OUTCOME_UPDATED
                    late = fleet.assignment(older).withdrawal
                    assert late == campaigns_pb2.WITHDRAWAL_TOO_LATE
                    assert await gateway.run_once() is not None
                    assert fleet.assignment(newer).phase == campaigns_pb2.PHASE_DONE

    clock.run(walk(), virtual=True)


def test_a_gateway_whose_staging_takes_long_keeps_asking_whether_it_may_go_on(
    tmp_path: Path,
) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ECUS, cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                campaign, updating = await _under_way(fleet, gateway)
                await asyncio.sleep(1.0)
                gateway.pace.hold()  # a long staging: nothing moves
                await asyncio.sleep(120)
                assert not updating.done()
                _cancel(fleet, campaign)
                await asyncio.sleep(35)
                assert updating.done()
                assert await updating in {Outcome.ROLLED_BACK, Outcome.REFUSED}

    clock.run(walk(), virtual=True)
