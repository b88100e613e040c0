"""Security access with AES-CMAC (RFC 4493): the key proves knowledge of an ECU's own secret."""

import hmac

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEED_LENGTH = 16
KEY_LENGTH = 16

_LABEL = b"canota security access"


def derive_key(master: bytes, ecu_id: str, level: int) -> bytes:
    """The 16-byte secret of one ECU and security level (HKDF-SHA256 of the master secret).

    `ecu_id` is the serial number as F18C reads; `level` the odd (seed) sub-function.
    """
    identity = b" key" + bytes([level]) + ecu_id.encode()
    return HKDF(SHA256(), length=KEY_LENGTH, salt=None, info=_LABEL + identity).derive(master)


def compute_key(key: bytes, *, level: int, ecu_id: str, seed: bytes) -> bytes:
    """The answer to a seed: AES-CMAC over label, level, ECU and seed."""
    mac = CMAC(AES(key))
    mac.update(_LABEL + bytes([level]) + ecu_id.encode() + seed)
    return mac.finalize()


def keys_match(left: bytes, right: bytes) -> bool:
    """Whether two keys are equal, in a time that does not tell how far they are."""
    return hmac.compare_digest(left, right)
