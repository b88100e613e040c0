"""How published files arrive: a member per transfer, the same checks and the same store for all.

A member satisfies `vehicle_gateway.update.images.Images`. `Artifacts` is where files lie by their
SHA-256; a file that has not come whole keeps its part, so the next try goes on behind it.
"""

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.journal import sync_folder

#: No room on the disk, in the user's share of it, or in what a process may write.
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_BYTES: Final = 1 << 20
STEP: Final = "downloading"


class Artifacts:
    """Files by SHA-256 in one folder: whole ones under their digest, parts with `.part`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: bytes) -> Path:
        return self._folder / sha256.hex()

    def load(self, sha256: bytes) -> bytes | None:
        """A whole file, checked again; None if it is not here. A damaged one is removed."""
        path = self.path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(path, error) from error
        if hashlib.sha256(content).digest() != sha256:
            path.unlink(missing_ok=True)
            return None
        return content

    def part(self, sha256: bytes, size: int) -> "Part":
        """What has come of a file so far; `UpdateError` if the disk does not let it."""
        path = self.path(sha256).with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Part(path, whole=self.path(sha256), sha256=sha256, size=size)
        except OSError as error:
            raise disk_error(path, error) from error

    def discard(self, sha256: bytes) -> None:
        """Remove a file and what has come of it; for good when this returns."""
        path = self.path(sha256)
        for one in (path, path.with_suffix(".part")):
            one.unlink(missing_ok=True)
        if self._folder.is_dir():
            sync_folder(self._folder)

    def keep_only(self, wanted: frozenset[bytes]) -> None:
        """Remove every other file and part."""
        if not self._folder.is_dir():
            return
        names = {sha256.hex() for sha256 in wanted}
        for path in self._folder.iterdir():
            if path.stem not in names:
                path.unlink(missing_ok=True)


class Part:
    """A file that is still coming; close it whatever happens."""

    def __init__(self, path: Path, *, whole: Path, sha256: bytes, size: int) -> None:
        self._path = path
        self._whole = whole
        self._sha256 = sha256
        self._size = size
        self._digest = hashlib.sha256()
        self._file = path.open("a+b")
        self._file.seek(0)
        #: Bytes at hand.
        self.length = 0
        while self.length <= size and (content := self._file.read(_READ_BYTES)):
            self._digest.update(content)
            self.length += len(content)
        if self.length > size:
            self.clear()

    def append(self, content: bytes) -> None:
        """Raises `UpdateError` if the disk is full; then the part is removed to make room."""
        try:
            self._file.write(content)
        except OSError as error:
            self._give_up()
            raise disk_error(self._path, error) from error
        self._digest.update(content)
        self.length += len(content)

    def clear(self) -> None:
        self._file.truncate(0)
        self._file.seek(0)
        self._digest = hashlib.sha256()
        self.length = 0

    def discard(self) -> None:
        """Forget what has come, so that the next part begins anew."""
        self._give_up()

    def is_sound(self) -> bool:
        return self.length == self._size and self._digest.digest() == self._sha256

    def finish(self) -> None:
        """Give a sound file its name, for good. Raises `UpdateError` if the disk is full."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._path.replace(self._whole)
            handle = os.open(self._whole.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            self._give_up()
            raise disk_error(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file.closed:
            return
        try:
            self._file.close()
        except OSError as error:
            raise disk_error(self._path, error) from error

    def _give_up(self) -> None:
        # Closing flushes again and fails again; the descriptor is free afterwards all the same.
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def disk_error(path: Path, error: OSError) -> UpdateError:
    """What a disk's refusal means for the update."""
    words = "the disk is full" if error.errno in _DISK_FULL else str(error.strerror or error)
    return UpdateError(ecu="", step=STEP, cause=f"{path}: {words}")
