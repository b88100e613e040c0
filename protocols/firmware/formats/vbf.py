"""VBF, the Versatile Binary Format: a header in text, then blocks with address, length and CRC-16.

    vbf_version = 2.6;
    header { sw_part_number = "..."; sw_part_type = EXE; ... file_checksum = 0x...; }
    address u32, length u32, data, CRC-16 u16; and again, to the end of the file

Numbers are big endian. `file_checksum` is the CRC-32 of all that follows the header's brace.
"""

import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from protocols.firmware.formats import (
    MAX_SPAN,
    Chunk,
    Content,
    FormatError,
    Image,
    contiguous,
)

_ADDRESS_SPACE: Final = 0x1_0000_0000
#: Headers carry signatures and lists of ranges, but no code.
_MAX_HEADER: Final = 1 << 18
_MAX_BLOCKS: Final = 4096
#: Address and length, and the CRC-16.
_BLOCK_HEAD: Final = 8
_BLOCK_TAIL: Final = 2
_TOKEN: Final = re.compile(
    rb'(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>"[^"]*")|(?P<sign>[={};,])|(?P<word>[^\s={};,"]+)',
    re.DOTALL,
)
#: Fields of a header that say what is in the file, for people.
_TOLD: Final = (
    "description",
    "sw_part_number",
    "sw_version",
    "sw_part_type",
    "network",
    "ecu_address",
)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    #: The first byte behind it.
    end: int


def _tokens(data: bytes) -> Iterator[_Token]:
    at, line = 0, 1
    while at < min(len(data), _MAX_HEADER):
        found = _TOKEN.match(data, at, _MAX_HEADER)
        if found is None:
            raise FormatError("text or a comment that does not end", line=line)
        if found.lastgroup != "skip":
            yield _Token(found[0].decode("latin-1"), line, found.end())
        line += data.count(b"\n", at, found.end())
        at = found.end()
    raise FormatError("the header does not end", line=line)


@dataclass(frozen=True, slots=True)
class _Header:
    #: Name -> its values, lists made flat, text without its quotes.
    fields: Mapping[str, tuple[str, ...]]
    lines: Mapping[str, int]
    #: Where the blocks begin.
    end: int
    #: The line that it ends on.
    last_line: int

    def number(self, name: str) -> int | None:
        values = self.fields.get(name)
        if values is None:
            return None
        try:
            number = int(values[0], 0) if len(values) == 1 and len(values[0]) <= 20 else -1
        except ValueError:
            number = -1
        if not 0 <= number < _ADDRESS_SPACE:
            raise FormatError(f"{name}: a number expected", line=self.lines[name])
        return number


def _header(data: bytes) -> _Header:
    tokens = _tokens(data)
    version, sign, number, end = (next(tokens) for _ in range(4))
    if (version.text.lower(), sign.text, end.text) != ("vbf_version", "=", ";"):
        raise FormatError("not VBF: it does not begin with vbf_version", line=version.line)
    for expected in ("header", "{"):
        found = next(tokens)
        if found.text.lower() != expected:
            raise FormatError(f"{expected} expected, not {found.text[:20]!r}", line=found.line)
    fields: dict[str, tuple[str, ...]] = {"vbf_version": (number.text,)}
    lines = {"vbf_version": number.line}
    while (name := next(tokens)).text != "}":
        if next(tokens).text != "=":
            raise FormatError(f"{name.text[:20]!r}: = expected", line=name.line)
        if name.text in fields:
            raise FormatError(f"{name.text[:20]!r} for the second time", line=name.line)
        fields[name.text] = _values(tokens, name)
        lines[name.text] = name.line
    return _Header(fields, lines, name.end, name.line)


def _values(tokens: Iterator[_Token], name: _Token) -> tuple[str, ...]:
    values: list[str] = []
    depth = 0
    for token in tokens:
        match token.text:
            case ";" if depth == 0:
                return tuple(values)
            case "{":
                depth += 1
            case "}" if depth:
                depth -= 1
            case ",":
                pass
            case "}" | ";" | "=":
                raise FormatError(f"{name.text[:20]!r}: ; is missing", line=token.line)
            case text:
                values.append(text.strip('"'))
    raise AssertionError("the tokens end with an error")


