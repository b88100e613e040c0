"""What must reach the cloud, kept on disk until the cloud has it."""

import errno
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)
_NAME: Final = re.compile(r"(?P<number>\d{8})\.(?P<kind>[a-z]+)\.(?P<key>[A-Za-z0-9._-]+)")


class OutboxError(Exception):
    """A message that could not be kept; names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One message; it is sent in the order of `number`."""

    number: int
    #: How it is sent: `snapshot`, `report`.
    kind: str
    #: What it is: a second parcel of the same kind and key replaces the first.
    key: str

    @property
    def file_name(self) -> str:
        return f"{self.number:08d}.{self.kind}.{self.key}"


class Outbox:
    """A folder of messages, each written whole or not at all.

    At most `capacity` are kept: beyond it the oldest snapshot goes first, and reports only when
    nothing else is left. What the cloud refuses for good is kept apart, in `rejected/`.
    """

    def __init__(self, folder: Path, *, capacity: int = 64) -> None:
        self._folder = folder
        self._rejected = folder / "rejected"
        self._capacity = capacity

    def waiting(self) -> tuple[Parcel, ...]:
        """What has not been delivered, oldest first."""
        return self._parcels(self._folder)

    def rejected(self, kind: str) -> tuple[Parcel, ...]:
        """What the cloud has refused for good."""
        return tuple(one for one in self._parcels(self._rejected) if one.kind == kind)

    def put(self, kind: str, key: str, message: bytes) -> Parcel:
        """Keep a message; it is on the disk when this returns. Raises `OutboxError`."""
        waiting = self.waiting()
        same = [one for one in waiting if (one.kind, one.key) == (kind, key)]
        number = same[0].number if same else 1 + max((one.number for one in waiting), default=0)
        parcel = Parcel(number=number, kind=kind, key=key)
        path = self._folder / parcel.file_name
        part = path.with_name(f"{path.name}.part~")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            self._sync(self._folder)
        except OSError as error:
            part.unlink(missing_ok=True)
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise OutboxError(f"{path}: {'the disk is full' if full else error}") from error
        self._drop_beyond_capacity(self._folder, self._capacity)
        return parcel

    def read(self, parcel: Parcel) -> bytes:
        return (self._folder / parcel.file_name).read_bytes()

    def delivered(self, parcel: Parcel) -> None:
        (self._folder / parcel.file_name).unlink(missing_ok=True)

    def reject(self, parcel: Parcel) -> None:
        """Keep apart what the cloud will never take, for a person to look at."""
        self._rejected.mkdir(exist_ok=True)
        (self._folder / parcel.file_name).replace(self._rejected / parcel.file_name)
        self._drop_beyond_capacity(self._rejected, self._capacity)

    def _drop_beyond_capacity(self, folder: Path, capacity: int) -> None:
        parcels = self._parcels(folder)
        by_worth = sorted(parcels, key=lambda one: (one.kind == "report", one.number))
        for parcel in by_worth[: max(0, len(parcels) - capacity)]:
            _LOG.warning("outbox_drops kind=%s key=%s", parcel.kind, parcel.key)
            (folder / parcel.file_name).unlink(missing_ok=True)

    @staticmethod
    def _parcels(folder: Path) -> tuple[Parcel, ...]:
        if not folder.is_dir():
            return ()
        found = (_NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_file())
        parcels = [
            Parcel(number=int(match["number"]), kind=match["kind"], key=match["key"])
            for match in found
            if match
        ]
        return tuple(sorted(parcels, key=lambda one: one.number))

    @staticmethod
    def _sync(folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
