import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import clock
from tests.support.gateway import PowerCut, SimulatedClearance, SimulatedVehicle
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Journal, Kind
from vehicle_gateway.update.vehicle import Phase

OLD = {"ccu": "1.0.0", "blower": "1.0.0", "rear": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0", "rear": "2.0.0"}


def kinds(folder: Path) -> list[tuple[Kind, str]]:
    with Journal(folder / "journal.jsonl") as journal:
        return [(entry.kind, entry.ecu) for entry in journal.entries]


def test_a_release_is_staged_activated_proved_committed_and_confirmed(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    report = clock.run(vehicle.update(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.UPDATED, "")
    assert vehicle.versions() == NEW
    assert not any(ecu.trial for ecu in vehicle.ecus.values())
    assert vehicle.diagnostics.log == [
        "before_update campaigns/spring spring-before",
        "clear",
        "after_update campaigns/spring spring-after",
    ]


def test_the_single_slot_comes_last_and_the_commit_stands_before_every_confirmation(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    clock.run(vehicle.update(), virtual=True)
    order = [entry for entry in kinds(tmp_path) if entry[0] is not Kind.VERIFIED]
    at = {entry: number for number, entry in enumerate(order)}
    assert at[Kind.ACTIVATING, "blower"] > at[Kind.PROVED, "ccu"]
    assert at[Kind.ACTIVATING, "blower"] > at[Kind.PROVED, "rear"]
    assert at[Kind.COMMIT, ""] > at[Kind.PROVED, "blower"]
    for ecu in OLD:
        assert at[Kind.CONFIRMING, ecu] > at[Kind.COMMIT, ""]


def test_ecus_are_staged_at_the_same_time(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    report = clock.run(vehicle.update(), virtual=True)
    staged = {step.ecu: step for step in report.steps if step.step == "stage"}
    assert staged["ccu"].start_us == staged["rear"].start_us
    assert staged["ccu"].duration_us == staged["rear"].duration_us == 1_000_000


def test_the_report_holds_figures_and_read_backs_of_every_ecu(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    report = clock.run(vehicle.update(), virtual=True)
    by_name = {ecu.offered.ecu: ecu for ecu in report.ecus}
    assert by_name["ccu"].figures.transfer_s == 1.0
    assert by_name["ccu"].figures.out_of_use_s == 0.3
    assert by_name["blower"].figures.out_of_use_s == 3.0
    for ecu in report.ecus:
        assert ecu.before.software_version == "1.0.0"
        assert ecu.after.software_version == "2.0.0"
        assert ecu.after.read_back is not None
        assert ecu.after.read_back.image_sha256 == ecu.offered.image.image_sha256
        assert ecu.error == ""


@pytest.mark.parametrize(
    ("ecu", "refused", "outcome"),
    [
        ("ccu", "check", Outcome.ROLLED_BACK),
        ("ccu", "activate", Outcome.ROLLED_BACK),
        ("rear", "stage", Outcome.ROLLED_BACK),
        ("blower", "stage", Outcome.ROLLED_BACK),
        ("blower", "activate", Outcome.ROLLED_BACK),
    ],
)
def test_a_failure_before_the_commit_brings_everything_back(
    tmp_path: Path, ecu: str, refused: str, outcome: Outcome
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus[ecu].refuses.add(refused)
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is outcome
    assert report.reason == f"{ecu}: {refused}: {refused} refused"
    assert vehicle.versions() == OLD
    assert not any(part.trial or part.requested for part in vehicle.ecus.values())
    assert "after_update campaigns/spring spring-after" in vehicle.diagnostics.log
    assert "clear" not in vehicle.diagnostics.log


def test_a_single_slot_image_that_does_not_run_is_replaced_by_the_present_one(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    blower = vehicle.ecus["blower"]
    present = blower.running
    blower.boots = lambda image: image == present
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert "blower: reading back: no image runs" in report.reason
    assert vehicle.versions() == OLD


def test_a_two_slot_image_that_does_not_boot_leaves_the_old_one_running(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus["rear"].boots = lambda _: False
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert "rear: reading back: runs 1.0.0" in report.reason
    assert vehicle.versions() == OLD


def test_an_ecu_that_cannot_be_reverted_is_failed_safe_and_named(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus["blower"].refuses.add("activate")
    vehicle.ecus["ccu"].refuses.add("revert")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.FAILED_SAFE
    assert report.reason == ("blower: activate: activate refused; ccu: revert: revert refused")
    assert vehicle.versions() == {**OLD, "ccu": "2.0.0"}


def test_a_revert_that_fails_at_first_is_repeated(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus["blower"].refuses.add("activate")
    vehicle.ecus["ccu"].failures["revert"] = 2
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert vehicle.versions() == OLD


def test_after_the_commit_a_failing_confirmation_is_repeated_and_nothing_goes_back(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus["rear"].failures["confirm"] = 2
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW
    assert vehicle.ecus["rear"].log.count("revert") == 0


def test_an_ecu_that_never_confirms_is_failed_safe_while_the_others_go_forward(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus["rear"].refuses.add("confirm")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.FAILED_SAFE
    assert "rear: confirm: confirm refused" in report.reason
    assert vehicle.ecus["rear"].log.count("revert") == 0
    assert not vehicle.ecus["ccu"].trial


def test_an_ecu_that_went_back_by_itself_after_the_commit_is_brought_forward_again(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    commits = sum(kind is Kind.COMMIT for kind, _ in _cut_after(vehicle, Kind.COMMIT))
    assert commits == 1
    vehicle.ecus["ccu"].reset()  # a power-on between trial and confirmation
    assert vehicle.versions()["ccu"] == "1.0.0"
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW
    assert not vehicle.ecus["ccu"].trial


def test_a_trial_that_ends_between_its_proof_and_the_commit_takes_everything_back(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    def boots_while_the_other_one_falls(_: bytes) -> bool:
        vehicle.ecus["ccu"].reset()
        return True

    vehicle.ecus["blower"].boots = boots_while_the_other_one_falls
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "ccu: committing: runs 1.0.0, not the new image"
    assert Phase.CONFIRMING not in vehicle.phases, "whoever watches takes that for the commit"
    assert vehicle.versions() == OLD


def test_an_ecu_that_is_gone_at_the_commit_keeps_the_others_from_being_confirmed(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    def boots_while_the_other_one_goes(_: bytes) -> bool:
        vehicle.ecus["ccu"].refuses |= {"inventory", "confirm", "revert"}
        return True

    vehicle.ecus["blower"].boots = boots_while_the_other_one_goes
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.FAILED_SAFE
    assert {**vehicle.versions(), "ccu": "1.0.0"} == OLD
    assert (Kind.COMMIT, "") not in kinds(tmp_path)


def _run_the_release_already(vehicle: SimulatedVehicle, ecu: str, *, trial: bool = False) -> None:
    part = vehicle.ecus[ecu]
    image = next(one.image for one in vehicle.offer.images if one.ecu == ecu)
    part.inactive, part.running = part.running or b"", vehicle.files.files[image.file_sha256]
    part.trial = trial


def test_an_ecu_that_runs_the_release_already_is_not_written_again(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    _run_the_release_already(vehicle, "ccu")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.ecus["ccu"].log == ["confirm"]
    assert report.ecus[0].after.read_back is not None


def test_a_trial_that_an_earlier_update_left_behind_is_confirmed(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    _run_the_release_already(vehicle, "ccu", trial=True)
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert not vehicle.ecus["ccu"].trial


def test_a_trial_that_was_left_behind_and_ends_after_the_commit_is_staged(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    _cut_after(vehicle, Kind.COMMIT, lambda one: _run_the_release_already(one, "ccu", trial=True))
    vehicle.ecus["ccu"].reset()
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW
    assert not vehicle.ecus["ccu"].trial


def test_a_single_slot_without_its_present_image_is_refused_untouched(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    images = [replace(image, present=None) for image in vehicle.offer.images]
    vehicle.offer = replace(vehicle.offer, images=tuple(images))
    _assert_refused(vehicle, "blower: checking the image: one slot, and its present image")


def test_a_present_image_that_the_ecu_does_not_run_is_refused_untouched(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    blower = vehicle.ecus["blower"]
    assert blower.running is not None
    blower.running = blower.running[::-1]
    _assert_refused(vehicle, "is not what the ECU runs by its own digest")


def test_a_present_image_is_not_needed_where_nothing_is_written(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    image = vehicle.offer.images[1]
    vehicle.ecus["blower"].running = vehicle.files.files[image.image.file_sha256]
    images = [replace(one, present=None) for one in vehicle.offer.images]
    vehicle.offer = replace(vehicle.offer, images=tuple(images))
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hardware_id": "XXX-9"}, "is for XXX-9, not for CCU-2"),
        ({"address": 0}, "0x0 to 0x40 is not within 0x8040000 to 0x80c0000"),
        ({"image_size": 63}, "holds 64 bytes at 0x8040000, not 63"),
        ({"image_sha256": bytes(32)}, "its image's SHA-256 is not the one promised"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_untouched(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    first = vehicle.offer.images[0]
    wrong = replace(first, image=replace(first.image, **changes))  # type: ignore[arg-type]  # a table of fields
    vehicle.offer = replace(vehicle.offer, images=(wrong, *vehicle.offer.images[1:]))
    _assert_refused(vehicle, words)


def test_an_unknown_ecu_is_refused_untouched(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    first = replace(vehicle.offer.images[0], ecu="toaster")
    vehicle.offer = replace(vehicle.offer, images=(first,))
    _assert_refused(vehicle, "toaster: checking the image: this vehicle has no such ECU")


def test_an_ecu_that_never_answers_is_refused_untouched(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.ecus["rear"].refuses.add("inventory")
    _assert_refused(vehicle, "rear: checking the image: what runs now is not known")


def _assert_refused(vehicle: SimulatedVehicle, words: str) -> None:
    before = vehicle.versions()
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.REFUSED
    assert words in report.reason
    assert vehicle.versions() == before
    assert all(ecu.log == [] for ecu in vehicle.ecus.values())


def _cut_after(
    vehicle: SimulatedVehicle,
    wanted: Kind,
    prepare: Callable[[SimulatedVehicle], None] = lambda _: None,
) -> list[tuple[Kind, str]]:
    """Run until power fails right behind this entry."""
    prepare(vehicle)

    def note(kind: Kind, _: str) -> None:
        if kind is wanted:
            raise PowerCut

    vehicle.on_note = note
    with pytest.raises(PowerCut):
        clock.run(vehicle.update(), virtual=True)
    vehicle.on_note = lambda *_: None
    return kinds(vehicle.folder)


def test_activation_waits_for_a_clearance_that_comes_behind_all_staging(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    at = {entry: number for number, entry in enumerate(kinds(tmp_path))}
    assert all(at[Kind.STAGED, ecu] < at[Kind.CLEARED, ""] for ecu in OLD)
    assert all(at[Kind.ACTIVATING, ecu] > at[Kind.CLEARED, ""] for ecu in OLD)
    assert vehicle.clearance.engaged == [False, True, False]
    cleared = [step for step in report.steps if step.step == "preconditions and consent"]
    assert len(cleared) == 1


def test_a_driver_who_denies_ends_it_with_nothing_activated(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.clearance.denied = True
    report = clock.run(vehicle.update(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.REFUSED, "consent: denied by the driver")
    assert vehicle.versions() == OLD
    assert not any("activate" in line for ecu in vehicle.ecus.values() for line in ecu.log)
    assert True not in vehicle.clearance.engaged


def test_preconditions_that_are_never_met_end_it_with_their_names(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.clearance.unmet = {"Speed", "Gear"}
    report = clock.run(vehicle.update(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.REFUSED, "preconditions: Gear, Speed")
    assert (Kind.WAITING, "") in kinds(tmp_path)
    assert vehicle.versions() == OLD


def test_without_supply_nothing_is_staged(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    vehicle.clearance.unmet = {"supply"}
    report = clock.run(vehicle.update(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.REFUSED, "waiting: supply")
    assert not any(ecu.log for ecu in vehicle.ecus.values())


@pytest.mark.parametrize("moment", ["activate", "read back", "commit"])
def test_a_violation_before_the_commit_turns_the_update_back(tmp_path: Path, moment: str) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    def violate(_: bytes = b"") -> bool:
        vehicle.clearance.unmet = {"Speed was 3 km/h"}
        return True

    def violate_when_proved(kind: Kind, _: str) -> None:
        if kind is Kind.PROVED:
            violate()

    match moment:
        case "activate":
            vehicle.ecus["ccu"].boots = violate
        case "read back":
            vehicle.ecus["blower"].boots = violate
        case _:
            vehicle.on_note = violate_when_proved
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "preconditions: Speed was 3 km/h"
    assert vehicle.versions() == OLD
    assert not any(ecu.trial or ecu.requested for ecu in vehicle.ecus.values())
    assert vehicle.clearance.engaged == [False, True, False]


def test_a_violation_breaks_off_what_is_being_activated(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))

    def violate(kind: Kind, ecu: str) -> None:
        if (kind, ecu) == (Kind.VERIFIED, "blower"):  # the first of three sectors
            vehicle.clearance.unmet = {"Speed was 3 km/h"}

    vehicle.on_note = violate
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.ROLLED_BACK
    written = kinds(tmp_path)
    assert written.count((Kind.VERIFIED, "blower")) == 1
    assert (Kind.ACTIVATED, "blower") not in written


def test_behind_the_commit_an_ecu_is_activated_when_the_vehicle_is_safe(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))
    ccu = vehicle.ecus["ccu"]
    last: list[str] = []

    def note(kind: Kind, ecu: str) -> None:
        if kind is Kind.COMMIT:
            ccu.replaced(ccu.inactive, serial="SN-2")
        if (kind, ecu) == (Kind.ACTIVATING, "ccu"):
            last.append(vehicle.clearance.log[-1])

    vehicle.on_note = note
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert last == ["obtain releases/two", "safe releases/two"]


def test_the_first_that_cannot_be_staged_ends_it_for_all(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("rear", "ccu"))
    vehicle.ecus["ccu"].refuses.add("stage")
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.ROLLED_BACK
    written = kinds(tmp_path)
    assert (Kind.STAGING, "rear") in written
    assert (Kind.VERIFIED, "rear") not in written


class _Unwatched(SimulatedClearance):
    """What no longer holds is seen by whoever looks, and told to nobody."""

    async def violation(self) -> UpdateError:
        never: asyncio.Future[UpdateError] = asyncio.get_running_loop().create_future()
        return await never


def test_preconditions_are_looked_at_in_the_very_moment_of_the_commit(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))
    vehicle.clearance = _Unwatched()

    def drive_off(kind: Kind, ecu: str) -> None:
        if (kind, ecu) == (Kind.PROVED, "blower"):  # the last that is proved
            vehicle.clearance.unmet = {"Speed was 3 km/h"}

    vehicle.on_note = drive_off
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "preconditions: Speed was 3 km/h"
    assert (Kind.COMMIT, "") not in kinds(tmp_path)
    assert vehicle.versions().items() <= OLD.items()


def test_a_violation_behind_the_commit_turns_nothing(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path)

    def violate(kind: Kind, _: str) -> None:
        if kind is Kind.COMMIT:
            vehicle.clearance.unmet = {"Speed"}

    vehicle.on_note = violate
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW


def test_a_restarted_gateway_obtains_its_clearance_anew_and_goes_back_without(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path)
    _cut_after(vehicle, Kind.PROVED)
    vehicle.clearance.engaged.clear()
    vehicle.clearance.unmet = {"Gear"}
    report = clock.run(vehicle.update(), virtual=True)
    assert vehicle.clearance.log[-2:] == ["obtain releases/two begun", "safe releases/two"]
    assert report.outcome is Outcome.ROLLED_BACK
    assert report.reason == "preconditions: Gear"
    assert vehicle.versions() == OLD
    assert vehicle.clearance.engaged == [True, False]
