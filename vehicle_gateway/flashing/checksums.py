"""Checksums over what is programmed, as ECUs want them from their tester."""

import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Crc:
    """A cyclic redundancy check by its parameters (as the CRC catalogue of G. Cook names them)."""

    #: Bits: 8, 16, 24 or 32.
    width: int
    polynomial: int
    initial: int = 0
    final_xor: int = 0
    #: Whether bytes go in, and the remainder comes out, least significant bit first.
    reflected: bool = False

    def of(self, data: bytes) -> bytes:
        table, mask = self._table(), (1 << self.width) - 1
        if self.reflected:
            register = _mirrored(self.initial, self.width)
            for byte in data:
                register = register >> 8 ^ table[(register ^ byte) & 0xFF]
        else:
            register, top = self.initial, self.width - 8
            for byte in data:
                register = (register << 8 & mask) ^ table[(register >> top ^ byte) & 0xFF]
        return (register ^ self.final_xor).to_bytes(self.width // 8)

    def _table(self) -> list[int]:
        return [self._remainder(byte) for byte in range(256)]

    def _remainder(self, byte: int) -> int:
        if self.reflected:
            polynomial, register = _mirrored(self.polynomial, self.width), byte
            for _ in range(8):
                register = register >> 1 ^ (polynomial if register & 1 else 0)
            return register
        mask, high = (1 << self.width) - 1, 1 << self.width - 1
        register = byte << self.width - 8
        for _ in range(8):
            register = (register << 1 & mask) ^ (self.polynomial if register & high else 0)
        return register


def _mirrored(value: int, width: int) -> int:
    return int(f"{value:0{width}b}"[::-1], 2)


def _sum(width: int) -> Callable[[bytes], bytes]:
    return lambda data: (sum(data) % (1 << 8 * width)).to_bytes(width)


#: By the name that a sequence file uses; results are big endian.
CHECKSUMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4),
    # CRC-16/IBM-3740, often called CCITT-FALSE.
    "crc16": lambda data: binascii.crc_hqx(data, 0xFFFF).to_bytes(2),
    "sum8": _sum(1),
    "sum16": _sum(2),
    "sum32": _sum(4),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
}