def _blocks(data: bytes, header: _Header) -> list[Chunk]:
    chunks: list[Chunk] = []
    at = header.end
    total = 0
    while at < len(data):
        place = f"block {len(chunks) + 1}"
        if len(chunks) == _MAX_BLOCKS:
            raise FormatError(f"more than {_MAX_BLOCKS} blocks")
        if at + _BLOCK_HEAD > len(data):
            raise FormatError(f"{place}: cut off in its address and length")
        address = int.from_bytes(data[at : at + 4])
        length = int.from_bytes(data[at + 4 : at + _BLOCK_HEAD])
        start = at + _BLOCK_HEAD
        at = start + length + _BLOCK_TAIL
        if at > len(data):
            raise FormatError(f"{place}: cut off, it says {length} bytes")
        if not length:
            raise FormatError(f"{place}: empty")
        if address + length > _ADDRESS_SPACE:
            raise FormatError(f"{place}: address 0x{address:X} runs past 32 bits")
        total += length
        if total > MAX_SPAN:
            raise FormatError(f"more than {MAX_SPAN} bytes")
        content = data[start : start + length]
        crc, said = binascii.crc_hqx(content, 0xFFFF), int.from_bytes(data[at - 2 : at])
        if crc != said:
            raise FormatError(f"{place}: CRC-16 is {said:04X}, should be {crc:04X}")
        chunks.append(Chunk(address=address, data=content, line=None))
    if not chunks:
        raise FormatError("no blocks behind the header", line=header.last_line)
    return chunks


class Vbf:
    name = "VBF"
    suffixes = (".vbf",)
    carries_address = True
    in_lines = False

    def recognizes(self, data: bytes) -> bool:
        """Whether it begins with its version."""
        return re.match(rb"\s*vbf_version\s*=", data[:256], re.IGNORECASE) is not None

    def content(self, data: bytes) -> Content:
        if not data.strip():
            raise FormatError("the file is empty")
        header = _header(data)
        chunks = _blocks(data, header)
        said = header.number("file_checksum")
        if said is None:
            raise FormatError("file_checksum is missing", line=header.last_line)
        crc = zlib.crc32(data[header.end :])
        if crc != said:
            raise FormatError(
                f"file_checksum is {said:08X}, should be {crc:08X}",
                line=header.lines["file_checksum"],
            )
        data_format = header.number("data_format_identifier") or 0
        if data_format > 0xFF:
            raise FormatError(
                "data_format_identifier: a byte expected",
                line=header.lines["data_format_identifier"],
            )
        return Content(
            # Compressed blocks are shorter than what they fill: none is joined to the next.
            segments=_each(chunks) if data_format else contiguous(chunks),
            entry=header.number("call"),
            data_format=data_format,
            about={name: " ".join(header.fields[name]) for name in _TOLD if name in header.fields},
        )

    def decode(self, data: bytes) -> Image:
        return self.content(data).joined()

    def encode(self, image: Image) -> bytes:
        """One block, and a header with nothing but what has to be there."""
        if image.end > _ADDRESS_SPACE:
            raise FormatError(f"address 0x{image.end - 1:X} does not fit 32 bits")
        crc = binascii.crc_hqx(image.data, 0xFFFF)
        block = image.address.to_bytes(4) + len(image.data).to_bytes(4)
        block += image.data + crc.to_bytes(2)
        header = (
            "vbf_version = 2.6;\r\nheader {\r\n"
            "  data_format_identifier = 0x00;\r\n"
            f"  erase = {{ {{ 0x{image.address:08X}, 0x{len(image.data):08X} }} }};\r\n"
            f"  file_checksum = 0x{zlib.crc32(block):08X};\r\n}}"
        )
        return header.encode("ascii") + block


def _each(chunks: list[Chunk]) -> tuple[Image, ...]:
    return tuple(Image(address=chunk.address, data=chunk.data) for chunk in chunks)


FORMAT = Vbf()
