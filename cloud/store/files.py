"""Published files by their SHA-256 in an object store.

A file comes in pieces under a temporary name and is hashed on the way; only when length and hash
are right does it get its own name, by one rename. So a name that exists is a file that is whole.
What a killed process leaves under a temporary name is swept at the next start.
"""

import errno
import hashlib
import shutil
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Final, Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore

from cloud.fleet.errors import DamagedError
from cloud.fleet.releases import AnnouncedFile
from cloud.store.errors import StoreDamagedError, StoreError, StoreFullError

#: Bytes in memory for one file that comes in, whatever its size.
_BUFFER: Final = 1024 * 1024
#: Kept free for the database and the rest of the machine.
RESERVE: Final = 32 * 1024 * 1024
#: No space, over a quota, over the process's limit for one file.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UPLOADS: Final = "uploads"
_FILES: Final = "files"


class FreeSpace(Protocol):
    def __call__(self) -> int:
        """Return how many bytes may still be stored."""
        ...


class Files:
    """Files of one object store; `StoreError` for whatever it says against one."""

    def __init__(self, store: ObjectStore, *, place: str, free_space: FreeSpace) -> None:
        self._store = store
        self._place = place
        self._free_space = free_space

    @classmethod
    def local(cls, directory: Path, *, free_space: FreeSpace | None = None) -> "Files":
        """Open (and make) a store in a directory; sweeps what a killed process left behind."""
        directory.mkdir(parents=True, exist_ok=True)
        # The object store writes beside the final name; such pieces do not show in its listings.
        shutil.rmtree(directory / _UPLOADS, ignore_errors=True)
        return cls(
            LocalStore(directory),
            place=str(directory),
            free_space=free_space or (lambda: shutil.disk_usage(directory).free - RESERVE),
        )

    def require_space(self, size: int) -> None:
        """Refuse early what cannot fit: `StoreFullError`."""
        if (free := self._free_space()) < size:
            raise StoreFullError(
                f"{self._place}: no room for {size} bytes, {max(free, 0)} can still be stored"
            )

    async def receive(self, file: AnnouncedFile, chunks: AsyncIterator[bytes], *, key: str) -> str:
        """Keep an announced file under a temporary name and return that.

        Takes from `chunks` no more than the file. `DamagedError` if length or SHA-256 differ;
        nothing is kept then.
        """
        name = f"{_UPLOADS}/{key}"
        digest, size = hashlib.sha256(), 0
        try:
            writer = obstore.open_writer_async(
                self._store, name, buffer_size=_BUFFER, max_concurrency=1
            )
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                await writer.write(chunk)
            await writer.close()
        except (BaseError, OSError) as error:
            raise self._error(error, file.file_name) from error
        if size != file.size:
            raise DamagedError(
                file.file_name, f"{file.size} bytes were announced, {size} bytes came"
            )
        if digest.digest() != file.sha256:
            raise DamagedError(
                file.file_name,
                f"SHA-256 {file.sha256.hex()} was announced, what came has {digest.hexdigest()}",
            )
        return name

    async def content(self, name: str) -> bytes:
        """Return a whole file by the name that `receive` gave."""
        try:
            result = await obstore.get_async(self._store, name)
            return bytes(await result.bytes_async())
        except BaseError as error:
            raise self._error(error, name) from error

    async def keep(self, name: str, file: AnnouncedFile) -> None:
        """Give a received file its own name; the same file once more makes no difference."""
        try:
            await obstore.rename_async(self._store, name, _path(file.sha256))
        except (BaseError, OSError) as error:
            raise self._error(error, file.file_name) from error

    async def discard(self, name: str) -> None:
        """Forget a received file that is not kept, if it is still there."""
        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise self._error(error, name) from error

    async def read(
        self, file_sha256: bytes, *, size: int, offset: int, chunk_size: int
    ) -> AsyncIterator[bytes]:
        """Yield a kept file from `offset` on in chunks of at most `chunk_size` bytes."""
        path = _path(file_sha256)
        for start in range(offset, size, chunk_size):
            length = min(chunk_size, size - start)
            try:
                chunk = await obstore.get_range_async(self._store, path, start=start, length=length)
            except (BaseError, OSError) as error:
                raise StoreDamagedError(
                    f"{self._place}: {path} cannot be read at {start}: {error}"
                ) from error
            if len(chunk) != length:
                raise StoreDamagedError(
                    f"{self._place}: {path} ends at {start + len(chunk)}, not at {size}"
                )
            yield bytes(chunk)

    async def sweep(self, published: Collection[bytes]) -> list[str]:
        """Delete files that no release speaks of, and return their names; only at the start."""
        wanted = {_path(file_sha256) for file_sha256 in published}
        swept: list[str] = []
        try:
            async for chunk in obstore.list(self._store, prefix=f"{_FILES}/"):
                swept += [item["path"] for item in chunk if item["path"] not in wanted]
            for name in swept:
                await obstore.delete_async(self._store, name)
        except (BaseError, OSError) as error:
            raise self._error(error, "sweep") from error
        return swept

    def _error(self, error: Exception, subject: str) -> StoreError:
        if _is_full(error):
            return StoreFullError(f"{self._place}: the disk is full; {subject} was not kept")
        return StoreError(f"{self._place}: {subject}: {error}")


def _path(file_sha256: bytes) -> str:
    return f"{_FILES}/{file_sha256.hex()}"


def _is_full(error: Exception) -> bool:
    """The object store hands the operating system's words on, not its number."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(f"(os error {number})" in str(error) for number in _FULL)
