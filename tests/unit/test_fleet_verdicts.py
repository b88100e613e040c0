"""Verdicts: what a release would do to a vehicle."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cloud.fleet.releases import Image, ImageFormat, Release
from cloud.fleet.vehicles import Ecu, Vehicle
from cloud.fleet.verdicts import VehicleVerdict, Verdict, judge_vehicle

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD, NEW = b"\x01" * 32, b"\x02" * 32


def image(hardware_id: str = "CCU-2", sha256: bytes = NEW) -> Image:
    return Image(
        hardware_id=hardware_id,
        file_name=f"{hardware_id}.hex",
        format=ImageFormat.INTEL_HEX,
        file_size=300,
        file_sha256=bytes(32),
        address=0x1000,
        image_size=0x100,
        image_sha256=sha256,
        declared_hardware_id=hardware_id,
        software_version="2.0.0",
        signed=True,
    )


def release(*images: Image) -> Release:
    return Release(
        release_id="2.0.0", version="2.0.0", description="", images=images, create_time=NOW
    )


CCU = Ecu(
    name="ccu",
    hardware_id="CCU-2",
    serial_number="1",
    public_key=bytes(32),
    wire="comfort",
    single_slot=False,
    application_base=0x1000,
    slot_size=0x100,
    software_version="1.0.0",
    image_sha256=OLD,
    inventory_time=NOW,
)
BLOWER = replace(CCU, name="blower", hardware_id="BLW-1", single_slot=True)


def vehicle(*ecus: Ecu) -> Vehicle:
    return Vehicle(
        vin="WCANHVAC000000001", model="", ecus=ecus, create_time=NOW, last_seen_time=NOW
    )


PUBLISHED = {("CCU-2", OLD): image(sha256=OLD), ("BLW-1", OLD): image("BLW-1", OLD)}


def judge(car: Vehicle, wanted: Release) -> VehicleVerdict:
    return judge_vehicle(
        car, wanted, find_image=lambda hardware_id, sha256: PUBLISHED.get((hardware_id, sha256))
    )


def test_an_image_for_each_ecu_is_an_update() -> None:
    verdict = judge(vehicle(CCU, BLOWER), release(image(), image("BLW-1")))
    assert verdict.verdict is Verdict.UPDATE
    assert (verdict.reasons, verdict.warnings) == ((), ())
    ccu, blower = verdict.changes
    assert (ccu.version_before, ccu.sha256_before, ccu.present) == ("1.0.0", OLD, None)
    assert blower.present == PUBLISHED["BLW-1", OLD]


def test_an_ecu_without_an_image_is_left_alone() -> None:
    verdict = judge(vehicle(CCU, BLOWER), release(image()))
    assert [change.ecu for change in verdict.changes] == ["ccu"]


def test_what_runs_already_is_not_written_again() -> None:
    assert judge(vehicle(CCU), release(image(sha256=OLD))).verdict is Verdict.UP_TO_DATE
    both = release(image(sha256=OLD), image("BLW-1"))
    assert [change.ecu for change in judge(vehicle(CCU, BLOWER), both).changes] == ["blower"]


@pytest.mark.parametrize(
    ("car", "wanted", "reason"),
    [
        (vehicle(CCU), release(image("X")), "release 2.0.0 has no image for any of CCU-2"),
        (
            replace(vehicle(CCU), last_seen_time=None),
            release(image()),
            "the vehicle has not checked in yet: nobody knows what it runs",
        ),
        (
            vehicle(replace(CCU, inventory_time=None)),
            release(image()),
            "ccu: the vehicle has not reported it yet",
        ),
        (
            vehicle(replace(CCU, inventory_error="could not be read: silence")),
            release(image()),
            "ccu: could not be read: silence",
        ),
        (
            vehicle(CCU),
            release(replace(image(), declared_hardware_id="BLW-1")),
            "ccu: CCU-2.hex says of itself that it is for BLW-1, not CCU-2",
        ),
        (
            vehicle(CCU),
            release(replace(image(), address=0xFFF)),
            (
                "ccu: CCU-2.hex fills addresses 0xfff to 0x10fe, "
                "the application area is 0x1000 to 0x10ff"
            ),
        ),
        (
            vehicle(CCU),
            release(replace(image(), address=0x1001)),
            (
                "ccu: CCU-2.hex fills addresses 0x1001 to 0x1100, "
                "the application area is 0x1000 to 0x10ff"
            ),
        ),
        (
            vehicle(replace(BLOWER, image_sha256=b"\x09" * 32)),
            release(image("BLW-1")),
            (
                "blower: it has a single slot and runs an image that was never published here "
                "(SHA-256 0909090909090909...), so it could not be written back"
            ),
        ),
        (
            vehicle(replace(BLOWER, image_sha256=None)),
            release(image("BLW-1")),
            (
                "blower: it has a single slot and did not prove what it runs, "
                "so it could not be written back"
            ),
        ),
    ],
)
def test_a_refusal_names_its_reason(car: Vehicle, wanted: Release, reason: str) -> None:
    verdict = judge(car, wanted)
    assert verdict.verdict is Verdict.REFUSED
    assert verdict.reasons == (reason,)


def test_an_image_larger_than_the_slot_is_refused_with_both_sizes() -> None:
    verdict = judge(vehicle(CCU), release(replace(image(), image_size=0x101)))
    assert verdict.reasons[0] == "ccu: CCU-2.hex puts 257 bytes into a slot of 256"


def test_a_vehicle_under_way_elsewhere_is_updated_with_a_warning() -> None:
    verdict = judge(replace(vehicle(CCU), campaign_id="spring"), release(image()))
    assert verdict.verdict is Verdict.UPDATE
    assert "campaigns/spring is under way in it and goes back" in verdict.warnings[0]


def test_an_unsigned_image_and_an_unproved_slot_are_warnings() -> None:
    car = vehicle(replace(CCU, image_sha256=None))
    verdict = judge(car, release(replace(image(), signed=False)))
    assert verdict.verdict is Verdict.UPDATE
    assert verdict.warnings == (
        "ccu: CCU-2.hex carries no signature",
        "ccu: what it runs now is not proved by its boot loader",
    )
