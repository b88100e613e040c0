"""From an offer to what goes into an ECU: every check by itself, and what the bounds are."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clock
from dbc.vehicle import describe_vehicle
from protocols.firmware.formats import Image
from protocols.firmware.formats.intel_hex import FORMAT as INTEL_HEX
from tests.support.gateway import (
    NONCE,
    VIN,
    PowerSwitch,
    SimulatedUpdater,
    SimulatedVehicle,
    published,
)
from vehicle_gateway.update import GATEWAY, Inventory, ReadBack, UpdateError, UpdateJob
from vehicle_gateway.update.account import opening_of
from vehicle_gateway.update.begin import begin, inventories
from vehicle_gateway.update.coordinator import EcuPart, EcuState
from vehicle_gateway.update.energy import out_of_use_s
from vehicle_gateway.update.images import before_of, check_offer, make_job, runs
from vehicle_gateway.update.journal import Journal
from vehicle_gateway.update.offer import ImageFormat, Offer, OfferedImage, PublishedImage

ECUS = describe_vehicle().ecus
CCU, BLOWER = ECUS["ccu"], ECUS["blower"]
OLD, NEW = b"old image", b"new image"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _inventory(ecu: str, image: bytes, version: str = "1.0.0") -> Inventory:
    """An ECU whose application (or, without a version, boot loader) digests `image`."""
    read_back = ReadBack(nonce=NONCE, image_sha256=_digest(image), signature=b"")
    return Inventory(ecu=ecu, software_version=version, read_back=read_back)


def _offered(ecu: str) -> OfferedImage:
    return OfferedImage(
        ecu=ecu,
        image=published(ECUS[ecu], "2.0.0", NEW),
        present=published(ECUS[ecu], "1.0.0", OLD),
    )


def _offer(*images: OfferedImage) -> Offer:
    return Offer(
        campaign="campaigns/spring",
        release="releases/two",
        version="2.0.0",
        nonce=NONCE,
        images=images,
    )


# What can be said before a file is here


@pytest.mark.parametrize("ecu", ["ccu", "blower"])
def test_an_image_that_fits_is_allowed(ecu: str) -> None:
    assert check_offer(_offered(ecu), ECUS[ecu], _inventory(ecu, OLD)) is ECUS[ecu]


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        (None, r"what runs now is not known \(not asked\)"),
        (Inventory(ecu="ccu", error="asleep"), r"what runs now is not known \(asleep\)"),
        (Inventory(ecu="ccu", software_version="1"), r"what runs now is not known \(no digest\)"),
    ],
)
def test_what_runs_now_has_to_be_known(before: Inventory | None, cause: str) -> None:
    with pytest.raises(UpdateError, match=f"ccu: checking the image: {cause}"):
        check_offer(_offered("ccu"), CCU, before)


def _refused(offered: OfferedImage, ecu: str, before: Inventory) -> str:
    with pytest.raises(UpdateError) as refused:
        check_offer(offered, ECUS.get(ecu), before)
    assert (refused.value.ecu, refused.value.step) == (offered.ecu, "checking the image")
    return refused.value.cause


def test_an_image_that_does_not_fit_its_ecu_is_refused() -> None:
    before = _inventory("blower", OLD)
    offered = _offered("blower")
    without = replace(offered, present=None)
    toaster = replace(offered, ecu="toaster")
    assert _refused(toaster, "toaster", before) == "this vehicle has no such ECU"
    for_ccu = replace(offered, image=published(CCU, "2.0.0", NEW))
    assert _refused(for_ccu, "blower", before) == "ccu-2.0.0.bin: is for CCU-2, not for BLW-1"
    words = "one slot, and its {} is not on offer"
    assert _refused(without, "blower", before) == words.format("present image")
    in_loader = Inventory(ecu="blower")
    assert _refused(without, "blower", in_loader) == words.format("image to go back to")
    cause = "blower-1.0.0.bin: is not what the ECU runs by its own digest"
    assert _refused(offered, "blower", _inventory("blower", b"other")) == cause
    # Nothing is written where it runs already.
    assert check_offer(without, BLOWER, _inventory("blower", NEW)) is BLOWER


def test_a_boot_loader_need_not_digest_what_it_does_not_run() -> None:
    assert check_offer(_offered("blower"), BLOWER, Inventory(ecu="blower")) is BLOWER
    # Nor need what it digests be what is written back.
    assert check_offer(_offered("blower"), BLOWER, _inventory("blower", b"?", "")) is BLOWER


def test_two_slots_need_no_present_image() -> None:
    offered = replace(_offered("ccu"), present=None)
    assert check_offer(offered, CCU, _inventory("ccu", b"anything")) is CCU


def test_an_image_runs_only_where_an_application_does() -> None:
    assert runs(_inventory("ccu", NEW), _digest(NEW))
    assert not runs(_inventory("ccu", OLD), _digest(NEW))
    assert not runs(_inventory("ccu", NEW, version=""), _digest(NEW))
    assert not runs(Inventory(ecu="ccu", software_version="1"), _digest(NEW))


def test_what_an_ecu_is_brought_back_to_is_what_ran_or_else_what_is_given_back() -> None:
    offered = _offered("blower")
    assert before_of(offered, _inventory("blower", b"ran")) == _digest(b"ran")
    assert before_of(offered, _inventory("blower", b"ran", "")) == _digest(OLD)
    assert before_of(offered, Inventory(ecu="blower", software_version="1")) == _digest(OLD)
    assert before_of(replace(offered, present=None), Inventory(ecu="blower")) == b""


# From files to a job


def _job(
    ecu: str, image: PublishedImage, content: bytes, *, committed: bool = False, version: str = ""
) -> UpdateJob:
    offered = replace(_offered(ecu), image=image)
    assert offered.present is not None
    files = {offered.present.file_sha256: OLD, image.file_sha256: content}
    offer = replace(_offer(offered), version=version)
    before = _inventory(ecu, OLD)
    return make_job(offer, offered, ECUS[ecu], before, files, committed=committed)


def test_a_job_holds_all_that_an_updater_needs() -> None:
    image = published(BLOWER, "2.0.0", NEW)
    assert _job("blower", image, NEW) == UpdateJob(
        ecu="blower",
        image=NEW,
        address=BLOWER.application_base,
        image_sha256=_digest(NEW),
        version="2.0.0",
        nonce=NONCE,
        before_sha256=_digest(OLD),
        present=OLD,
        present_address=BLOWER.application_base,
        committed=False,
    )


def test_only_a_single_slot_gets_its_present_image_and_none_behind_the_commit() -> None:
    two = _job("ccu", published(CCU, "2.0.0", NEW), NEW)
    assert (two.present, two.present_address, two.committed) == (None, 0, False)
    kept = _job("blower", published(BLOWER, "2.0.0", NEW), NEW, committed=True)
    assert (kept.present, kept.present_address, kept.committed) == (None, 0, True)


def test_an_image_without_a_version_has_the_releases() -> None:
    assert _job("ccu", published(CCU, "", NEW), NEW, version="spring").version == "spring"


@pytest.mark.parametrize(
    ("changes", "content", "cause"),
    [
        ({"file_size": 10}, NEW, "9 bytes, not 10"),
        ({}, OLD, "its SHA-256 is not the one promised"),
        ({"image_size": 10}, NEW, "holds 9 bytes at 0x8040000, not 10 at 0x8040000"),
        ({"image_sha256": bytes(32)}, NEW, "its image's SHA-256 is not the one promised"),
        ({"format": ImageFormat.INTEL_HEX}, NEW, "line 1"),
    ],
)
def test_a_file_that_is_not_as_promised_is_refused_by_its_name(
    changes: dict[str, Any], content: bytes, cause: str
) -> None:
    image = replace(published(CCU, "2.0.0", NEW), **changes)
    with pytest.raises(UpdateError, match=rf"ccu: checking the image: ccu-2.0.0.bin: .*{cause}"):
        _job("ccu", image, content)


def test_a_present_image_that_is_not_as_promised_is_refused_too() -> None:
    offered = _offered("blower")
    assert offered.present is not None
    files = {offered.present.file_sha256: NEW, offered.image.file_sha256: NEW}
    with pytest.raises(UpdateError, match=r"blower-1.0.0.bin: its SHA-256"):
        make_job(
            _offer(offered), offered, BLOWER, _inventory("blower", OLD), files, committed=False
        )


def test_an_address_in_the_file_counts_where_its_format_has_one() -> None:
    base = CCU.application_base
    content = INTEL_HEX.encode(Image(address=base + 16, data=NEW))
    image = replace(
        published(CCU, "2.0.0", NEW),
        format=ImageFormat.INTEL_HEX,
        file_size=len(content),
        file_sha256=_digest(content),
    )
    with pytest.raises(UpdateError, match="holds 9 bytes at 0x8040010, not 9 at 0x8040000"):
        _job("ccu", image, content)
    assert _job("ccu", replace(image, address=base + 16), content).address == base + 16


def _sized(size: int, offset: int = 0) -> tuple[PublishedImage, bytes]:
    content = bytes(size)
    image = published(BLOWER, "2.0.0", content)
    return replace(image, address=BLOWER.application_base + offset), content


def test_an_image_may_fill_the_slot_and_not_reach_beyond_it() -> None:
    size = BLOWER.slot_size
    assert len(_job("blower", *_sized(size)).image) == size
    assert _job("blower", *_sized(1, size - 1)).address == BLOWER.application_base + size - 1
    for wrong in (_sized(size + 1), _sized(2, size - 1), _sized(1, -1)):
        with pytest.raises(UpdateError, match="is not within 0x10000 to 0x30000"):
            _job("blower", *wrong)


# How an update begins


def _begun(folder: Path, offer: Offer, *before: Inventory) -> tuple[EcuPart, ...]:
    with Journal(folder / "journal.jsonl") as journal:
        begin(
            journal,
            vin=VIN,
            offer=offer,
            before=before,
            vehicle=describe_vehicle(),
            now_us=7,
        )
        opening = opening_of(journal.entries[0])
        assert journal.entries[0].time_us == 7
    assert (opening.vin, opening.offer, opening.before) == (VIN, offer, before)
    return opening.parts


def test_the_first_entry_says_which_ecus_run_the_release_and_which_have_one_slot(
    tmp_path: Path,
) -> None:
    toaster = replace(_offered("ccu"), ecu="toaster")
    gateway = replace(_offered("ccu"), ecu=GATEWAY)
    offer = _offer(_offered("ccu"), _offered("blower"), _offered("flap"), toaster, gateway)
    before = (
        _inventory("ccu", NEW),
        _inventory("blower", NEW, version=""),  # a boot loader that digests it runs nothing
        _inventory("flap", OLD),
        Inventory(ecu=GATEWAY, software_version="2.0.0"),
    )
    assert _begun(tmp_path, offer, *before) == (
        EcuPart(ecu="ccu", single_slot=False, state=EcuState.UNCHANGED),
        EcuPart(ecu="blower", single_slot=True),
        EcuPart(ecu="flap", single_slot=True),
        EcuPart(ecu="toaster", single_slot=False),
        EcuPart(ecu=GATEWAY, single_slot=False, gateway=True),
    )


def test_all_ecus_are_asked_at_once_and_one_that_fails_says_why(tmp_path: Path) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))
    vehicle.ecus["ccu"].refuses.add("inventory")
    updaters = [SimulatedUpdater(ecu, PowerSwitch()) for ecu in vehicle.ecus.values()]
    ccu, blower = clock.run(inventories(updaters, NONCE), virtual=True)
    assert ccu == Inventory(ecu="ccu", error="inventory: inventory refused")
    assert (blower.software_version, blower.error) == ("1.0.0", "")


# How long it takes


def test_the_time_out_of_use_is_bounded_by_wire_and_memory() -> None:
    """4097 bytes: two sectors to erase, 33 pages to program, and 17 bits a byte on the wire."""
    big = bytes(4097)
    blower, flap, ccu, rear = (
        replace(_offered(name), image=published(ECUS[name], "2.0.0", big))
        for name in ("blower", "flap", "ccu", "rear")
    )
    vehicle = describe_vehicle()
    one_s = 2 * 0.05 + 33 * 0.0015 + 4097 * 17 / 500_000 + 0.2 + 5.0
    area_s = 2 * 0.04 + 33 * 0.0012 + 0.25 + 5.0  # what an agent copies comes over no wire
    assert out_of_use_s(_offer(blower), vehicle) == pytest.approx(one_s)
    assert out_of_use_s(_offer(flap), vehicle) == pytest.approx(area_s)
    # Two slots start anew together; the others wait for each other.
    assert out_of_use_s(_offer(ccu, rear), vehicle) == pytest.approx(0.8 + 5.0)
    every = _offer(blower, flap, ccu, rear, replace(ccu, ecu="toaster"))
    assert out_of_use_s(every, vehicle) == pytest.approx(one_s + area_s + 0.8 + 5.0)
    assert out_of_use_s(_offer(), vehicle) == 0.0


def test_sizes_and_rates_that_are_not_known_are_bounded_by_the_byte() -> None:
    known = describe_vehicle()
    ecu = replace(BLOWER, sector_size=0, page_size=0)
    wire = replace(known.wires["comfort"], bit_rate=0)
    vehicle = replace(known, ecus={"blower": ecu}, wires={"comfort": wire})
    offered = replace(_offered("blower"), image=published(BLOWER, "2.0.0", bytes(2)))
    expected_s = 2 * 0.05 + 2 * 0.0015 + 2 * 17 + 0.2 + 5.0
    assert out_of_use_s(_offer(offered), vehicle) == pytest.approx(expected_s)
