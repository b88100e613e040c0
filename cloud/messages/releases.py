"""Releases and their images."""

from cloud.fleet.names import release_name
from cloud.fleet.releases import (
    DEFAULT_WAIT_S,
    AnnouncedFile,
    Announcement,
    Image,
    Notice,
    Release,
    Terms,
)
from cloud.messages.times import from_duration, to_duration, to_timestamp
from protocols.fleet.v1 import conditions_pb2, releases_pb2


def to_release(release: Release) -> releases_pb2.Release:
    return releases_pb2.Release(
        name=release_name(release.release_id),
        version=release.version,
        description=release.description,
        images=[to_image(image) for image in release.images],
        create_time=to_timestamp(release.create_time),
        preconditions=release.terms.preconditions,
        notice=to_notice(release.terms.notice),
        consent_required=release.terms.consent_required,
        wait=to_duration(release.terms.wait_s),
    )


def to_notice(notice: Notice | None) -> conditions_pb2.UserNotice | None:
    if notice is None:
        return None
    return conditions_pb2.UserNotice(
        purpose=notice.purpose,
        changes=notice.changes,
        expected_time=notice.expected_time,
        functions_lost=notice.functions_lost,
        instructions=notice.instructions,
    )


def from_notice(message: conditions_pb2.UserNotice) -> Notice:
    return Notice(
        purpose=message.purpose,
        changes=message.changes,
        expected_time=message.expected_time,
        functions_lost=message.functions_lost,
        instructions=message.instructions,
    )


def _from_terms(header: releases_pb2.CreateReleaseRequest.Header) -> Terms:
    wait_s = DEFAULT_WAIT_S
    if header.HasField("wait"):
        wait_s = from_duration(header.wait, field="header.wait").total_seconds()
    return Terms(
        preconditions=header.preconditions,
        notice=from_notice(header.notice) if header.HasField("notice") else None,
        consent_required=header.consent_required,
        wait_s=wait_s,
    )


def to_image(image: Image) -> releases_pb2.Image:
    return releases_pb2.Image(
        hardware_id=image.hardware_id,
        file_name=image.file_name,
        format=releases_pb2.ImageFormat.ValueType(image.format),
        file_size=image.file_size,
        file_sha256=image.file_sha256,
        address=image.address,
        image_size=image.image_size,
        image_sha256=image.image_sha256,
        declared_hardware_id=image.declared_hardware_id,
        software_number=image.software_number,
        software_version=image.software_version,
        supplier_version=image.supplier_version,
        signed=image.signed,
    )


def from_header(header: releases_pb2.CreateReleaseRequest.Header) -> Announcement:
    return Announcement(
        release_id=header.release_id,
        version=header.version,
        description=header.description,
        files=tuple(
            AnnouncedFile(
                hardware_id=file.hardware_id,
                file_name=file.file_name,
                size=file.file_size,
                sha256=file.file_sha256,
                address=file.address,
            )
            for file in header.files
        ),
        terms=_from_terms(header),
    )
