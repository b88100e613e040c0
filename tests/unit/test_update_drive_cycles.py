"""Staging over drive cycles: it rests, waits for an ECU that is away, and goes on where it was."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

import clock
from tests.support.gateway import SimulatedVehicle
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.coordinator import MAX_ABSENCES, Outcome
from vehicle_gateway.update.journal import Journal, Kind

OLD = {"ccu": "1.0.0", "blower": "1.0.0", "rear": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0", "rear": "2.0.0"}
#: Two of four sectors are written then.
MIDST_S = 0.7


def _kinds(folder: Path) -> list[Kind]:
    with Journal(folder / "journal.jsonl") as journal:
        return [entry.kind for entry in journal.entries]


def test_an_ecu_that_is_away_for_a_while_is_waited_for_and_resumed(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, size=64)

    async def walk() -> UpdateReport:
        updating = asyncio.create_task(vehicle.update())
        await asyncio.sleep(MIDST_S)
        vehicle.ecus["rear"].away = True
        await asyncio.sleep(20)
        assert vehicle.ecus["ccu"].staged is not None  # the others went on
        assert not updating.done()
        vehicle.ecus["rear"].away = False
        return await updating

    report = clock.run(walk(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.UPDATED, "")
    assert vehicle.versions() == NEW
    assert 1 < _kinds(tmp_path).count(Kind.ABSENT) < MAX_ABSENCES
    assert vehicle.ecus["rear"].log.count("stage from 0") == 1
    assert "stage from 32" in vehicle.ecus["rear"].log
    assert any(note.ecu == "rear" and note.step == "waiting" for note in vehicle.progress)


def test_an_ecu_that_stays_away_is_named_when_the_limit_is_reached(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    async def walk() -> tuple[UpdateReport, float]:
        updating = asyncio.create_task(vehicle.update())
        await asyncio.sleep(MIDST_S)
        vehicle.ecus["rear"].away = True
        report = await updating
        return report, asyncio.get_running_loop().time()

    report, ended_s = clock.run(walk(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason.startswith("rear: ")
    assert "does not answer" in report.reason
    assert _kinds(tmp_path).count(Kind.ABSENT) == MAX_ABSENCES
    assert {**vehicle.versions(), "rear": "1.0.0"} == OLD
    assert 300 < ended_s < 900


def test_an_ecu_that_stays_away_is_left_alone_for_longer_each_time(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("rear",))

    async def walk() -> None:
        updating = asyncio.create_task(vehicle.update())
        await asyncio.sleep(MIDST_S)
        vehicle.ecus["rear"].away = True
        await updating

    clock.run(walk(), virtual=True)
    with Journal(tmp_path / "journal.jsonl") as journal:
        kinds = {Kind.ABSENT, Kind.FAILED}
        times = [entry.time_us / 1e6 for entry in journal.entries if entry.kind in kinds]
    pauses = [later - sooner for sooner, later in pairwise(times)]
    asked_s = 1.0 + 3.0  # again, and once more
    assert [pause - asked_s for pause in pauses] == pytest.approx(
        [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0], abs=0.1
    )


def test_behind_the_commit_an_ecu_that_stays_away_is_failed_safe_and_named(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.COMMIT:
            vehicle.ecus["rear"].away = True

    vehicle.on_note = note
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.FAILED_SAFE
    assert "rear: confirming: inventory: does not answer" in report.reason
    assert Kind.ABSENT not in _kinds(tmp_path)
    assert {**vehicle.versions(), "rear": "2.0.0"} == NEW


def test_behind_the_commit_an_ecu_that_is_away_for_two_minutes_is_confirmed(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    committed = asyncio.Event()

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.COMMIT:
            vehicle.ecus["rear"].away = True
            committed.set()

    async def walk() -> UpdateReport:
        updating = asyncio.create_task(vehicle.update())
        await committed.wait()
        await asyncio.sleep(120.0)
        vehicle.ecus["rear"].away = False
        return await updating

    vehicle.on_note = note
    report = clock.run(walk(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.UPDATED, "")
    assert vehicle.versions() == NEW


def test_staging_rests_while_the_car_is_parked_and_goes_on_at_the_last_verified_block(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path, size=64)

    async def walk() -> UpdateReport:
        updating = asyncio.create_task(vehicle.update())
        await asyncio.sleep(MIDST_S - 0.3)
        assert vehicle.running is not None
        for _ in range(2):  # drive cycles
            vehicle.running.rest()
            vehicle.running.rest()
            written = vehicle.ecus["ccu"].inactive
            log = list(vehicle.ecus["ccu"].log)
            for ecu in vehicle.ecus.values():
                ecu.away = True
            await asyncio.sleep(12 * 3600)
            assert vehicle.ecus["ccu"].inactive == written
            assert vehicle.ecus["ccu"].log == log
            for ecu in vehicle.ecus.values():
                ecu.away = False
            vehicle.running.go_on()
            await asyncio.sleep(0.3)
        return await updating

    report = clock.run(walk(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW
    # Each cycle goes on where the one before it ended; nothing is written twice from the start.
    assert vehicle.ecus["ccu"].log.count("stage from 0") == 1
    assert Kind.ABSENT not in _kinds(tmp_path)


def test_what_is_activated_is_brought_to_its_end_though_the_car_is_parked(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.ACTIVATING and vehicle.running is not None:
            vehicle.running.rest()

    vehicle.on_note = note
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED


def test_a_release_is_taken_back_while_staging_rests_and_while_an_ecu_is_waited_for(
    tmp_path: Path,
) -> None:
    for name in ("rests", "waits"):
        vehicle = SimulatedVehicle(tmp_path / name)

        async def walk(vehicle: SimulatedVehicle = vehicle, name: str = name) -> UpdateReport:
            updating = asyncio.create_task(vehicle.update())
            await asyncio.sleep(MIDST_S)
            assert vehicle.running is not None
            if name == "rests":
                vehicle.running.rest()
            else:
                vehicle.ecus["rear"].away = True
            await asyncio.sleep(60)
            vehicle.ecus["rear"].away = False
            assert vehicle.running.withdraw("cancelled by an operator")
            async with asyncio.timeout(10):
                return await updating

        report = clock.run(walk(), virtual=True)
        assert report.outcome is Outcome.ROLLED_BACK
        assert report.reason == "cancelled by an operator"
        assert vehicle.versions() == OLD
