"""What a stranger types: one line that names the argument, a code for scripts, no traceback."""

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from canota.cli.exits import CommandError, Exit
from canota.cli.output import write_file
from tests.support.cli import canota

VIN = "WCANHVAC000000001"
HEX = ":0100000001FE\n:00000001FF\n"

ECU = {
    "ecu": "ccu",
    "hardware_id": "CCU-2",
    "serial_number": "1",
    "public_key": "00" * 32,
    "wire": "comfort",
    "single_slot": False,
    "application_base": 0,
    "slot_size": 1,
}


@pytest.mark.parametrize(
    "target", ["", "localhost", "localhost:0", "localhost:65536", "a b:1", "dns:///x:1", ":50080"]
)
@pytest.mark.parametrize(
    "command", [("release", "list"), ("gateway", "run", VIN, "--wire", "rear=doip://localhost")]
)
def test_a_cloud_is_a_host_and_a_port(command: tuple[str, ...], target: str) -> None:
    ended = canota(*command, "--cloud", target)
    assert ended.code == Exit.USAGE
    assert ended.err == f"canota: --cloud {target!r}: HOST:PORT expected\n"


@pytest.mark.parametrize(
    "command",
    [("ecus", "identities"), ("ecus", "serve"), ("gateway", "run", "--wire", "rear=doip://x")],
)
@pytest.mark.parametrize(
    ("vin", "said"),
    [("SHORT", "has 5 characters; a VIN has 17"), ("WCANHVAC00000000Q", "'Q' is not allowed")],
)
def test_a_vin_is_looked_at_before_anything_starts(
    command: tuple[str, ...], vin: str, said: str
) -> None:
    ended = canota(*command, vin)
    assert ended.code == Exit.REFUSED
    assert said in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("comfort", "a port is 0 to 65535"),
        ("comfort=65536", "a port is 0 to 65535"),
        ("comfort=\u00b2", "a port is 0 to 65535"),
        ("nose=1", "with one of comfort, thermal, rear, edge"),
    ],
)
def test_a_port_of_the_ecus_is_one_of_a_wire(tmp_path: Path, port: str, said: str) -> None:
    ended = canota("ecus", "serve", VIN, "--state", str(tmp_path / "ecus"), "--port", port)
    assert ended.code == Exit.USAGE
    assert said in ended.err
    assert not (tmp_path / "ecus").exists()


@pytest.mark.parametrize("port", ["65536", "99999", "-1"])
def test_the_cloud_listens_on_no_other_port_than_the_one_it_was_told(
    tmp_path: Path, port: str
) -> None:
    ended = canota("cloud", "serve", "--state", str(tmp_path / "cloud"), "--port", port)
    assert ended.code == Exit.USAGE
    assert not (tmp_path / "cloud").exists()


@pytest.mark.parametrize("text", ["nan", "inf", "-1"])
def test_a_time_to_wait_is_finite(tmp_path: Path, text: str) -> None:
    ended = canota("cloud", "serve", "--state", str(tmp_path / "cloud"), "--poll", text)
    assert ended.code == Exit.USAGE
    assert "--poll" in ended.err
    assert not (tmp_path / "cloud").exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('hardware_id = "CCU-2"\nfile = "a.bin"\naddress = "0x10"', "address: '0x10' is not a 32"),
        ('hardware_id = "CCU-2"\nfile = "a.bin"\naddress = -4', "address: -4 is not a 32-bit"),
        ('hardware_id = "CCU-2"\nfile = "a.bin"\naddress = 1.5', "address: 1.5 is not a 32-bit"),
        ('hardware_id = "CCU-2"\nfile = "a.bin"\naddress = true', "address: True is not a 32-bit"),
        ('hardware_id = 7\nfile = "a.bin"', "images[0].hardware_id: text expected"),
        ('hardware_id = "CCU-2"\nfile = 7', "images[0].file: text expected"),
        ('hardware_id = "CCU-2"', "images[0].file: text expected"),
    ],
)
def test_a_list_of_firmware_is_read_field_by_field(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x01")
    listed = tmp_path / "release.toml"
    listed.write_text(f"[[images]]\n{row}\n")
    ended = canota("release", "publish", "a", str(listed), "--version", "1")
    assert ended.code == Exit.REFUSED
    assert ended.err.startswith(f"canota: {listed}: ")
    assert said in ended.err


@pytest.mark.parametrize("text", ["", "images = 4", "images = []", "images = [4]"])
def test_a_list_without_images_is_refused(tmp_path: Path, text: str) -> None:
    listed = tmp_path / "release.toml"
    listed.write_text(text)
    ended = canota("release", "publish", "a", str(listed), "--version", "1")
    assert ended.code == Exit.REFUSED
    assert "[[images]] expected" in ended.err


@pytest.mark.parametrize("address", ["-5", "0x1_0000_0000", "0xFFFFFFFF"])
def test_a_raw_file_lies_within_32_bits(tmp_path: Path, address: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\x01\x02")
    ended = canota("release", "publish", "a", f"CCU-2={path}@{address}", "--version", "1")
    assert ended.code == Exit.REFUSED
    assert "32" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("application_base", -1),
        ("slot_size", 1 << 70),
        ("slot_size", True),
        ("slot_size", 1.5),
        ("slot_size", None),
    ],
)
def test_identities_with_a_number_out_of_range_are_named(field: str, value: object) -> None:
    rows = json.dumps([ECU, ECU | {field: value}])
    ended = canota("vehicle", "register", VIN, "-", stdin=rows)
    assert ended.code == Exit.REFUSED
    assert f"standard input: [1].{field}: {value!r} is not a 32-bit address" in ended.err


