"""What the cloud offers: one release for this vehicle, as values."""

from dataclasses import dataclass
from enum import Enum


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
class Offer:
    #: `campaigns/{id}`, `releases/{id}`.
    campaign: str
    release: str
    version: str
    nonce: bytes
    images: tuple[OfferedImage, ...]
