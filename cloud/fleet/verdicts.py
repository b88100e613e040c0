"""What a release would do to a vehicle, judged by the vehicle's last inventory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from cloud.fleet.campaigns import Change
from cloud.fleet.releases import Image, Release, Terms
from cloud.fleet.vehicles import Ecu, Vehicle


class Verdict(IntEnum):
    """Numbers as in fleet.v1."""

    UPDATE = 1
    UP_TO_DATE = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleVerdict:
    vin: str
    verdict: Verdict
    #: What speaks against it, each naming the ECU or field.
    reasons: tuple[str, ...] = ()
    #: What is worth knowing.
    warnings: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    #: On which terms the vehicle would activate it.
    terms: Terms = field(default_factory=Terms)


#: Finds a published image by the SHA-256 of what it puts into an ECU of a hardware id.
FindImage = Callable[[str, bytes], Image | None]


def judge_vehicle(vehicle: Vehicle, release: Release, *, find_image: FindImage) -> VehicleVerdict:
    """Say what `release` would do to `vehicle`; changes nothing.

    `find_image(hardware_id, image_sha256)` looks into all that was ever published.
    """
    pairs = [
        (ecu, image)
        for ecu in vehicle.ecus
        if (image := release.image_for(ecu.hardware_id)) is not None
    ]
    wanted = [(ecu, image) for ecu, image in pairs if ecu.image_sha256 != image.image_sha256]
    presents = {
        ecu.name: find_image(ecu.hardware_id, sha256)
        for ecu, _ in wanted
        if ecu.single_slot and (sha256 := _goes_back_to(ecu)) is not None
    }
    reasons = [
        *_vehicle_reasons(vehicle, release, pairs=pairs),
        *(reason for ecu, image in wanted for reason in _image_reasons(ecu, image)),
        *(
            reason
            for ecu, _ in wanted
            for reason in _ecu_reasons(vehicle, ecu, present=presents.get(ecu.name))
        ),
    ]
    changes = tuple(
        Change(
            ecu=ecu.name,
            image=image,
            version_before=ecu.software_version,
            sha256_before=_goes_back_to(ecu),
            present=presents.get(ecu.name),
        )
        for ecu, image in wanted
    )
    return VehicleVerdict(
        vin=vehicle.vin,
        verdict=_verdict(refused=bool(reasons), changes=changes),
        reasons=tuple(reasons),
        warnings=(
            *_vehicle_warnings(vehicle),
            *(warning for ecu, image in wanted for warning in _warnings(ecu, image)),
        ),
        changes=changes,
        terms=release.terms,
    )


def _goes_back_to(ecu: Ecu) -> bytes | None:
    """What it runs, or should run where no application does; None where that is not proved."""
    return ecu.intended_sha256 if ecu.in_boot_loader else ecu.image_sha256


def _verdict(*, refused: bool, changes: tuple[Change, ...]) -> Verdict:
    if refused:
        return Verdict.REFUSED
    return Verdict.UPDATE if changes else Verdict.UP_TO_DATE


def _vehicle_reasons(
    vehicle: Vehicle, release: Release, *, pairs: list[tuple[Ecu, Image]]
) -> list[str]:
    reasons = []
    if not pairs:
        models = ", ".join(sorted({ecu.hardware_id for ecu in vehicle.ecus}))
        reasons.append(f"release {release.release_id} has no image for any of {models}")
    if vehicle.last_seen_time is None:
        reasons.append("the vehicle has not checked in yet: nobody knows what it runs")
    return reasons


def _image_reasons(ecu: Ecu, image: Image) -> list[str]:
    reasons = []
    if image.declared_hardware_id not in {"", ecu.hardware_id}:
        reasons.append(
            f"{ecu.name}: {image.file_name} says of itself that it is for "
            f"{image.declared_hardware_id}, not {ecu.hardware_id}"
        )
    if image.image_size > ecu.slot_size:
        reasons.append(
            f"{ecu.name}: {image.file_name} puts {image.image_size} bytes into a slot of "
            f"{ecu.slot_size}"
        )
    end, slot_end = image.address + image.image_size, ecu.application_base + ecu.slot_size
    if image.address < ecu.application_base or end > slot_end:
        reasons.append(
            f"{ecu.name}: {image.file_name} fills addresses {image.address:#x} to {end - 1:#x}, "
            f"the application area is {ecu.application_base:#x} to {slot_end - 1:#x}"
        )
    return reasons


def _ecu_reasons(vehicle: Vehicle, ecu: Ecu, *, present: Image | None) -> list[str]:
    if vehicle.last_seen_time is None:
        return []  # said once for the whole vehicle
    if ecu.inventory_time is None:
        return [f"{ecu.name}: the vehicle has not reported it yet"]
    if ecu.inventory_error:
        return [f"{ecu.name}: {ecu.inventory_error}"]
    if not ecu.single_slot or present is not None:
        return []
    if ecu.in_boot_loader:
        what = "runs no application, and what it should run is not known or not published here"
    elif ecu.image_sha256 is None:
        what = "did not prove what it runs"
    else:
        digest = ecu.image_sha256.hex()[:16]
        what = f"runs an image that was never published here (SHA-256 {digest}...)"
    return [f"{ecu.name}: it has a single slot and {what}, so it could not be written back"]


def _vehicle_warnings(vehicle: Vehicle) -> list[str]:
    if vehicle.campaign_id is None:
        return []
    older = f"campaigns/{vehicle.campaign_id}"
    return [f"{older} is under way in it and goes back, or is finished if it has committed"]


def _warnings(ecu: Ecu, image: Image) -> list[str]:
    warnings = []
    if not image.signed:
        warnings.append(f"{ecu.name}: {image.file_name} carries no signature")
    if ecu.in_boot_loader:
        warnings.append(f"{ecu.name}: no application runs, it is repaired")
    elif not ecu.single_slot and ecu.inventory_time is not None and ecu.image_sha256 is None:
        warnings.append(f"{ecu.name}: what it runs now is not proved by its boot loader")
    return warnings
