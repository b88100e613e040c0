"""The 64-byte header of ECUs without secure boot: sizes, identity and a CRC32.

It protects against accidents and against nobody: whoever alters the payload computes the CRC anew.

    offset  bytes
    0       4   magic "CRC1"
    4       2   header size, 64
    6       2   flags, 0
    8       4   payload size
    12      8   version: major u8, minor u8, revision u16, build u32
    20      12  hardware id     ASCII, filled with NUL
    32      16  software number
    48      12  supplier version
    60      4   CRC32 (IEEE 802.3) over bytes 0 to 59 and the payload

Numbers are little endian. Behind the payload there is nothing but erased flash.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from protocols.firmware.containers import ContainerError, Declared
from protocols.firmware.containers.text import decode_text, encode_text, version_text

MAGIC: Final = b"CRC1"
HEADER_SIZE: Final = 64
_HEADER: Final = struct.Struct("<4sHHIBBHI12s16s12s")
_CRC: Final = struct.Struct("<I")
_ERASED: Final = b"\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crc32Image:
    """A well-formed image whose CRC32 is right (always so for a decoded one)."""

    hardware_id: str
    software_number: str
    supplier_version: str
    #: major, minor, revision, build.
    version_numbers: tuple[int, int, int, int]
    payload: bytes

    @property
    def version(self) -> str:
        return version_text(self.version_numbers)

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return HEADER_SIZE + len(self.payload)


def encode(image: Crc32Image) -> bytes:
    """Header and payload; `ContainerError` if a field does not fit."""
    try:
        head = _HEADER.pack(
            MAGIC,
            HEADER_SIZE,
            0,
            len(image.payload),
            *image.version_numbers,
            encode_text(image.hardware_id, 12, "CRC32 hardware id"),
            encode_text(image.software_number, 16, "CRC32 software number"),
            encode_text(image.supplier_version, 12, "CRC32 supplier version"),
        )
    except struct.error as error:
        raise ContainerError(f"CRC32 container: {error}") from error
    return head + _CRC.pack(zlib.crc32(image.payload, zlib.crc32(head))) + image.payload


def image_at(memory: bytes) -> bytes:
    """The image that memory begins with, by its header's size, whatever stands behind it.

    All of the memory if no header of this container is there.
    """
    if len(memory) < HEADER_SIZE or memory[:4] != MAGIC:
        return memory
    return memory[: HEADER_SIZE + _HEADER.unpack_from(memory)[3]]


def decode(image: bytes) -> Crc32Image:
    """Parse an image and check its CRC; `ContainerError` names the field that is wrong."""
    if len(image) < HEADER_SIZE:
        raise ContainerError(f"CRC32 header: {len(image)} bytes are less than {HEADER_SIZE}")
    magic, header_size, flags, payload_size, *rest = _HEADER.unpack_from(image)
    *version, hardware_id, software_number, supplier_version = rest
    if magic != MAGIC:
        raise ContainerError(f"CRC32 magic: {magic.hex(' ')} is not {MAGIC.hex(' ')}")
    if header_size != HEADER_SIZE or flags:
        raise ContainerError(f"CRC32 header: size {header_size} and flags {flags} are not 64 and 0")
    end = HEADER_SIZE + payload_size
    if end > len(image):
        raise ContainerError(
            f"CRC32 payload size: {payload_size} bytes, the image has {len(image) - HEADER_SIZE}"
        )
    (stored,) = _CRC.unpack_from(image, _HEADER.size)
    payload = bytes(image[HEADER_SIZE:end])
    computed = zlib.crc32(payload, zlib.crc32(image[: _HEADER.size]))
    if stored != computed:
        raise ContainerError(f"CRC32: image has {computed:08X}, header says {stored:08X}")
    if image[end:].strip(_ERASED):
        raise ContainerError(f"CRC32 image: data behind its end at offset {end}")
    return Crc32Image(
        hardware_id=decode_text(hardware_id, "CRC32 hardware id"),
        software_number=decode_text(software_number, "CRC32 software number"),
        supplier_version=decode_text(supplier_version, "CRC32 supplier version"),
        version_numbers=(version[0], version[1], version[2], version[3]),
        payload=payload,
    )


class _Container:
    def recognizes(self, image: bytes) -> bool:
        return image[:4] == MAGIC

    def declared(self, image: bytes) -> Declared:
        decoded = decode(image)
        return Declared(
            container="crc32",
            hardware_id=decoded.hardware_id,
            software_number=decoded.software_number,
            software_version=decoded.version,
            supplier_version=decoded.supplier_version,
            signed=False,
            payload_size=len(decoded.payload),
        )


CONTAINER = _Container()
