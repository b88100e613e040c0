"""The 80-byte header of ECUs with symmetric secure boot, and the MAC's way into the secure store.

    offset  bytes
    0       4   magic "CMA1"
    4       2   header size, 80
    6       2   flags, 0
    8       4   payload size
    12      8   version: major u8, minor u8, revision u16, build u32
    20      12  hardware id     ASCII, filled with NUL
    32      16  software number
    48      12  supplier version
    60      4   security counter
    64      12  zeros
    76      4   CRC32 (IEEE 802.3) over bytes 0 to 75 and the payload
    80          payload
                M1, M2, M3 (64 bytes): `protocols.firmware.she`

Numbers are little endian. The CRC32 protects against accidents, for those who have no key. The MAC
is the AES-128-CMAC with the ECU's boot MAC key over 96 zero bits, the number of bytes in 32 bits
(big endian), header and payload. It travels in M2 as the value of the key slot BOOT_MAC, for any
chip, authenticated by the boot MAC key; the update's counter is the header's security counter.
Behind M3 there is nothing but erased flash.
"""

import hmac
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.firmware import she
from protocols.firmware.containers import ContainerError, Declared
from protocols.firmware.containers.text import decode_text, encode_text, version_text

MAGIC: Final = b"CMA1"
HEADER_SIZE: Final = 80
KEY_LENGTH: Final = 16
_HEADER: Final = struct.Struct("<4sHHIBBHI12s16s12sI12s")
_CRC: Final = struct.Struct("<I")
_RESERVED: Final = bytes(12)
_ERASED: Final = b"\xff"
_LABEL: Final = b"canota boot MAC key "


class MacError(ContainerError):
    """An image whose update is not authentic, or brings a MAC that is not the image's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CmacImage:
    """A well-formed image whose CRC32 is right; only its MAC says whose it is."""

    hardware_id: str
    software_number: str
    supplier_version: str
    #: major, minor, revision, build.
    version_numbers: tuple[int, int, int, int]
    #: 0 to `she.MAX_COUNTER`.
    security_counter: int
    payload: bytes
    #: M1, M2 and M3; zeros before `protect`.
    update: bytes = bytes(she.UPDATE_LENGTH)

    @property
    def version(self) -> str:
        return version_text(self.version_numbers)


def derive_key(master: bytes, hardware_id: str) -> bytes:
    """The boot MAC key of one ECU model, 16 bytes (HKDF-SHA256 of the master secret)."""
    derivation = HKDF(SHA256(), length=KEY_LENGTH, salt=None, info=_LABEL + hardware_id.encode())
    return derivation.derive(master)


def protect(image: CmacImage, key: bytes) -> CmacImage:
    """The same image with its MAC on board; `ContainerError` for a counter that does not fit."""
    try:
        update = she.encode(
            she.Update(
                slot=she.BOOT_MAC,
                authenticated_by=she.BOOT_MAC_KEY,
                counter=image.security_counter,
                value=_mac(_covered(image), key),
            ),
            key,
        )
    except she.UpdateError as error:
        raise ContainerError(f"CMAC security counter: {error}") from error
    return replace(image, update=update)


def authentic_mac(image: CmacImage, key: bytes) -> bytes:
    """The MAC that an image brings for the secure store; `MacError` if it must not get there."""
    if len(key) != KEY_LENGTH:
        raise MacError("CMAC: this ECU has no boot MAC key")
    try:
        update = she.decode(image.update, key)
    except she.UpdateError as error:
        raise MacError(str(error)) from error
    expected = (she.ANY_CHIP, she.BOOT_MAC, she.BOOT_MAC_KEY, image.security_counter, 0)
    found = (update.uid, update.slot, update.authenticated_by, update.counter, update.flags)
    if found != expected:
        raise MacError(f"SHE update: for {found}, not for {expected}")
    if not verify(image, key, update.value):
        raise MacError("CMAC: the update's MAC is not the image's")
    return update.value


def verify(image: CmacImage, key: bytes, mac: bytes) -> bool:
    """Whether `mac` is the image's, in a time that does not tell how far it is right."""
    if len(key) != KEY_LENGTH:
        return False
    return hmac.compare_digest(_mac(_covered(image), key), mac)


