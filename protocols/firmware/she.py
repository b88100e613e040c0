"""The memory update protocol of a Secure Hardware Extension: M1, M2 and M3.

How a value gets into a key slot that nobody can read, after HIS' functional specification 1.1. Both
ends know a key of the slot's; from it come K1, which hides the value, and K2, which authenticates
the message (AES-128 in Miyaguchi-Preneel compression). The counter in M2 keeps old messages out:
what is below the receiver's is refused there.

    M1   UID of the chip (120 bits; all zeros: any), slot (4), authenticating key (4)
    M2   AES-CBC under K1, IV 0: counter (28), flags (5), zeros (95), value (128)
    M3   AES-CMAC under K2 over M1 and M2

The proof M4, M5 goes back to who wants to know that the value is in place; here the signed digest
of the running slot says more, so it is not made.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.cmac import CMAC

from protocols.firmware import FirmwareError

BLOCK: Final = 16
#: M1, M2 (two blocks), M3.
UPDATE_LENGTH: Final = 4 * BLOCK
ANY_CHIP: Final = bytes(15)
MAX_COUNTER: Final = (1 << 28) - 1

#: Slots and keys by their numbers.
BOOT_MAC_KEY: Final = 0x2
BOOT_MAC: Final = 0x3

_ENCRYPTION: Final = bytes.fromhex("010153484500800000000000000000B0")
_AUTHENTICATION: Final = bytes.fromhex("010253484500800000000000000000B0")


class UpdateError(FirmwareError):
    """An update that is not authentic, or whose fields break the rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A value for a key slot."""

    #: 15 bytes; `ANY_CHIP` is taken by every one.
    uid: bytes = ANY_CHIP
    slot: int
    #: The key that authenticates it.
    authenticated_by: int
    counter: int
    flags: int = 0
    #: 16 bytes.
    value: bytes


def encode(update: Update, key: bytes) -> bytes:
    """M1, M2 and M3; `UpdateError` if a field does not fit."""
    fits = (
        len(update.uid) == len(ANY_CHIP)
        and len(update.value) == BLOCK
        and 0 <= update.slot <= 0xF
        and 0 <= update.authenticated_by <= 0xF
        and 0 <= update.counter <= MAX_COUNTER
        and 0 <= update.flags <= 0x1F
    )
    if not fits:
        raise UpdateError(f"SHE update: a field of {update} does not fit")
    m1 = update.uid + bytes([update.slot << 4 | update.authenticated_by])
    head = (update.counter << 100 | update.flags << 95).to_bytes(BLOCK)
    cipher = Cipher(AES(derive(key, _ENCRYPTION)), CBC(bytes(BLOCK))).encryptor()
    m2 = cipher.update(head + update.value) + cipher.finalize()
    return m1 + m2 + _mac(key, m1 + m2).finalize()


def decode(message: bytes, key: bytes) -> Update:
    """The update in M1, M2 and M3; `UpdateError` if it is not authentic.

    M3 is compared in a time that does not tell how far it is right.
    """
    if len(message) != UPDATE_LENGTH:
        raise UpdateError(f"SHE update: {len(message)} bytes are not {UPDATE_LENGTH}")
    m1, m2, m3 = message[:BLOCK], message[BLOCK:-BLOCK], message[-BLOCK:]
    try:
        _mac(key, m1 + m2).verify(m3)
    except InvalidSignature:
        raise UpdateError("SHE update: M3 is wrong") from None
    cipher = Cipher(AES(derive(key, _ENCRYPTION)), CBC(bytes(BLOCK))).decryptor()
    plain = cipher.update(m2) + cipher.finalize()
    head = int.from_bytes(plain[:BLOCK])
    if head & (1 << 95) - 1:
        raise UpdateError("SHE update: M2 is not padded with zeros")
    return Update(
        uid=m1[:-1],
        slot=m1[-1] >> 4,
        authenticated_by=m1[-1] & 0xF,
        counter=head >> 100,
        flags=head >> 95 & 0x1F,
        value=plain[BLOCK:],
    )


def derive(key: bytes, constant: bytes) -> bytes:
    """Miyaguchi-Preneel over key and constant (which brings its own padding)."""
    chained = bytes(BLOCK)
    for block in (key, constant):
        # The compression is one block at a time under a key of its own: there is no mode.
        cipher = Cipher(AES(chained), ECB()).encryptor()  # noqa: S305 see above
        encrypted = cipher.update(block) + cipher.finalize()
        chained = bytes(a ^ b ^ c for a, b, c in zip(encrypted, block, chained, strict=True))
    return chained


def _mac(key: bytes, message: bytes) -> CMAC:
    mac = CMAC(AES(derive(key, _AUTHENTICATION)))
    mac.update(message)
    return mac
