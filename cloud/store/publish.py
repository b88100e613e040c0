"""Takes a release in: files as a stream, checked, decoded, and published in one transaction."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from cloud.fleet.errors import DamagedError, InvalidFieldError
from cloud.fleet.releases import AnnouncedFile, Announcement, Image, ImageFormat, Release
from cloud.fleet.vehicles import ADDRESS_LIMIT
from cloud.store import releases
from cloud.store.database import Database
from cloud.store.errors import StoreError
from cloud.store.files import Files
from cloud.store.now import Clock
from protocols.firmware import FirmwareError, containers, formats

_log = logging.getLogger(__name__)

#: Module of `protocols.firmware.formats` -> what releases call it.
_FORMATS: Final = {
    "intel_hex": ImageFormat.INTEL_HEX,
    "s_record": ImageFormat.S_RECORD,
    "raw": ImageFormat.RAW,
    "vbf": ImageFormat.VBF,
    "odx_f": ImageFormat.ODX_F,
    "elf": ImageFormat.ELF,
}


class Publisher:
    """Publishes releases; nothing is visible before everything is right."""

    def __init__(self, database: Database, files: Files, *, clock: Clock) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._uploads = 0
        #: One file is decoded at a time, so memory is bounded by the largest file.
        self._decoding = asyncio.Semaphore(1)
        #: Between a file's own name and the row that speaks of it nobody else may step.
        self._publishing = asyncio.Lock()

    async def publish(self, announcement: Announcement, chunks: AsyncIterator[bytes]) -> Release:
        """Take the bytes of all announced files, one after another, and publish them.

        `AlreadyExistsError`, `DamagedError`, `InvalidFieldError` (with file and line),
        `StoreFullError`: nothing is kept.
        """
        await self._database.read(releases.find_same, announcement)
        self._files.require_space(sum(file.size for file in announcement.files))
        received: dict[AnnouncedFile, str] = {}
        stream = _Stream(chunks)
        try:
            images = []
            for file in announcement.files:
                self._uploads += 1
                key = f"{self._uploads}"
                received[file] = f"uploads/{key}"
                await self._receive(file, stream, key=key)
                images.append(await self._decode(file, received[file]))
            await stream.expect_end(announcement.files[-1].file_name)
            async with self._publishing:
                for file, name in received.items():
                    await self._files.keep(name, file)
                return await self._database.write(
                    releases.publish,
                    announcement,
                    Release(
                        release_id=announcement.release_id,
                        version=announcement.version,
                        description=announcement.description,
                        images=tuple(images),
                        create_time=self._clock.now(),
                        terms=announcement.terms,
                    ),
                )
        finally:
            await asyncio.shield(self._discard(list(received.values())))

    async def _receive(self, file: AnnouncedFile, stream: "_Stream", *, key: str) -> None:
        async with aclosing(stream.take(file.size)) as chunks:
            await self._files.receive(file, chunks, key=key)

    async def _decode(self, file: AnnouncedFile, name: str) -> Image:
        async with self._decoding:
            content = await self._files.content(name)
            return await asyncio.to_thread(decode, file, content)

    async def _discard(self, names: list[str]) -> None:
        for name in names:
            try:
                await self._files.discard(name)
            except StoreError as error:
                _log.warning("upload-not-discarded name=%s error=%s", name, error)


def decode(file: AnnouncedFile, content: bytes) -> Image:
    """Return what a file puts into an ECU; `InvalidFieldError` names file and line."""
    try:
        form = formats.detect(file.file_name, content)
        image = form.decode(content)
        declared = containers.declared(image.data)
    except FirmwareError as error:
        said = str(error).removeprefix(f"{file.file_name}: ")
        raise InvalidFieldError(file.file_name, said) from error
    address = image.address if form.carries_address else file.address
    if address + len(image.data) > ADDRESS_LIMIT:
        raise InvalidFieldError(
            file.file_name, f"{len(image.data)} bytes at {address:#x} run past 32 bits"
        )
    if declared and declared.hardware_id not in {"", file.hardware_id}:
        raise InvalidFieldError(
            file.file_name,
            f"it says of itself that it is for {declared.hardware_id}, not {file.hardware_id}",
        )
    name = next(name for name, member in formats.formats().items() if member is form)
    return Image(
        hardware_id=file.hardware_id,
        file_name=file.file_name,
        format=_FORMATS[name],
        file_size=file.size,
        file_sha256=file.sha256,
        address=address,
        image_size=len(image.data),
        image_sha256=hashlib.sha256(image.data).digest(),
        declared_hardware_id=declared.hardware_id if declared else "",
        software_number=declared.software_number if declared else "",
        software_version=declared.software_version if declared else "",
        supplier_version=declared.supplier_version if declared else "",
        signed=declared.signed if declared else False,
    )


class _Stream:
    """Chunks cut at the borders of files."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def take(self, size: int) -> AsyncGenerator[bytes]:
        """Yield the next `size` bytes, fewer if the stream ends."""
        while size > 0:
            chunk = self._rest or await anext(self._chunks, b"")
            if not chunk:
                return
            self._rest = chunk[size:]
            size -= len(chunk) - len(self._rest)
            yield chunk[: len(chunk) - len(self._rest)]

    async def expect_end(self, last_file: str) -> None:
        if self._rest or await anext(self._chunks, b""):
            raise DamagedError(last_file, "more bytes came than were announced")