def test_identities_nested_without_end_are_refused() -> None:
    ended = canota("vehicle", "register", VIN, "-", stdin="[" * 100_000)
    assert (ended.code, ended.err) == (Exit.REFUSED, "canota: standard input: nested too deep\n")


def test_an_error_is_one_line_whatever_its_file_is_called(tmp_path: Path) -> None:
    path = tmp_path / "[bold]new\nline\x1b[31m.hex"
    path.write_text(HEX.replace("FE", "00"))
    ended = canota("release", "inspect", str(path))
    assert ended.err.count("\n") == 1
    assert "\x1b" not in ended.err
    assert "[bold]new\\nline\\x1b[31m.hex:1: checksum" in ended.err


def test_an_argument_that_is_not_text_is_said_to_be_none() -> None:
    ended = subprocess.run(  # noqa: S603 our own interpreter and program
        [sys.executable, "-m", "canota", "vehicle", "show", os.fsdecode(b"\xff")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == Exit.USAGE
    assert ended.stderr == "canota: 'vehicles/\\udcff' is not text\n"


def test_a_short_master_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.hex"
    path.write_text("00112233445566778899aabbccddee\n")
    wire = ("--wire", "rear=doip://127.0.0.1:1")
    ended = canota("gateway", "run", VIN, *wire, "--master-key", str(path))
    assert ended.code == Exit.REFUSED
    assert "15 bytes; a master secret has at least 16" in ended.err


def test_no_more_of_a_file_is_read_than_can_be_published() -> None:
    ended = canota("release", "inspect", "/dev/zero")
    assert ended.code == Exit.REFUSED
    assert ended.err == "canota: /dev/zero: more than the 67108864 bytes of a file\n"


def test_what_stands_in_the_way_of_a_program_is_said_in_one_line() -> None:
    ended = canota("ecus", "serve", VIN, "--state", "/proc/nowhere")
    assert (ended.code, ended.err) == (
        Exit.FAILED,
        "canota: /proc/nowhere: No such file or directory\n",
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_cannot_be_written_is_said_in_one_line(unbuffered: str) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "canota", "version", "--json"],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == Exit.FAILED
    assert ended.stderr == "canota: No space left on device\n"


def test_a_file_is_written_as_a_whole_or_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"before")
    limit = (resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1][1]))
    try:
        with pytest.raises(CommandError, match=r"report\.html: File too large"):
            write_file(path, bytes(2000))
    finally:
        resource.setrlimit(*limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    write_file(path, b"after")
    assert path.read_bytes() == b"after"


def test_the_version_is_the_projects_own() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    ended = canota("--version")
    assert (ended.code, ended.out) == (0, f"canota {project['version']}\n")


@pytest.mark.skipif(
    importlib.util.find_spec("asammdf") is None, reason="asammdf is not installed (canota[mf4])"
)
def test_a_command_starts_without_what_only_mf4_needs_and_finds_it_when_it_does() -> None:
    script = """
import sys
from typer.testing import CliRunner
from canota.cli import app
assert CliRunner().invoke(app, ["gateway", "run", "--help"]).exit_code == 0
assert "can" in sys.modules and "asammdf" not in sys.modules and "pandas" not in sys.modules
import asammdf
"""
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603 our own
