"""Intel HEX, S-record and raw: what is accepted, and what is said of the rest."""

import bincopy
import pytest

from protocols.firmware.formats import MAX_SPAN, Format, FormatError, Image, detect, formats

DATA = bytes(range(256)) * 5
ADDRESSED = [name for name, member in formats().items() if member.carries_address]
IN_LINES = [name for name, member in formats().items() if member.in_lines]
#: Every byte of a file is covered by a checksum in it.
CHECKED = [name for name in ADDRESSED if name != "elf"]


def hex_record(kind: int, address: int, data: bytes = b"") -> str:
    body = bytes((len(data),)) + address.to_bytes(2, "big") + bytes((kind,)) + data
    return f":{(body + bytes((-sum(body) & 0xFF,))).hex().upper()}"


def s_record(kind: int, address: int, data: bytes = b"") -> str:
    width = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}.get(kind, 2)
    body = address.to_bytes(width, "big") + data
    body = bytes((len(body) + 1,)) + body
    return f"S{kind}{(body + bytes((~sum(body) & 0xFF,))).hex().upper()}"


HEX_END = hex_record(1, 0)
S_END = s_record(9, 0)


def intel_hex(*records: str) -> bytes:
    return "\n".join(records).encode() + b"\n"


def decode(format_name: str, file: bytes) -> Image:
    return formats()[format_name].decode(file)


def test_the_family_is_found_by_name() -> None:
    assert list(formats()) == ["elf", "intel_hex", "odx_f", "raw", "s_record", "vbf"]
    assert all(isinstance(member, Format) for member in formats().values())


@pytest.mark.parametrize("name", ADDRESSED)
@pytest.mark.parametrize("address", [0, 0xFFF0, 0x0804_0000, 0xFFFF_FB00])
def test_what_is_encoded_is_decoded(name: str, address: int) -> None:
    image = Image(address=address, data=DATA)
    assert decode(name, formats()[name].encode(image)) == image


@pytest.mark.parametrize("name", IN_LINES)
def test_an_independent_reader_agrees(name: str) -> None:
    file = bincopy.BinFile()
    file.add(formats()[name].encode(Image(address=0x0804_0000, data=DATA)).decode())
    assert (file.minimum_address, bytes(file.as_binary())) == (0x0804_0000, DATA)


@pytest.mark.parametrize("name", ADDRESSED)
def test_an_image_beyond_32_bits_is_not_encoded(name: str) -> None:
    with pytest.raises(FormatError, match="32 bits"):
        formats()[name].encode(Image(address=0xFFFF_FFFF, data=b"ab"))


@pytest.mark.parametrize("name", IN_LINES)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_in_use_is_read(name: str, line_end: bytes) -> None:
    image = Image(address=0x100, data=DATA)
    file = formats()[name].encode(image).replace(b"\n", line_end)
    assert decode(name, file) == image


def test_a_file_without_its_last_line_end_and_in_lower_case_is_read() -> None:
    file = intel_hex(hex_record(0, 0x10, b"\xab\xcd"), HEX_END).strip().lower()
    assert decode("intel_hex", file) == Image(address=0x10, data=b"\xab\xcd")


def test_gaps_read_as_erased_flash_and_order_does_not_matter() -> None:
    file = intel_hex(hex_record(0, 0x14, b"\x02"), hex_record(0, 0x10, b"\x01"), HEX_END)
    assert decode("intel_hex", file) == Image(address=0x10, data=b"\x01\xff\xff\xff\x02")


def test_segment_and_linear_addresses_and_start_addresses_are_read() -> None:
    file = intel_hex(
        hex_record(2, 0, b"\x10\x00"),
        hex_record(0, 4, b"\x01"),
        hex_record(3, 0, bytes(4)),
        hex_record(4, 0, b"\x00\x01"),
        hex_record(0, 5, b"\x02"),
        hex_record(5, 0, bytes(4)),
        HEX_END,
    )
    assert decode("intel_hex", file) == Image(address=0x10004, data=b"\x01\x02")


def test_header_and_count_records_are_read() -> None:
    file = intel_hex(
        s_record(0, 0, b"canota"), s_record(2, 0x10, b"\x01"), s_record(2, 0x11, b"\x02"),
        s_record(5, 2), s_record(8, 0x10),
    )  # fmt: skip
    assert decode("s_record", file) == Image(address=0x10, data=b"\x01\x02")


