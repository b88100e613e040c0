"""MCUboot images as the ECU reads them: a parser that shares nothing with the signing tool.

Layout after MCUboot's `docs/design.md` and `bootutil/image.h`; the TLV numbers follow the code
where the two differ. Everything is little endian. What the format leaves open is closed here:

* header, payload and both TLV areas lie within the image, entries within their area;
* no type twice in an area; only the listed types in the unprotected area, which no digest covers;
* a security counter is required, and it must stand in the protected area;
* behind the last area there is nothing but erased flash.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocols.firmware.containers import ContainerError, Declared

MAGIC: Final = 0x96F3B83D
PROTECTED_MAGIC: Final = 0x6908
UNPROTECTED_MAGIC: Final = 0x6907
_HEADER: Final = struct.Struct("<IIHHIIBBHII")
_AREA: Final = struct.Struct("<HH")
_ENTRY: Final = struct.Struct("<HH")
_ERASED: Final = b"\xff"


class Tlv(IntEnum):
    KEY_HASH = 0x01
    SHA256 = 0x10
    ECDSA = 0x22
    ED25519 = 0x24
    SECURITY_COUNTER = 0x50
    # Vendor range 0xxxA0 - 0xxxFE.
    HARDWARE_ID = 0x00A0
    SOFTWARE_NUMBER = 0x00A1
    SUPPLIER_VERSION = 0x00A2


#: The only types outside the digest's reach that are read; anything else there is refused.
UNPROTECTED_TYPES: Final = frozenset((Tlv.KEY_HASH, Tlv.SHA256, Tlv.ECDSA, Tlv.ED25519))
_SIGNATURES: Final = frozenset((Tlv.ECDSA, Tlv.ED25519))


class SignatureError(ContainerError):
    """An image that is unsigned, signed by an unknown key, or whose signature is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    major: int
    minor: int
    revision: int
    build: int = 0

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.revision}"
        return f"{text}+{self.build}" if self.build else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    load_address: int
    header_size: int
    #: Bytes of the protected TLV area with its own header; 0 if there is none.
    protected_size: int
    #: Bytes of the payload.
    image_size: int
    flags: int
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class McubootImage:
    """A well-formed image whose SHA-256 is right; only `verify` says whose it is."""

    header: Header
    #: Type -> value of the entries that the digest covers.
    protected: Mapping[int, bytes]
    #: Type -> value of the entries that it does not.
    tlvs: Mapping[int, bytes]
    #: Header, payload and protected area: what is hashed.
    signed_bytes: bytes
    #: SHA-256 of `signed_bytes`, equal to the one in the image: what is signed.
    digest: bytes
    #: The application.
    payload: bytes
    #: Bytes from the header to the end of the last area, without trailing erased flash.
    size: int

    @property
    def version(self) -> str:
        return str(self.header.version)

    @property
    def security_counter(self) -> int:
        return int.from_bytes(self.protected[Tlv.SECURITY_COUNTER], "little")

    @property
    def key_hash(self) -> bytes | None:
        """SHA-256 of the DER SubjectPublicKeyInfo of the key that signed it."""
        return self.tlvs.get(Tlv.KEY_HASH)

    @property
    def signed(self) -> bool:
        return bool(_SIGNATURES & self.tlvs.keys())

    @property
    def hardware_id(self) -> str:
        return self._text(Tlv.HARDWARE_ID, "hardware id")

    @property
    def software_number(self) -> str:
        return self._text(Tlv.SOFTWARE_NUMBER, "software number")

    @property
    def supplier_version(self) -> str:
        return self._text(Tlv.SUPPLIER_VERSION, "supplier version")

    def _text(self, kind: Tlv, field: str) -> str:
        """An own entry of the protected area; images of others have none and say ""."""
        value = self.protected.get(kind, b"")
        if not value.isascii():
            raise ContainerError(f"MCUboot {field}: not ASCII: {value.hex(' ')}")
        return value.decode("ascii")


def decode(image: bytes) -> McubootImage:
    """Parse an image and check its digest; `ContainerError` names the field that is wrong."""
    header = _header(image)
    protected_start = header.header_size + header.image_size
    area_start = protected_start + header.protected_size
    if area_start + _AREA.size > len(image):
        raise ContainerError(
            f"MCUboot image_size: header, payload and areas need {area_start + _AREA.size} bytes,"
            f" the image has {len(image)}"
        )
    protected: dict[int, bytes] = {}
    if header.protected_size:
        protected, end = _area(image, protected_start, PROTECTED_MAGIC, "protected area")
        if end != area_start:
            raise ContainerError(
                f"MCUboot protect_tlv_size: {header.protected_size}, the area has"
                f" {end - protected_start} bytes"
            )
    tlvs, end = _area(image, area_start, UNPROTECTED_MAGIC, "unprotected area")
    _check_entries(protected, tlvs)
    if image[end:].strip(_ERASED):
        raise ContainerError(f"MCUboot image: data behind its end at offset {end}")
    signed_bytes = bytes(image[:area_start])
    digest = hashlib.sha256(signed_bytes).digest()
    if digest != tlvs[Tlv.SHA256]:
        raise ContainerError(
            f"MCUboot SHA256: image has {digest.hex()}, entry says {tlvs[Tlv.SHA256].hex()}"
        )
    return McubootImage(
        header=header,
        protected=protected,
        tlvs=tlvs,
        signed_bytes=signed_bytes,
        digest=digest,
        payload=bytes(image[header.header_size : protected_start]),
        size=end,
    )


