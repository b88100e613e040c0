"""Roll-back targets: alive until the commit, dead behind it; ECUs with nothing to go back to."""

from dataclasses import replace
from pathlib import Path

import pytest

import clock
from tests.support.gateway import PowerCut, PowerSwitch, SimulatedVehicle
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Journal, Kind

OLD = {"ccu": "1.0.0", "blower": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0"}


def _vehicle(folder: Path) -> SimulatedVehicle:
    return SimulatedVehicle(folder, ecus=("ccu", "blower"))


def _target(vehicle: SimulatedVehicle) -> bytes:
    present = vehicle.offer.images[1].present
    assert present is not None
    return present.file_sha256


def test_a_roll_back_target_is_dead_behind_the_commit_and_kept_until_then(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    target = _target(vehicle)
    alive: dict[Kind, bool] = {}

    def note(kind: Kind, _: str) -> None:
        alive[kind] = target in vehicle.files.files

    vehicle.on_note = note
    clock.run(vehicle.update(), virtual=True)
    with Journal(tmp_path / "journal.jsonl") as journal:
        (commit,) = (entry for entry in journal.entries if entry.kind is Kind.COMMIT)
    assert commit.fields["discards"] == [target.hex()]
    assert alive[Kind.PROVED]
    assert alive[Kind.COMMIT]  # the entry is on disk before its effect
    assert not alive[Kind.CONFIRMING]


def _cut_behind_the_commit(vehicle: SimulatedVehicle) -> None:
    """Power fails when the entry is on disk and nothing has come of it."""

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.COMMIT:
            raise PowerCut

    vehicle.on_note = note
    with pytest.raises(PowerCut):
        clock.run(vehicle.update(PowerSwitch()), virtual=True)
    vehicle.on_note = lambda *_: None


def test_a_cut_right_behind_the_commit_does_not_save_the_roll_back_target(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    target = _target(vehicle)
    _cut_behind_the_commit(vehicle)
    content = vehicle.files.files[target]
    # A workshop has put the old image back meanwhile: it is brought forward without the target.
    vehicle.ecus["blower"].running = content
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert vehicle.versions() == NEW
    assert target not in vehicle.files.files


def test_a_target_that_is_also_a_new_image_is_kept(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    ccu, blower = vehicle.offer.images
    blower = replace(blower, present=blower.image)
    vehicle.offer = replace(vehicle.offer, images=(ccu, blower))
    vehicle.ecus["blower"].running = None
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    assert blower.image.file_sha256 in vehicle.files.files


def test_an_ecu_that_stays_in_its_boot_loader_is_repaired(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    vehicle.ecus["blower"].running = None  # a power cut in an update that was given up
    report = clock.run(vehicle.update(), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.UPDATED, "")
    assert vehicle.versions() == NEW


def test_an_ecu_that_cannot_be_repaired_gets_what_it_should_run(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    blower = vehicle.ecus["blower"]
    present, blower.running = blower.running, None
    blower.boots = lambda image: image == present
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.ROLLED_BACK
    assert vehicle.versions() == OLD


def test_two_slots_without_an_application_are_repaired_or_left_as_they_were(tmp_path: Path) -> None:
    for name, boots in (("good", True), ("bad", False)):
        vehicle = _vehicle(tmp_path / name)
        ccu = vehicle.ecus["ccu"]
        ccu.running = None
        ccu.boots = lambda _, boots=boots: boots  # type: ignore[misc]  # bound here
        report = clock.run(vehicle.update(), virtual=True)
        assert report.outcome is (Outcome.UPDATED if boots else Outcome.ROLLED_BACK)
        assert vehicle.versions() == (NEW if boots else OLD | {"ccu": ""})


def test_an_ecu_in_its_boot_loader_without_an_image_to_go_back_to_is_refused(
    tmp_path: Path,
) -> None:
    vehicle = _vehicle(tmp_path)
    images = [replace(image, present=None) for image in vehicle.offer.images]
    vehicle.offer = replace(vehicle.offer, images=tuple(images))
    vehicle.ecus["blower"].running = None
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.REFUSED
    assert "blower: checking the image: one slot, and its image to go back to" in report.reason
    assert all(ecu.log == [] for ecu in vehicle.ecus.values())


def test_what_is_staged_behind_the_commit_has_no_image_to_go_back_to(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    blower = vehicle.ecus["blower"]
    jobs = []

    def note(kind: Kind, ecu: str) -> None:
        if (kind, ecu) == (Kind.STAGED, "blower"):
            jobs.append(blower.job)
        if kind is Kind.COMMIT:
            blower.replaced(blower.inactive[::-1], serial="SN-2")

    vehicle.on_note = note
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    before, behind = jobs
    assert before is not None
    assert behind is not None
    assert (before.present is None, before.committed) == (False, False)
    assert (behind.present, behind.committed) == (None, True)
