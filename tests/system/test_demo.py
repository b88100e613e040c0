"""The whole walk, as `canota demo` runs it, on the virtual clock."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bincopy
import pytest

from canota.cli.exits import Exit
from canota.demo import HOT_C, sparkline
from dbc.vehicle import describe_vehicle
from ecu_sim.ecus import ecu_names
from tests.support.cli import Ended, canota

pytestmark = pytest.mark.system


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    ended: Ended
    folder: Path
    report: dict[str, Any]

    @property
    def vehicle(self) -> dict[str, Any]:
        (vehicle,) = self.report["vehicles"]
        found: dict[str, Any] = vehicle
        return found

    def ecu(self, name: str) -> dict[str, Any]:
        (ecu,) = [ecu for ecu in self.vehicle["ecus"] if ecu["name"] == name]
        found: dict[str, Any] = ecu
        return found


def demo(folder: Path, *arguments: str) -> Run:
    ended = canota("demo", "--report-dir", str(folder), *arguments)
    report = json.loads((folder / "report.json").read_bytes())
    return Run(ended=ended, folder=folder, report=report)


def foreign_hex(path: Path, ecu: str) -> Path:
    """A valid HEX file for an ECU's address that this project did not make."""
    file = bincopy.BinFile()
    file.add_binary(
        random.Random(1).randbytes(20_000),  # noqa: S311 any bytes, but always the same
        address=describe_vehicle().ecus[ecu].application_base,
    )
    path.write_text(file.as_ihex())
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return demo(tmp_path_factory.mktemp("demo"), "--seed", "7")


def test_the_car_is_updated_and_every_ecu_proves_it(run: Run) -> None:
    assert run.ended.code == Exit.OK
    assert run.report["campaign"]["outcome"] == "updated"
    assert (run.report["clock"], run.report["seed"]) == ("virtual", 7)
    assert [ecu["name"] for ecu in run.vehicle["ecus"]] == list(ecu_names())
    for ecu in run.vehicle["ecus"]:
        assert (ecu["version_before"], ecu["version_after"]) == ("1.0.0", "2.0.0")
        assert ecu["read_back"] is True
        assert ecu["read_back_sha256"] == ecu["image_sha256"]


def test_no_transfer_beats_its_bound_and_none_is_far_from_it(run: Run) -> None:
    described = describe_vehicle().ecus
    bounds = {ecu["name"]: ecu["bound_seconds"] for ecu in run.vehicle["ecus"]}
    staged = [name for name, ecu in described.items() if ecu.staging_area or not ecu.single_slot]
    for ecu in run.vehicle["ecus"]:
        # Those that are staged at once share their wire: the lowest identifier comes first.
        sharing = [
            bounds[other]
            for other in staged
            if ecu["name"] in staged
            and described[other].wire == described[ecu["name"]].wire
            and described[other].request_id <= described[ecu["name"]].request_id
        ]
        most = 1.1 * (sum(sharing) or ecu["bound_seconds"])
        assert 0 < ecu["bound_seconds"] <= ecu["transfer_seconds"] < most


def test_the_fault_shows_before_and_is_gone_after(run: Run) -> None:
    assert [code["display"] for code in run.vehicle["dtcs"]["gone"]] == ["B1A01-00"]
    assert run.vehicle["dtcs"]["new"] == []
    away = {}
    for when in ("before", "after"):
        last = {one["signal"]: one["values"][-1] for one in run.vehicle["signals"][when]}
        away[when] = abs(last["CabinTemperature"] - last["Setpoint"])
    assert away["before"] > 2.0
    assert away["after"] < 0.6


def test_the_terminal_says_where_the_reports_are_and_how_it_ended(run: Run) -> None:
    count = len(describe_vehicle().ecus)
    assert f"Updated to 2.0.0: {count} of {count} ECUs proved" in run.ended.out
    assert str(run.folder / "report.html") in run.ended.out
    assert (run.folder / "report.html").read_bytes().startswith(b"<!doctype html>")
    assert sorted(path.name for path in run.folder.iterdir()) == ["report.html", "report.json"]


def test_the_same_seed_gives_the_same_reports(run: Run, tmp_path: Path) -> None:
    again = demo(tmp_path / "again", "--seed", "7")
    for name in ("report.json", "report.html"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes()


def test_foreign_firmware_is_refused_by_an_ecu_with_secure_boot(tmp_path: Path) -> None:
    path = foreign_hex(tmp_path / "foreign.hex", "ccu")
    run = demo(tmp_path / "report", "--image", f"ccu={path}")
    assert run.ended.code == Exit.FAILED
    assert run.report["campaign"]["outcome"] == "rolled_back"
    assert "ccu" in run.vehicle["reason"]
    assert "not a signed image" in run.vehicle["reason"]
    assert run.ecu("ccu")["version_after"] == "1.0.0"
    assert run.ecu("ccu")["out_of_use_seconds"] == 0
    assert not any(step["step"] == "activate" for step in run.vehicle["steps"])
    assert "not a signed image" in (run.folder / "report.html").read_text()


def test_foreign_firmware_that_does_not_run_is_taken_back(tmp_path: Path) -> None:
    path = foreign_hex(tmp_path / "foreign.hex", "blower")
    run = demo(tmp_path / "report", "--image", f"blower={path}")
    assert run.ended.code == Exit.FAILED
    assert run.report["campaign"]["outcome"] == "rolled_back"
    assert run.vehicle["reason"].startswith("blower: ")
    assert run.ecu("blower")["out_of_use_seconds"] > 0
    for name in ecu_names():
        assert run.ecu(name)["version_after"] == "1.0.0"


def test_a_course_is_drawn_in_blocks() -> None:
    assert sparkline([HOT_C + 9, HOT_C, 0.0]) == "\u2588\u2588\u2581"
