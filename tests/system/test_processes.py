"""Cloud, ECUs and gateway in three processes, over gRPC, the CAN bridge and DoIP."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from canota.cli.exits import Exit
from dbc import describe_vehicle
from firmware import image_path
from tests.support.cli import canota
from vehicle_gateway.outbox import Outbox

pytestmark = pytest.mark.system

VIN = "WCANHVAC000000001"
HARDWARE = {name: ecu.hardware_id for name, ecu in describe_vehicle().ecus.items()}


class Program:
    """A `canota` process whose lines are read as they come."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "canota", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )

    def lines_until(self, last: str) -> list[str]:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line.rstrip())
            if last in line:
                return lines
        raise AssertionError(f"ended without {last!r}: {lines}")

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def wait(self) -> int:
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            pass
        return self.process.wait()


@contextmanager
def program(*arguments: str) -> Iterator[Program]:
    started = Program(*arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGINT)
        started.process.wait(30)
        if started.process.stdout is not None:
            started.process.stdout.close()


def test_three_processes_update_a_car_and_end_when_told(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cloud = stack.enter_context(
            program("cloud", "serve", "--state", str(tmp_path / "cloud"), "--port", "0")
        )
        target = cloud.lines_until("cloud listens on")[-1].rpartition(" ")[2]
        ecus = stack.enter_context(program("ecus", "serve", VIN, "--state", str(tmp_path / "ecus")))
        wires = [line for line in ecus.lines_until("run") if "=" in line]
        assert {wire.partition("=")[0] for wire in wires} == {"comfort", "thermal", "rear"}

        at = ("--cloud", target)
        known = canota("ecus", "identities", VIN)
        assert canota("vehicle", "register", VIN, "-", *at, stdin=known.out).code == Exit.OK
        for version in ("1.0.0", "2.0.0"):
            files = [f"{HARDWARE[ecu]}={image_path(ecu, version)}" for ecu in ("blower", "rear")]
            published = canota(
                "release", "publish", f"v{version}", *files, "--version", version, *at
            )
            assert published.code == Exit.OK

        gateway = (
            "gateway", "run", VIN, "--once", "--observe", "1", "--state", str(tmp_path / "gateway"),
            *at, *(part for wire in wires for part in ("--wire", wire)),
        )  # fmt: skip
        with program(*gateway) as first:
            assert first.wait() == Exit.OK
        assert canota("campaign", "create", "walk", VIN, "--release", "v2.0.0", *at).code == Exit.OK
        dry = canota("campaign", "dry-run", "walk", *at, "--json")
        assert (dry.code, dry.json[0]["verdict"]) == (Exit.OK, "update")
        assert canota("campaign", "start", "walk", *at).code == Exit.OK
        with program(*gateway) as second:
            assert second.wait() == Exit.OK

        status = canota("campaign", "status", "walk", "--watch", *at, "--json")
        assert status.code == Exit.OK, status.out
        shown = canota("vehicle", "show", VIN, *at, "--json").json
        versions = {ecu["ecu"]: ecu["software_version"] for ecu in shown["ecus"]}
        assert versions == {**dict.fromkeys(HARDWARE, "1.0.0"), "blower": "2.0.0", "rear": "2.0.0"}
        report = canota("report", "export", "walk", "--format", "json", "-o", "-", *at).json
        assert report["clock"] == "real"
        assert all(ecu["read_back"] for ecu in report["vehicles"][0]["ecus"])
        codes = canota("diag", "dtc", VIN, *at, "--json").json
        assert codes["occasion"] == "after_update"
        assert "2.0.0" in canota("diag", "did", VIN, *at).out
        assert "CabinTemperature" in canota("diag", "signals", VIN, *at).out
        assert "before update" in canota("diag", "list", VIN, *at).out
    assert (cloud.process.returncode, ecus.process.returncode) == (Exit.OK, Exit.OK)


def test_every_process_is_killed_in_the_middle_and_the_update_comes_to_its_end(
    tmp_path: Path,
) -> None:
    def cloud_at(port: str) -> Program:
        return stack.enter_context(
            program("cloud", "serve", "--state", str(tmp_path / "cloud"), "--port", port)
        )

    def ecus_at(*ports: str) -> Program:
        return stack.enter_context(
            program("ecus", "serve", VIN, "--state", str(tmp_path / "ecus"), *ports)
        )

    with ExitStack() as stack:
        cloud = cloud_at("0")
        target = cloud.lines_until("cloud listens on")[-1].rpartition(" ")[2]
        ecus = ecus_at()
        wires = [line for line in ecus.lines_until("run") if "=" in line]
        at = ("--cloud", target)
        gateway = (
            "gateway", "run", VIN, "--observe", "1", "--poll", "1",
            "--state", str(tmp_path / "gateway"), *at,
            *(part for wire in wires for part in ("--wire", wire)),
        )  # fmt: skip
        known = canota("ecus", "identities", VIN)
        assert canota("vehicle", "register", VIN, "-", *at, stdin=known.out).code == Exit.OK
        for version in ("1.0.0", "2.0.0"):
            files = [f"{HARDWARE[ecu]}={image_path(ecu, version)}" for ecu in ("blower", "rear")]
            assert canota(
                "release", "publish", f"v{version}", *files, "--version", version, *at
            ).code == Exit.OK  # fmt: skip
        with program(*gateway, "--once") as first:
            assert first.wait() == Exit.OK
        assert canota("campaign", "create", "walk", VIN, "--release", "v2.0.0", *at).code == Exit.OK
        assert canota("campaign", "start", "walk", *at).code == Exit.OK

        staging = stack.enter_context(program(*gateway))
        staging.lines_until("transferring")
        staging.kill()
        cloud.kill()
        programming = stack.enter_context(program(*gateway))
        programming.lines_until("blower   erasing")
        programming.kill()
        ecus.kill()
        last = stack.enter_context(program(*gateway))
        ports = {wire.partition("=")[0]: re.findall(r":(\d+)", wire)[-1] for wire in wires}
        ecus_at(*(part for wire, port in ports.items() for part in ("--port", f"{wire}={port}")))
        cloud_at(target.rpartition(":")[2]).lines_until("cloud listens on")

        status = canota("campaign", "status", "walk", "--watch", *at, "--json")
        assert status.code == Exit.OK, status.out
        shown = canota("vehicle", "show", VIN, *at, "--json").json
        versions = {ecu["ecu"]: ecu["software_version"] for ecu in shown["ecus"]}
        assert versions == {**dict.fromkeys(HARDWARE, "1.0.0"), "blower": "2.0.0", "rear": "2.0.0"}
        last.process.send_signal(signal.SIGINT)
        assert last.wait() == Exit.OK
        assert (tmp_path / "gateway" / "journal.jsonl").read_bytes() == b""
        assert Outbox(tmp_path / "gateway" / "outbox").waiting() == ()
