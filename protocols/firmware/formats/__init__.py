"""The firmware formats: how a file says which bytes go to which address.

A member is a module here that offers `FORMAT`; it is found by its name. Decoding is strict: a
file that another tool would repair in silence is refused, and the error names the line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
class Chunk:
    """The data of one record, before the records are joined."""

    address: int
    data: bytes
    line: int


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

    def recognizes(self, data: bytes) -> bool:
        """Whether the content looks like this format (it may still be malformed)."""
        ...

    def decode(self, data: bytes) -> Image:
        """The image in a file; `FormatError` names the line that breaks a rule."""
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


def join(chunks: Iterable[Chunk]) -> Image:
    """The chunks as one image, gaps filled as erased flash; overlap and huge gaps are refused."""
    ordered = sorted(chunks, key=lambda chunk: (chunk.address, chunk.line))
    if not ordered:
        raise FormatError("no data records")
    start = ordered[0].address
    pieces: list[bytes] = []
    end = start
    for chunk in ordered:
        if chunk.address < end:
            raise FormatError(
                f"address 0x{chunk.address:08X} is already written by another record",
                line=chunk.line,
            )
        if chunk.address + len(chunk.data) - start > MAX_SPAN:
            raise FormatError(
                f"address 0x{chunk.address:08X} lies more than {MAX_SPAN} bytes behind the first"
                f" one, 0x{start:08X}",
                line=chunk.line,
            )
        pieces.extend((bytes([ERASED]) * (chunk.address - end), chunk.data))
        end = chunk.address + len(chunk.data)
    return Image(address=start, data=b"".join(pieces))
