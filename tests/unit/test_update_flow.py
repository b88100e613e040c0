"""The flow of an update seen from outside: what it tells, when it waits, and what it asks again."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import clock
from tests.support.gateway import VIN, PowerCut, QuietDiagnostics, SimulatedVehicle
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Entry, Journal, Kind
from vehicle_gateway.update.vehicle import Phase

OLD = {"ccu": "1.0.0", "blower": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0"}


@pytest.fixture
def vehicle(tmp_path: Path) -> SimulatedVehicle:
    return SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))


def _entries(vehicle: SimulatedVehicle, kind: Kind) -> list[Entry]:
    with Journal(vehicle.folder / "journal.jsonl") as journal:
        return [entry for entry in journal.entries if entry.kind is kind]


def _steps(vehicle: SimulatedVehicle, ecu: str) -> list[str]:
    """What a watcher sees of one ECU, each step once in a row."""
    seen: list[str] = []
    for one in vehicle.progress:
        if one.ecu == ecu and seen[-1:] != [one.step]:
            seen.append(one.step)
    return seen


def _cut_at(vehicle: SimulatedVehicle, kind: Kind) -> None:
    """Power fails right behind this entry."""

    def note(noted: Kind, _: str) -> None:
        if noted is kind:
            raise PowerCut

    vehicle.on_note = note
    with pytest.raises(PowerCut):
        clock.run(vehicle.update(), virtual=True)
    vehicle.on_note = lambda *_: None


def test_a_watcher_sees_each_step_and_each_phase(vehicle: SimulatedVehicle) -> None:
    clock.run(vehicle.update(), virtual=True)
    two = ["downloading", "transferring", "activating", "trial", "confirmed"]
    assert _steps(vehicle, "ccu") == two
    assert _steps(vehicle, "blower") == [
        *("downloading", "activating", "transferring", "trial", "confirmed")
    ]
    assert list(dict.fromkeys(vehicle.phases)) == [
        Phase.DOWNLOADING,
        Phase.STAGING,
        Phase.AWAITING,
        Phase.ACTIVATING,
        Phase.CONFIRMING,
        Phase.DONE,
    ]


def test_a_watcher_sees_a_failure_and_the_way_back(vehicle: SimulatedVehicle) -> None:
    vehicle.ecus["blower"].refuses.add("activate")
    clock.run(vehicle.update(), virtual=True)
    assert _steps(vehicle, "ccu")[-3:] == ["trial", "reverting", "reverted"]
    assert _steps(vehicle, "blower")[-3:] == ["failed", "reverting", "reverted"]
    assert Phase.REVERTING in vehicle.phases
    assert Phase.CONFIRMING not in vehicle.phases


def test_a_download_counts_the_files_of_one_ecu_together(vehicle: SimulatedVehicle) -> None:
    clock.run(vehicle.update(), virtual=True)
    told = [
        (one.ecu, one.bytes_done, one.bytes_total)
        for one in vehicle.progress
        if one.step == "downloading"
    ]
    assert told == [("ccu", 64, 64), ("blower", 64, 128), ("blower", 128, 128)]


def test_a_file_that_does_not_come_is_a_refusal_that_names_the_ecu(
    vehicle: SimulatedVehicle,
) -> None:
    vehicle.files.discard(vehicle.offer.images[0].image.file_sha256)
    report = clock.run(vehicle.update(), virtual=True)
    reason = "ccu: downloading: ccu-2.0.0.bin: not there"
    assert (report.outcome, report.reason) == (Outcome.REFUSED, reason)
    assert all(ecu.log == [] for ecu in vehicle.ecus.values())


def test_the_whole_offer_is_checked_before_its_first_file_is_fetched(
    vehicle: SimulatedVehicle,
) -> None:
    ccu, blower = vehicle.offer.images
    foreign = replace(blower, image=replace(blower.image, hardware_id="XXX-9"))
    vehicle.offer = replace(vehicle.offer, images=(ccu, foreign))
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.REFUSED
    assert report.reason.startswith("blower: checking the image: ")
    assert vehicle.progress == []


def test_without_room_for_the_journal_nothing_is_begun(vehicle: SimulatedVehicle) -> None:
    (vehicle.folder / "journal.reserve").symlink_to("/dev/full")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.REFUSED
    assert report.reason.startswith("downloading: ")
    assert report.reason.endswith("journal.reserve: the disk is full")
    assert all(ecu.log == [] for ecu in vehicle.ecus.values())


@pytest.mark.parametrize("ecu", ["ccu", "blower"])
def test_an_application_that_fails_its_own_test_is_taken_back(
    vehicle: SimulatedVehicle, ecu: str
) -> None:
    vehicle.ecus[ecu].refuses.add("self_test")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == f"{ecu}: self_test: self_test refused"
    assert vehicle.versions() == OLD


def test_an_application_that_falls_over_in_its_test_is_told_as_such(
    vehicle: SimulatedVehicle,
) -> None:
    ccu = vehicle.ecus["ccu"]
    ccu.refuses.add("self_test")

    def note(kind: Kind, ecu: str) -> None:
        if (kind, ecu) == (Kind.ACTIVATED, "ccu"):
            asyncio.get_running_loop().call_later(1.0, ccu.reset)

    vehicle.on_note = note
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert "ccu: self_test: the application does not last: runs 1.0.0" in report.reason


def test_an_application_that_says_another_version_than_its_image_is_taken_back(
    vehicle: SimulatedVehicle,
) -> None:
    ccu, blower = vehicle.offer.images
    wrong = replace(ccu, image=replace(ccu.image, software_version="3.0.0"))
    vehicle.offer = replace(vehicle.offer, images=(wrong, blower))
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "ccu: reading back: says version 2.0.0, not 3.0.0"


def test_an_ecu_on_its_way_up_from_a_reset_is_asked_again(vehicle: SimulatedVehicle) -> None:
    def note(kind: Kind, ecu: str) -> None:
        if (kind, ecu) == (Kind.ACTIVATED, "ccu"):
            vehicle.ecus["ccu"].failures["inventory"] = 2

    vehicle.on_note = note
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    (proved,) = (one for one in _entries(vehicle, Kind.PROVED) if one.ecu == "ccu")
    # After 1 s, and 3 s later.
    assert proved.time_us - proved.fields["started_us"] == pytest.approx(4.0e6, abs=0.1e6)


def test_a_failing_ecu_is_left_alone_for_longer_each_time(vehicle: SimulatedVehicle) -> None:
    vehicle.ecus["ccu"].failures["confirm"] = 3
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    times = [entry.time_us / 1e6 for entry in _entries(vehicle, Kind.FAILED)]
    times += [entry.time_us / 1e6 for entry in _entries(vehicle, Kind.CONFIRMED)[-1:]]
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses == pytest.approx([2.0, 16.0, 128.0], abs=0.1)


@pytest.mark.parametrize("step", ["stage", "activate", "self_test"])
def test_an_ecu_whose_failure_turns_the_update_goes_back_at_once(
    vehicle: SimulatedVehicle, step: str
) -> None:
    vehicle.ecus["ccu"].failures[step] = 1
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome in {Outcome.ROLLED_BACK, Outcome.REFUSED}
    (failed,) = _entries(vehicle, Kind.FAILED)
    (inspected,) = _entries(vehicle, Kind.INSPECTED)
    assert inspected.time_us - failed.time_us < 10e6


def test_an_ecu_that_goes_back_by_itself_does_not_have_the_car_wait_for_it(
    vehicle: SimulatedVehicle,
) -> None:
    gone_back = 0

    def note(kind: Kind, ecu: str) -> None:
        nonlocal gone_back
        if (kind, ecu) == (Kind.CONFIRMING, "ccu") and gone_back < 3:
            gone_back += 1
            vehicle.ecus["ccu"].reset()

    vehicle.on_note = note
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    (committed,) = _entries(vehicle, Kind.COMMIT)
    confirmed = max(entry.time_us for entry in _entries(vehicle, Kind.CONFIRMED))
    assert confirmed - committed.time_us < 60e6


@pytest.mark.parametrize(
    ("lost", "outcome"), [(False, Outcome.UPDATED), (True, Outcome.FAILED_SAFE)]
)
def test_the_last_look_waits_for_nobody_who_answers_or_was_given_up(
    vehicle: SimulatedVehicle,
    lost: bool,  # noqa: FBT001 a parameter
    outcome: Outcome,
) -> None:
    def note(kind: Kind, _: str) -> None:
        if kind is Kind.COMMIT:
            vehicle.ecus["ccu"].away = lost

    vehicle.on_note = note
    assert clock.run(vehicle.update(), virtual=True).outcome is outcome
    (taken,) = _entries(vehicle, Kind.SNAPSHOT_AFTER)
    (inspected,) = _entries(vehicle, Kind.INSPECTED)
    assert inspected.time_us - taken.time_us < 10e6


@pytest.mark.parametrize(
    ("away_s", "outcome"), [(130.0, Outcome.UPDATED), (3600.0, Outcome.FAILED_SAFE)]
)
def test_a_confirmed_ecu_that_is_silent_in_the_end_is_waited_for(
    vehicle: SimulatedVehicle, away_s: float, outcome: Outcome
) -> None:
    ccu = vehicle.ecus["ccu"]

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.SNAPSHOT_AFTER:
            ccu.away = True
            asyncio.get_running_loop().call_later(away_s, setattr, ccu, "away", False)  # noqa: FBT003 setattr's signature

    vehicle.on_note = note
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is outcome
    assert report.reason.startswith("" if outcome is Outcome.UPDATED else "ccu: inspecting: ")
    assert len(_entries(vehicle, Kind.FAILED)) == (0 if outcome is Outcome.UPDATED else 4)


def test_an_ecu_that_has_lost_what_was_verified_is_staged_from_the_start(
    vehicle: SimulatedVehicle,
) -> None:
    _cut_at(vehicle, Kind.VERIFIED)
    vehicle.ecus["ccu"].failures["stage"] = 1
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.ecus["ccu"].log[:3] == ["stage from 0", "stage from 16", "stage from 0"]
    assert len([one for one in _entries(vehicle, Kind.STAGING) if one.ecu == "ccu"]) == 2


def test_a_restarted_gateway_without_its_files_brings_two_slots_back_and_names_the_others(
    vehicle: SimulatedVehicle,
) -> None:
    _cut_at(vehicle, Kind.PROVED)  # of the two slots; the single slot is staged
    vehicle.files.files.clear()
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "blower: activating: its image is no longer at hand"
    assert vehicle.ecus["ccu"].running is not None
    assert vehicle.versions()["ccu"] == "1.0.0"
    assert "revert" in vehicle.ecus["ccu"].log


def test_a_restarted_gateway_gets_no_file_of_an_ecu_that_needs_none(
    vehicle: SimulatedVehicle,
) -> None:
    ccu = vehicle.ecus["ccu"]
    ccu.running = vehicle.files.files[vehicle.offer.images[0].image.file_sha256]
    _cut_at(vehicle, Kind.STAGED)
    vehicle.progress.clear()
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert {one.ecu for one in vehicle.progress if one.step == "downloading"} == {"blower"}


def test_a_restarted_gateway_without_its_files_still_confirms(vehicle: SimulatedVehicle) -> None:
    _cut_at(vehicle, Kind.COMMIT)
    vehicle.files.files.clear()
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW


def test_a_restarted_gateway_without_its_files_still_has_an_application_test_itself(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu",))
    _cut_at(vehicle, Kind.ACTIVATED)
    vehicle.files.files.clear()
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert vehicle.ecus["ccu"].log[-2:] == ["self_test", "confirm"]


def test_a_restarted_gateway_holds_the_car_before_anything_else(vehicle: SimulatedVehicle) -> None:
    _cut_at(vehicle, Kind.COMMIT)
    vehicle.clearance.engaged.clear()
    held: list[list[bool]] = []
    vehicle.on_note = lambda *_: held.append(list(vehicle.clearance.engaged))
    clock.run(vehicle.update(), virtual=True)
    assert held[0] == [True]


def test_a_restarted_gateway_takes_no_second_picture_of_what_was_before(
    vehicle: SimulatedVehicle,
) -> None:
    _cut_at(vehicle, Kind.SNAPSHOT_BEFORE)
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert [one.split()[0] for one in vehicle.diagnostics.log] == [
        *("before_update", "clear", "after_update")
    ]


def test_an_image_that_a_foreign_boot_loader_digests_does_not_run_by_that(
    vehicle: SimulatedVehicle,
) -> None:
    blower = vehicle.ecus["blower"]
    present = blower.running
    blower.boots = lambda image: image == present
    blower.digests_anything = True
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == ("blower: reading back: no image runs, it stays in its boot loader")


def test_a_digest_over_another_nonce_proves_nothing(vehicle: SimulatedVehicle) -> None:
    vehicle.ecus["ccu"].replays_nonce = bytes(16)
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "ccu: reading back: its digest is over another nonce"


def test_an_image_that_says_no_version_is_known_by_its_digest_alone(
    vehicle: SimulatedVehicle,
) -> None:
    ccu, blower = vehicle.offer.images
    bare = replace(ccu, image=replace(ccu.image, software_version=""))
    vehicle.offer = replace(vehicle.offer, images=(bare, blower))
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED


@pytest.mark.parametrize(
    ("at", "step", "outcome"),
    [
        (Kind.DOWNLOADED, "", Outcome.REFUSED),
        (Kind.CLEARED, "", Outcome.REFUSED),
        (Kind.PROVED, "committing: ", Outcome.FAILED_SAFE),
    ],
)
def test_an_ecu_that_a_restarted_gateway_does_not_know_is_named(
    tmp_path: Path, at: Kind, step: str, outcome: Outcome
) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("blower",))
    _cut_at(vehicle, at)
    del vehicle.ecus["blower"]
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is outcome
    assert report.reason.startswith(f"blower: {step}update: no such ECU in this vehicle")


@pytest.mark.parametrize("runs_old", [True, False])
def test_a_part_that_comes_when_all_has_gone_back_is_told_and_lost_only_if_it_differs(
    vehicle: SimulatedVehicle, *, runs_old: bool
) -> None:
    vehicle.ecus["blower"].refuses.add("activate")
    old = vehicle.ecus["ccu"].running

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.SNAPSHOT_AFTER:
            vehicle.ecus["ccu"].replaced(old if runs_old else None, serial="SN-2")

    vehicle.on_note = note
    report = clock.run(vehicle.update(), virtual=True)
    assert len(_entries(vehicle, Kind.REPLACED)) == 1
    if runs_old:
        assert report.outcome is Outcome.ROLLED_BACK or not _entries(vehicle, Kind.LOST)
        return
    assert report.outcome is Outcome.FAILED_SAFE
    assert "ccu: inspecting: was replaced, and runs no application" in report.reason


class _FailingDiagnostics(QuietDiagnostics):
    async def record(self, occasion: str, *, campaign: str, snapshot: str) -> None:
        raise UpdateError(ecu="", step="snapshot", cause=f"{occasion}: no {snapshot} of {campaign}")

    async def clear_dtcs(self) -> None:
        raise UpdateError(ecu="rear", step="clearing", cause="busy")


def test_diagnostics_that_fail_are_told_and_stop_nothing(vehicle: SimulatedVehicle) -> None:
    vehicle.diagnostics = _FailingDiagnostics()
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert (report.snapshot_before, report.snapshot_after) == ("", "")
    details = {step.step: step.detail for step in report.steps}
    assert details["diagnostics before"].endswith(
        "before_update: no spring-before of campaigns/spring"
    )
    assert details["clear DTCs"] == "rear: clearing: busy"


def test_monitors_have_their_time_after_a_commit_and_none_is_spent_going_back(
    tmp_path: Path,
) -> None:
    for name, refused, wait_s in (("kept", set[str](), 10.0), ("back", {"activate"}, 0.0)):
        vehicle = SimulatedVehicle(tmp_path / name, ecus=("ccu",))
        vehicle.ecus["ccu"].refuses = refused
        clock.run(vehicle.update(), virtual=True)
        (after,) = _entries(vehicle, Kind.SNAPSHOT_AFTER)
        kind = Kind.REVERTED if refused else Kind.DTCS_CLEARED
        before = _entries(vehicle, kind)[-1]
        assert (after.time_us - before.time_us) / 1e6 == pytest.approx(wait_s, abs=0.01)


def test_a_second_look_has_a_snapshot_of_its_own(vehicle: SimulatedVehicle) -> None:
    gone = False

    def note(kind: Kind, _: str) -> None:
        nonlocal gone
        if kind is Kind.SNAPSHOT_AFTER and not gone:
            gone = True
            vehicle.ecus["ccu"].running = vehicle.ecus["ccu"].inactive

    vehicle.on_note = note
    report = clock.run(vehicle.update(), virtual=True)
    assert (report.outcome, report.snapshot_after) == (Outcome.UPDATED, "spring-after-2")
    assert report.ecus[0].after.software_version == "2.0.0"
    assert len(_entries(vehicle, Kind.INSPECTED)) == 1, "nothing is inspected while it goes on"
    assert [one.fields["snapshot"] for one in _entries(vehicle, Kind.SNAPSHOT_AFTER)] == [
        "spring-after",
        "spring-after-2",
    ]


def test_a_long_campaign_has_a_short_snapshot_that_is_its_own(tmp_path: Path) -> None:
    names = set()
    for number in range(2):
        vehicle = SimulatedVehicle(tmp_path / str(number), ecus=("ccu",))
        campaign = f"campaigns/{'x' * 60}{number}"
        vehicle.offer = replace(vehicle.offer, campaign=campaign)
        report = clock.run(vehicle.update(), virtual=True)
        assert len(report.snapshot_before) <= 63
        assert report.snapshot_before.startswith("x" * 32 + "-")
        names.add(report.snapshot_before)
    assert len(names) == 2


def test_a_campaign_that_is_as_long_as_may_be_keeps_its_name(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu",))
    vehicle.offer = replace(vehicle.offer, campaign=f"campaigns/{'x' * 32}")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.snapshot_before == f"{'x' * 32}-before"


def test_what_was_offered_is_known_again_after_a_restart(vehicle: SimulatedVehicle) -> None:
    _cut_at(vehicle, Kind.STAGED)
    clock.run(vehicle.update(), virtual=True)
    assert vehicle.running is not None
    opening = vehicle.running.opening
    assert (opening.vin, opening.offer) == (VIN, vehicle.offer)


def test_the_end_is_written_once_with_the_outcome(vehicle: SimulatedVehicle) -> None:
    async def walk() -> UpdateReport:
        first = await vehicle.update()
        assert await vehicle.update() == replace(
            first, finish_us=round(asyncio.get_running_loop().time() * 1e6)
        )
        return first

    clock.run(walk(), virtual=True)
    (finished,) = _entries(vehicle, Kind.FINISHED)
    assert finished.fields == {"outcome": "updated", "cause": ""}
