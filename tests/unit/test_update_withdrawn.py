"""A release that is taken back at every moment: it goes back until the commit, and never after."""

import asyncio
import itertools
from pathlib import Path

import pytest

import clock
from tests.support.gateway import PowerCut, PowerSwitch, SimulatedVehicle
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Journal, Kind

OLD = {"ccu": "1.0.0", "blower": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0"}
CAUSE = "cancelled by an operator"


def _vehicle(folder: Path) -> SimulatedVehicle:
    return SimulatedVehicle(folder, ecus=("ccu", "blower"), size=8)


async def _withdrawn(
    vehicle: SimulatedVehicle, at: int, answers: list[bool], *, cut_at: int | None = None
) -> UpdateReport:
    """Update, and take it back around moment `at`, twice."""

    cut = False

    def withdraw() -> None:
        nonlocal cut
        assert vehicle.running is not None
        if cut:
            return
        try:
            answers.append(vehicle.running.withdraw(CAUSE))
        except PowerCut:  # at the entry itself: everything stops with it
            cut = True
            updating.cancel()

    def on_moment(number: int) -> None:
        if number == at and vehicle.running is not None:
            asyncio.get_running_loop().call_soon(withdraw)
            asyncio.get_running_loop().call_soon(withdraw)

    switch = PowerSwitch(on_moment=on_moment, cut_at=cut_at, after=True)
    updating = asyncio.create_task(vehicle.update(switch))
    try:
        return await updating
    except asyncio.CancelledError:
        if cut:
            raise PowerCut from None
        raise


def _moments(folder: Path) -> int:
    switch = PowerSwitch()
    clock.run(_vehicle(folder).update(switch), virtual=True)
    return switch.moments


def _kinds(folder: Path) -> list[Kind]:
    with Journal(folder / "journal.jsonl") as journal:
        return [entry.kind for entry in journal.entries]


def test_taken_back_at_any_moment_it_ends_all_old_or_had_committed(tmp_path: Path) -> None:
    ended = set()
    for at in range(1, _moments(tmp_path / "whole")):
        vehicle, answers = _vehicle(tmp_path / str(at)), list[bool]()
        report = clock.run(_withdrawn(vehicle, at, answers), virtual=True)
        kinds = _kinds(vehicle.folder)
        ended.add(report.outcome)
        if report.outcome is Outcome.UPDATED:
            assert answers == [False, False]
            assert Kind.CANCELLED not in kinds
            assert vehicle.versions() == NEW
            continue
        assert report.outcome in {Outcome.ROLLED_BACK, Outcome.REFUSED}
        assert report.reason == CAUSE
        assert answers == [True, False]
        assert kinds.count(Kind.CANCELLED) == 1
        assert Kind.COMMIT not in kinds
        assert vehicle.versions() == OLD
        assert not any(ecu.trial or ecu.requested for ecu in vehicle.ecus.values())
    assert ended == {Outcome.UPDATED, Outcome.ROLLED_BACK, Outcome.REFUSED}


def test_staging_is_broken_off_at_once_and_nothing_more_is_written(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)

    async def walk() -> UpdateReport:
        updating = asyncio.create_task(vehicle.update())
        await asyncio.sleep(0.4)  # one of four sectors is written
        assert vehicle.running is not None
        written = len(vehicle.ecus["ccu"].inactive)
        assert 0 < written < vehicle.size
        assert vehicle.running.withdraw(CAUSE)
        report = await updating
        assert len(vehicle.ecus["ccu"].inactive) == written
        return report

    assert clock.run(walk(), virtual=True).outcome is Outcome.ROLLED_BACK


def test_a_power_cut_behind_the_entry_changes_nothing_of_the_decision(tmp_path: Path) -> None:
    moments = _moments(tmp_path / "whole")
    for at, later in itertools.product(range(1, moments, 3), (1, 2, 4)):
        vehicle, answers = _vehicle(tmp_path / f"{at}-{later}"), list[bool]()
        try:
            clock.run(_withdrawn(vehicle, at, answers, cut_at=at + later), virtual=True)
        except PowerCut:
            cancelled = Kind.CANCELLED in _kinds(vehicle.folder)
            report = clock.run(vehicle.update(), virtual=True)
            assert report.outcome is not Outcome.FAILED_SAFE
            if cancelled:
                assert report.reason == CAUSE
                assert vehicle.versions() == OLD
            else:
                assert vehicle.versions() == NEW


def test_a_finished_update_cannot_be_taken_back(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    clock.run(vehicle.update(), virtual=True)
    assert vehicle.running is not None
    assert vehicle.running.withdraw(CAUSE) is False


@pytest.mark.parametrize("broken_off_at_s", [0.1, 0.4, 0.9, 1.6])
def test_an_update_that_is_itself_broken_off_stops_its_work_and_goes_on_later(
    tmp_path: Path, broken_off_at_s: float
) -> None:
    vehicle = _vehicle(tmp_path)

    async def walk() -> None:
        updating = asyncio.create_task(vehicle.update())
        await asyncio.sleep(broken_off_at_s)
        updating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await updating
        assert asyncio.get_running_loop().time() == broken_off_at_s  # and not when it is done
        assert asyncio.all_tasks() == {asyncio.current_task()}
        written = [ecu.inactive for ecu in vehicle.ecus.values()]
        await asyncio.sleep(10)
        assert [ecu.inactive for ecu in vehicle.ecus.values()] == written
        assert (await vehicle.update()).outcome is Outcome.UPDATED

    clock.run(walk(), virtual=True)
