"""A real cloud over real gRPC, the gateway, and simulated ECUs on simulated wires."""

import asyncio
import random
from pathlib import Path

import pytest

import clock
from dbc.vehicle import describe_vehicle
from ecu_sim.ecus import ecu_names
from protocols.firmware.formats import Image, intel_hex
from protocols.fleet.v1 import campaigns_pb2
from tests.support.gateway_fleet import VIN, Fleet, car, cloud_in
from vehicle_gateway.app import CloudAwayError, Gateway
from vehicle_gateway.assembly import GatewayError
from vehicle_gateway.update import Progress
from vehicle_gateway.update.coordinator import Outcome

ALL = ecu_names()


async def _offered(fleet: Fleet, gateway: Gateway, release: str = "2.0.0") -> str:
    """Register, publish, have the car check in once, start the campaign."""
    fleet.register()
    fleet.publish("1.0.0")
    if release == "2.0.0":
        fleet.publish(release)
    assert await gateway.run_once() is None
    return fleet.start_campaign(release)


def test_every_ecu_on_three_wires_gets_a_release_and_the_cloud_believes_it(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ALL, cloud) as fleet:
                notes: list[str] = []
                gateway = Gateway(
                    fleet.options(), fleet.links(), lambda note: notes.append(note.step)
                )
                async with gateway:
                    await asyncio.sleep(20)
                    campaign = await _offered(fleet, gateway)
                    assert await gateway.run_once() is Outcome.UPDATED
                    assert await gateway.run_once() is None
                assignment = fleet.assignment(campaign)
                assert assignment.outcome == campaigns_pb2.OUTCOME_UPDATED, assignment
                assert fleet.versions() == dict.fromkeys(ALL, "2.0.0")
                occasions = {one.occasion: one for one in fleet.snapshots()}
                assert set(occasions) == {"before_update", "after_update"}
                for snapshot in occasions.values():
                    assert [ecu.ecu for ecu in snapshot.ecus if ecu.error] == []
                    assert any(one.signal == "CabinTemperature" for one in snapshot.signals)
                assert {"downloading", "transferring", "trial", "confirmed"} <= set(notes)

    clock.run(walk(), virtual=True)


def _foreign(fleet: Fleet, ecu: str) -> tuple[str, str, bytes]:
    """A valid Intel HEX file of bytes that this project did not make."""
    description = describe_vehicle().ecus[ecu]
    content = random.Random(9).randbytes(20_000)  # noqa: S311 repeats
    image = Image(address=description.application_base, data=content)
    return description.hardware_id, f"foreign-{fleet.ecus[0]}.hex", intel_hex.FORMAT.encode(image)


@pytest.mark.parametrize(
    ("ecu", "words", "written"),
    [("ccu", "verifying", False), ("blower", "blower: ", True)],
)
def test_an_image_of_someone_else_does_not_stay_and_the_report_says_so(
    tmp_path: Path, ecu: str, words: str, *, written: bool
) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, (ecu,), cloud) as fleet:
                steps: set[str] = set()
                gateway = Gateway(fleet.options(), fleet.links(), lambda note: steps.add(note.step))
                async with gateway:
                    await _offered(fleet, gateway, "1.0.0")
                    fleet.publish("foreign", [_foreign(fleet, ecu)])
                    campaign = fleet.start_campaign("foreign")
                    assert await gateway.run_once() is Outcome.ROLLED_BACK
                    assert await gateway.run_once() is None
                assignment = fleet.assignment(campaign)
                assert assignment.outcome == campaigns_pb2.OUTCOME_ROLLED_BACK
                assert words in assignment.reason
                assert fleet.versions() == {ecu: "1.0.0"}
                assert ("reverting" in steps) is written

    clock.run(walk(), virtual=True)


def test_a_cloud_that_goes_away_during_the_update_does_not_disturb_it_and_gets_the_report_later(
    tmp_path: Path,
) -> None:
    async def walk() -> None:
        cloud = cloud_in(tmp_path)
        port = cloud.start()
        async with car(tmp_path, ("ccu", "blower"), cloud) as fleet:
            away = False

            def leave(note: Progress) -> None:
                nonlocal away
                if note.step == "transferring" and not away:
                    away = True
                    cloud.stop()

            gateway = Gateway(fleet.options(), fleet.links(), leave)
            async with gateway:
                await asyncio.sleep(5)
                campaign = await _offered(fleet, gateway)
                assert await gateway.run_once() is Outcome.UPDATED
                with pytest.raises(CloudAwayError):
                    await gateway.run_once()
            with cloud_in(tmp_path, port=port) as again:
                back = Fleet(again, fleet.vehicle, fleet.folder, fleet.ecus)
                assert await Gateway(back.options(), back.links()).run_once() is None
                assignment = back.assignment(campaign)
                assert assignment.outcome == campaigns_pb2.OUTCOME_UPDATED
                assert len(back.snapshots()) == 2
                back.channel.close()

    clock.run(walk(), virtual=True)


