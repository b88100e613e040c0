"""Any image in place of a CRC32 container gives one that encodes to itself, or is refused.

The sum is put right first: a fuzzer does not guess it, and a sender who is wrong can compute it.
"""

import zlib
from typing import Final

from fuzz import Harness
from protocols.firmware import FirmwareError, containers
from protocols.firmware.containers import crc32
from tests.support.images import crc32_image

#: Where the sum stands, behind the fields that it covers.
_SUM: Final = crc32.HEADER_SIZE - 4


def prove(data: bytes) -> None:
    _decode(data)
    size = int.from_bytes(data[8:12], "little")
    covered = data[:_SUM] + data[crc32.HEADER_SIZE : crc32.HEADER_SIZE + size]
    _decode(data[:_SUM] + zlib.crc32(covered).to_bytes(4, "little") + data[crc32.HEADER_SIZE :])


def _decode(data: bytes) -> None:
    try:
        containers.declared(data)
        image = crc32.decode(data)
    except FirmwareError:
        return
    if crc32.decode(crc32.encode(image)) != image:
        raise AssertionError(f"{image} does not survive")


HARNESS: Final = Harness(prove=prove, seeds=(crc32_image(), crc32_image(b"") + b"\xff" * 4))
