"""Flash sequences as files: what is read, and what is refused by file, line and key."""

import binascii
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus, Precondition
from vehicle_gateway.flashing.checksums import CHECKSUMS, Crc
from vehicle_gateway.flashing.load import BLOCK_VALUES, VALUES, Load, Part, Values
from vehicle_gateway.flashing.positions import lines_of
from vehicle_gateway.flashing.sequence import (
    PROGRAM,
    STAGE,
    Check,
    EachBlock,
    EnterSession,
    SequenceError,
    Whom,
)
from vehicle_gateway.flashing.sequence_file import packaged, read_sequence
from vehicle_gateway.flashing.template import Filling, Number, TemplateError, parse

SMALL = """name = "small"

[routines]
wipe = 0x0301

[[blocks]]
name = "program"
address = 0x1000
size = 0x1000

[[blocks]]
name = "data"
address = 0x4000
size = 0x100
index = 7

[program]
steps = [
  { step = "opening", session = 2, quiet = true },
  { step = "writing", each_block = [
    { step = "erasing", erase = "wipe", option = "{index} {address:3}" },
    { step = "sending", download = "image" },
  ] },
]
finally = [
  { step = "closing", request = "85 81", to = "all", accept = "any" },
]
"""


def test_a_small_file_is_read() -> None:
    sequence = read_sequence(SMALL, name="small.toml")
    assert (sequence.name, sequence.single_slot) == ("small", True)
    assert [(block.name, block.index) for block in sequence.blocks] == [("program", 0), ("data", 7)]
    opening, writing = sequence.phase(PROGRAM).steps
    assert (opening.action, opening.quiet) == (EnterSession(2), True)
    assert isinstance(writing.action, EachBlock)
    assert [step.name for step in writing.action.steps] == ["erasing", "sending"]
    closing = sequence.phase(PROGRAM).finally_[0]
    assert (closing.to, 0x22 in closing.accept) == (Whom.ALL, True)
    assert sequence.phase(STAGE).steps == ()


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ("session = 2", "session = 300", r"small.toml:19: program.steps\[0\].session: 300 is no"),
        ("session = 2, ", "", r"small.toml:19: program.steps\[0\]: what it does is missing"),
        ("session = 2", "session = 2, reset = 1", "19: .*session and reset at once"),
        ("session = 2", "sesion = 2", r"19: program.steps\[0\]: what it does is missing"),
        ("quiet = true", 'quiet = "yes"', r"19: .*\.quiet: true or false expected"),
        (
            '"wipe"',
            '"wash"',
            r"21: .*each_block\[0\].erase: no routine 'wash'; there are: activate",
        ),
        ("{address:3}", "{adress:3}", r"21: .*\.option: no place \{adress\}; there are: address"),
        ("{address:3}", "{address", r"21: .*'\{address': pairs of hex digits"),
        ('download = "image"', 'read = "colour"', "22: .*not in identification: 'colour'"),
        ('download = "image"', "wait_s = 1", 'program: this phase needs a step download = "image"'),
        ('accept = "any"', "accept = [1]", r"26: .*accept\[0\]: 1 is no number, 0x10 to 0xFF"),
        ("address = 0x4000", "address = 0x1800", r"13: blocks\[1\].address: overlaps .*'program'"),
        ('name = "data"', 'name = "program"', r"12: .*there is another block 'program'"),
        ("wipe = 0x0301", "wipe = 0x10301", r"4: routines.wipe.id: .* is no number"),
        ('name = "small"', "", "small.toml: name is missing"),
        ("finally = [", "final = [", "25: program.final: not known here; known: steps, finally"),
        ('request = "85 81"', "unlock = 1", "26: .*unlock is asked of one ECU"),
        ('request = "85 81", to = "all"', "unlock = 2", "26: .*0x02 is even"),
        ("session = 2", 'stop_if = "new_image_runs"', "19: .*new_image_runs needs digest_routine"),
        ("[program]", "[confirm]", "program is missing"),
        ("= [", "= [[", r"small.toml: .*line \d+"),
    ],
)
def test_a_mistake_is_refused_by_file_line_and_key(ours: str, theirs: str, said: str) -> None:
    assert ours in SMALL
    with pytest.raises(SequenceError, match=said):
        read_sequence(SMALL.replace(ours, theirs, 1), name="small.toml")


def test_the_packaged_sequences_say_what_the_ecus_statuses_mean() -> None:
    for sequence in packaged().values():
        checks = [
            step.action.routine
            for phase in sequence.phases.values()
            for step in phase.steps
            if isinstance(step.action, Check)
        ]
        assert checks
        for routine in checks:
            for status, text in routine.texts.items():
                assert CHECK_TEXTS[CheckStatus(status)] == text
    words = {one.value: one.name.lower().replace("_", " ") for one in Precondition}
    for name in ("single_slot", "staging_area"):
        reasons = next(
            step.action.routine.reasons
            for step in packaged()[name].phase(PROGRAM).steps
            if step.name == "checking preconditions" and hasattr(step.action, "routine")
        )
        assert reasons == words