@pytest.mark.parametrize("killed_at_s", [0.3, 0.9, 3.0, 6.0, 6.6, 7.2, 9.0, 11.5, 12.2, 20.0])
def test_a_gateway_that_is_killed_goes_on_where_its_journal_ends(
    tmp_path: Path, killed_at_s: float
) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ("ccu", "blower"), cloud) as fleet:
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    await asyncio.sleep(5)
                    campaign = await _offered(fleet, gateway)
                    killed = asyncio.create_task(gateway.run_once())
                    await asyncio.sleep(killed_at_s)
                    killed.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await killed
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    assert await gateway.run_once() is Outcome.UPDATED
                assert fleet.assignment(campaign).outcome == campaigns_pb2.OUTCOME_UPDATED
                assert fleet.versions() == {"ccu": "2.0.0", "blower": "2.0.0"}

    clock.run(walk(), virtual=True)


@pytest.mark.parametrize("cut_at_s", [0.9, 4.0, 6.7, 7.3, 9.5, 11.8])
def test_a_car_that_loses_all_power_ends_all_new_or_all_old(
    tmp_path: Path, cut_at_s: float
) -> None:
    ecus = ("ccu", "blower")

    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ecus, cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                await asyncio.sleep(5)
                campaign = await _offered(fleet, gateway)
                cut = asyncio.create_task(gateway.run_once())
                await asyncio.sleep(cut_at_s)
                for node in fleet.vehicle.nodes.values():
                    node.power_off()
                cut.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await cut
            async with car(tmp_path, ecus, cloud) as fleet:
                outcome = await Gateway(fleet.options(), fleet.links()).run_once()
                assert outcome in {Outcome.UPDATED, Outcome.ROLLED_BACK}
                version = "2.0.0" if outcome is Outcome.UPDATED else "1.0.0"
                # The cloud learns what is in the car at the next check-in.
                assert await Gateway(fleet.options(), fleet.links()).run_once() is None
                assert fleet.versions() == dict.fromkeys(ecus, version)
                assert fleet.assignment(campaign).phase == campaigns_pb2.PHASE_DONE

    clock.run(walk(), virtual=True)


def test_the_same_seed_gives_the_same_journal(tmp_path: Path) -> None:
    async def walk(folder: Path) -> bytes:
        with cloud_in(folder) as cloud:
            async with (
                car(folder, ("ccu", "blower"), cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                await asyncio.sleep(5)
                await _offered(fleet, gateway)
                await gateway.run_once()
        return (folder / "gateway" / "updates" / "00000001.jsonl").read_bytes()

    first, second = (clock.run(walk(tmp_path / name), virtual=True) for name in ("first", "second"))
    assert first == second


def test_a_production_gateway_refuses_a_published_secret(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ("ccu",), cloud) as fleet:
                with pytest.raises(GatewayError, match="DEV ONLY"):
                    Gateway(fleet.options(production=True), fleet.links())

    clock.run(walk(), virtual=True)


def test_one_state_directory_has_one_gateway(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ("ccu",), cloud) as fleet,
                Gateway(fleet.options(), fleet.links()),
            ):
                second = Gateway(fleet.options(), fleet.links())
                with pytest.raises(GatewayError, match="another gateway works in it"):
                    await second.run_once()

    clock.run(walk(), virtual=True)


def test_an_unknown_vin_is_a_clear_error(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ("ccu",), cloud) as fleet:
                with pytest.raises(GatewayError, match=VIN):
                    await Gateway(fleet.options(), fleet.links()).run_once()

    clock.run(walk(), virtual=True)


def test_progress_reaches_the_cloud_while_the_update_runs(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ("ccu",), cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                campaign = await _offered(fleet, gateway)
                updating = asyncio.create_task(gateway.run_once())
                await asyncio.sleep(2.5)
                seen = fleet.assignment(campaign)
                assert seen.phase == campaigns_pb2.PHASE_STAGING
                assert seen.ecus[0].step == "transferring"
                assert 0 < seen.ecus[0].bytes_done < seen.ecus[0].bytes_total
                assert 0 < seen.ecus[0].remaining_seconds < 6
                await updating

    clock.run(walk(), virtual=True)


def test_an_ecu_that_never_answers_refuses_the_release_for_the_whole_car(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with (
                car(tmp_path, ("ccu", "blower"), cloud) as fleet,
                Gateway(fleet.options(), fleet.links()) as gateway,
            ):
                campaign = await _offered(fleet, gateway)
                fleet.vehicle.nodes["blower"].power_off()
                assert await gateway.run_once() is Outcome.REFUSED
                assignment = fleet.assignment(campaign)
                assert assignment.outcome == campaigns_pb2.OUTCOME_REFUSED
                assert "blower" in assignment.reason

    clock.run(walk(), virtual=True)
