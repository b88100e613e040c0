"""`protocols.firmware.formats.Format`: what every firmware file format promises."""

import pytest

from cloud.fleet import releases
from cloud.store import publish
from protocols.firmware.formats import ERASED, Format, FormatError, Image, detect, formats
from protocols.fleet.v1 import releases_pb2
from vehicle_gateway.update import offer

NAMES = list(formats())
ADDRESSED = [name for name, member in formats().items() if member.carries_address]
#: Those with a record and its checksum on each line.
IN_LINES = [name for name, member in formats().items() if member.in_lines]
SIZES = (1, 2, 31, 32, 33, 255, 256, 257, 0x1_0001)
ADDRESSES = (0, 1, 0xFFF0, 0x1_0000, 0x0804_0000, 0x0804_FFFF, 0xFFFE_0000)


def content(size: int) -> bytes:
    return bytes(7 * number & 0xFF for number in range(size))


#: Short enough for every position in the file to be tried. At address 0 no record is needed
#: that moves others, so one that is left out moves none.
SMALL = Image(address=0, data=content(70))


def encoded(name: str, image: Image = SMALL) -> bytes:
    return formats()[name].encode(image)


def refusal(name: str, file: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        formats()[name].decode(file)
    return caught.value


def altered(file: bytes, position: int) -> bytes:
    other = b"0" if file[position : position + 1] != b"0" else b"1"
    return file[:position] + other + file[position + 1 :]


@pytest.mark.parametrize("name", NAMES)
def test_a_format_says_who_it_is(name: str) -> None:
    member: Format = formats()[name]
    assert member.name
    assert member.suffixes
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in member.suffixes)
    others = {
        suffix for other, one in formats().items() if other != name for suffix in one.suffixes
    }
    assert others.isdisjoint(member.suffixes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_encoded_is_decoded(name: str, size: int, address: int) -> None:
    member = formats()[name]
    image = Image(address=address, data=content(size))
    expected = image if member.carries_address else Image(address=0, data=image.data)
    assert member.decode(member.encode(image)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_is_refused(name: str) -> None:
    refusal(name, b"")


@pytest.mark.parametrize("name", NAMES)
def test_a_format_recognizes_its_own_files(name: str) -> None:
    assert formats()[name].recognizes(encoded(name))
    assert not formats()[name].recognizes(b"")


@pytest.mark.parametrize("name", ADDRESSED)
def test_no_format_recognizes_what_is_not_its_own(name: str) -> None:
    for other in ADDRESSED:
        assert formats()[other].recognizes(encoded(name)) is (other == name)
    assert not formats()[name].recognizes(content(256))


@pytest.mark.parametrize("name", NAMES)
def test_detect_picks_a_file_with_any_of_its_usual_names(name: str) -> None:
    member = formats()[name]
    for suffix in (*member.suffixes, *map(str.upper, member.suffixes)):
        assert detect(f"ccu-2.0.0{suffix}", encoded(name)) is member


@pytest.mark.parametrize("name", ADDRESSED)
def test_detect_believes_the_content_and_not_the_name(name: str) -> None:
    for file_name in (
        "firmware",
        *(suffix for one in formats().values() for suffix in one.suffixes),
    ):
        assert detect(file_name, encoded(name)) is formats()[name]


@pytest.mark.parametrize("name", ADDRESSED)
def test_a_file_that_only_has_the_name_is_damaged_and_not_raw(name: str) -> None:
    for suffix in formats()[name].suffixes:
        for damaged in (b"", b"\n", content(256), encoded(name)[1:]):
            with pytest.raises(FormatError):
                detect(f"ccu{suffix}", damaged)


@pytest.mark.parametrize("name", IN_LINES)
def test_a_file_cut_off_anywhere_is_refused_and_the_line_named(name: str) -> None:
    file = encoded(name).rstrip()
    refusal(name, file[:0])
    for length in range(1, len(file)):
        error = refusal(name, file[:length])
        assert error.line is not None
        assert 1 <= error.line <= len(file[:length].splitlines())
        assert str(error).startswith(f"line {error.line}: ")


@pytest.mark.parametrize("name", IN_LINES)
def test_one_wrong_character_anywhere_is_refused_and_no_earlier_line_blamed(name: str) -> None:
    file = encoded(name).rstrip()
    for position in range(len(file)):
        error = refusal(name, altered(file, position))
        assert error.line is not None
        assert error.line >= 1 + file[:position].count(b"\n")


@pytest.mark.parametrize("name", IN_LINES)
def test_a_wrong_digit_in_the_data_is_blamed_on_its_line(name: str) -> None:
    file = encoded(name).rstrip()
    start = 0
    for number, line in enumerate(file.split(b"\n"), start=1):
        assert refusal(name, altered(file, start + len(line) - 2)).line == number
        start += len(line) + 1


@pytest.mark.parametrize("name", IN_LINES)
def test_a_record_left_out_is_refused_or_reads_as_erased_flash(name: str) -> None:
    lines = encoded(name).splitlines(keepends=True)
    for missing in range(len(lines)):
        file = b"".join(lines[:missing] + lines[missing + 1 :])
        try:
            image = formats()[name].decode(file)
        except FormatError as error:
            assert error.line is not None  # noqa: PT017 a refusal is one of two right answers
            continue
        read = enumerate(image.data, start=image.address)
        assert all(byte in {SMALL.data[address], ERASED} for address, byte in read)


@pytest.mark.parametrize("name", IN_LINES)
def test_a_record_that_comes_twice_is_refused(name: str) -> None:
    lines = encoded(name).splitlines(keepends=True)
    for number, line in enumerate(lines):
        twice = b"".join([*lines[:number], line, *lines[number:]])
        try:
            image = formats()[name].decode(twice)
        except FormatError as error:
            assert error.line is not None  # noqa: PT017 a refusal is one of two right answers
            continue
        # A record that writes nothing may be repeated; one with data never.
        assert image == SMALL
        assert not any(SMALL.data[at : at + 4].hex().upper().encode() in line for at in (0, 32, 64))


@pytest.mark.parametrize("name", IN_LINES)
def test_other_line_ends_and_blank_lines_harm_nothing(name: str) -> None:
    file = encoded(name)
    for changed in (file.replace(b"\n", b"\r\n"), file.rstrip(), b"\n" + file + b"\n\n"):
        assert formats()[name].decode(changed) == SMALL


@pytest.mark.parametrize("name", ADDRESSED)
def test_an_image_beyond_its_address_space_is_not_encoded(name: str) -> None:
    with pytest.raises(FormatError):
        encoded(name, Image(address=0xFFFF_FFFF, data=b"ab"))


@pytest.mark.parametrize("name", ADDRESSED)
def test_a_file_cut_off_anywhere_is_refused(name: str) -> None:
    file = encoded(name).rstrip()
    for length in range(len(file)):
        refusal(name, file[:length])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 255, 4000])
def test_the_content_is_the_image_in_one_piece(name: str, size: int) -> None:
    member = formats()[name]
    image = Image(address=0x0804_0000, data=content(size))
    found = member.content(member.encode(image))
    address = image.address if member.carries_address else 0
    assert found.segments == (Image(address=address, data=image.data),)
    assert found.data_format == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_release_may_hold_a_file_of_every_format(name: str) -> None:
    """Cloud, API and gateway call it by one name and number."""
    cloud = releases.ImageFormat[name.upper()]
    assert int(releases_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{name.upper()}")) == int(cloud)
    assert offer.ImageFormat[name.upper()].value == name
    file = encoded(name, Image(address=0x0804_0000, data=content(70)))
    suffix = formats()[name].suffixes[0]
    announced = releases.AnnouncedFile(
        hardware_id="X-1", file_name=f"a{suffix}", size=len(file), sha256=bytes(32), address=0
    )
    assert publish.decode(announced, file).format is cloud
