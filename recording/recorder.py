"""Writes the records of several wires to one file, in the order of their stamps.

Wires tell of their frames one by one or run by run, each in its own order; records wait until
none that is earlier can come. A file has a largest size if asked for: then recording ends there,
or goes on in a new file while older ones are kept under numbers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final

from recording.formats import LogWriter, format_of
from recording.records import CanRun, Channel, LogError, Record

#: A run of frames is told of at its end, 0.25 s after its first frame; this is more.
_LATE_NS: Final = 1_000_000_000
#: Room for one more record, below the largest size.
_ROOM: Final = 4096
#: The smallest size that can be asked for.
SMALLEST: Final = 64 * 1024

#: Later than every stamp.
_NEVER: Final = 1 << 64

_stamp = itemgetter(0)


def merged(records: list[Record], runs: Sequence[CanRun]) -> Iterator[Sequence[Record]]:
    """Records in the order of their stamps, runs of them left whole where nothing comes between.

    `records` are in order already, and so is each run.
    """
    # By stamp; where two are equal single records come first, then runs as they arrived.
    heads = [(run.stamps_ns[0], number, 0) for number, run in enumerate(runs)]
    heapify(heads)
    done = 0
    while heads:
        first_ns, number, start = heappop(heads)
        before = bisect_right(records, first_ns, done, key=_stamp)
        if before > done:
            yield records[done:before]
            done = before
        run = runs[number]
        next_ns = min(
            records[done][0] if done < len(records) else _NEVER, heads[0][0] if heads else _NEVER
        )
        stop = max(bisect_left(run.stamps_ns, next_ns, start), start + 1)
        yield run[start:stop]
        if stop < len(run):
            heappush(heads, (run.stamps_ns[stop], number, stop))
    if done < len(records):
        yield records[done:]


class Recorder:
    """One log, or several in turn. Every error is a `LogError` with the file's name."""

    def __init__(
        self,
        path: Path,
        channels: Sequence[Channel],
        *,
        start_ns: int,
        max_size: int | None = None,
        keep: int = 0,
    ) -> None:
        if max_size is not None and max_size < SMALLEST:
            raise LogError(f"{path}: a log of {max_size} bytes; {SMALLEST} is the least")
        self.path = path
        self.channels = tuple(channels)
        #: Records written so far.
        self.count = 0
        #: The file has its largest size, and nothing more is written.
        self.full = False
        self._format = format_of(path)
        self._max_size = max_size
        self._keep = keep
        self._pending: list[Record] = []
        self._pending_runs: list[CanRun] = []
        self._newest_ns = self._due_ns = start_ns
        self._error: LogError | None = None
        self._file: BinaryIO | None = None
        self._writer = self._open(start_ns)

    def add(self, *records: Record) -> None:
        """Records of any channel; those of one channel in their order."""
        self.extend(records)

    def extend(self, records: Sequence[Record]) -> None:
        if self._file is None or not records:
            return
        if isinstance(records, CanRun):
            self._pending_runs.append(records)
        else:
            self._pending.extend(records)
        self._newest_ns = max(self._newest_ns, records[-1][0])
        if self._newest_ns - self._due_ns > 2 * _LATE_NS:
            try:
                self._settle(self._newest_ns - _LATE_NS)
            except LogError as error:
                # A wire's callback calls here, and the wire goes on: `flush` and `close` say it.
                self._error = error
                self._file.close()
                self._file = None

    def flush(self, now_ns: int) -> None:
        """Let a reader see what is known to be in order at `now_ns`."""
        self._complain()
        if self._file is None:
            return
        self._settle(now_ns - _LATE_NS)
        try:
            self._writer.flush()
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Write the rest and make the file whole; may be called again."""
        self._complain()
        if self._file is None:
            return
        try:
            self._settle(self._newest_ns)
        finally:
            self._finish()

    def _complain(self) -> None:
        """Once: what went wrong while nobody could be told."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _settle(self, until_ns: int) -> None:
        """Write what is stamped up to then; the rest may still get company before it."""
        self._due_ns = max(self._due_ns, until_ns)
        self._pending.sort(key=_stamp)
        end = bisect_right(self._pending, until_ns, key=_stamp)
        due, self._pending = self._pending[:end], self._pending[end:]
        due_runs: list[CanRun] = []
        late_runs: list[CanRun] = []
        for run in self._pending_runs:
            end = bisect_right(run.stamps_ns, until_ns)
            due_runs += [run[:end]] if end else []
            late_runs += [run[end:]] if end < len(run) else []
        self._pending_runs = late_runs
        try:
            for records in merged(due, due_runs):
                self._write(records)
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}") from error

    def _write(self, records: Sequence[Record]) -> None:
        if self._max_size is None:
            self._writer.write(records)
            self.count += len(records)
            return
        for record in records:
            if self._writer.size + _ROOM > self._max_size:
                self._turn(record[0])
            if self.full:
                return
            self._writer.write((record,))
            self.count += 1

    def _turn(self, at_ns: int) -> None:
        if not self._keep:
            self.full = True
            return
        self._finish()
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))
        self._writer = self._open(at_ns)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")

    def _open(self, start_ns: int) -> LogWriter:
        try:
            self._file = self.path.open("wb+")
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}") from error
        try:
            return self._format.write(self._file, self.channels, start_ns)
        except LogError as error:
            self._file.close()
            raise LogError(f"{self.path}: {error}") from error

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            self._writer.close()
            file.close()
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}") from error


def can_only(path: Path, channels: Sequence[Channel]) -> tuple[str, ...]:
    """Names of channels that the format of this file has no place for."""
    if format_of(path).carries_ethernet:
        return ()
    return tuple(channel.name for channel in channels if channel.ethernet)
