"""A release: one image for each ECU model, published together and never changed."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from cloud.fleet.errors import InvalidFieldError, LimitError
from cloud.fleet.names import check_file_name, check_hardware_id, check_resource_id, check_text
from cloud.fleet.vehicles import ADDRESS_LIMIT

#: Bytes of one published file, and files of one release.
FILE_LIMIT = 64 * 1024 * 1024
FILES_LIMIT = 64
SHA256_LENGTH = 32


class ImageFormat(IntEnum):
    """How a published file writes its image; numbers as in fleet.v1."""

    INTEL_HEX = 1
    S_RECORD = 2
    RAW = 3
    VBF = 4
    ODX_F = 5
    ELF = 6


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

    def image_for(self, hardware_id: str) -> Image | None:
        return next((image for image in self.images if image.hardware_id == hardware_id), None)


def check_announcement(announcement: Announcement) -> Announcement:
    """Return what may be uploaded; `InvalidFieldError` or `LimitError` names the file."""
    check_resource_id(announcement.release_id, field="header.release_id")
    check_text(announcement.description, field="header.description")
    if not announcement.version:
        raise InvalidFieldError("header.version", "a release has a version")
    check_text(announcement.version, field="header.version")
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
        and (release.version, release.description)
        == (announcement.version, announcement.description)
        and all(
            image.format is not ImageFormat.RAW or addresses[image.hardware_id] == image.address
            for image in release.images
        )
    )
