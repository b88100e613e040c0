"""The update's journal: one line for each entry, on disk before the effect that it announces.

A line is `CRC-32 in hexadecimal, space, JSON object, newline`. Appending writes and syncs in the
calling task (some milliseconds; on a virtual clock no time passes), because the caller may not go
on before the entry is safe. A line that was cut off by a power cut can only be the last one and is
dropped at the next start, as if it had never been begun; damage before a sound line is an error
that a person must look at, because decisions may be missing.
"""

import errno
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self

from vehicle_gateway.update.records import to_json

_LOG = logging.getLogger(__name__)
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Bytes set aside while an update runs, so that a disk that fills up cannot stop it half-way.
_RESERVE_BYTES: Final = 256 * 1024
#: Journals of finished updates that are kept.
_KEPT: Final = 20


class JournalError(Exception):
    """A journal that cannot be read or written; the message names file and line."""


class Kind(Enum):
    """What an entry says: something begins (`-ING`) or has happened."""

    OFFERED = "offered"
    SNAPSHOT_BEFORE = "snapshot_before"
    DOWNLOADED = "downloaded"
    STAGING = "staging"
    #: So many bytes are in the ECU's memory for certain. A hint: it is not synced.
    VERIFIED = "verified"
    STAGED = "staged"
    #: An ECU that is being staged is away: asleep, without power, or gone. It is asked again.
    ABSENT = "absent"
    #: Preconditions do not hold yet, or the driver has not answered: `unmet` says which.
    WAITING = "waiting"
    #: What the driver said (`answer`), to which release (`release_sha256`).
    CONSENT = "consent"
    #: Preconditions hold and consent is given: activation may begin.
    CLEARED = "cleared"
    ACTIVATING = "activating"
    ACTIVATED = "activated"
    #: The ECU has read back as the new release.
    PROVED = "proved"
    #: An ECU (or, without one, the vehicle) did not do what was asked. Before `COMMIT`, this is
    #: the decision to go back.
    FAILED = "failed"
    #: The driver has denied it, or preconditions were not met in time, before anything was
    #: activated: the decision to go back.
    REFUSED = "refused"
    #: The cloud takes the release back, before `COMMIT`: the decision to go back.
    CANCELLED = "cancelled"
    REVERTING = "reverting"
    REVERTED = "reverted"
    #: The only point of no return.
    COMMIT = "commit"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    #: After `COMMIT` an ECU was found to run the old image again.
    WENT_BACK = "went_back"
    #: Another part answers in an ECU's place (`serial_number`, `hardware_id`): what was done to
    #: the old one is void. Before `COMMIT`, this is the decision to go back.
    REPLACED = "replaced"
    #: An ECU is given up.
    LOST = "lost"
    DTCS_CLEARED = "dtcs_cleared"
    SNAPSHOT_AFTER = "snapshot_after"
    INSPECTED = "inspected"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    kind: Kind
    #: Empty for the whole vehicle.
    ecu: str = ""
    #: Unix time in microseconds by the gateway's clock.
    time_us: int = 0
    #: JSON values.
    fields: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """One update's entries, in memory and on disk."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and drop a line that was cut off; `JournalError` if it cannot."""
        self.path = path
        self._reserve = path.with_suffix(".reserve")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _disk_error(path, error) from error
        try:
            content = path.read_bytes()
            self._entries, self._end = _read(path, content)
            if self._end < len(content):
                _LOG.warning(
                    "journal_tail_dropped file=%s offset=%d bytes=%d",
                    path,
                    self._end,
                    len(content) - self._end,
                )
                os.ftruncate(self._file, self._end)
                os.fsync(self._file)
            sync_folder(path.parent)
        except OSError as error:
            os.close(self._file)
            raise _disk_error(path, error) from error
        except JournalError:
            os.close(self._file)
            raise

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def append(self, entry: Entry, *, sync: bool = True) -> None:
        """Write the entry; with `sync` it is on the disk when this returns.

        Raises `JournalError`; then the entry does not count, and its effect may not happen.
        """
        # What is in memory is what a restart would read.
        entry = replace(entry, fields={key: to_json(one) for key, one in entry.fields.items()})
        line = _line(len(self._entries), entry)
        try:
            self._write(line, sync=sync)
        except OSError as error:
            if error.errno not in _DISK_FULL or not self._reserve.exists():
                raise _disk_error(self.path, error) from error
            _LOG.warning("journal_uses_reserve file=%s", self.path)
            self._reserve.unlink()
            try:
                self._write(line, sync=sync)
            except OSError as again:
                raise _disk_error(self.path, again) from again
        self._end += len(line)
        self._entries.append(entry)

    def reserve(self) -> None:
        """Set room on the disk aside for the entries to come; `JournalError` if there is none."""
        try:
            with self._reserve.open("wb") as file:
                file.write(b"\0" * _RESERVE_BYTES)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            raise _disk_error(self._reserve, error) from error

    def archive(self, folder: Path) -> None:
        """Put the finished journal away and begin an empty one; the newest 20 are kept."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = sorted(folder.glob("*.jsonl"))
            number = int(kept[-1].stem) + 1 if kept else 1
            self.path.replace(folder / f"{number:08d}.jsonl")
            for old in kept[: max(0, len(kept) + 1 - _KEPT)]:
                old.unlink()
            self._reserve.unlink(missing_ok=True)
            sync_folder(folder)
            os.close(self._file)
            self._file = -1
            self._file = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            sync_folder(self.path.parent)
        except (OSError, ValueError) as error:
            raise _disk_error(self.path, error) from error
        self._entries, self._end = [], 0

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: bytes, *, sync: bool) -> None:
        try:
            written = os.write(self._file, line)
            if written < len(line):  # A full disk takes a part of it first.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 same clean-up
            if sync:
                os.fsync(self._file)
        except OSError:
            with suppress(OSError):  # The write's own error is the one to tell.
                os.ftruncate(self._file, self._end)
            raise


def sync_folder(folder: Path) -> None:
    """Make names that were created or changed in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(sequence: int, entry: Entry) -> bytes:
    values = {
        "sequence": sequence,
        "kind": entry.kind.value,
        "ecu": entry.ecu,
        "time_us": entry.time_us,
        **{f"_{name}": value for name, value in entry.fields.items()},
    }
    text = json.dumps(values, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(path: Path, content: bytes) -> tuple[list[Entry], int]:
    entries: list[Entry] = []
    end = 0
    damaged = 0
    for number, (line, offset) in enumerate(_lines(content), start=1):
        values = _checked(line)
        if values is None:
            damaged = damaged or number
            continue
        if damaged:
            raise JournalError(f"{path}: line {damaged}: damaged, but sound entries follow it")
        try:
            entry = _entry(values, sequence=len(entries))
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(f"{path}: line {number}: {error}") from error
        entries.append(entry)
        end = offset
    return entries, end


def _lines(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Each line without its end, and the offset behind it; the rest without an end is damaged."""
    offset = 0
    for line in content.splitlines(keepends=True):
        offset += len(line)
        yield (line[:-1] if line.endswith(b"\n") else b""), offset


def _checked(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # no line of ours: nested without end
        return None
    return values if isinstance(values, dict) else None


def _entry(values: dict[str, Any], *, sequence: int) -> Entry:
    if values["sequence"] != sequence:
        raise ValueError(f"entry {values['sequence']} where {sequence} belongs")
    return Entry(
        kind=Kind(values["kind"]),
        ecu=values["ecu"],
        time_us=values["time_us"],
        fields={name[1:]: value for name, value in values.items() if name.startswith("_")},
    )


def _disk_error(path: Path, error: OSError | ValueError) -> JournalError:
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return JournalError(f"{path}: the disk is full")
    return JournalError(f"{path}: {error}")
