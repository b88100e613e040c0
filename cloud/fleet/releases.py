"""A release: one image for each ECU model, published together and never changed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import IntEnum
from typing import Final

from cloud.fleet.errors import InvalidFieldError, LimitError
from cloud.fleet.names import check_file_name, check_hardware_id, check_resource_id, check_text
from cloud.fleet.vehicles import ADDRESS_LIMIT
from protocols.preconditions import PreconditionError, SignalDefinition, check, parse
from protocols.preconditions.energy import ENERGY_RESERVE

#: Bytes of one published file, and files of one release.
FILE_LIMIT = 64 * 1024 * 1024
FILES_LIMIT = 64
SHA256_LENGTH = 32
#: Seconds that a release may wait for preconditions and consent.
SHORTEST_WAIT_S: Final = 60.0
LONGEST_WAIT_S: Final = 90 * 86_400.0
DEFAULT_WAIT_S: Final = 86_400.0


class ImageFormat(IntEnum):
    """How a published file writes its image; numbers as in fleet.v1."""

    INTEL_HEX = 1
    S_RECORD = 2
    RAW = 3
    VBF = 4
    ODX_F = 5
    ELF = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a vehicle's user is told before an update; UN R156 7.2.2.2 (a) to (e)."""

    purpose: str
    changes: str
    expected_time: str
    functions_lost: str
    instructions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a vehicle may activate a release, and who has to agree."""

    #: In the language of preconditions; empty: the vehicle's own default.
    preconditions: str = ""
    notice: Notice | None = None
    consent_required: bool = False
    #: Seconds to wait for both once everything is staged.
    wait_s: float = DEFAULT_WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedFile:
    """A file of a release that is about to come."""

    hardware_id: str
    file_name: str
    size: int
    sha256: bytes
    #: Load address of a raw file.
    address: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A release that is about to come."""

    release_id: str
    version: str
    description: str
    files: tuple[AnnouncedFile, ...]
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of a release: the file as published, and what it puts into an ECU."""

    hardware_id: str
    file_name: str
    format: ImageFormat
    file_size: int
    file_sha256: bytes
    #: First address, and bytes from there on.
    address: int
    image_size: int
    image_sha256: bytes
    #: As the image's own header says; empty where it has none.
    declared_hardware_id: str = ""
    software_number: str = ""
    software_version: str = ""
    supplier_version: str = ""
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    release_id: str
    version: str
    description: str
    images: tuple[Image, ...]
    create_time: datetime
    terms: Terms = field(default_factory=Terms)

    def image_for(self, hardware_id: str) -> Image | None:
        return next((image for image in self.images if image.hardware_id == hardware_id), None)


def check_announcement(
    announcement: Announcement, *, signals: Mapping[str, SignalDefinition]
) -> Announcement:
    """Return what may be uploaded; `InvalidFieldError` or `LimitError` names the file.

    Preconditions are compared with `signals`; the error names the character.
    """
    check_resource_id(announcement.release_id, field="header.release_id")
    check_text(announcement.description, field="header.description")
    if not announcement.version:
        raise InvalidFieldError("header.version", "a release has a version")
    check_text(announcement.version, field="header.version")
    check_terms(announcement.terms, signals=signals)
    if not announcement.files:
        raise InvalidFieldError("header.files", "a release has at least one file")
    if len(announcement.files) > FILES_LIMIT:
        raise LimitError("header.files", f"{len(announcement.files)} files; at most {FILES_LIMIT}")
    seen: dict[str, str] = {}
    for index, file in enumerate(announcement.files):
        _check_file(file, f"header.files[{index}]")
        if file.hardware_id in seen:
            raise InvalidFieldError(
                f"header.files[{index}].hardware_id",
                f"{file.file_name} and {seen[file.hardware_id]} are both for {file.hardware_id}",
            )
        seen[file.hardware_id] = file.file_name
    return announcement


def check_terms(terms: Terms, *, signals: Mapping[str, SignalDefinition]) -> None:
    """`InvalidFieldError` names the field, and the character of a precondition."""
    if terms.preconditions:
        try:
            check(parse(terms.preconditions), {**signals, ENERGY_RESERVE.name: ENERGY_RESERVE})
        except PreconditionError as error:
            raise InvalidFieldError("header.preconditions", str(error)) from error
    if terms.notice is not None:
        for one in fields(terms.notice):
            text = getattr(terms.notice, one.name)
            if not text.strip():
                raise InvalidFieldError(f"header.notice.{one.name}", "says nothing")
            check_text(text, field=f"header.notice.{one.name}")
    if terms.consent_required and terms.notice is None:
        raise InvalidFieldError("header.notice", "a driver who is asked has to be told what for")
    if not (math.isfinite(terms.wait_s) and SHORTEST_WAIT_S <= terms.wait_s <= LONGEST_WAIT_S):
        raise InvalidFieldError(
            "header.wait",
            f"{terms.wait_s:g} s; {SHORTEST_WAIT_S:g} s to {LONGEST_WAIT_S:g} s are allowed",
        )


def _check_file(file: AnnouncedFile, field: str) -> None:
    check_file_name(file.file_name, field=f"{field}.file_name")
    check_hardware_id(file.hardware_id, field=f"{field}.hardware_id")
    if file.size == 0:
        raise InvalidFieldError(f"{field}.file_size", f"{file.file_name} is empty")
    if file.size > FILE_LIMIT:
        raise LimitError(
            file.file_name, f"{file.size} bytes; a file of a release has at most {FILE_LIMIT}"
        )
    if len(file.sha256) != SHA256_LENGTH:
        raise InvalidFieldError(
            f"{field}.file_sha256",
            f"{file.file_name}: {len(file.sha256)} bytes; SHA-256 has {SHA256_LENGTH}",
        )
    if file.address >= ADDRESS_LIMIT:
        raise InvalidFieldError(
            f"{field}.address", f"{file.file_name}: {file.address:#x} is not a 32-bit address"
        )


def same_content(release: Release, announcement: Announcement) -> bool:
    """Tell whether an announced release is the published one once more."""
    announced = {
        (file.hardware_id, file.file_name, file.size, file.sha256) for file in announcement.files
    }
    published = {
        (image.hardware_id, image.file_name, image.file_size, image.file_sha256)
        for image in release.images
    }
    addresses = {file.hardware_id: file.address for file in announcement.files}
    return (
        announced == published
        and (release.version, release.description, release.terms)
        == (announcement.version, announcement.description, announcement.terms)
        and all(
            image.format is not ImageFormat.RAW or addresses[image.hardware_id] == image.address
            for image in release.images
        )
    )
