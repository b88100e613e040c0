"""What a boot loader says of the active slot, signed with the ECU's own key (routine 0214).

The signature covers hardware id, serial number, the asker's nonce and the SHA-256 of the slot's
image, so neither the application nor anything between the ECU and the asker can say it instead.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LABEL: Final = b"canota slot digest\0"
_KEY_LABEL: Final = b"canota slot digest signing key\0"
DIGEST_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 64


def signed_bytes(*, hardware_id: str, serial: str, nonce: bytes, sha256: bytes) -> bytes:
    """The statement that is signed; neither name may hold a NUL, the digest has 32 bytes."""
    if "\0" in hardware_id or "\0" in serial or len(sha256) != DIGEST_LENGTH:
        raise ValueError(f"no statement over {hardware_id!r}, {serial!r}, {len(sha256)} bytes")
    return _LABEL + hardware_id.encode() + b"\0" + serial.encode() + b"\0" + nonce + sha256


def derive_signing_key(master: bytes, serial: str) -> Ed25519PrivateKey:
    """An ECU's own key, as development provisioning makes it from a master secret."""
    info = _KEY_LABEL + serial.encode()
    seed = HKDF(SHA256(), length=32, salt=None, info=info).derive(master)
    return Ed25519PrivateKey.from_private_bytes(seed)


def sign(
    key: Ed25519PrivateKey, *, hardware_id: str, serial: str, nonce: bytes, sha256: bytes
) -> bytes:
    return key.sign(
        signed_bytes(hardware_id=hardware_id, serial=serial, nonce=nonce, sha256=sha256)
    )


def verify(
    public_key: bytes,
    signature: bytes,
    *,
    hardware_id: str,
    serial: str,
    nonce: bytes,
    sha256: bytes,
) -> bool:
    """Whether the ECU with this raw 32-byte public key made the statement."""
    try:
        statement = signed_bytes(hardware_id=hardware_id, serial=serial, nonce=nonce, sha256=sha256)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True
