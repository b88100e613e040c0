"""The firmware formats: how a file says which bytes go to which address.

A member is a module here that offers `FORMAT`; it is found by its name. Decoding is strict: a
file that another tool would repair in silence is refused, and the error names the line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Protocol, runtime_checkable

from protocols.firmware import FirmwareError
from protocols.plugins import members

#: Largest distance in bytes between the first and the last byte of one image. A file of two lines
#: can name addresses 4 GiB apart, and the gap between them is filled.
MAX_SPAN: Final = 32 * 1024 * 1024
#: What unwritten flash reads as, and what gaps are filled with.
ERASED: Final = 0xFF


class FormatError(FirmwareError):
    """A file that breaks its format; `line` counts from 1, None where no line is to blame."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Contiguous bytes and the address of the first of them (0 where the format carries none)."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The first address behind the image."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that a file says: its contiguous ranges by address, and what stands beside them."""

    segments: tuple[Image, ...]
    #: Where the code is started, where the file says it.
    entry: int | None = None
    #: dataFormatIdentifier of its bytes: not 0 if they are compressed or encrypted.
    data_format: int = 0
    #: What the file says of itself, for people.
    about: Mapping[str, str] = field(default_factory=dict)

    def joined(self) -> Image:
        """One image, gaps filled as erased flash.

        `FormatError` for a huge gap, and for bytes that only their ECU can read.
        """
        if self.data_format:
            raise FormatError(
                f"compressed or encrypted (data format {self.data_format:02X}): no plain image"
            )
        return join(Chunk(address=one.address, data=one.data, line=None) for one in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The data of one record, before the records are joined."""

    address: int
    data: bytes
    #: None in formats without lines.
    line: int | None


@runtime_checkable
class Format(Protocol):
    """One firmware file format."""

    @property
    def name(self) -> str:
        """The format as people write it, for example "Intel HEX"."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Usual file name endings, lower case, with the dot."""
        ...

    @property
    def carries_address(self) -> bool:
        """Whether a file of this format says where its bytes belong."""
        ...

    @property
    def in_lines(self) -> bool:
        """Whether it is text with a record and its checksum on each line."""
        ...

    def recognizes(self, data: bytes) -> bool:
        """Whether the content looks like this format (it may still be malformed)."""
        ...

    def content(self, data: bytes) -> Content:
        """Everything in a file; `FormatError` names the line that breaks a rule."""
        ...

    def decode(self, data: bytes) -> Image:
        """The image in a file, gaps filled; errors as of `content`."""
        ...

    def encode(self, image: Image) -> bytes:
        """A file with the image in it; `FormatError` if it does not fit the format."""
        ...


@cache
def formats() -> Mapping[str, Format]:
    """Every format by module name."""
    found: dict[str, Format] = {}
    for name, member in members(__name__, "FORMAT").items():
        if not isinstance(member, Format):
            raise TypeError(f"{__name__}.{name}.FORMAT does not satisfy the port")
        found[name] = member
    return found


def detect(file_name: str, data: bytes) -> Format:
    """The format of a file, by content; its name only decides what is said about a misfit.

    Raw binary is what remains when no text format recognizes the content, but never for a file
    whose name promises a text format: that one is damaged (`FormatError`).
    """
    for candidate in formats().values():
        if candidate.carries_address and candidate.recognizes(data):
            return candidate
    suffix = "." + file_name.rpartition(".")[2].lower()
    for candidate in formats().values():
        if candidate.carries_address and suffix in candidate.suffixes:
            if not data.strip():
                raise FormatError("the file is empty")
            raise FormatError(f"not {candidate.name}: it does not begin with a record", line=1)
    return formats()["raw"]


def contiguous(chunks: Iterable[Chunk]) -> tuple[Image, ...]:
    """The chunks as contiguous images by address; overlap is refused."""
    runs: list[tuple[int, list[bytes]]] = []
    end = -1
    for chunk in _in_order(chunks):
        if chunk.address < end:
            raise FormatError(
                f"address 0x{chunk.address:08X} is already written by another record",
                line=chunk.line,
            )
        if chunk.address != end:
            runs.append((chunk.address, []))
        runs[-1][1].append(chunk.data)
        end = chunk.address + len(chunk.data)
    return tuple(Image(address=address, data=b"".join(pieces)) for address, pieces in runs)


def join(chunks: Iterable[Chunk]) -> Image:
    """The chunks as one image, gaps filled as erased flash; overlap and huge gaps are refused."""
    ordered = _in_order(chunks)
    start = ordered[0].address
    for chunk in ordered:
        if chunk.address + len(chunk.data) - start > MAX_SPAN:
            raise FormatError(
                f"address 0x{chunk.address:08X} lies more than {MAX_SPAN} bytes behind the first"
                f" one, 0x{start:08X}",
                line=chunk.line,
            )
    pieces: list[bytes] = []
    end = start
    for run in contiguous(ordered):
        pieces.extend((bytes([ERASED]) * (run.address - end), run.data))
        end = run.end
    return Image(address=start, data=b"".join(pieces))


def _in_order(chunks: Iterable[Chunk]) -> list[Chunk]:
    ordered = sorted(chunks, key=lambda chunk: (chunk.address, chunk.line or 0))
    if not ordered:
        raise FormatError("no data records")
    return ordered
