"""Releases and their images."""

from cloud.fleet.names import release_name
from cloud.fleet.releases import AnnouncedFile, Announcement, Image, Release
from cloud.messages.times import to_timestamp
from protocols.fleet.v1 import releases_pb2


def to_release(release: Release) -> releases_pb2.Release:
    return releases_pb2.Release(
        name=release_name(release.release_id),
        version=release.version,
        description=release.description,
        images=[to_image(image) for image in release.images],
        create_time=to_timestamp(release.create_time),
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
    )
