"""Compressed and encrypted downloads: what goes in comes out, and nothing else gets through."""

import random
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from protocols.uds.data_formats import (
    PLAIN,
    ZLIB,
    ZLIB_AES_CTR,
    Compression,
    DataFormat,
    DataFormatError,
    Decoder,
    Encryption,
    derive_data_key,
    encode,
)

KEY = bytes(range(16))
COUNTER = bytes(range(100, 116))
AES_CTR = DataFormat(encryption=Encryption.AES_CTR)
FORMATS = [PLAIN, ZLIB, AES_CTR, ZLIB_AES_CTR]
DATA = random.Random(4).randbytes(500) + bytes(3000) + b"end"  # noqa: S311 the same in every run


def encoded(data_format: DataFormat, data: bytes = DATA) -> bytes:
    return encode(data, data_format, key=KEY, initial_counter=COUNTER)


@pytest.mark.parametrize("data_format", FORMATS, ids=str)
@pytest.mark.parametrize("cut", [1, 15, 17, 64, 10_000])
def test_any_split_gives_the_same_data(data_format: DataFormat, cut: int) -> None:
    coded = encoded(data_format)
    decoder = Decoder(data_format, size=len(DATA), key=KEY)
    parts = [decoder.decode(coded[at : at + cut]) for at in range(0, len(coded), cut)]
    assert b"".join(parts) == DATA
    assert decoder.complete
    assert decoder.left == 0


def test_the_bytes_are_those_of_zlib_and_of_aes_in_counter_mode() -> None:
    coded = encoded(ZLIB_AES_CTR)
    decryptor = Cipher(AES(KEY), CTR(coded[:16])).decryptor()
    assert coded[:16] == COUNTER
    assert zlib.decompress(decryptor.update(coded[16:])) == DATA


@pytest.mark.parametrize("data_format", FORMATS, ids=str)
def test_more_than_announced_is_refused(data_format: DataFormat) -> None:
    decoder = Decoder(data_format, size=len(DATA) - 1, key=KEY)
    with pytest.raises(DataFormatError, match="more data than announced"):
        decoder.decode(encoded(data_format))


def test_a_small_block_cannot_unfold_to_more_than_was_announced() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    decoder = Decoder(ZLIB, size=4096)
    with pytest.raises(DataFormatError, match="more data than announced"):
        decoder.decode(bomb)
    assert not decoder.intact


def test_less_than_announced_is_not_complete() -> None:
    decoder = Decoder(ZLIB, size=len(DATA) + 1)
    decoder.decode(encoded(ZLIB))
    assert (decoder.left, decoder.complete) == (1, False)


def test_a_stream_without_its_checksum_is_not_complete() -> None:
    decoder = Decoder(ZLIB, size=len(DATA))
    assert decoder.decode(encoded(ZLIB)[:-4]) == DATA
    assert not decoder.complete


@pytest.mark.parametrize("trailing", ["in the same block", "in another block"])
def test_data_behind_the_end_of_the_stream_is_refused(trailing: str) -> None:
    decoder = Decoder(ZLIB, size=len(DATA))
    coded = encoded(ZLIB)
    if trailing == "in another block":
        decoder.decode(coded)
        coded = b""
    with pytest.raises(DataFormatError, match="behind the end"):
        decoder.decode(coded + b"\x00")


@pytest.mark.parametrize("data_format", [ZLIB, ZLIB_AES_CTR], ids=str)
def test_what_is_no_stream_is_refused(data_format: DataFormat) -> None:
    decoder = Decoder(data_format, size=100, key=KEY)
    with pytest.raises(DataFormatError, match="zlib"):
        decoder.decode(bytes(64))
    assert not decoder.intact


def test_too_much_plain_data_leaves_the_download_as_it_was() -> None:
    decoder = Decoder(PLAIN, size=4)
    with pytest.raises(DataFormatError, match="more data"):
        decoder.decode(b"12345")
    assert decoder.intact
    assert decoder.decode(b"1234") == b"1234"


def test_another_key_does_not_decrypt() -> None:
    decoder = Decoder(AES_CTR, size=len(DATA), key=bytes(16))
    assert decoder.decode(encoded(AES_CTR)) != DATA


def test_an_initial_counter_block_has_16_bytes() -> None:
    with pytest.raises(ValueError, match="15 bytes"):
        encode(DATA, AES_CTR, key=KEY, initial_counter=bytes(15))


def test_every_ecu_has_a_key_of_its_own() -> None:
    assert derive_data_key(KEY, "CCU-1") != derive_data_key(KEY, "CCU-2")
    assert len(derive_data_key(KEY, "CCU-1")) == 16


@pytest.mark.parametrize("data_format", FORMATS, ids=str)
def test_a_format_is_read_as_it_is_written(data_format: DataFormat) -> None:
    assert DataFormat.parse(str(data_format)) == data_format


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="lzma"):
        DataFormat.parse("lzma")
    assert DataFormat(compression=Compression.ZLIB) == ZLIB
