"""Motorola S-record, strict: header, data with 16, 24 or 32-bit addresses, count, end."""

import re
from typing import Final

import bincopy

from protocols.firmware.formats import Chunk, Content, FormatError, Image, contiguous, join

_LINE: Final = re.compile(rb"S[0-9](?:[0-9A-Fa-f]{2}){4,256}")
_BYTES_PER_RECORD: Final = 32
_ADDRESS_SPACE: Final = 0x1_0000_0000

#: Record type -> bytes of its address field; S4 is reserved and stays out.
_ADDRESS_BYTES: Final = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}
_HEADER: Final = 0
_DATA: Final = frozenset((1, 2, 3))
_COUNT: Final = frozenset((5, 6))
#: End record -> the data records that it ends. The checksum does not cover the type digit, and a
#: damaged one shifts address and data; that every record of a file has one width catches it.
_END: Final = {7: 3, 8: 2, 9: 1}


class _Reader:
    """The state that runs through a file: data records so far and whether the end was seen."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.ended = False
        self.entry: int | None = None
        self._data_records = 0
        self._data_type: int | None = None
        self._counted = False
        self._first = True

    def read(self, line: int, text: bytes) -> None:
        kind, address, data = _record(line, text)
        if self.ended:
            raise FormatError("a record after the end record", line=line)
        if kind == _HEADER and not self._first:
            raise FormatError("a header record (S0) that is not the first record", line=line)
        self._first = False
        if kind in _DATA:
            self._data(line, kind, address, data)
        elif kind in _COUNT:
            self._count(line, address, data)
        elif kind in _END:
            self._end(line, kind, data)
            # Zero is what tools write that know of no start.
            self.entry = address or None

    def _data(self, line: int, kind: int, address: int, data: bytes) -> None:
        if self._data_type not in {None, kind}:
            raise FormatError(f"an S{kind} record after S{self._data_type} records", line=line)
        self._data_type = kind
        if self._counted:
            raise FormatError("a data record after the count record", line=line)
        if address + len(data) > 1 << (bits := 8 * _ADDRESS_BYTES[kind]):
            raise FormatError(f"address 0x{address:X} runs past {bits} bits", line=line)
        self._data_records += 1
        if data:
            self.chunks.append(Chunk(address=address, data=data, line=line))

    def _count(self, line: int, count: int, data: bytes) -> None:
        if self._counted or data:
            raise FormatError("a second or malformed count record", line=line)
        if count != self._data_records:
            raise FormatError(
                f"the count record says {count} data records, the file has {self._data_records}",
                line=line,
            )
        self._counted = True

    def _end(self, line: int, kind: int, data: bytes) -> None:
        if self._data_type not in {None, _END[kind]}:
            raise FormatError(f"S{kind} does not end S{self._data_type} records", line=line)
        if data:
            raise FormatError("an end record carries no data", line=line)
        self.ended = True


def _record(line: int, text: bytes) -> tuple[int, int, bytes]:
    if not _LINE.fullmatch(text):
        raise FormatError(
            "not an S-record ('S', a digit and at least 4 pairs of hex digits)", line=line
        )
    kind = text[1] - ord("0")
    if kind not in _ADDRESS_BYTES:
        raise FormatError(f"unknown record type S{kind}", line=line)
    raw = bytes.fromhex(text[2:].decode("ascii"))
    if raw[0] != len(raw) - 1:
        raise FormatError(f"byte count says {raw[0]}, the record has {len(raw) - 1}", line=line)
    if sum(raw) & 0xFF != 0xFF:
        expected = ~sum(raw[:-1]) & 0xFF
        raise FormatError(f"checksum is {raw[-1]:02X}, should be {expected:02X}", line=line)
    data_start = 1 + _ADDRESS_BYTES[kind]
    if data_start > len(raw) - 1:
        raise FormatError(f"the record is too short for an S{kind} address", line=line)
    return kind, int.from_bytes(raw[1:data_start], "big"), raw[data_start:-1]


def _read(data: bytes) -> _Reader:
    reader = _Reader()
    line = 0
    for line, text in enumerate(data.splitlines(), start=1):
        if text.strip():
            reader.read(line, text.rstrip(b" \t"))
    if not reader.ended:
        raise FormatError("the end record (S7, S8 or S9) is missing", line=line or None)
    return reader


class SRecord:
    name = "S-record"
    suffixes = (".s19", ".s28", ".s37", ".srec", ".mot")
    carries_address = True
    in_lines = True

    def recognizes(self, data: bytes) -> bool:
        """Whether the first thing in the file is a record mark, a type and hex digits."""
        return re.match(rb"\s*S[0-9][0-9A-Fa-f]{8}", data) is not None

    def content(self, data: bytes) -> Content:
        reader = _read(data)
        return Content(segments=contiguous(reader.chunks), entry=reader.entry)

    def decode(self, data: bytes) -> Image:
        return join(_read(data).chunks)

    def encode(self, image: Image) -> bytes:
        """32 data bytes a line, 32-bit addresses, with a count and an S7 end record."""
        if image.end > _ADDRESS_SPACE:
            raise FormatError(f"address 0x{image.end - 1:X} does not fit 32 bits")
        file = bincopy.BinFile()
        file.execution_start_address = image.address  # bincopy writes the end record only with one
        file.add_binary(image.data, address=image.address)
        text = str(file.as_srec(number_of_data_bytes=_BYTES_PER_RECORD, address_length_bits=32))
        return text.encode("ascii")


FORMAT = SRecord()
