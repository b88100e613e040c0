"""How the bytes of a download are written on the wire: plain, compressed, encrypted.

A data format that an ECU offers costs nothing where its memory is the slower part, and saves most
of the wire's time where that is: `best` takes the one whose bound is the least.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocols.uds.data_formats import (
    COUNTER_LENGTH,
    PLAIN,
    DataFormat,
    Decoder,
    Encryption,
    derive_data_key,
    encode,
)

#: An encrypted format is preferred to a plain one that is faster by less than this share.
_WORTH: Final = 0.01


@dataclass(frozen=True, slots=True)
class DownloadCipher:
    """Makes encrypted downloads that the ECU of a serial number can read."""

    master: bytes = field(repr=False)
    #: So many random bytes: each download's counter begins at a place of its own.
    random_bytes: Callable[[int], bytes]

    def key(self, serial: str) -> bytes:
        return derive_data_key(self.master, serial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A download as it is transferred."""

    #: dataFormatIdentifier of 34.
    identifier: int = 0
    data_format: DataFormat = PLAIN
    data: bytes
    #: Bytes that come out of it.
    size: int
    key: bytes = field(default=b"", repr=False)

    def decoder(self) -> Decoder:
        """Says what an ECU has, block by block."""
        return Decoder(self.data_format, size=self.size, key=self.key)

    @property
    def encrypted(self) -> bool:
        return self.data_format.encryption is not Encryption.NONE


def plain(data: bytes, *, identifier: int = 0) -> Encoded:
    """`data` as it is; with another identifier than 0 it is in its format already."""
    return Encoded(identifier=identifier, data=data, size=len(data))


def encoded(
    data: bytes, formats: dict[int, DataFormat], *, cipher: DownloadCipher | None, serial: str
) -> list[Encoded]:
    """Plain, and in every format of which we have the key; takes its time for large data."""
    found = [plain(data)]
    for identifier, data_format in sorted(formats.items()):
        key = counter = b""
        if data_format.encryption is not Encryption.NONE:
            if cipher is None:
                continue
            key, counter = cipher.key(serial), cipher.random_bytes(COUNTER_LENGTH)
        found.append(
            Encoded(
                identifier=identifier,
                data_format=data_format,
                data=encode(data, data_format, key=key, initial_counter=counter),
                size=len(data),
                key=key,
            )
        )
    return found


def best(bounds: Sequence[tuple[Encoded, float]]) -> Encoded:
    """Of encoded downloads and the seconds that they take at least: the one to send."""
    least_s = min(seconds for _, seconds in bounds)
    quick = [(one, seconds) for one, seconds in bounds if seconds <= least_s * (1 + _WORTH)]
    return min(quick, key=lambda pair: (not pair[0].encrypted, pair[1]))[0]
