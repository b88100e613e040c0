"""An image in its CRC32 container, with its SHA-512 before it: what a boot loader's agent copies.

Two sums that are computed apart guard a copy against accidents, and neither guards it against
anybody: whoever alters the image computes both anew.

    offset  bytes
    0       4   magic "S512"
    4       4   size of the image behind, little endian
    8       64  SHA-512 over bytes 0 to 7 and the image
    72          the image, in the container of `crc32`

Behind the image there is nothing but erased flash.
"""

import hashlib
import struct
from typing import Final

from protocols.firmware.containers import ContainerError, Declared, crc32

MAGIC: Final = b"S512"
HEADER_SIZE: Final = 72
_HEADER: Final = struct.Struct("<4sI")
_ERASED: Final = b"\xff"


def encode(image: crc32.Crc32Image) -> bytes:
    """Both headers and the payload; `ContainerError` if a field does not fit."""
    inner = crc32.encode(image)
    head = _HEADER.pack(MAGIC, len(inner))
    return head + hashlib.sha512(head + inner).digest() + inner


def decode(image: bytes) -> crc32.Crc32Image:
    """Parse an image and check both sums; `ContainerError` names the field that is wrong."""
    if len(image) < HEADER_SIZE:
        raise ContainerError(f"SHA-512 header: {len(image)} bytes are less than {HEADER_SIZE}")
    head = image[: _HEADER.size]
    magic, size = _HEADER.unpack(head)
    if magic != MAGIC:
        raise ContainerError(f"SHA-512 magic: {magic.hex(' ')} is not {MAGIC.hex(' ')}")
    end = HEADER_SIZE + size
    if end > len(image):
        raise ContainerError(
            f"SHA-512 image size: {size} bytes, there are {len(image) - HEADER_SIZE}"
        )
    inner = bytes(image[HEADER_SIZE:end])
    if hashlib.sha512(head + inner).digest() != image[_HEADER.size : HEADER_SIZE]:
        raise ContainerError("SHA-512: the image is not the one that its header was made for")
    if image[end:].strip(_ERASED):
        raise ContainerError(f"SHA-512 image: data behind its end at offset {end}")
    return crc32.decode(inner)


class _Container:
    def recognizes(self, image: bytes) -> bool:
        return image[:4] == MAGIC

    def declared(self, image: bytes) -> Declared:
        decoded = decode(image)
        return Declared(
            container="sha512",
            hardware_id=decoded.hardware_id,
            software_number=decoded.software_number,
            software_version=decoded.version,
            supplier_version=decoded.supplier_version,
            signed=False,
            payload_size=len(decoded.payload),
        )


CONTAINER = _Container()