def test_every_line_of_a_file_is_found() -> None:
    text = SMALL + '\n[a."b.c"]\nd.e = """x\n\n""" # y\nf = [\n 1,\n [2, { g = 3 }],\n]\n'
    lines = lines_of(text)
    start = SMALL.count("\n") + 1
    assert lines[("a", "b.c")] == start + 1
    assert lines[("a", "b.c", "d", "e")] == start + 2
    assert lines[("a", "b.c", "f")] == start + 5
    assert lines[("a", "b.c", "f", 1, 1, "g")] == start + 7
    assert lines[("blocks", 1, "index")] == 15


@given(st.text(alphabet="[]{}=.,'\"#\n ab1", max_size=60))
def test_finding_lines_ends_for_any_text(text: str) -> None:
    lines_of(text)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("", ""),
        ("44 {address} {size}", "44 00001234 000010"),
        ("{address:2}{size:3le}", "1234 100000"),
        ("0102 'AB' {hash}", "01024142 aabb"),
        ("{hash:2le}", "bbaa"),
    ],
)
def test_a_template_is_filled(text: str, record: str) -> None:
    values: dict[str, Filling] = {
        "address": Number(value=0x1234, width=4),
        "size": Number(value=0x10, width=3),
        "hash": b"\xaa\xbb",
    }
    assert parse(text).fill(values) == bytes.fromhex(record)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{address:1}", "address = 0x1234 does not fit 1 bytes"),
        ("{hash:3}", "hash has 2 bytes, not 3"),
        ("{entry}", r"\{entry\} has no value in this step"),
    ],
)
def test_a_value_that_does_not_fit_is_named(text: str, said: str) -> None:
    values: dict[str, Filling] = {"address": Number(value=0x1234, width=4), "hash": b"\xaa\xbb"}
    with pytest.raises(TemplateError, match=said):
        parse(text).fill(values)


def test_every_documented_value_has_one() -> None:
    text = SMALL + '[checksum]\nkind = "sum16"\n'
    part = Part(name="data", address=0x4000, data=b"\x01\x02\x03\x04", index=7)
    values = Values(
        sequence=read_sequence(text, name="x"),
        load=Load(parts=(part,), entry=0x2000),
        today=datetime(2026, 11, 27, tzinfo=UTC),
        part=part,
        offset=1,
    )
    assert set(values) == set(VALUES)
    filled = {name: parse(f"{{{name}}}").fill(values).hex() for name in VALUES}
    assert filled["date"] == "261127"
    assert filled["date_long"] == "20261127"
    assert (filled["address"], filled["size"]) == ("00004001", "00000003")
    assert (filled["block_address"], filled["block_size"]) == ("00004000", "00000004")
    assert (filled["block_end"], filled["index"]) == ("00004003", "07")
    assert (filled["checksum"], filled["sum8"]) == ("000a", "0a")
    assert (filled["entry"], filled["length_format"]) == ("00002000", "44")
    outside = Values(sequence=values.sequence, load=values.load, today=values.today)
    assert not set(outside) & set(BLOCK_VALUES)


#: Check values of the CRC catalogue: over "123456789".
CATALOGUE = [
    (Crc(width=8, polynomial=0x07), "f4"),
    (Crc(width=8, polynomial=0x1D, initial=0xFF, final_xor=0xFF), "4b"),
    (Crc(width=16, polynomial=0x1021, initial=0xFFFF), "29b1"),
    (Crc(width=16, polynomial=0x8005, reflected=True), "bb3d"),
    (Crc(width=16, polynomial=0x1021, initial=0xFFFF, final_xor=0xFFFF, reflected=True), "906e"),
    (Crc(width=24, polynomial=0x864CFB, initial=0xB704CE), "21cf02"),
    (Crc(width=32, polynomial=0x04C11DB7, initial=0xFFFFFFFF, final_xor=0xFFFFFFFF), "fc891918"),
    (
        Crc(
            width=32,
            polynomial=0xF4ACFB13,
            initial=0xFFFFFFFF,
            final_xor=0xFFFFFFFF,
            reflected=True,
        ),
        "1697d06a",
    ),
]


@pytest.mark.parametrize(("crc", "check"), CATALOGUE)
def test_a_crc_is_that_of_the_catalogue(crc: Crc, check: str) -> None:
    assert crc.of(b"123456789").hex() == check


@given(st.binary(max_size=300))
def test_a_crc_by_parameters_is_that_of_the_libraries(data: bytes) -> None:
    ones = 0xFFFF_FFFF
    crc32 = Crc(width=32, polynomial=0x04C11DB7, initial=ones, final_xor=ones, reflected=True)
    assert crc32.of(data) == zlib.crc32(data).to_bytes(4) == CHECKSUMS["crc32"](data)
    crc16 = Crc(width=16, polynomial=0x1021, initial=0xFFFF)
    assert crc16.of(data) == binascii.crc_hqx(data, 0xFFFF).to_bytes(2) == CHECKSUMS["crc16"](data)
