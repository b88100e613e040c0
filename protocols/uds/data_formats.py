"""What a dataFormatIdentifier stands for: compressed and encrypted downloads (ISO 14229-1, 34).

The standard leaves both nibbles to the manufacturer, 0 being none. Here a value of one ECU type
names a `DataFormat`: zlib (RFC 1950) in the high nibble, AES-128 in counter mode in the low one.
Data is compressed first and encrypted then. An encrypted download begins with its 16 bytes of
initial counter block.
"""

import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.uds.errors import UdsError

KEY_LENGTH: Final = 16
COUNTER_LENGTH: Final = 16
_LABEL: Final = b"canota download key"


class DataFormatError(UdsError):
    """Transferred data that is not in its format, or is more than was announced."""


class Compression(Enum):
    NONE = "none"
    ZLIB = "zlib"


class Encryption(Enum):
    NONE = "none"
    AES_CTR = "aes-ctr"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFormat:
    compression: Compression = Compression.NONE
    encryption: Encryption = Encryption.NONE

    def __str__(self) -> str:
        """As a vehicle description writes it: `plain`, `zlib`, `aes-ctr`, `zlib+aes-ctr`."""
        kinds = (self.compression, self.encryption)
        return "+".join(str(kind.value) for kind in kinds if kind.value != "none") or "plain"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The format of that name; `ValueError` lists those there are."""
        for compression in Compression:
            for encryption in Encryption:
                found = cls(compression=compression, encryption=encryption)
                if str(found) == text:
                    return found
        raise ValueError(f"no data format {text!r}: plain, zlib, aes-ctr or zlib+aes-ctr expected")


PLAIN: Final = DataFormat()
ZLIB: Final = DataFormat(compression=Compression.ZLIB)
ZLIB_AES_CTR: Final = DataFormat(compression=Compression.ZLIB, encryption=Encryption.AES_CTR)


def derive_data_key(master: bytes, ecu_id: str) -> bytes:
    """The AES-128 key of one ECU's downloads (HKDF-SHA256); `ecu_id` as F18C reads."""
    info = _LABEL + ecu_id.encode()
    return HKDF(SHA256(), length=KEY_LENGTH, salt=None, info=info).derive(master)


def encode(data: bytes, data_format: DataFormat, *, key: bytes, initial_counter: bytes) -> bytes:
    """What is transferred for `data`.

    An encrypted format takes `initial_counter`, 16 bytes that were never used with this key.
    """
    if data_format.compression is Compression.ZLIB:
        data = zlib.compress(data, 9)
    if data_format.encryption is Encryption.NONE:
        return data
    if len(initial_counter) != COUNTER_LENGTH:
        raise ValueError(f"an initial counter block of {len(initial_counter)} bytes, not 16")
    return initial_counter + _counter_mode(key, initial_counter).update(data)


class Decoder:
    """Gives back the data of a download, chunk by chunk.

    `size` bytes are announced. Not more than these ever come out of it, whatever comes in; the
    memory that it needs is that of the chunk, and zlib's window of 32 KiB.
    """

    def __init__(self, data_format: DataFormat, *, size: int, key: bytes = b"") -> None:
        self._key = key
        self._left = size
        #: False after something that cannot be decoded: nothing that comes then can be, either.
        self.intact = True
        self._head = b""
        self._cipher: CipherContext | None = None
        self._encrypted = data_format.encryption is Encryption.AES_CTR
        self._inflate = (
            zlib.decompressobj() if data_format.compression is Compression.ZLIB else None
        )

    @property
    def left(self) -> int:
        """Announced bytes that are still to come."""
        return self._left

    @property
    def complete(self) -> bool:
        """Whether all that was announced has come, and the format's own end with it."""
        return self._left == 0 and (self._inflate is None or self._inflate.eof)

    def decode(self, chunk: bytes) -> bytes:
        """The data of the next chunk; `DataFormatError` where there is none."""
        self.intact = not self._encrypted and self._inflate is None
        plain = self._decrypt(chunk) if self._encrypted else chunk
        data = plain if self._inflate is None else self._inflated(plain)
        if len(data) > self._left:
            raise DataFormatError("more data than announced")
        self._left -= len(data)
        self.intact = True
        return data

    def _decrypt(self, chunk: bytes) -> bytes:
        if self._cipher is None:
            self._head += chunk
            if len(self._head) < COUNTER_LENGTH:
                return b""
            initial, chunk = self._head[:COUNTER_LENGTH], self._head[COUNTER_LENGTH:]
            self._cipher = _counter_mode(self._key, initial)
            self._head = b""
        return self._cipher.update(chunk)

    def _inflated(self, chunk: bytes) -> bytes:
        inflate = self._inflate
        if inflate is None or inflate.eof:
            if chunk:
                raise DataFormatError("more data behind the end of the compressed stream")
            return b""
        try:
            # One byte more than may come shows that there is more.
            data = inflate.decompress(chunk, self._left + 1)
        except zlib.error as error:
            raise DataFormatError(f"not a zlib stream: {error}") from error
        if inflate.unconsumed_tail:
            raise DataFormatError("more data than announced")
        if inflate.unused_data:
            raise DataFormatError("more data behind the end of the compressed stream")
        return data


def _counter_mode(key: bytes, initial_counter: bytes) -> CipherContext:
    return Cipher(AES(key), CTR(initial_counter)).encryptor()
