"""Any transferred bytes in any data format give at most what was announced, or are refused.

And what goes in by `encode` comes out whole, however it is cut into blocks.
"""

from typing import Final

from fuzz import Draw, Harness
from protocols.uds.data_formats import (
    PLAIN,
    ZLIB,
    ZLIB_AES_CTR,
    DataFormat,
    DataFormatError,
    Decoder,
    Encryption,
    encode,
)

_KEY: Final = bytes(range(16))
_COUNTER: Final = bytes(range(16, 32))
_FORMATS: Final = (PLAIN, ZLIB, ZLIB_AES_CTR, DataFormat(encryption=Encryption.AES_CTR))


def prove(data: bytes) -> None:
    draw = Draw(data)
    chosen, size = _FORMATS[draw.byte() % len(_FORMATS)], draw.byte() * 16
    decoder, given = Decoder(chosen, size=size, key=_KEY), 0
    rest = bytearray()
    while draw:
        chunk = draw.chunk()
        rest += chunk
        try:
            given += len(decoder.decode(chunk))
        except DataFormatError:
            break
        if given + decoder.left != size:
            raise AssertionError(f"{given} bytes given, {decoder.left} of {size} left")
    _round_trip(bytes(rest), chosen, cut=1 + size % 61)


def _round_trip(data: bytes, chosen: DataFormat, *, cut: int) -> None:
    coded = encode(data, chosen, key=_KEY, initial_counter=_COUNTER)
    decoder = Decoder(chosen, size=len(data), key=_KEY)
    found = b"".join(decoder.decode(coded[at : at + cut]) for at in range(0, len(coded), cut))
    if found != data or not decoder.complete:
        raise AssertionError(f"{chosen}: {len(data)} bytes do not survive")


def _seed(number: int, data: bytes) -> bytes:
    coded = encode(data, _FORMATS[number], key=_KEY, initial_counter=_COUNTER)
    head = bytes((number, len(data) // 16))
    return head + b"".join(
        bytes((len(coded[at : at + 100]),)) + coded[at : at + 100]
        for at in range(0, len(coded), 100)
    )


HARNESS: Final = Harness(
    prove=prove,
    seeds=(*(_seed(number, b"canota " * 64) for number in range(4)), _seed(1, bytes(4080))),
)
