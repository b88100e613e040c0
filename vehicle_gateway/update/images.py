"""From published files to the bytes that go into an ECU: everything is checked before any is sent.

Pure; `Images` is the port through which the files come.
"""

import hashlib
from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from dbc.vehicle import EcuDescription
from protocols.firmware import FirmwareError
from protocols.firmware.formats import Format, Image
from vehicle_gateway.update import Inventory, UpdateError, UpdateJob
from vehicle_gateway.update.offer import ImageFormat, Offer, OfferedImage, PublishedImage

_STEP = "checking the image"


class NotNowError(Exception):
    """Nothing failed for good (the cloud cannot be reached, say): the same again later."""


class Images(Protocol):
    """Where published files come from."""

    async def fetch(self, image: PublishedImage, progress: Callable[[int], None]) -> bytes:
        """The file, with the length and SHA-256 that were promised.

        `progress` takes the bytes at hand. Raises `NotNowError`, or `UpdateError` when it
        cannot come (refused, wrong content again and again, disk full).
        """

    def discard(self, file_sha256: bytes) -> None:
        """Have the file no more; one that is not here is gone already."""


def check_offer(
    offered: OfferedImage, ecu: EcuDescription | None, before: Inventory | None
) -> EcuDescription:
    """What can be said against one image before its file is here; `UpdateError` says it."""
    name = offered.ecu
    if ecu is None:
        raise UpdateError(ecu=name, step=_STEP, cause="this vehicle has no such ECU")
    if offered.image.hardware_id != ecu.hardware_id:
        raise _refusal(
            name, offered.image, f"is for {offered.image.hardware_id}, not for {ecu.hardware_id}"
        )
    if before is None or before.error:
        cause = before.error if before is not None else "not asked"
        raise UpdateError(ecu=name, step=_STEP, cause=f"what runs now is not known ({cause})")
    if before.read_back is None and before.application_runs:
        raise UpdateError(ecu=name, step=_STEP, cause="what runs now is not known (no digest)")
    if not ecu.single_slot or runs(before, offered.image.image_sha256):
        return ecu
    if offered.present is None:
        what = "present image" if before.application_runs else "image to go back to"
        raise UpdateError(ecu=name, step=_STEP, cause=f"one slot, and its {what} is not on offer")
    # What stays in its boot loader holds no image of its own to be compared with.
    if before.application_runs and not runs(before, offered.present.image_sha256):
        raise _refusal(name, offered.present, "is not what the ECU runs by its own digest")
    return ecu


def runs(inventory: Inventory, image_sha256: bytes) -> bool:
    """Whether this image runs by the ECU's own digest."""
    read_back = inventory.read_back
    return (
        read_back is not None
        and inventory.application_runs
        and read_back.image_sha256 == image_sha256
    )


def before_of(offered: OfferedImage, before: Inventory) -> bytes:
    """SHA-256 of what an ECU is brought back to; empty if that is nothing."""
    if before.application_runs and before.read_back is not None:
        return before.read_back.image_sha256
    return offered.present.image_sha256 if offered.present is not None else b""


def make_job(
    offer: Offer,
    offered: OfferedImage,
    ecu: EcuDescription,
    before: Inventory,
    files: dict[bytes, bytes],
    *,
    committed: bool,
) -> UpdateJob:
    """The job for one ECU from its files (by SHA-256); `UpdateError` if one is not as promised."""
    image = _decoded(offered.image, files[offered.image.file_sha256], ecu)
    present = None
    if ecu.single_slot and offered.present is not None and not committed:
        present = _decoded(offered.present, files[offered.present.file_sha256], ecu)
    return UpdateJob(
        ecu=ecu.name,
        image=image.data,
        address=image.address,
        image_sha256=offered.image.image_sha256,
        version=offered.image.software_version or offer.version,
        nonce=offer.nonce,
        before_sha256=before_of(offered, before),
        present=present.data if present else None,
        present_address=present.address if present else 0,
        committed=committed,
    )


def _decoded(published: PublishedImage, content: bytes, ecu: EcuDescription) -> Image:
    if len(content) != published.file_size:
        raise _refusal(ecu.name, published, f"{len(content)} bytes, not {published.file_size}")
    if hashlib.sha256(content).digest() != published.file_sha256:
        raise _refusal(ecu.name, published, "its SHA-256 is not the one promised")
    try:
        image = _format(published.format).decode(content)
    except FirmwareError as error:
        raise _refusal(ecu.name, published, str(error)) from error
    if published.format is ImageFormat.RAW:
        image = Image(address=published.address, data=image.data)
    if (image.address, len(image.data)) != (published.address, published.image_size):
        raise _refusal(
            ecu.name,
            published,
            f"holds {len(image.data)} bytes at {image.address:#x}, "
            f"not {published.image_size} at {published.address:#x}",
        )
    if hashlib.sha256(image.data).digest() != published.image_sha256:
        raise _refusal(ecu.name, published, "its image's SHA-256 is not the one promised")
    end = ecu.application_base + ecu.slot_size
    if not image.data or image.address < ecu.application_base or image.end > end:
        raise _refusal(
            ecu.name,
            published,
            f"{image.address:#x} to {image.end:#x} is not within "
            f"{ecu.application_base:#x} to {end:#x}",
        )
    return image


def _format(name: ImageFormat) -> Format:
    found = import_module(f"protocols.firmware.formats.{name.value}").FORMAT
    if not isinstance(found, Format):
        raise TypeError(f"{name.value}: FORMAT is not a firmware format")
    return found


def _refusal(ecu: str, image: PublishedImage, cause: str) -> UpdateError:
    return UpdateError(ecu=ecu, step=_STEP, cause=f"{image.file_name}: {cause}")