def encode(image: CmacImage) -> bytes:
    """Header, payload and update; `ContainerError` if a field does not fit."""
    if len(image.update) != she.UPDATE_LENGTH:
        raise ContainerError(f"CMAC update: {len(image.update)} bytes, not {she.UPDATE_LENGTH}")
    return _covered(image) + image.update


def decode(image: bytes) -> CmacImage:
    """Parse an image and check its CRC; `ContainerError` names the field that is wrong."""
    if len(image) < HEADER_SIZE:
        raise ContainerError(f"CMAC header: {len(image)} bytes are less than {HEADER_SIZE}")
    magic, header_size, flags, payload_size, *rest = _HEADER.unpack_from(image)
    *version, hardware_id, software_number, supplier_version, counter, reserved = rest
    if magic != MAGIC:
        raise ContainerError(f"CMAC magic: {magic.hex(' ')} is not {MAGIC.hex(' ')}")
    if header_size != HEADER_SIZE or flags or reserved != _RESERVED:
        raise ContainerError(
            f"CMAC header: size {header_size}, flags {flags} and {reserved.hex()} are not"
            f" {HEADER_SIZE}, 0 and zeros"
        )
    if counter > she.MAX_COUNTER:
        raise ContainerError(f"CMAC security counter: {counter} is more than {she.MAX_COUNTER}")
    end = HEADER_SIZE + payload_size
    if end + she.UPDATE_LENGTH > len(image):
        raise ContainerError(
            f"CMAC payload size: {payload_size} bytes and M1 to M3, the image has"
            f" {len(image) - HEADER_SIZE}"
        )
    (stored,) = _CRC.unpack_from(image, _HEADER.size)
    payload = bytes(image[HEADER_SIZE:end])
    computed = zlib.crc32(payload, zlib.crc32(image[: _HEADER.size]))
    if stored != computed:
        raise ContainerError(f"CMAC CRC32: image has {computed:08X}, header says {stored:08X}")
    behind = end + she.UPDATE_LENGTH
    if image[behind:].strip(_ERASED):
        raise ContainerError(f"CMAC image: data behind its end at offset {behind}")
    return CmacImage(
        hardware_id=decode_text(hardware_id, "CMAC hardware id"),
        software_number=decode_text(software_number, "CMAC software number"),
        supplier_version=decode_text(supplier_version, "CMAC supplier version"),
        version_numbers=(version[0], version[1], version[2], version[3]),
        security_counter=counter,
        payload=payload,
        update=bytes(image[end:behind]),
    )


def _covered(image: CmacImage) -> bytes:
    """Header and payload: what the MAC is over."""
    try:
        head = _HEADER.pack(
            MAGIC,
            HEADER_SIZE,
            0,
            len(image.payload),
            *image.version_numbers,
            encode_text(image.hardware_id, 12, "CMAC hardware id"),
            encode_text(image.software_number, 16, "CMAC software number"),
            encode_text(image.supplier_version, 12, "CMAC supplier version"),
            image.security_counter,
            _RESERVED,
        )
    except struct.error as error:
        raise ContainerError(f"CMAC container: {error}") from error
    return head + _CRC.pack(zlib.crc32(image.payload, zlib.crc32(head))) + image.payload


def _mac(covered: bytes, key: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(len(covered).to_bytes(16) + covered)
    return mac.finalize()


class _Container:
    def recognizes(self, image: bytes) -> bool:
        return image[:4] == MAGIC

    def declared(self, image: bytes) -> Declared:
        decoded = decode(image)
        return Declared(
            container="cmac",
            hardware_id=decoded.hardware_id,
            software_number=decoded.software_number,
            software_version=decoded.version,
            supplier_version=decoded.supplier_version,
            signed=any(decoded.update),
            payload_size=len(decoded.payload),
        )


CONTAINER = _Container()
