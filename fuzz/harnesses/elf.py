"""Any file in place of ELF gives contents within bounds that encode to themselves, or an error."""

from typing import Final

from fuzz import Harness
from protocols.firmware.formats import MAX_SPAN, FormatError, Image, detect
from protocols.firmware.formats.elf import FORMAT


def prove(data: bytes) -> None:
    FORMAT.recognizes(data)
    try:
        detect("image.elf", data)
        content = FORMAT.content(data)
    except FormatError:
        return
    if sum(len(one.data) for one in content.segments) > MAX_SPAN:
        raise AssertionError("more than there may be")
    for one in content.segments:
        if FORMAT.decode(FORMAT.encode(one)) != one:
            raise AssertionError(f"{one} does not survive")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        FORMAT.encode(Image(address=0x0804_0000, data=bytes(range(40)))),
        b"\x7fELF\x02\x02\x01" + bytes(57) + bytes(56),
    ),
    max_length=1024,
)
