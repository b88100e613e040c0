"""A workshop puts another part in an ECU's place at every moment of an update."""

import asyncio
from pathlib import Path

import pytest

import clock
from tests.support.gateway import PowerCut, PowerSwitch, SimulatedVehicle, image_of
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Journal, Kind

OLD = {"ccu": "1.0.0", "blower": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0"}
SIZE = 8
#: What the new part runs when it comes.
HOLDS = {
    "the old image": image_of("ccu", "1.0.0", SIZE),
    "the new image": image_of("ccu", "2.0.0", SIZE),
    "another image": b"from the shelf"[:SIZE],
    "nothing": None,
}


def _vehicle(folder: Path) -> SimulatedVehicle:
    return SimulatedVehicle(folder, ecus=("ccu", "blower"), size=SIZE)


def _kinds(folder: Path) -> list[Kind]:
    with Journal(folder / "journal.jsonl") as journal:
        return [entry.kind for entry in journal.entries]


async def _replaced(
    vehicle: SimulatedVehicle, ecu: str, at: Kind, running: bytes | None, hardware_id: str = ""
) -> UpdateReport:
    """Update, and put a new part in when this entry is on disk for the first time."""
    done = False

    def put() -> None:
        vehicle.ecus[ecu].replaced(running, serial="SN-2", hardware_id=hardware_id)

    def note(kind: Kind, of: str) -> None:
        nonlocal done
        if kind is at and of in {"", ecu} and not done:
            done = True
            asyncio.get_running_loop().call_soon(put)

    vehicle.on_note = note
    return await vehicle.update(PowerSwitch())


BEFORE = (Kind.STAGED, Kind.ACTIVATED, Kind.PROVED)
AFTER = (Kind.COMMIT, Kind.CONFIRMED, Kind.SNAPSHOT_AFTER)


@pytest.mark.parametrize("at", BEFORE, ids=lambda kind: kind.value)
@pytest.mark.parametrize("holds", HOLDS)
@pytest.mark.parametrize("ecu", ["ccu", "blower"])
def test_before_the_commit_everything_goes_back(
    tmp_path: Path, ecu: str, holds: str, at: Kind
) -> None:
    vehicle = _vehicle(tmp_path)
    held = HOLDS[holds]
    if held is not None and holds != "another image":
        held = image_of(ecu, "1.0.0" if holds == "the old image" else "2.0.0", SIZE)
    report = clock.run(_replaced(vehicle, ecu, at, held), virtual=True)
    kinds = _kinds(tmp_path)
    assert Kind.REPLACED in kinds
    assert Kind.COMMIT not in kinds
    assert f"{ecu}: replaced: serial number SN-2 in the place of SN-1" in report.reason
    others = {name: version for name, version in vehicle.versions().items() if name != ecu}
    assert others.items() <= OLD.items()
    if held == image_of(ecu, "1.0.0", SIZE):
        assert report.outcome in {Outcome.ROLLED_BACK, Outcome.REFUSED}
    else:
        assert report.outcome is Outcome.FAILED_SAFE
        assert f"{ecu}: inspecting: was replaced, and runs" in report.reason


@pytest.mark.parametrize("at", AFTER, ids=lambda kind: kind.value)
@pytest.mark.parametrize("holds", HOLDS)
def test_behind_the_commit_the_new_part_is_staged_tried_and_confirmed(
    tmp_path: Path, holds: str, at: Kind
) -> None:
    vehicle = _vehicle(tmp_path)
    report = clock.run(_replaced(vehicle, "ccu", at, HOLDS[holds]), virtual=True)
    assert (report.outcome, report.reason) == (Outcome.UPDATED, "")
    assert vehicle.versions() == NEW
    assert not vehicle.ecus["ccu"].trial
    assert vehicle.ecus["ccu"].log[-1] == "confirm"
    assert report.ecus[0].after.serial_number == "SN-2"
    assert report.ecus[0].after.software_version == "2.0.0"
    kinds = _kinds(tmp_path)
    assert kinds.count(Kind.REPLACED) == kinds.count(Kind.INSPECTED) == 1
    assert Kind.REVERTING not in kinds


def test_behind_the_commit_a_part_of_another_kind_is_failed_safe_and_not_written(
    tmp_path: Path,
) -> None:
    vehicle = _vehicle(tmp_path)
    foreign = b"foreign!"
    report = clock.run(
        _replaced(vehicle, "ccu", Kind.COMMIT, foreign, hardware_id="CCU-9"), virtual=True
    )
    assert report.outcome is Outcome.FAILED_SAFE
    assert "ccu: replaced: its hardware is CCU-9, the image is for CCU-2" in report.reason
    assert vehicle.ecus["ccu"].running == foreign
    assert vehicle.ecus["ccu"].inactive == b""
    assert vehicle.versions()["blower"] == "2.0.0"


def _cut_at_its_entry(vehicle: SimulatedVehicle, hardware_id: str = "") -> None:
    """The part is replaced behind the commit; power fails when that is in the journal."""

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.COMMIT:
            held = HOLDS["the old image"]
            vehicle.ecus["ccu"].replaced(held, serial="SN-2", hardware_id=hardware_id)
        if kind is Kind.REPLACED:
            raise PowerCut

    vehicle.on_note = note
    with pytest.raises(PowerCut):
        clock.run(vehicle.update(), virtual=True)
    vehicle.on_note = lambda *_: None


def test_a_gateway_that_starts_again_knows_the_new_part_from_its_journal(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)

    _cut_at_its_entry(vehicle)
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.UPDATED
    assert _kinds(tmp_path).count(Kind.REPLACED) == 1


def test_a_gateway_that_starts_again_tells_the_next_part_from_the_new_one(tmp_path: Path) -> None:
    vehicle = _vehicle(tmp_path)
    _cut_at_its_entry(vehicle)
    vehicle.ecus["ccu"].serial = "SN-3"
    assert clock.run(vehicle.update(), virtual=True).outcome is Outcome.UPDATED
    with Journal(tmp_path / "journal.jsonl") as journal:
        told = [one.fields["cause"] for one in journal.entries if one.kind is Kind.REPLACED]
    assert told == [
        "serial number SN-2 in the place of SN-1",
        "serial number SN-3 in the place of SN-2",
    ]


def test_a_gateway_that_starts_again_still_does_not_write_a_part_of_another_kind(
    tmp_path: Path,
) -> None:
    vehicle = _vehicle(tmp_path)
    _cut_at_its_entry(vehicle, hardware_id="CCU-9")
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.FAILED_SAFE
    assert "ccu: replaced: its hardware is CCU-9, the image is for CCU-2" in report.reason
    assert vehicle.ecus["ccu"].inactive == b""


def test_a_gateway_that_starts_again_knows_the_parts_that_were_there_from_the_beginning(
    tmp_path: Path,
) -> None:
    vehicle = _vehicle(tmp_path)
    _cut_at_its_entry(vehicle)
    vehicle.ecus["blower"].serial = "SN-7"
    clock.run(vehicle.update(), virtual=True)
    with Journal(tmp_path / "journal.jsonl") as journal:
        told = {
            one.ecu: one.fields["cause"] for one in journal.entries if one.kind is Kind.REPLACED
        }
    assert told["blower"] == "serial number SN-7 in the place of SN-1"


def test_a_part_that_replaces_an_ecu_that_was_given_up_does_not_stop_the_update(
    tmp_path: Path,
) -> None:
    vehicle = _vehicle(tmp_path)
    vehicle.ecus["blower"].refuses.add("activate")
    vehicle.ecus["ccu"].refuses.add("revert")

    def note(kind: Kind, _: str) -> None:
        if kind is Kind.LOST:
            vehicle.ecus["ccu"].replaced(HOLDS["another image"], serial="SN-2")

    vehicle.on_note = note
    report = clock.run(vehicle.update(), virtual=True)
    assert report.outcome is Outcome.FAILED_SAFE
    assert Kind.REPLACED not in _kinds(tmp_path)
    assert report.ecus[0].after.serial_number == "SN-2"
