"""Any bytes give an image or a firmware error, and what is written is read back."""

import bincopy
from hypothesis import given
from hypothesis import strategies as st

from protocols.firmware import FirmwareError
from protocols.firmware.containers import cmac, crc32, declared, mcuboot, sha512
from protocols.firmware.formats import MAX_SPAN, FormatError, Image, formats
from tests.support.images import crc32_image

ADDRESSED = [member for member in formats().values() if member.carries_address]
IN_LINES = [member for member in formats().values() if member.in_lines]

IMAGES = st.builds(
    lambda address, data: Image(address=address, data=data),
    st.integers(0, 0xFFFF_0000),
    st.binary(min_size=1, max_size=600),
)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_image_or_a_format_error(data: bytes) -> None:
    for member in formats().values():
        try:
            image = member.decode(data)
        except FormatError:
            continue
        assert len(image.data) <= MAX_SPAN


@given(st.text(alphabet=":S0123456789ABCDEF\n\r ", max_size=200))
def test_text_that_looks_like_records_gives_an_image_or_a_format_error(text: str) -> None:
    for member in IN_LINES:
        try:
            image = member.decode(text.encode())
        except FormatError:
            continue
        assert len(image.data) <= MAX_SPAN


@given(IMAGES)
def test_every_image_survives_every_format(image: Image) -> None:
    for member in ADDRESSED:
        assert member.decode(member.encode(image)) == image


@given(IMAGES, st.integers(1, 64))
def test_files_that_bincopy_writes_are_read(image: Image, record_bytes: int) -> None:
    file = bincopy.BinFile()
    file.execution_start_address = image.address
    file.add_binary(image.data, address=image.address)
    written = (file.as_ihex(record_bytes), file.as_srec(record_bytes, 32))
    for member, text in zip(IN_LINES, written, strict=True):
        assert member.decode(text.encode()) == image


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_magic_number_give_an_image_or_a_container_error(data: bytes) -> None:
    for magic in (mcuboot.MAGIC.to_bytes(4, "little"), crc32.MAGIC, sha512.MAGIC, cmac.MAGIC):
        try:
            stated = declared(magic + data)
        except FirmwareError:
            continue
        assert stated is not None


@given(st.binary(max_size=500))
def test_every_payload_survives_the_crc32_container(payload: bytes) -> None:
    assert crc32.decode(crc32_image(payload)).payload == payload
