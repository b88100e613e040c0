"""A log opened for reading: its format found, its records in order, its errors with its name."""

from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from recording.formats import LogFormat, format_of, formats
from recording.records import Channel, LogError, Record

#: Bytes from a file's beginning that tell its format.
_HEAD: Final = 64


class LogReader:
    """One log, read once from its beginning to its end, or for as long as a pipe gives more.

    The ending names the format; where it does not, as in a pipe, the first bytes do. Every error
    is a `LogError` that begins with the file's name. A context manager; leaving it closes the file.
    """

    def __init__(self, path: Path, file: BufferedReader | None = None) -> None:
        self.path = path
        #: Bytes in all; 0 where nobody knows, in a pipe.
        self.size = 0
        #: Every channel that has turned up so far; all of them at the end.
        self.channels: list[Channel] = []
        self._file = self._opened() if file is None else file
        try:
            self.format = self._format()
        except LogError:
            self._file.close()
            raise
        if file is None and path.is_file():
            self.size = path.stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def position(self) -> int:
        """Bytes read so far, of `size`; 0 in a pipe."""
        return self._file.tell() if self.size else 0

    def __iter__(self) -> Iterator[Record]:
        if self.format.read is None:
            raise LogError(f"{self.path}: {self.format.name} is written here and not read")
        try:
            yield from self.format.read(self._file, self.channels)
        except LogError as error:
            raise LogError(f"{self.path}: {error}") from error
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}") from error

    def _opened(self) -> BufferedReader:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}") from error

    def _format(self) -> LogFormat:
        try:
            return format_of(self.path)
        except LogError:
            try:
                head = self._file.peek(_HEAD)[:_HEAD]
            except OSError as error:
                raise LogError(f"{self.path}: {error.strerror}") from error
        for one in formats().values():
            if any(head.lower().startswith(begin) for begin in one.begins):
                return one
        known = ", ".join(one.name for one in formats().values())
        raise LogError(f"{self.path}: begins as no log that is known here ({known})")


def channel_number(channels: Sequence[Channel], text: str) -> int | None:
    """The index of the channel that people call by its name, or by its number from 1."""
    for number, channel in enumerate(channels):
        if channel.name == text:
            return number
    if text.isascii() and text.isdecimal() and 0 < int(text) <= len(channels):
        return int(text) - 1
    return None
