"""Rows of releases and their images."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from cloud.fleet.errors import AlreadyExistsError, NotFoundError
from cloud.fleet.names import release_name
from cloud.fleet.releases import Announcement, Image, ImageFormat, Release, Terms, same_content
from cloud.store import documents, tables
from cloud.store.now import from_microseconds
from cloud.store.rows import AnyRow, Page, page_of, to_us


def find(connection: Connection, release_id: str) -> Release | None:
    row = connection.execute(
        tables.release.select().where(tables.release.c.release_id == release_id)
    ).one_or_none()
    return None if row is None else _releases(connection, [row])[0]


def get(connection: Connection, release_id: str) -> Release:
    """Return one release; `NotFoundError` names it."""
    if (release := find(connection, release_id)) is None:
        raise NotFoundError("release", release_name(release_id))
    return release


def find_same(connection: Connection, announcement: Announcement) -> Release | None:
    """Return the release if it is published already, None if its id is free.

    `AlreadyExistsError` if the id is taken by other content.
    """
    release = find(connection, announcement.release_id)
    if release is not None and not same_content(release, announcement):
        raise AlreadyExistsError(
            "release",
            release_name(release.release_id),
            "published with other content; a release never changes, choose another id",
        )
    return release


def publish(connection: Connection, announcement: Announcement, release: Release) -> Release:
    """Publish a release; the same content again answers with what stands there."""
    if (existing := find_same(connection, announcement)) is not None:
        return existing
    connection.execute(
        tables.release.insert(),
        {
            "release_id": release.release_id,
            "version": release.version,
            "description": release.description,
            "created_us": to_us(release.create_time),
            "terms": documents.dump(release.terms),
        },
    )
    connection.execute(
        tables.image.insert(),
        [
            {"release_id": release.release_id, "position": position, **_image_row(image)}
            for position, image in enumerate(release.images)
        ],
    )
    return release


def list_page(connection: Connection, *, after: str | None, size: int) -> Page[Release]:
    """Return releases, newest first, those older than the key `after`."""
    query = tables.release.select().order_by(tables.release.c.sequence.desc()).limit(size + 1)
    if after is not None:
        query = query.where(tables.release.c.sequence < int(after))
    rows = connection.execute(query).all()
    releases = _releases(connection, rows)
    return page_of(
        [(str(row.sequence), release) for row, release in zip(rows, releases, strict=True)],
        size=size,
    )


def find_image(connection: Connection, hardware_id: str, image_sha256: bytes) -> Image | None:
    """Return a published image by what it puts into an ECU model; the newest one."""
    row = connection.execute(
        select(tables.image)
        .join(tables.release, tables.release.c.release_id == tables.image.c.release_id)
        .where(
            tables.image.c.image_sha256 == image_sha256,
            tables.image.c.hardware_id == hardware_id,
        )
        .order_by(tables.release.c.sequence.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else image_of(row)


def get_image(connection: Connection, release_id: str, hardware_id: str) -> Image:
    """Return an image that is known to be published."""
    row = connection.execute(
        tables.image.select().where(
            tables.image.c.release_id == release_id, tables.image.c.hardware_id == hardware_id
        )
    ).one()
    return image_of(row)


def file_hashes(connection: Connection) -> frozenset[bytes]:
    """Return the SHA-256 of every published file."""
    return frozenset(connection.execute(select(tables.image.c.file_sha256)).scalars())


def _releases(connection: Connection, rows: Sequence[AnyRow]) -> tuple[Release, ...]:
    images: dict[str, list[Image]] = {row.release_id: [] for row in rows}
    for row in connection.execute(
        tables.image.select()
        .where(tables.image.c.release_id.in_(list(images)))
        .order_by(tables.image.c.position)
    ):
        images[row.release_id].append(image_of(row))
    return tuple(
        Release(
            release_id=row.release_id,
            version=row.version,
            description=row.description,
            images=tuple(images[row.release_id]),
            create_time=from_microseconds(row.created_us),
            terms=documents.load(Terms, row.terms) if row.terms else Terms(),
        )
        for row in rows
    )


def _image_row(image: Image) -> dict[str, object]:
    return {
        "hardware_id": image.hardware_id,
        "file_name": image.file_name,
        "format": int(image.format),
        "file_size": image.file_size,
        "file_sha256": image.file_sha256,
        "address": image.address,
        "image_size": image.image_size,
        "image_sha256": image.image_sha256,
        "declared_hardware_id": image.declared_hardware_id,
        "software_number": image.software_number,
        "software_version": image.software_version,
        "supplier_version": image.supplier_version,
        "signed": image.signed,
    }


def image_of(row: AnyRow) -> Image:
    """Return the image in a row that has its columns."""
    return Image(
        hardware_id=row.hardware_id,
        file_name=row.file_name,
        format=ImageFormat(row.format),
        file_size=row.file_size,
        file_sha256=row.file_sha256,
        address=row.address,
        image_size=row.image_size,
        image_sha256=row.image_sha256,
        declared_hardware_id=row.declared_hardware_id,
        software_number=row.software_number,
        software_version=row.software_version,
        supplier_version=row.supplier_version,
        signed=row.signed,
    )
