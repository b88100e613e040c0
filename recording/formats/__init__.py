"""The formats of log files. A member is a module here that offers `FORMAT`; endings find it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import PurePath
from typing import BinaryIO, Final, Protocol

from protocols.can import FrameHeader
from protocols.can.bits import FrameError, check
from protocols.plugins import members
from recording.records import Channel, LogError, Record

#: Longest line of a text log: a CAN FD frame takes 400 characters.
MAX_LINE: Final = 4096
#: Channels that a log may name.
MAX_CHANNELS: Final = 255


class LogWriter(Protocol):
    """One open log file. Records come in the order of their stamps."""

    @property
    def size(self) -> int:
        """Bytes that the file has, or may have at most, if it is closed now."""
        ...

    def write(self, records: Sequence[Record]) -> None:
        """Records of this log's channels; those that the format cannot hold are left out."""
        ...

    def flush(self) -> None:
        """Hand what a reader could read already to the operating system."""
        ...

    def close(self) -> None:
        """Make the file whole; the caller closes it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFormat:
    #: As people call it.
    name: str
    #: Lower case, with the dot.
    endings: tuple[str, ...]
    #: What files begin with, lower case; one of them.
    begins: tuple[bytes, ...] = ()
    #: Stamps in the file are whole multiples of it, in ns.
    resolution_ns: int
    carries_ethernet: bool = False
    #: File (binary, seekable, empty), its channels, and a moment (ns since 1970) that no record
    #: is before; `LogError` if something is missing for it.
    write: Callable[[BinaryIO, Sequence[Channel], int], LogWriter]
    #: Records of a file in its order; channels are appended to the list as they turn up. Raises
    #: `LogError` without the file's name. None: only written here.
    read: Callable[[BinaryIO, list[Channel]], Iterator[Record]] | None = None


@cache
def formats() -> Mapping[str, LogFormat]:
    """Every format by module name."""
    found: dict[str, LogFormat] = {}
    for name, member in members(__name__, "FORMAT").items():
        if not isinstance(member, LogFormat):
            raise TypeError(f"{__name__}.{name}.FORMAT is no LogFormat")
        found[name] = member
    return found


def format_of(path: PurePath) -> LogFormat:
    """The format that a file's ending names."""
    for one in formats().values():
        if path.suffix.lower() in one.endings:
            return one
    known = ", ".join(ending for one in formats().values() for ending in one.endings)
    raise LogError(f"{path}: no log format ends in {path.suffix!r}; known: {known}")


#: A header, made once for all frames that share it.
frame_header: Final = lru_cache(maxsize=4096)(FrameHeader)


def checked(header: FrameHeader, data: bytes, place: str) -> None:
    """`LogError` for a frame that no wire carries."""
    try:
        check(header, data)
    except FrameError as error:
        raise LogError(f"{place}: {error}") from error


def numbered(channels: list[Channel], number: int, place: str) -> int:
    """The index of a channel that a file counts from 1; unnamed ones are called by number."""
    if not 0 < number <= MAX_CHANNELS:
        raise LogError(f"{place}: channel {number} is not in 1..{MAX_CHANNELS}")
    while len(channels) < number:
        channels.append(Channel(name=str(len(channels) + 1)))
    return number - 1


def lines(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Place and text of each line, blank ones left out; `LogError` for what is no line of text."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        place = f"line {number}"
        if len(line) > MAX_LINE:
            raise LogError(f"{place}: longer than {MAX_LINE} bytes")
        try:
            text = line.decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise LogError(f"{place}: not ASCII text") from error
        if text:
            yield place, text
