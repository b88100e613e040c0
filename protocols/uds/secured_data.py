"""Messages of secured data transmission (84, layout of ISO 14229-1:2020), for both ends.

    84 or C4, administrative parameter u16, calculation u8, signature length u16,
    anti-replay counter u16, inner service identifier and data, signature

The standard leaves the cryptography to the manufacturer. This is a profile for development,
calculation 00: the signature is an AES-CMAC over all that stands before it, in clear; encryption
is AES-CTR over the inner message, with the signature as its first counter block. So a counter
that comes twice never gives one key stream twice, and what is encrypted is always signed. Both
keys are derived from one diagnostic key of the ECU.
"""

import struct
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.constant_time import bytes_eq

from protocols.uds.enums import POSITIVE_RESPONSE, Nrc, ServiceId
from protocols.uds.errors import Refusal

#: What stands for a level of 27 in the derivation of this service's key; 27 has no such level.
KEY_LEVEL: Final = 0x7F
SIGNATURE_LENGTH: Final = 16
CALCULATION: Final = 0x00
_HEAD: Final = struct.Struct(">BHBHH")


class Administrative(IntFlag):
    """Bits of the administrative parameter."""

    REQUEST = 0x01
    PRE_ESTABLISHED_KEY = 0x08
    ENCRYPTED = 0x10
    SIGNED = 0x20
    SIGN_RESPONSE = 0x40


_KNOWN: Final = sum(Administrative)


@dataclass(frozen=True, slots=True)
class Keys:
    signing: bytes = field(repr=False)
    encryption: bytes = field(repr=False)

    @classmethod
    def derive(cls, key: bytes) -> "Keys":
        return cls(_cmac(key, b"canota 84 signature"), _cmac(key, b"canota 84 encryption"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuredMessage:
    administrative: Administrative
    counter: int
    #: The inner message, in clear.
    inner: bytes

    @property
    def signed(self) -> bool:
        return Administrative.SIGNED in self.administrative

    @property
    def encrypted(self) -> bool:
        return Administrative.ENCRYPTED in self.administrative

    def encode(self, keys: Keys) -> bytes:
        request = Administrative.REQUEST in self.administrative
        service = ServiceId.SECURED_DATA_TRANSMISSION + (0 if request else POSITIVE_RESPONSE)
        length = SIGNATURE_LENGTH if self.signed else 0
        head = _HEAD.pack(service, self.administrative, CALCULATION, length, self.counter)
        if not self.signed:
            return head + self.inner
        signature = _cmac(keys.signing, head + self.inner)
        body = _ctr(keys.encryption, signature, self.inner) if self.encrypted else self.inner
        return head + body + signature

    @classmethod
    def decode(cls, message: bytes, keys: Keys) -> "SecuredMessage":
        """A request or a response.

        `Refusal` 13 for a length that cannot be, 31 for what the profile does not know, 3A for a
        signature that is wrong.
        """
        if len(message) <= _HEAD.size:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        service, bits, calculation, length, counter = _HEAD.unpack_from(message)
        administrative = Administrative(bits & _KNOWN)
        is_request = service == ServiceId.SECURED_DATA_TRANSMISSION
        found = cls(administrative=administrative, counter=counter, inner=b"")
        if (
            bits & ~_KNOWN
            or calculation != CALCULATION
            or (Administrative.REQUEST in administrative) is not is_request
            or length != (SIGNATURE_LENGTH if found.signed else 0)
            or (found.encrypted and not found.signed)
        ):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "not this ECU's profile")
        end = len(message) - length
        if end <= _HEAD.size:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        head, body, signature = message[: _HEAD.size], message[_HEAD.size : end], message[end:]
        inner = _ctr(keys.encryption, signature, body) if found.encrypted else body
        if found.signed and not bytes_eq(_cmac(keys.signing, head + inner), signature):
            raise Refusal(Nrc.SECURE_DATA_VERIFICATION_FAILED, "signature")
        return cls(administrative=administrative, counter=counter, inner=inner)


def is_fresh(counter: int, last: int) -> bool:
    """Whether a counter is ahead of the last one; it begins anew behind 65535."""
    return 0 < (counter - last) % 0x1_0000 < 0x8000


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def _ctr(key: bytes, start: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(start)).encryptor()
    return encryptor.update(data) + encryptor.finalize()
