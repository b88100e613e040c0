"""What must reach the cloud, kept on disk until the cloud has it: bounded, and accounted for."""

import errno
import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)
_NAME: Final = re.compile(r"(?P<number>\d{8,16})\.(?P<kind>[a-z]+)\.(?P<key>[A-Za-z0-9._-]+)")
_PART: Final = ".part~"
_NEXT: Final = "next"
#: Numbers are reserved on disk so many at a time; a restart skips what was left of them.
_RESERVED: Final = 256
GAP: Final = "gap"
#: Kind -> what it is worth: where room is short, the oldest of the least worth goes first.
WORTH: Final[Mapping[str, int]] = {"live": 0, "snapshot": 1, "result": 2, "report": 2, GAP: 3}


class OutboxError(Exception):
    """A message that could not be kept; names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One message; it is sent in the order of `number`."""

    #: Never used twice in the life of the folder; the cloud gets it as the sequence number.
    number: int
    #: How it is sent: a key of `WORTH`.
    kind: str
    #: What it is: a second parcel of the same kind and key replaces the first.
    key: str
    #: Bytes on disk.
    size: int = 0

    @property
    def file_name(self) -> str:
        return f"{self.number:08d}.{self.kind}.{self.key}"

    @property
    def worth(self) -> int:
        return WORTH.get(self.kind, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Messages of one kind that were dropped for want of room."""

    kind: str
    #: Messages and their bytes. (One whose answer was lost may have arrived nevertheless: the
    #: cloud, which has its number, knows.)
    count: int = 0
    bytes_dropped: int = 0
    #: Every dropped number of this kind lies in one of these, first and last, rising. What else
    #: lies there is of another kind, or has been delivered.
    ranges: tuple[tuple[int, int], ...] = ()

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.ranges)

    def with_dropped(self, parcel: Parcel, waiting: Collection[int]) -> "Gap":
        """Account for one more; no range covers a number of those still `waiting`."""
        ranges = [*self.ranges, (parcel.number, parcel.number)]
        return Gap(
            kind=self.kind,
            count=self.count + 1,
            bytes_dropped=self.bytes_dropped + parcel.size,
            ranges=_merged(sorted(ranges), waiting),
        )


def gap_of(content: bytes) -> Gap:
    """What a parcel of kind `gap` says; `OutboxError` for anything that is none."""
    try:
        values = json.loads(content)
        ranges = tuple((int(first), int(last)) for first, last in values["ranges"])
        return Gap(
            kind=str(values["kind"]),
            count=int(values["count"]),
            bytes_dropped=int(values["bytes"]),
            ranges=ranges,
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise OutboxError(f"no account of dropped messages: {error}") from error


class Outbox:
    """A folder of messages, each written whole or not at all.

    It holds at most `capacity` messages and `capacity_bytes` bytes. Beyond that the oldest of the
    least worth goes: live signals before snapshots, these before results and reports. What goes is
    written into a parcel of kind `gap` first, which is sent like the others, so that every message
    either arrives or is known to be dropped. What the cloud refuses for good is kept apart, in
    `rejected/`.
    """

    def __init__(
        self, folder: Path, *, capacity: int = 256, capacity_bytes: int = 32 * 1024 * 1024
    ) -> None:
        """Finish what a power cut has left half done; `OutboxError` names what cannot be read."""
        self._folder = folder
        self._rejected = folder / "rejected"
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._taken: set[int] = set()
        self._next, self._reserved = 0, 0
        try:
            self._recover()
        except OSError as error:
            raise OutboxError(f"{folder}: {error}") from error

    def waiting(self) -> tuple[Parcel, ...]:
        """What has not been delivered, oldest first, live signals behind all others."""
        found = self._parcels(self._folder)
        return tuple(sorted(found, key=lambda one: (one.kind == "live", one.number)))

    def rejected(self, kind: str) -> tuple[Parcel, ...]:
        """What the cloud has refused for good."""
        return tuple(one for one in self._parcels(self._rejected) if one.kind == kind)

    def put(self, kind: str, key: str, message: bytes) -> Parcel:
        """Keep a message; it is on the disk when this returns. Raises `OutboxError`."""
        same = [
            one
            for one in self._parcels(self._folder)
            if (one.kind, one.key) == (kind, key) and one.number not in self._taken
        ]
        parcel = Parcel(
            number=same[0].number if same else self._number(),
            kind=kind,
            key=key,
            size=len(message),
        )
        self._keep(parcel.file_name, message)
        self._make_room()
        return parcel

    def take(self, parcel: Parcel) -> bytes:
        """Read a parcel to send it; until it is put back or done with, nothing replaces it."""
        content = (self._folder / parcel.file_name).read_bytes()
        self._taken.add(parcel.number)
        return content

    def put_back(self, parcel: Parcel) -> None:
        """It could not be sent now."""
        self._taken.discard(parcel.number)

    def delivered(self, parcel: Parcel) -> None:
        self._remove(self._folder / parcel.file_name)
        self._taken.discard(parcel.number)

    def reject(self, parcel: Parcel) -> None:
        """Keep apart what the cloud will never take, for a person to look at."""
        self._rejected.mkdir(exist_ok=True)
        (self._folder / parcel.file_name).replace(self._rejected / parcel.file_name)
        self._taken.discard(parcel.number)
        apart = self._parcels(self._rejected)
        for old in self._beyond(apart, protected=frozenset()):
            _LOG.warning("outbox_forgets_rejected parcel=%s", old.file_name)
            (self._rejected / old.file_name).unlink(missing_ok=True)

    def _recover(self) -> None:
        if not self._folder.is_dir():
            return
        for path in self._folder.glob(f"*{_PART}"):
            if path.is_file():
                path.unlink()
        parcels = self._parcels(self._folder)
        gaps = [gap for one in parcels if one.kind == GAP and (gap := self._gap(one))]
        for parcel in parcels:
            if any(gap.kind == parcel.kind and parcel.number in gap for gap in gaps):
                self._remove(self._folder / parcel.file_name)
        used = [one.number for one in parcels] + [last for gap in gaps for _, last in gap.ranges]
        self._next = self._reserved = max(self._read_next(), 1 + max(used, default=0))

    def _gap(self, parcel: Parcel) -> Gap | None:
        try:
            return gap_of((self._folder / parcel.file_name).read_bytes())
        except OutboxError as error:
            _LOG.error("outbox_damaged parcel=%s cause=%s", parcel.file_name, error)
            self.reject(parcel)
            return None

    def _read_next(self) -> int:
        try:
            return int((self._folder / _NEXT).read_text(encoding="ascii"))
        except FileNotFoundError:
            return 1
        except ValueError:  # damaged: the numbers that are in use say where to go on
            return 1

    def _number(self) -> int:
        """The next number, reserved on disk before it is used."""
        self._next = max(self._next, 1)
        if self._next >= self._reserved:
            self._reserved = self._next + _RESERVED
            self._keep(_NEXT, str(self._reserved).encode())
        self._next += 1
        return self._next - 1

    def _make_room(self) -> None:
        parcels = self._parcels(self._folder)
        for parcel in self._beyond(parcels, protected=frozenset(self._taken)):
            _LOG.warning("outbox_drops kind=%s key=%s", parcel.kind, parcel.key)
            self._account(parcel)
            self._remove(self._folder / parcel.file_name)
            self._sync(self._folder)

    def _beyond(self, parcels: Iterable[Parcel], *, protected: frozenset[int]) -> list[Parcel]:
        """What has to go so that the rest is within the bounds; an account of drops never has."""
        counted = [one for one in parcels if one.kind != GAP]
        count, size = len(counted), sum(one.size for one in counted)
        going = []
        for one in sorted(counted, key=lambda one: (one.worth, one.number)):
            if count <= self._capacity and size <= self._capacity_bytes:
                break
            if one.number not in protected:
                going.append(one)
                count, size = count - 1, size - one.size
        return going

    def _account(self, parcel: Parcel) -> None:
        """Have on disk that a parcel is dropped, before it is."""
        parcels = self._parcels(self._folder)
        waiting = {one.number for one in parcels if one.kind == parcel.kind} - {parcel.number}
        number, gap = 0, None
        for one in parcels:
            if one.kind == GAP and one.number not in self._taken and gap is None:
                found = self._gap(one)
                if found and found.kind == parcel.kind:
                    number, gap = one.number, found
        if gap is None:
            number, gap = self._number(), Gap(kind=parcel.kind)
        gap = gap.with_dropped(parcel, waiting)
        values = {
            "kind": gap.kind,
            "count": gap.count,
            "bytes": gap.bytes_dropped,
            "ranges": gap.ranges,
        }
        name = Parcel(number=number, kind=GAP, key=str(number)).file_name
        self._keep(name, json.dumps(values).encode())

    def _keep(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; it is on the disk when this returns."""
        path = self._folder / name
        part = path.with_name(f"{name}{_PART}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._rename(part, path)
            self._sync(self._folder)
        except OSError as error:
            part.unlink(missing_ok=True)
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise OutboxError(f"{path}: {'the disk is full' if full else error}") from error

    def _rename(self, part: Path, path: Path) -> None:
        part.replace(path)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    @staticmethod
    def _parcels(folder: Path) -> tuple[Parcel, ...]:
        if not folder.is_dir():
            return ()
        found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_file())
        parcels = [
            Parcel(
                number=int(match["number"]),
                kind=match["kind"],
                key=match["key"],
                size=path.stat().st_size,
            )
            for match, path in found
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


def _merged(
    ranges: Sequence[tuple[int, int]], waiting: Collection[int]
) -> tuple[tuple[int, int], ...]:
    """Neighbours joined, over every hole in which nothing waits."""
    merged = [ranges[0]]
    for first, last in ranges[1:]:
        before = merged[-1]
        if any(before[1] < number < first for number in waiting):
            merged.append((first, last))
        else:
            merged[-1] = before[0], max(before[1], last)
    return tuple(merged)