def key_hash(public_key: Ed25519PublicKey) -> bytes:
    """The name of a key in an image: SHA-256 of its DER SubjectPublicKeyInfo."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def verify(image: McubootImage, public_keys: Mapping[bytes, Ed25519PublicKey]) -> None:
    """Check the signature against pinned keys (`key_hash` -> key); `SignatureError` if not good.

    Only ed25519 counts: a signature of any other kind is as good as none.
    """
    signature = image.tlvs.get(Tlv.ED25519)
    if signature is None or image.key_hash is None:
        raise SignatureError("MCUboot image: not signed with ed25519")
    key = public_keys.get(image.key_hash)
    if key is None:
        raise SignatureError(f"MCUboot KEYHASH: unknown key {image.key_hash.hex()}")
    try:
        key.verify(signature, image.digest)
    except InvalidSignature:
        raise SignatureError("MCUboot ED25519: the signature is wrong") from None


def _header(image: bytes) -> Header:
    if len(image) < _HEADER.size:
        raise ContainerError(f"MCUboot header: {len(image)} bytes are less than {_HEADER.size}")
    magic, load, header_size, protected_size, size, flags, *version, _pad = _HEADER.unpack_from(
        image
    )
    if magic != MAGIC:
        raise ContainerError(f"MCUboot magic: 0x{magic:08X} is not 0x{MAGIC:08X}")
    if header_size < _HEADER.size:
        raise ContainerError(f"MCUboot hdr_size: {header_size} is less than {_HEADER.size}")
    major, minor, revision, build = version
    return Header(
        load_address=load,
        header_size=header_size,
        protected_size=protected_size,
        image_size=size,
        flags=flags,
        version=Version(major=major, minor=minor, revision=revision, build=build),
    )


def _area(image: bytes, start: int, magic: int, name: str) -> tuple[dict[int, bytes], int]:
    """The entries of one TLV area and the offset behind it."""
    if start + _AREA.size > len(image):
        raise ContainerError(f"MCUboot {name}: starts at {start}, behind the image's end")
    found, total = _AREA.unpack_from(image, start)
    end = start + total
    if found != magic:
        raise ContainerError(f"MCUboot {name}: magic 0x{found:04X} is not 0x{magic:04X}")
    if total < _AREA.size or end > len(image):
        raise ContainerError(f"MCUboot {name}: {total} bytes do not fit at offset {start}")
    entries: dict[int, bytes] = {}
    offset = start + _AREA.size
    while offset < end:
        if offset + _ENTRY.size > end:
            raise ContainerError(f"MCUboot {name}: cut entry at offset {offset}")
        kind, length = _ENTRY.unpack_from(image, offset)
        offset += _ENTRY.size
        if offset + length > end:
            raise ContainerError(f"MCUboot {name}: entry 0x{kind:04X} runs past its area")
        if kind in entries:
            raise ContainerError(f"MCUboot {name}: entry 0x{kind:04X} twice")
        entries[kind] = bytes(image[offset : offset + length])
        offset += length
    return entries, end


def _check_entries(protected: Mapping[int, bytes], tlvs: Mapping[int, bytes]) -> None:
    for kind in tlvs:
        if kind not in UNPROTECTED_TYPES:
            raise ContainerError(f"MCUboot unprotected area: entry 0x{kind:04X} is not allowed")
    if Tlv.SHA256 not in tlvs:
        raise ContainerError("MCUboot SHA256: no digest in the unprotected area")
    if len(protected.get(Tlv.SECURITY_COUNTER, b"")) != 4:  # a u32
        raise ContainerError("MCUboot SEC_CNT: no security counter in the protected area")


class _Container:
    def recognizes(self, image: bytes) -> bool:
        return image[:4] == MAGIC.to_bytes(4, "little")

    def declared(self, image: bytes) -> Declared:
        decoded = decode(image)
        return Declared(
            container="mcuboot",
            hardware_id=decoded.hardware_id,
            software_number=decoded.software_number,
            software_version=decoded.version,
            supplier_version=decoded.supplier_version,
            signed=decoded.signed,
            payload_size=len(decoded.payload),
        )


CONTAINER = _Container()
