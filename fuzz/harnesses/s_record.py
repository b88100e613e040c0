"""Any file in place of S-records gives an image that encodes to itself, or a `FormatError`."""

from typing import Final

from fuzz import Harness
from protocols.firmware.formats import FormatError, Image, detect
from protocols.firmware.formats.s_record import FORMAT


def prove(data: bytes) -> None:
    FORMAT.recognizes(data)
    try:
        detect("image.s19", data)
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
        FORMAT.encode(Image(address=0x0001_0000, data=bytes(range(40)))),
        b"S1040000AB50\nS5030001FB\nS9030000FC\n",
        b"S00600004844521B\r\nS3060000000001F8\r\nS70500000000FA\r\n",
        b"S2050100000AEF\nS804000000FB\n",
    ),
)
