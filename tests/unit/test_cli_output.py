import json
import subprocess
import sys
from pathlib import Path

import pytest

from canota.cli.app import GROUPS
from canota.cli.exits import MEANINGS, Exit
from canota.cli.output import plain
from ecu_sim.ecus import ecu_names
from firmware import image_path
from protocols.fleet.v1 import campaigns_pb2, releases_pb2
from tests.support.cli import canota

VIN = "WCANHVAC000000001"


def test_help_names_every_group_and_every_exit_code() -> None:
    ended = canota("--help")
    assert ended.code == Exit.OK
    for name in GROUPS:
        assert name in ended.out
    for code in Exit:
        assert MEANINGS[code].partition(" ")[0] in ended.out


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_explains_itself(name: str) -> None:
    ended = canota(name, "--help")
    assert ended.code == Exit.OK
    assert "Exit codes" in ended.out or name == "version"


def test_help_reads_none_of_the_heavy_libraries() -> None:
    script = (
        "import sys\n"
        "from canota.cli import app\n"
        "try:\n    app(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'grpc', 'cantools', 'wasmtime', 'numpy', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    ended = subprocess.run(  # noqa: S603 our own interpreter and script
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_message_becomes_json_with_every_field() -> None:
    message = campaigns_pb2.Campaign(
        name="campaigns/a",
        state=campaigns_pb2.CAMPAIGN_STATE_RUNNING,
        assignments=[campaigns_pb2.Assignment(vin=VIN, outcome=campaigns_pb2.OUTCOME_ROLLED_BACK)],
    )
    message.create_time.FromSeconds(1)
    said = plain(message)
    assert json.loads(json.dumps(said)) == said
    assert said["state"] == "running"
    assert said["create_time"] == "1970-01-01T00:00:01.000Z"
    assert said["start_time"] is None
    (assignment,) = message.assignments
    assert plain(assignment)["outcome"] == "rolled_back"
    assert plain(assignment)["phase"] == ""


def test_digests_are_hexadecimal_in_json() -> None:
    assert plain(releases_pb2.Image(file_sha256=b"\xab\xcd"))["file_sha256"] == "abcd"


@pytest.mark.parametrize(("ecu", "signed"), [("ccu", True), ("blower", False)])
def test_a_local_file_is_inspected_without_a_cloud(ecu: str, *, signed: bool) -> None:
    ended = canota("release", "inspect", str(image_path(ecu, "2.0.0")), "--json")
    assert ended.code == Exit.OK
    assert ended.json["declared"]["software_version"] == "2.0.0"
    assert ended.json["declared"]["signed"] is signed
    assert len(ended.json["image_sha256"]) == 64


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (":0100000001FE\n:0100010002FD\n:00000001FF\n", 2),
        (":0100000001FE\nnonsense\n:00000001FF\n", 2),
        (":0100000001FE\n:0100000001FE\n:00000001FF\n", 2),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, content: str, line: int) -> None:
    path = tmp_path / "broken.hex"
    path.write_text(content)
    ended = canota("release", "inspect", str(path))
    assert ended.code == Exit.REFUSED
    assert ended.err.startswith(f"canota: {path}:{line}: ")
    assert ended.err.count("\n") == 1


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    ended = canota("release", "inspect", str(tmp_path / "no.hex"))
    assert ended.code == Exit.NOT_FOUND
    assert "no.hex: no such file" in ended.err


def test_a_cloud_that_is_down_is_said_in_one_line() -> None:
    ended = canota("vehicle", "list", "--cloud", "127.0.0.1:1")
    assert ended.code == Exit.UNREACHABLE
    assert ended.err == "canota: cloud 127.0.0.1:1 cannot be reached: Connection refused\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert canota("vehicle", "paint").code == Exit.USAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "standard input:1: not JSON"),
        ("{}", "standard input: not a list of ECUs"),
        ("[{}]", "standard input: [0].ecu: str expected"),
    ],
)
def test_identities_that_make_no_sense_are_named(text: str, said: str) -> None:
    ended = canota("vehicle", "register", VIN, "-", stdin=text)
    assert ended.code == Exit.REFUSED
    assert said in ended.err


@pytest.mark.parametrize("argument", ["ccu", "nose=a.hex"])
def test_the_demo_wants_one_of_its_ecus(argument: str) -> None:
    ended = canota("demo", "--image", argument)
    assert ended.code == Exit.USAGE
    assert f"ECU=FILE expected, with one of {', '.join(ecu_names())}" in ended.err