GOOD = hex_record(0, 0x10, b"\x01\x02\x03\x04")

BAD_HEX = [
    ("no colon", (GOOD[1:], HEX_END), 1, "not an Intel HEX record"),
    ("blanks between digits", (":01 0010 00 01 EE", HEX_END), 1, "not an Intel HEX record"),
    ("odd digits", (GOOD, GOOD[:-1], HEX_END), 2, "not an Intel HEX record"),
    ("trailing garbage", (GOOD, HEX_END, "# end"), 3, "not an Intel HEX record"),
    ("byte count", (":05001000010203 04E2".replace(" ", ""), HEX_END), 1, "byte count says 5"),
    ("checksum", (GOOD, GOOD[:-2] + "00", HEX_END), 2, "checksum is 00, should be E2"),
    ("unknown type", (GOOD, hex_record(6, 0), HEX_END), 2, "unknown record type 06"),
    ("type 04 with 1 byte", (hex_record(4, 0, b"\x01"), HEX_END), 1, "cannot have 1 bytes"),
    ("end with data", (GOOD, hex_record(1, 0, b"\x01")), 2, "cannot have 1 bytes"),
    ("missing end", (GOOD, hex_record(0, 0x20, b"\x01")), 2, "end-of-file record is missing"),
    ("two ends", (GOOD, HEX_END, HEX_END), 3, "after the end-of-file record"),
    ("data after end", (GOOD, HEX_END, hex_record(0, 0x20, b"\x01")), 3, "after the end-of-file"),
    ("overlap", (GOOD, hex_record(0, 0x13, b"\x09"), HEX_END), 2, "0x00000013 is already written"),
    ("written twice", (GOOD, GOOD, HEX_END), 2, "0x00000010 is already written"),
    ("segment wrap", (hex_record(2, 0, bytes(2)), hex_record(0, 0xFFFF, b"ab"), HEX_END), 2,
     "64 KiB segment"),
    ("past 32 bits", (hex_record(4, 0, b"\xff\xff"), hex_record(0, 0xFFFF, b"ab"), HEX_END), 2,
     "past 32 bits"),
    ("far apart", (GOOD, hex_record(4, 0, b"\xff\xff"), hex_record(0, 0, b"a"), HEX_END), 3,
     f"more than {MAX_SPAN} bytes"),
    ("no data", (HEX_END,), None, "no data records"),
    ("empty", (), None, "end-of-file record is missing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "line", "words"), [case[1:] for case in BAD_HEX], ids=[case[0] for case in BAD_HEX]
)
def test_a_broken_hex_file_is_refused_by_its_line(
    records: tuple[str, ...], line: int | None, words: str
) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        decode("intel_hex", "\r\n".join(records).encode())
    assert caught.value.line == line
    assert line is None or str(caught.value).startswith(f"line {line}: ")


S_GOOD = s_record(1, 0x10, b"\x01\x02")

BAD_S_RECORDS = [
    ("no S", (S_GOOD[1:], S_END), 1, "not an S-record"),
    ("reserved type", (S_GOOD, s_record(4, 0), S_END), 2, "unknown record type S4"),
    ("byte count", ("S1060010 0102E6".replace(" ", ""), S_END), 1, "byte count says 6"),
    ("checksum", (S_GOOD[:-2] + "00", S_END), 1, "checksum is 00, should be E7"),
    ("short address", ("S303000 0FC".replace(" ", ""), S_END), 1, "too short for an S3"),
    ("missing end", (S_GOOD,), 1, "end record"),
    ("two ends", (S_GOOD, S_END, S_END), 3, "after the end record"),
    ("data after end", (S_GOOD, S_END, S_GOOD), 3, "after the end record"),
    ("end with data", (S_GOOD, s_record(9, 0, b"\x01")), 2, "carries no data"),
    ("wrong count", (S_GOOD, s_record(5, 2), S_END), 2, "says 2 data records, the file has 1"),
    ("two counts", (S_GOOD, s_record(5, 1), s_record(6, 1), S_END), 3, "second or malformed"),
    ("data after count", (S_GOOD, s_record(5, 1), s_record(1, 0x20, b"a"), S_END), 3,
     "after the count record"),
    ("mixed widths", (S_GOOD, s_record(2, 0x20, b"a"), S_END), 2, "S2 record after S1"),
    ("end of another width", (S_GOOD, s_record(7, 0)), 2, "S7 does not end S1"),
    ("late header", (S_GOOD, s_record(0, 0, b"x"), S_END), 2, "not the first record"),
    ("overlap", (S_GOOD, s_record(1, 0x11, b"\x09"), S_END), 2, "already written"),
    ("past 32 bits", (s_record(3, 0xFFFF_FFFF, b"ab"), s_record(7, 0)), 1, "past 32 bits"),
    ("past 16 bits", (s_record(1, 0xFFFF, b"ab"), S_END), 1, "past 16 bits"),
    ("past 24 bits", (s_record(2, 0xFF_FFFF, b"ab"), s_record(8, 0)), 1, "past 24 bits"),
    ("far apart", (s_record(3, 0, b"a"), s_record(3, 0xF000_0000, b"a"), s_record(7, 0)), 2,
     "bytes behind the first"),
    ("no data", (S_END,), None, "no data records"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "line", "words"),
    [case[1:] for case in BAD_S_RECORDS],
    ids=[case[0] for case in BAD_S_RECORDS],
)
def test_a_broken_s_record_file_is_refused_by_its_line(
    records: tuple[str, ...], line: int | None, words: str
) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        decode("s_record", "\n".join(records).encode())
    assert caught.value.line == line


@pytest.mark.parametrize("name", CHECKED)
def test_every_flipped_bit_of_a_file_is_refused_or_changes_no_byte(name: str) -> None:
    """Lower and upper case digits differ in a bit and mean the same; nothing else may."""
    image = Image(address=0x1234, data=DATA[:40])
    file = formats()[name].encode(image)
    for position in range(len(file) * 8):
        flipped = bytearray(file)
        flipped[position // 8] ^= 1 << position % 8
        try:
            assert decode(name, bytes(flipped)) == image
        except FormatError:
            continue


@pytest.mark.parametrize("name", IN_LINES)
def test_every_truncation_of_a_file_is_refused(name: str) -> None:
    file = formats()[name].encode(Image(address=0x1234, data=DATA[:40])).rstrip()
    for length in range(len(file)):
        with pytest.raises(FormatError):
            decode(name, file[:length])


def test_raw_files_carry_no_address() -> None:
    assert decode("raw", b"ab") == Image(address=0, data=b"ab")
    assert formats()["raw"].encode(Image(address=0, data=b"ab")) == b"ab"


@pytest.mark.parametrize(("file", "words"), [(b"", "empty"), (bytes(MAX_SPAN + 1), "more than")])
def test_raw_files_that_are_empty_or_huge_are_refused(file: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        decode("raw", file)


@pytest.mark.parametrize(
    ("file_name", "file", "expected"),
    [
        ("a.hex", intel_hex(GOOD, HEX_END), "Intel HEX"),
        ("misnamed.bin", intel_hex(GOOD, HEX_END), "Intel HEX"),
        ("a.s19", intel_hex(S_GOOD, S_END), "S-record"),
        ("no-suffix", intel_hex(S_GOOD, S_END), "S-record"),
        ("a.bin", b"\x3d\xb8\xf3\x96", "raw binary"),
    ],
)
def test_a_format_is_known_by_its_content(file_name: str, file: bytes, expected: str) -> None:
    assert detect(file_name, file).name == expected


@pytest.mark.parametrize(
    ("file_name", "promised"),
    [("a.hex", "Intel HEX"), ("b.S19", "S-record"), ("c.srec", "S-record")],
)
def test_a_file_that_promises_text_is_never_taken_for_raw(file_name: str, promised: str) -> None:
    with pytest.raises(FormatError, match=f"line 1: not {promised}"):
        detect(file_name, b"\x00\x01\x02")
    with pytest.raises(FormatError, match="the file is empty"):
        detect(file_name, b" \r\n")


def test_a_raw_file_may_hold_nothing_but_blanks() -> None:
    assert detect("a.bin", b"  \n").name == "raw binary"
