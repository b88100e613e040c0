"""Any file in place of an Intel HEX gives an image that encodes to itself, or a `FormatError`."""

from typing import Final

from fuzz import Harness
from protocols.firmware.formats import ERASED, FormatError, Image, detect
from protocols.firmware.formats.intel_hex import FORMAT


def prove(data: bytes) -> None:
    FORMAT.recognizes(data)
    try:
        detect("image.hex", data)
        image = FORMAT.decode(data)
    except FormatError:
        return
    if image.end <= 1 << 32 and len(image.data) <= 4096 and image != _again(image):
        raise AssertionError(f"{image} does not survive")


def _again(image: Image) -> Image:
    return FORMAT.decode(FORMAT.encode(image))


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        FORMAT.encode(Image(address=0x0804_0000, data=bytes(range(40)))),
        FORMAT.encode(Image(address=0xFFFE, data=bytes((ERASED, 0, 1, 2)))),
        b":0400000508040000EB\r\n:00000001FF\r\n",
        b":020000021200EA\n:0100000001FE\n:00000001FF\n",
    ),
)
