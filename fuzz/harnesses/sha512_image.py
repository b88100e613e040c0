"""Any image in place of a SHA-512 container gives one that encodes to itself, or is refused.

Both sums are put right first: a fuzzer does not guess them, and a sender who is wrong can compute
them.
"""

import hashlib
import zlib
from typing import Final

from fuzz import Harness
from protocols.firmware import FirmwareError, containers
from protocols.firmware.containers import crc32, sha512
from tests.support.images import sha512_image

#: Where the sums stand, behind (CRC32) or before (SHA-512) what they cover.
_DIGEST: Final = 8
_SUM: Final = crc32.HEADER_SIZE - 4


def prove(data: bytes) -> None:
    _decode(data)
    inner = bytearray(data[sha512.HEADER_SIZE :])
    size = int.from_bytes(inner[8:12], "little")
    covered = inner[:_SUM] + inner[crc32.HEADER_SIZE : crc32.HEADER_SIZE + size]
    inner[_SUM : crc32.HEADER_SIZE] = zlib.crc32(covered).to_bytes(4, "little")
    head = data[:4] + len(inner).to_bytes(4, "little")
    _decode(head + hashlib.sha512(head + inner).digest() + inner)


def _decode(data: bytes) -> None:
    try:
        containers.declared(data)
        image = sha512.decode(data)
    except FirmwareError:
        return
    if sha512.decode(sha512.encode(image)) != image:
        raise AssertionError(f"{image} does not survive")


HARNESS: Final = Harness(prove=prove, seeds=(sha512_image(), sha512_image(b"") + b"\xff" * 4))
