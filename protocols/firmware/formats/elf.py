"""ELF executables: the segments that are loaded, at the addresses where they lie in flash.

A segment's physical address (LMA) is where it is programmed; where it runs may be another.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any, Final  # Any: what the library reads

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

from protocols.firmware.formats import (
    MAX_SPAN,
    Chunk,
    Content,
    FormatError,
    Image,
    contiguous,
)

_MAGIC: Final = b"\x7fELF"
_ADDRESS_SPACE: Final = 0x1_0000_0000
_MAX_SEGMENTS: Final = 1024
#: What the library raises on a broken file besides its own errors.
_BROKEN: Final = (
    ELFError,
    ConstructError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    AssertionError,
    struct.error,
)
#: ELF32, little endian, ARM: file header, program header, and the data behind them.
_FILE_HEADER: Final = struct.Struct("<4s5B7x2H5I6H")
_PROGRAM_HEADER: Final = struct.Struct("<8I")


class Elf:
    name = "ELF"
    suffixes = (".elf", ".axf", ".out")
    carries_address = True
    in_lines = False

    def recognizes(self, data: bytes) -> bool:
        """Whether it begins with the magic of ELF."""
        return data.startswith(_MAGIC)

    def content(self, data: bytes) -> Content:
        if not data.startswith(_MAGIC):
            raise FormatError("not ELF: it does not begin with 7F 45 4C 46")
        try:
            file = ELFFile(io.BytesIO(data))
            if file.num_segments() > _MAX_SEGMENTS:
                raise FormatError(f"more than {_MAX_SEGMENTS} segments")
            headers = [dict(segment.header.items()) for segment in file.iter_segments()]
            entry = int(file.header.e_entry)
            machine = str(file.get_machine_arch())
        except _BROKEN as error:
            raise FormatError(f"a broken ELF file: {str(error) or type(error).__name__}") from error
        chunks: list[Chunk] = []
        for number, header in enumerate(headers):
            if header["p_type"] == "PT_LOAD" and header["p_filesz"]:
                chunks.append(_chunk(number, header, data))
        if sum(len(chunk.data) for chunk in chunks) > MAX_SPAN:
            raise FormatError(f"more than {MAX_SPAN} bytes to load")
        if not chunks:
            raise FormatError("nothing to load: no segment has content")
        return Content(segments=contiguous(chunks), entry=entry or None, about={"machine": machine})

    def decode(self, data: bytes) -> Image:
        return self.content(data).joined()

    def encode(self, image: Image) -> bytes:
        """One segment in an executable for ARM, which starts at its first address."""
        if image.end > _ADDRESS_SPACE:
            raise FormatError(f"address 0x{image.end - 1:X} does not fit 32 bits")
        start = _FILE_HEADER.size + _PROGRAM_HEADER.size
        header = _FILE_HEADER.pack(
            *(_MAGIC, 1, 1, 1, 0, 0),  # 32 bits, little endian, version, no ABI
            *(2, 40, 1, image.address),  # executable, ARM, version, entry
            *(_FILE_HEADER.size, 0, 0),  # program headers; no sections, no flags
            *(_FILE_HEADER.size, _PROGRAM_HEADER.size, 1, 0, 0, 0),
        )
        size = len(image.data)
        loaded = _PROGRAM_HEADER.pack(1, start, image.address, image.address, size, size, 5, 1)
        return header + loaded + image.data


def _chunk(number: int, header: Mapping[str, Any], data: bytes) -> Chunk:
    start, size = int(header["p_offset"]), int(header["p_filesz"])
    address = int(header["p_paddr"])
    if start + size > len(data):
        raise FormatError(f"segment {number}: its {size} bytes at {start} are not in the file")
    if address + size > _ADDRESS_SPACE:
        raise FormatError(f"segment {number}: address 0x{address:X} runs past 32 bits")
    return Chunk(address=address, data=data[start : start + size], line=None)


FORMAT = Elf()
