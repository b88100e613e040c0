"""Intel HEX, strict (Hexadecimal Object File Format Specification, revision A, 1988)."""

import re
from enum import IntEnum
from typing import Final

import bincopy

from protocols.firmware.formats import Chunk, Content, FormatError, Image, contiguous, join

#: Every form of line end that is in use; a blank line carries nothing and harms nothing.
_LINE: Final = re.compile(rb":(?:[0-9A-Fa-f]{2}){5,260}")
_BYTES_PER_RECORD: Final = 32
_SEGMENT: Final = 0x1_0000
_ADDRESS_SPACE: Final = 0x1_0000_0000


class RecordType(IntEnum):
    DATA = 0x00
    END_OF_FILE = 0x01
    EXTENDED_SEGMENT_ADDRESS = 0x02
    START_SEGMENT_ADDRESS = 0x03
    EXTENDED_LINEAR_ADDRESS = 0x04
    START_LINEAR_ADDRESS = 0x05


#: Data bytes that each type of record has; data records are free.
_LENGTHS: Final = {
    RecordType.END_OF_FILE: 0,
    RecordType.EXTENDED_SEGMENT_ADDRESS: 2,
    RecordType.START_SEGMENT_ADDRESS: 4,
    RecordType.EXTENDED_LINEAR_ADDRESS: 2,
    RecordType.START_LINEAR_ADDRESS: 4,
}


class _Reader:
    """The state that runs through a file: the base address and whether the end has been seen."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.ended = False
        self.entry: int | None = None
        self._base = 0
        self._segmented = False

    def read(self, line: int, text: bytes) -> None:
        record_type, offset, data = _record(line, text)
        if self.ended:
            raise FormatError("a record after the end-of-file record", line=line)
        match record_type:
            case RecordType.DATA:
                self._data(line, offset, data)
            case RecordType.END_OF_FILE:
                self.ended = True
            case RecordType.EXTENDED_SEGMENT_ADDRESS:
                self._base, self._segmented = int.from_bytes(data, "big") << 4, True
            case RecordType.EXTENDED_LINEAR_ADDRESS:
                self._base, self._segmented = int.from_bytes(data, "big") << 16, False
            case RecordType.START_SEGMENT_ADDRESS:
                self.entry = (int.from_bytes(data[:2]) << 4) + int.from_bytes(data[2:])
            case RecordType.START_LINEAR_ADDRESS:
                self.entry = int.from_bytes(data)

    def _data(self, line: int, offset: int, data: bytes) -> None:
        if self._segmented and offset + len(data) > _SEGMENT:
            # The offset would wrap inside the segment, and tools differ in whether it does.
            raise FormatError("data runs past the end of its 64 KiB segment", line=line)
        address = self._base + offset
        if address + len(data) > _ADDRESS_SPACE:
            raise FormatError(f"address 0x{address:X} runs past 32 bits", line=line)
        if data:
            self.chunks.append(Chunk(address=address, data=data, line=line))


def _record(line: int, text: bytes) -> tuple[RecordType, int, bytes]:
    if not _LINE.fullmatch(text):
        raise FormatError(
            "not an Intel HEX record (':' and at least 5 pairs of hex digits)", line=line
        )
    raw = bytes.fromhex(text[1:].decode("ascii"))
    if raw[0] != len(raw) - 5:
        raise FormatError(f"byte count says {raw[0]}, the record has {len(raw) - 5}", line=line)
    if sum(raw) & 0xFF:
        expected = -sum(raw[:-1]) & 0xFF
        raise FormatError(f"checksum is {raw[-1]:02X}, should be {expected:02X}", line=line)
    try:
        record_type = RecordType(raw[3])
    except ValueError:
        raise FormatError(f"unknown record type {raw[3]:02X}", line=line) from None
    if _LENGTHS.get(record_type, raw[0]) != raw[0]:
        raise FormatError(f"a record of type {raw[3]:02X} cannot have {raw[0]} bytes", line=line)
    return record_type, int.from_bytes(raw[1:3], "big"), raw[4:-1]


def _read(data: bytes) -> _Reader:
    reader = _Reader()
    line = 0
    for line, text in enumerate(data.splitlines(), start=1):
        if text.strip():
            reader.read(line, text.rstrip(b" \t"))
    if not reader.ended:
        raise FormatError("the end-of-file record is missing", line=line or None)
    return reader


class IntelHex:
    name = "Intel HEX"
    suffixes = (".hex", ".ihex", ".ihx")
    carries_address = True
    in_lines = True

    def recognizes(self, data: bytes) -> bool:
        """Whether the first thing in the file is a record mark and hex digits."""
        return re.match(rb"\s*:[0-9A-Fa-f]{10}", data) is not None

    def content(self, data: bytes) -> Content:
        reader = _read(data)
        return Content(segments=contiguous(reader.chunks), entry=reader.entry)

    def decode(self, data: bytes) -> Image:
        return join(_read(data).chunks)

    def encode(self, image: Image) -> bytes:
        """32 data bytes a line, linear addresses, LF line ends."""
        if image.end > _ADDRESS_SPACE:
            raise FormatError(f"address 0x{image.end - 1:X} does not fit 32 bits")
        file = bincopy.BinFile()
        file.add_binary(image.data, address=image.address)
        return str(file.as_ihex(number_of_data_bytes=_BYTES_PER_RECORD)).encode("ascii")


FORMAT = IntelHex()
