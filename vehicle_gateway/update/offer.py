"""What the cloud offers: one release for this vehicle, as values."""

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vehicle_gateway.update.records import to_json

#: Seconds that a release waits for preconditions and consent if it does not say.
DEFAULT_WAIT_S: Final = 86_400.0


class ImageFormat(Enum):
    """How a published file is written; the value is its module in `protocols.firmware.formats`."""

    INTEL_HEX = "intel_hex"
    S_RECORD = "s_record"
    RAW = "raw"
    VBF = "vbf"
    ODX_F = "odx_f"
    ELF = "elf"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedImage:
    """One published file and what it puts into an ECU."""

    hardware_id: str
    file_name: str
    format: ImageFormat
    file_size: int
    file_sha256: bytes
    #: First address, and bytes from there on (gaps are 0xFF).
    address: int
    image_size: int
    image_sha256: bytes
    #: What the image's own header says (F188, F189, F195); empty where it has none.
    software_number: str = ""
    software_version: str = ""
    supplier_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedImage:
    ecu: str
    image: PublishedImage
    #: What a single-slot ECU runs now, so that it can be written back; None for others.
    present: PublishedImage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the vehicle user is told before an update; UN R156 7.2.2.2 (a) to (e)."""

    purpose: str
    #: What is changed in the vehicle's functions.
    changes: str
    #: How long it is expected to take.
    expected_time: str
    #: What does not work meanwhile.
    functions_lost: str
    #: What helps to carry it out safely.
    instructions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    #: `campaigns/{id}`, `releases/{id}`.
    campaign: str
    release: str
    version: str
    nonce: bytes
    images: tuple[OfferedImage, ...]
    #: What must hold from activation to commit; empty: the vehicle's own default.
    preconditions: str = ""
    notice: Notice | None = None
    #: Whether the driver is asked.
    consent_required: bool = False
    #: Seconds to wait for preconditions and consent once everything is staged.
    wait_s: float = DEFAULT_WAIT_S


def release_sha256(offer: Offer) -> bytes:
    """SHA-256 over everything that a driver who consents consents to.

    Over the release as this vehicle gets it: its name and version, every image by its own SHA-256,
    the preconditions, the notice and the time it may wait. Campaign and nonce are no part of it.
    """
    content = {
        "release": offer.release,
        "version": offer.version,
        "images": sorted(
            [one.ecu, one.image.hardware_id, one.image.image_sha256.hex()] for one in offer.images
        ),
        "preconditions": offer.preconditions,
        "notice": to_json(offer.notice),
        "wait_s": offer.wait_s,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()
