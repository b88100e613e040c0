"""The gateway updates itself: processes that really run from a slot, good ones and bad ones."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from canota.cli.exits import Exit
from firmware.gateway import pack, sign
from tests.support.cli import canota
from tests.system.test_processes import program

pytestmark = pytest.mark.system

VIN = "WCANHVAC000000001"
ROOT = Path(__file__).parents[2]

#: What is wrong with a gateway's software -> what takes the place of one of its files.
FAULTS = {
    "crashes at start": ("canota/cli/gateway.py", "raise SystemExit('broken')\n"),
    "hangs": ("canota/cli/gateway.py", "import time\n\nwhile True:\n    time.sleep(1)\n"),
}


def package(folder: Path, version: str, counter: int, fault: str | None = None) -> Path:
    """A signed package of these sources, one of them replaced."""
    root = folder / f"sources-{version}"
    for room in ("canota", "can_interfaces", "clock", "cloud", "dbc", "ecu_sim", "firmware"):
        _copy(room, root)
    for room in ("protocols", "recording", "vehicle_gateway"):
        _copy(room, root)
    if fault is not None:
        name, content = FAULTS[fault]
        (root / name).write_text(content, encoding="ascii")
    path = folder / f"gateway-{version}.bin"
    path.write_bytes(sign(pack(root), version=version, security_counter=counter))
    shutil.rmtree(root)
    return path


def _copy(room: str, root: Path) -> None:
    left_out = shutil.ignore_patterns("__pycache__", "images", "src", "faulty")
    shutil.copytree(ROOT / room, root / room, ignore=left_out)


@contextmanager
def launched(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "canota", "gateway", "boot", *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "COLUMNS": "200"},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def runs(at: tuple[str, ...]) -> str:
    """The version that the cloud believes the gateway to run."""
    shown = canota("vehicle", "show", VIN, *at, "--json").json
    (gateway,) = (ecu for ecu in shown["ecus"] if ecu["ecu"] == "gateway")
    return str(gateway.get("software_version", ""))


def test_a_gateway_becomes_the_new_one_and_goes_back_from_every_bad_one(tmp_path: Path) -> None:
    state, log = tmp_path / "gateway", tmp_path / "gateway.log"
    factory = package(tmp_path, "0.1.0", 1)
    row = canota("gateway", "provision", str(factory), "--state", str(state), "--json")
    assert row.code == Exit.OK, row.err
    with ExitStack() as stack:
        cloud = stack.enter_context(
            program("cloud", "serve", "--state", str(tmp_path / "cloud"), "--port", "0")
        )
        target = cloud.lines_until("cloud listens on")[-1].rpartition(" ")[2]
        ecus = stack.enter_context(program("ecus", "serve", VIN, "--state", str(tmp_path / "ecus")))
        wires = [line for line in ecus.lines_until("run") if "=" in line]
        at = ("--cloud", target)
        rows = json.dumps([row.json])
        assert canota("vehicle", "register", VIN, "-", *at, stdin=rows).code == Exit.OK
        stack.enter_context(
            launched(
                log, "--state", str(state), "--watchdog", "30", "--",
                VIN, *at, "--poll", "0.3", "--observe", "0",
                *(part for wire in wires for part in ("--wire", wire)),
            )
        )  # fmt: skip

        assert any(runs(at) == "0.1.0" for _ in range(20_000)), log.read_text()

        def update(version: str, file: Path) -> tuple[str, str]:
            """Outcome and reason of a campaign that brings a package."""
            release, campaign = f"gw-{version}", f"to-{version}".replace(".", "-")
            published = canota(
                "release", "publish", release.replace(".", "-"), f"TGW-1={file}",
                "--version", version, *at,
            )  # fmt: skip
            assert published.code == Exit.OK, published.err
            created = canota(
                "campaign", "create", campaign, VIN, "--release", release.replace(".", "-"), *at
            )
            assert created.code == Exit.OK, created.err
            assert canota("campaign", "start", campaign, *at).code == Exit.OK
            canota("campaign", "status", campaign, "--watch", *at, "--json")
            report = canota("report", "export", campaign, "--format", "json", "-o", "-", *at).json
            vehicle = report["vehicles"][0]
            return vehicle["outcome"], vehicle["reason"]

        assert update("0.2.0", package(tmp_path, "0.2.0", 2)) == ("updated", "")
        assert runs(at) == "0.2.0"
        for number, fault in enumerate(FAULTS, start=3):
            version = f"0.{number}.0"
            outcome, reason = update(version, package(tmp_path, version, number, fault))
            assert (outcome, fault) == ("rolled_back", fault), log.read_text()
            assert "gateway" in reason
            assert runs(at) == "0.2.0"
        last = "0.9.0"
        assert update(last, package(tmp_path, last, 9)) == ("updated", "")
        assert runs(at) == last
    record = json.loads((state / "software" / "record.json").read_text())
    assert (record["state"], record["security_counter"]) == ("confirmed", 9)
    # What ran came out of the slots, one after the other.
    started = re.findall(r"gateway_starts slot=(\d) version=(\S+) trial=(\w+)", log.read_text())
    assert ("1", "0.2.0", "True") in started
    assert started[-1][1] == last
