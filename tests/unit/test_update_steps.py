"""The steps of one ECU where they were interrupted, and where it does not do what it did before."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import clock
from tests.support.gateway import PowerCut, PowerSwitch, SimulatedVehicle
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Entry, Journal, Kind


@pytest.fixture
def vehicle(tmp_path: Path) -> SimulatedVehicle:
    return SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))


def _entries(vehicle: SimulatedVehicle, kind: Kind, ecu: str) -> list[Entry]:
    with Journal(vehicle.folder / "journal.jsonl") as journal:
        return [entry for entry in journal.entries if (entry.kind, entry.ecu) == (kind, ecu)]


def _cut(vehicle: SimulatedVehicle, wanted: Kind, of: str) -> None:
    """Power of the gateway fails right behind this entry."""

    def note(kind: Kind, ecu: str) -> None:
        if (kind, ecu) == (wanted, of):
            raise PowerCut

    vehicle.on_note = note
    with pytest.raises(PowerCut):
        clock.run(vehicle.update(), virtual=True)
    vehicle.on_note = lambda *_: None


def _update(
    vehicle: SimulatedVehicle, happens: dict[tuple[Kind, str, int], Callable[[], None]]
) -> UpdateReport:
    """Update; behind the entry of a kind, an ECU and a number its event happens."""
    seen: Counter[tuple[Kind, str]] = Counter()

    def note(kind: Kind, ecu: str) -> None:
        seen[kind, ecu] += 1
        happens.get((kind, ecu, seen[kind, ecu]), lambda: None)()

    vehicle.on_note = note
    return clock.run(vehicle.update(), virtual=True)


def _activations(vehicle: SimulatedVehicle, ecu: str) -> list[str]:
    return [line for line in vehicle.ecus[ecu].log if line.startswith("activate")]


# Activation


def test_an_ecu_whose_trial_began_before_the_cut_is_not_activated_again(
    vehicle: SimulatedVehicle,
) -> None:
    def cut(_: int) -> None:
        if vehicle.ecus["ccu"].trial:  # and nothing of it is in the journal
            raise PowerCut

    with pytest.raises(PowerCut):
        clock.run(vehicle.update(PowerSwitch(on_moment=cut)), virtual=True)
    assert _entries(vehicle, Kind.ACTIVATED, "ccu") == []
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert _activations(vehicle, "ccu") == ["activate from 0"]


def test_an_ecu_whose_trial_had_not_begun_is_activated_after_the_cut(
    vehicle: SimulatedVehicle,
) -> None:
    _cut(vehicle, Kind.ACTIVATING, "ccu")
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert len(_entries(vehicle, Kind.ACTIVATING, "ccu")) == 1
    assert _activations(vehicle, "ccu") == ["activate from 0"]


def test_a_single_slot_goes_on_at_its_last_verified_byte(vehicle: SimulatedVehicle) -> None:
    _cut(vehicle, Kind.VERIFIED, "blower")
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert _activations(vehicle, "blower") == ["activate from 0", "activate from 16"]


def test_an_ecu_that_runs_the_release_before_it_is_activated_is_activated_all_the_same(
    vehicle: SimulatedVehicle,
) -> None:
    """What runs may not be what was staged and checked: the updater sees to that."""
    ccu = vehicle.ecus["ccu"]

    def runs_already() -> None:
        ccu.running = ccu.staged

    assert _update(vehicle, {(Kind.CLEARED, "", 1): runs_already}).outcome is Outcome.UPDATED
    assert _activations(vehicle, "ccu") == ["activate from 0"]


# Proof


def _comes_new(vehicle: SimulatedVehicle) -> None:
    """Behind the commit the control unit is replaced by one with the old image."""
    ccu = vehicle.ecus["ccu"]
    ccu.replaced(ccu.inactive, serial="SN-2")


def test_behind_the_commit_an_ecu_whose_trial_ends_before_its_proof_is_staged_again(
    vehicle: SimulatedVehicle,
) -> None:
    report = _update(
        vehicle,
        {
            (Kind.COMMIT, "", 1): lambda: _comes_new(vehicle),
            (Kind.ACTIVATED, "ccu", 2): vehicle.ecus["ccu"].reset,
        },
    )
    assert report.outcome is Outcome.UPDATED
    (back,) = _entries(vehicle, Kind.WENT_BACK, "ccu")
    assert back.fields["step"] == "reading back"
    assert back.fields["cause"] == "runs 1.0.0, not the new image"
    assert len(_entries(vehicle, Kind.STAGED, "ccu")) == 3
    assert _entries(vehicle, Kind.FAILED, "ccu") == []


def test_behind_the_commit_an_ecu_that_does_not_answer_is_proved_later(
    vehicle: SimulatedVehicle,
) -> None:
    report = _update(
        vehicle,
        {
            (Kind.COMMIT, "", 1): lambda: _comes_new(vehicle),
            (Kind.ACTIVATED, "ccu", 2): lambda: vehicle.ecus["ccu"].failures.update(inventory=3),
        },
    )
    assert report.outcome is Outcome.UPDATED
    (failed,) = _entries(vehicle, Kind.FAILED, "ccu")
    assert failed.fields["step"] == "reading back"
    assert _entries(vehicle, Kind.WENT_BACK, "ccu") == []
    assert len(_entries(vehicle, Kind.STAGED, "ccu")) == 2


# Confirmation


def test_an_ecu_is_asked_what_it_runs_once_it_has_confirmed(vehicle: SimulatedVehicle) -> None:
    ccu = vehicle.ecus["ccu"]
    fallen = False

    def fall() -> None:
        ccu.running, ccu.inactive = ccu.inactive, ccu.running or b""

    def confirms(_: int) -> None:
        nonlocal fallen
        if ccu.log[-1:] == ["confirm"] and not fallen:
            fallen = True
            asyncio.get_running_loop().call_soon(fall)

    report = clock.run(vehicle.update(PowerSwitch(on_moment=confirms)), virtual=True)
    assert fallen
    assert report.outcome is Outcome.UPDATED
    (back,) = _entries(vehicle, Kind.WENT_BACK, "ccu")
    assert back.fields["step"] == "confirming"
    assert len(_entries(vehicle, Kind.CONFIRMED, "ccu")) == 1


# The way back


def test_an_ecu_that_says_it_went_back_and_did_not_is_given_up_and_named(
    vehicle: SimulatedVehicle,
) -> None:
    ccu = vehicle.ecus["ccu"]
    vehicle.ecus["blower"].refuses.add("activate")
    # Nothing is left that would end its trial.
    report = _update(vehicle, {(Kind.PROVED, "ccu", 1): lambda: setattr(ccu, "trial", False)})
    assert report.outcome is Outcome.FAILED_SAFE
    assert report.reason.endswith("; ccu: reverting: does not run its old image")
    assert vehicle.versions()["ccu"] == "2.0.0"


def test_an_ecu_that_does_not_answer_behind_its_way_back_is_told_as_such(
    vehicle: SimulatedVehicle,
) -> None:
    ccu = vehicle.ecus["ccu"]
    vehicle.ecus["blower"].refuses.add("activate")

    def reverts(_: int) -> None:
        if ccu.log[-1:] == ["revert"] and ccu.trial:
            ccu.failures["inventory"] = 3

    report = clock.run(vehicle.update(PowerSwitch(on_moment=reverts)), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    (failed,) = _entries(vehicle, Kind.FAILED, "ccu")
    assert failed.fields["step"] == "reverting"
    assert failed.fields["cause"] == "inventory: inventory refused"


def test_a_part_that_came_before_its_way_back_is_not_asked_to_go_any(
    vehicle: SimulatedVehicle,
) -> None:
    ccu = vehicle.ecus["ccu"]
    vehicle.ecus["blower"].refuses.add("activate")
    _update(vehicle, {(Kind.FAILED, "blower", 1): lambda: _comes_new(vehicle)})
    assert len(_entries(vehicle, Kind.REPLACED, "ccu")) == 1
    assert "revert" not in ccu.log
