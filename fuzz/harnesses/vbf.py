"""Any file in place of VBF gives contents within bounds that encode to themselves, or an error."""

import zlib
from typing import Final

from fuzz import Harness
from protocols.firmware.formats import MAX_SPAN, FormatError, detect
from protocols.firmware.formats.vbf import FORMAT


def prove(data: bytes) -> None:
    # Without this no input but the seeds would get past the checksum of the file.
    brace = data.rfind(b"}")
    mended = data.replace(b"@CRC@", f"0x{zlib.crc32(data[brace + 1 :]):08X}".encode(), 1)
    FORMAT.recognizes(mended)
    try:
        detect("image.vbf", mended)
        content = FORMAT.content(mended)
    except FormatError:
        return
    if sum(len(one.data) for one in content.segments) > MAX_SPAN:
        raise AssertionError("more than there may be")
    for one in content.segments:
        if not content.data_format and FORMAT.decode(FORMAT.encode(one)) != one:
            raise AssertionError(f"{one} does not survive")


_BLOCK: Final = b"\x00\x00\x10\x00\x00\x00\x00\x02ab\x4b\x37"
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"vbf_version = 2.6;header{file_checksum=@CRC@;}" + _BLOCK,
        b'vbf_version=2.6;//x\nheader{/*y*/ call = 0x10; erase={{0x1,2},{3,4}}; d="a;}";}',
        b"vbf_version=2.2;header{data_format_identifier=0x10;file_checksum=@CRC@;}" + _BLOCK,
    ),
    max_length=1024,
)
