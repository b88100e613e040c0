"""`canota gateway flash`: one ECU from a file, ours or anybody's, over real sockets."""

import re
import shutil
import subprocess
import zlib
from binascii import crc_hqx
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from canota.cli.arguments import hex_number
from canota.cli.exits import Exit
from firmware import faulty, image_path
from protocols.firmware import formats
from protocols.firmware.containers import mcuboot
from tests.support import foreign_files
from tests.support.cli import Ended, canota
from tests.support.ecu import DIAGNOSTICS_MASTER, small_image
from tests.support.foreign_ecu import FLASH_AT
from tests.support.foreign_files import DATA, PROGRAM, SEQUENCE, against, ecu_of
from tests.support.serving import against as against_ours

#: `GenerateKeyEx` of the foreign ECU, as its supplier's library would export it.
LIBRARY = r"""
#include <stdint.h>
int GenerateKeyEx(const unsigned char *seed, unsigned int size, const unsigned int level,
                  const char *variant, unsigned char *key, unsigned int most, unsigned int *length)
{
    if (size != 4) return 4;
    if (most < 4) return 1;
    if (level != 0x11) return 2;
    if (variant[0] != 'B' || variant[1] != 0) return 3;
    uint32_t number = 0, turn = level % 32;
    for (int i = 0; i < 4; i++) number = number << 8 | seed[i];
    number ^= 0xFFFFFFFFu;
    number = number << turn | number >> (32 - turn);
    for (int i = 0; i < 4; i++) key[i] = number >> (24 - 8 * i);
    *length = 4;
    return 0;
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    foreign_files.write(tmp_path)
    return tmp_path


def flash(folder: Path, uri: str, *more: str, files: tuple[str, ...] = ("program.s19",)) -> Ended:
    sequence = ("--sequence", str(folder / "brakes.toml"))
    paths = (str(folder / file) for file in files)
    return canota("gateway", "flash", *paths, "--wire", uri, *sequence, *more)


def changed(folder: Path, ours: str, theirs: str) -> None:
    """Another sequence in place of the one that fits."""
    assert ours in SEQUENCE
    (folder / "brakes.toml").write_text(SEQUENCE.replace(ours, theirs, 1), encoding="utf-8")


def test_a_foreign_ecu_is_programmed_by_files_alone(folder: Path) -> None:
    files = ("data.hex", "program.s19")
    ended, node = against(ecu_of(folder), lambda uri: flash(folder, uri, "--json", files=files))
    assert ended.code == Exit.OK, ended.err
    assert node.flash["program"].read(0, len(PROGRAM)) == PROGRAM
    assert node.flash["data"].read(0, len(DATA)) == DATA
    assert node.boots == 2
    told = ended.json
    assert [block["name"] for block in told["blocks"]] == ["program", "data"]
    assert told["blocks"][0] == {"name": "program", "address": FLASH_AT, "size": len(PROGRAM)}
    assert told["after"]["part_number"] == "FOR-9999"
    today = datetime.now(UTC).strftime("%y %m %d")  # noqa: TID251 the ECU has today's date
    assert told["after"]["fingerprint"] == f"{today} {b'BENCH1'.hex(' ').upper()}"
    assert told["before"].get("fingerprint") != told["after"]["fingerprint"]
    steps = re.findall(r"ecu +(.+)", ended.err)
    assert steps[:6] == [
        *("opening", "unlocking", "loading the boot loader", "starting the boot loader"),
        *("fingerprinting", "erasing"),
    ]
    assert steps[-2:] == ["checking dependencies", "starting"]


def test_without_its_loader_started_the_ecu_refuses_and_the_step_is_named(folder: Path) -> None:
    changed(folder, '  { step = "starting the boot loader", routine = "start_loader" },\n', "")
    ended, node = against(ecu_of(folder), lambda uri: flash(folder, uri))
    assert ended.code == Exit.FAILED
    assert "ecu: erasing: ROUTINE_CONTROL (0x31) refused: CONDITIONS_NOT_CORRECT (0x22)" in (
        ended.err
    )
    assert node.flash["program"].read(0, 4) == b"\xff" * 4


def test_a_failed_check_is_told_in_the_words_of_the_sequence(folder: Path) -> None:
    changed(folder, '"{crc32}"', '"{sum32}"')
    ended, _ = against(ecu_of(folder), lambda uri: flash(folder, uri))
    assert ended.code == Exit.FAILED
    assert "ecu: verifying: routine 0304: another checksum" in ended.err


def test_a_wrong_key_is_refused_at_the_step_of_unlocking(folder: Path) -> None:
    (folder / "brakes_key.py").write_text("def key(seed):\n    return seed\n", encoding="utf-8")
    ended, _ = against(ecu_of(folder), lambda uri: flash(folder, uri))
    assert ended.code == Exit.FAILED
    assert "ecu: unlocking: SECURITY_ACCESS (0x27) refused: INVALID_KEY (0x35)" in ended.err


def test_a_key_hook_that_crashes_is_told_with_its_line(folder: Path) -> None:
    (folder / "brakes_key.py").write_text("def key(seed):\n    return seed[99]\n", encoding="utf-8")
    ended, _ = against(ecu_of(folder), lambda uri: flash(folder, uri))
    assert ended.code == Exit.FAILED
    assert "ecu: unlocking: key hook" in ended.err
    assert "brakes_key.py:2: IndexError: index out of range" in ended.err


def test_a_shared_library_gives_the_keys(folder: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the key library with")
    (folder / "key.c").write_text(LIBRARY, encoding="ascii")
    library = folder / "key.so"
    build = [compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "key.c")]
    subprocess.run(build, check=True)  # noqa: S603 the compiler that was found
    hook = ("--key", str(library))
    ended, _ = against(ecu_of(folder), lambda uri: flash(folder, uri, *hook))
    assert "GenerateKeyEx: it does not know this variant (3)" in ended.err
    changed(folder, "level = 0x11", 'level = 0x11\nvariant = "B"')
    ended, node = against(ecu_of(folder), lambda uri: flash(folder, uri, *hook))
    assert ended.code == Exit.OK, ended.err
    assert node.flash["program"].read(0, len(PROGRAM)) == PROGRAM


def test_identifiers_of_the_command_line_go_before_those_of_the_file(folder: Path) -> None:
    ecu = replace(ecu_of(folder), request_id=0x18DA_28F1, response_id=0x18DA_F128, extended=True)
    where = ("--tx", "0x18DA28F1", "--rx", "0x18DAF128")
    ended, node = against(ecu, lambda uri: flash(folder, uri, *where))
    assert ended.code == Exit.OK, ended.err
    assert node.flash["program"].read(0, len(PROGRAM)) == PROGRAM


def test_an_ecu_of_ours_is_programmed_by_its_name(tmp_path: Path) -> None:
    image = str(image_path("blower", "2.0.0"))
    secret = tmp_path / "secret.txt"
    secret.write_text(DIAGNOSTICS_MASTER.hex(), encoding="ascii")
    more = ("--ecu", "blower", "--master-key", str(secret), "--json")

    def tester(uri: str) -> Ended:
        return canota("gateway", "flash", image, "--wire", uri, *more)

    ended = against_ours(tmp_path, "blower", tester)
    assert ended.code == Exit.OK, ended.err
    assert ended.json["after"]["software_version"] == "2.0.0"
    assert ended.json["proved"] is True


def test_firmware_that_fails_its_self_test_is_taken_back(tmp_path: Path) -> None:
    content = faulty.image_path("ccu", "failing_self_test").read_bytes()
    bad = mcuboot.decode(formats.detect("bad.hex", content).decode(content).data)
    (tmp_path / "bad.bin").write_bytes(small_image("ccu", bad.payload, version=(2, 0, 0)))
    secret = tmp_path / "secret.txt"
    secret.write_text(DIAGNOSTICS_MASTER.hex(), encoding="ascii")
    image = f"{tmp_path / 'bad.bin'}@0x08040000"
    seen: list[Ended] = []

    def tester(uri: str) -> Ended:
        more = ("--wire", uri, "--ecu", "ccu", "--master-key", str(secret))
        seen.append(canota("gateway", "flash", image, *more))
        return canota("gateway", "flash", image, *more)

    again = against_ours(tmp_path, "ccu", tester)
    # The second time it begins from the old application too: a trial would have refused.
    for ended in (*seen, again):
        assert ended.code == Exit.FAILED, ended.err
        assert "self-test: routine 0213: the application's own test failed" in ended.err


def test_nobody_there_is_told_in_the_time_that_was_given(folder: Path) -> None:
    ended, _ = against(
        ecu_of(folder), lambda uri: flash(folder, uri, "--tx", "0x123", "--wait", "0.3")
    )
    assert ended.code == Exit.UNREACHABLE
    assert "ecu: connecting: does not answer within 0.3 s" in ended.err


def test_a_dry_run_prints_every_request_and_touches_no_wire(folder: Path) -> None:
    ended = flash(folder, "can://bridge/127.0.0.1:9/bench", "--dry-run")
    assert ended.code == Exit.OK, ended.err
    for request in (
        "27 11, 27 12",
        "34 00 44 40 00 00 00 00 00 03 00, 1 x 36, 37",
        "31 01 03 01 00 A0 00 00 00 00 15 0E",
        "31 01 03 05",
        "11 01",
    ):
        assert request in ended.out
    told = flash(folder, "can://bridge/127.0.0.1:9/bench", "--dry-run", "--json").json
    download = next(step for step in told["steps"] if step["step"] == "transferring")
    assert 0.15 < download["bound_s"] < 0.3


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("session = 0x03", "sesion = 3"), Exit.REFUSED, r"brakes.toml:\d+: program.steps\[0\]"),
        (("brakes_key.py:key", "other_key.py:key"), Exit.USAGE, "other_key.py: no such file"),
        (('key = "brakes_key.py:key"\n', ""), Exit.USAGE, "--key says what answers its seeds"),
        (("brakes_loader.bin", "absent.bin"), Exit.REFUSED, "absent.bin: No such file"),
        (("request_id = 0x7B1", ""), Exit.REFUSED, "addressing: request_id is missing"),
        (("0x00A00000", "0x00C00000"), Exit.REFUSED, "0x00A00000 is in none of the blocks"),
    ],
)
def test_what_cannot_work_is_refused_before_the_wire_is_touched(
    folder: Path, change: tuple[str, str], code: Exit, said: str
) -> None:
    changed(folder, *change)
    ended = flash(folder, "can://bridge/127.0.0.1:9/bench")
    assert ended.code == code
    assert re.search(said, ended.err)


def test_files_that_fill_one_address_are_refused_by_name(folder: Path) -> None:
    shutil.copy(folder / "program.s19", folder / "again.s19")
    files = ("program.s19", "again.s19")
    ended = flash(folder, "can://bridge/127.0.0.1:9/bench", files=files)
    assert ended.code == Exit.REFUSED
    assert "again.s19 and program.s19 both fill 0x00A00000" in ended.err


def test_a_compressed_vbf_goes_out_as_it_is_in_its_own_data_format(folder: Path) -> None:
    body = b"".join(
        address.to_bytes(4) + len(data).to_bytes(4) + data + crc_hqx(data, 0xFFFF).to_bytes(2)
        for address, data in ((0xA0_0000, b"packed"), (0xB0_0000, b"data"))
    )
    text = "vbf_version = 2.6; header { data_format_identifier = 0x10;"
    text += f" file_checksum = {zlib.crc32(body)}; }}"
    (folder / "packed.vbf").write_bytes(text.encode() + body)
    uri = "can://bridge/127.0.0.1:9/bench"
    ended = flash(folder, uri, "--dry-run", files=("packed.vbf",))
    assert "34 10 44 00 A0 00 00 00 00 00 06" in ended.out
    assert "34 10 44 00 B0 00 00 00 00 00 04" in ended.out
    ended = flash(folder, uri, "--dry-run", files=("packed.vbf", "raw.bin@0xA01000"))
    assert ended.code == Exit.NOT_FOUND
    (folder / "raw.bin").write_bytes(b"raw")
    ended = flash(folder, uri, "--dry-run", files=("packed.vbf", "raw.bin@0xA01000"))
    assert "different data formats: packed.vbf 10, raw.bin 00" in ended.err


def test_a_raw_file_needs_an_address_where_there_are_several_blocks(folder: Path) -> None:
    (folder / "raw.bin").write_bytes(b"raw")
    uri = "can://bridge/127.0.0.1:9/bench"
    ended = flash(folder, uri, files=("raw.bin",))
    assert (ended.code, "raw.bin@ADDRESS" in ended.err) == (Exit.USAGE, True)
    ended = flash(folder, uri, "--dry-run", files=("raw.bin@0xA00000",))
    assert "34 00 44 00 A0 00 00 00 00 00 03" in ended.out


def test_a_file_for_another_ecu_is_refused_before_anything_is_erased() -> None:
    image = str(image_path("ccu", "2.0.0"))
    uri = "can://bridge/127.0.0.1:9/comfort"
    ended = canota("gateway", "flash", image, "--wire", uri, "--ecu", "blower")
    assert ended.code == Exit.REFUSED
    assert "0x08040000 to 0x" in ended.err
    assert "not within 0x00010000 to 0x00030000 of blower" in ended.err


def test_a_file_that_is_no_firmware_is_not_taken_for_a_raw_image(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a program", encoding="ascii")
    to_blower = ("--wire", "can://bridge/127.0.0.1:9/comfort", "--ecu", "blower", "--dry-run")
    ended = canota("gateway", "flash", str(notes), *to_blower)
    assert ended.code == Exit.REFUSED
    assert "notes.txt: in no firmware format" in ended.err
    ended = canota("gateway", "flash", f"{notes}@0x10000", *to_blower)
    assert ended.code == Exit.OK, ended.err
    assert "13 bytes" in ended.out


def test_an_ecu_that_the_vehicle_has_not_is_told_with_those_that_it_has() -> None:
    image = str(image_path("ccu", "2.0.0"))
    uri = "can://bridge/127.0.0.1:9/comfort"
    ended = canota("gateway", "flash", image, "--wire", uri, "--ecu", "blowr")
    assert ended.code == Exit.USAGE
    assert "--ecu blowr: not in the vehicle's description, which has ccu, blower" in ended.err


def test_identifiers_are_hexadecimal_with_and_without_a_prefix() -> None:
    image = str(image_path("ccu", "2.0.0"))
    to = ("--wire", "can://bridge/127.0.0.1:9/x", "--sequence", "two_slot", "--dry-run")
    wrong = canota("gateway", "flash", image, *to, "--tx", "7G0")
    assert wrong.code == Exit.USAGE
    assert "'7G0': hex digits up to 1FFFFFFF expected" in " ".join(wrong.err.split())
    for text, number in (("710", 0x710), ("0x710", 0x710), ("18DA10F1", 0x18DA_10F1)):
        assert hex_number(text) == number
