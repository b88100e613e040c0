"""`canota ecus serve` with faults, scenarios and guests in real time, and udsoncan on can-isotp."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from udsoncan.exceptions import NegativeResponseException, TimeoutException

from canota.cli.exits import Exit
from ecu_sim.faults.table import KINDS
from tests.support.cli import canota
from tests.support.ecu import VIN
from tests.support.foreign_ecu import (
    FOREIGN_KEY_SOURCE,
    FOREIGN_OPTIONS,
    REQUEST_ID,
    RESPONSE_ID,
    foreign_key,
    foreign_pdx,
)
from tests.support.isotp_client import isotp_client

pytestmark = pytest.mark.system


@contextmanager
def serving(*arguments: str) -> Iterator[dict[str, str]]:
    """The process; name -> URI of each wire."""
    process = subprocess.Popen(  # noqa: S603 our own interpreter and module
        [sys.executable, "-m", "canota", "ecus", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            if line.startswith("ecus of"):
                break
            lines.append(line.rstrip())
        yield dict(line.split("=", 1) for line in lines if "=" in line)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
        process.stdout.close()
    assert code == Exit.OK


def test_faults_act_in_real_time_and_are_told_in_a_file(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    faults = ("ccu:late=400ms@22F190", "ccu:stuck-busy@22F191", "ccu:lost-cf=2@22")
    refused = canota("ecus", "serve", VIN, "--fault", faults[2])
    assert refused.code == Exit.USAGE
    assert "--fault ccu: lost-cf=2@22: nothing is expected behind @: lost-cf=N" in refused.err
    with (
        serving(
            VIN, "--state", str(tmp_path / "ecus"), "--events", str(events),
            "--fault", faults[0], "--fault", faults[1], "--fault", "blower:silent",
        ) as wires,
    ):  # fmt: skip
        with isotp_client(wires["comfort"], 0x7A0, 0x7A8) as client:
            begun = time.perf_counter()
            answer = client.read_data_by_identifier(0xF190)
            assert answer is not None
            assert answer.service_data.values[0xF190] == VIN.encode()
            assert time.perf_counter() - begun >= 0.4
            with pytest.raises(NegativeResponseException, match="BusyRepeatRequest"):
                client.read_data_by_identifier(0xF191)
        with (
            isotp_client(wires["comfort"], 0x7A1, 0x7A9, p2_s=0.5) as client,
            pytest.raises(TimeoutException),
        ):
            client.tester_present()
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [(one["event"], one["ecu"], one["fault"]) for one in told if one["ecu"] == "ccu"] == [
        ("fault_begins", "ccu", "late=400ms@22F190"),
        ("fault_begins", "ccu", "stuck-busy@22F191"),
        ("fault_acts", "ccu", "late=400ms@22F190"),
        ("fault_acts", "ccu", "stuck-busy@22F191"),
    ]
    assert all(one["time"].endswith("Z") for one in told)


def test_the_table_is_printed_for_people_and_for_programs() -> None:
    table = canota("ecus", "faults")
    assert all(name in table.out for name in KINDS)
    rows = canota("ecus", "faults", "--json").json
    assert [row["name"] for row in rows] == list(KINDS)
    one = canota("ecus", "faults", "late", "--json").json
    assert one["form"] == "late=TIME[@REQUEST[:N]]"
    assert [parameter["name"] for parameter in one["parameters"]] == ["by", "at"]
    assert "a time such as 300ms" in canota("ecus", "faults", "late").out
    unknown = canota("ecus", "faults", "lat")
    assert unknown.code == Exit.NOT_FOUND
    assert "there are lost-frames" in unknown.err


def test_a_scenario_is_played_in_real_time_and_told_step_by_step(tmp_path: Path) -> None:
    events, file = tmp_path / "events.jsonl", tmp_path / "scenario.toml"
    file.write_text(
        "[[step]]\nname='busy'\non={ecu='ccu',session='extended'}\nfault='ccu:stuck-busy@22'\n"
        "until={ecu='ccu',request='3E00'}\n"
    )
    with (
        serving(
            VIN, "--state", str(tmp_path / "ecus"), "--scenario", str(file), "--events", str(events)
        ) as wires,
        isotp_client(wires["comfort"], 0x7A0, 0x7A8) as client,
    ):
        client.read_data_by_identifier(0xF190)
        client.change_session(3)
        with pytest.raises(NegativeResponseException, match="BusyRepeatRequest"):
            client.read_data_by_identifier(0xF190)
        client.tester_present()
        client.read_data_by_identifier(0xF190)
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [one["event"] for one in told] == [
        "scenario_begins", "step", "fault_begins", "fault_acts", "step_ends", "fault_ends",
    ]  # fmt: skip
    file.write_text("[[step]]\nreset = 'cu'\n")
    refused = canota("ecus", "serve", VIN, "--scenario", str(file))
    assert (refused.code, "step 1.reset: one of ccu, blower" in refused.err) == (Exit.USAGE, True)


def test_udsoncan_talks_to_an_ecu_of_a_pdx_and_to_one_of_a_log(tmp_path: Path) -> None:
    pdx, options, log = (tmp_path / name for name in ("brakes.pdx", "brakes.toml", "door.log"))
    pdx.write_bytes(foreign_pdx())
    (tmp_path / "key.py").write_text(FOREIGN_KEY_SOURCE)
    options.write_text('key = "python:key.py:key"\n' + FOREIGN_OPTIONS)
    log.write_text(
        "(1780300800.000000) can0 7C0#0322F190CCCCCCCC\n"
        "(1780300800.150000) can0 7C8#101462F190574341\n"
        "(1780300800.151000) can0 7C0#300000CCCCCCCCCC\n"
        "(1780300800.152000) can0 7C8#214E485641433030\n"
        "(1780300800.153000) can0 7C8#2230303030303031\n"
        "(1780300801.000000) can0 7C0#021003CCCCCCCCCC\n"
        "(1780300801.004000) can0 7C8#065003003201F4CC\n"
    )
    arguments = (
        VIN, "--state", str(tmp_path / "ecus"), "--ecu", "none", "--pdx", str(pdx),
        "--ecu-options", str(options), "--recorded", str(log), "--fault", "ecu_7C0:nrc=22@19",
    )  # fmt: skip
    with serving(*arguments) as wires:
        with isotp_client(wires["comfort"], REQUEST_ID, RESPONSE_ID) as client:
            client.set_config("security_algo", foreign_key)
            client.change_session(3)
            client.change_session(2)
            client.unlock_security_access(0x11)
            client.write_data_by_identifier(0xF184, b"canota 01")
            answer = client.read_data_by_identifier(0xF184)
            assert answer is not None
            assert answer.service_data.values[0xF184] == b"canota 01"
        with isotp_client(wires["comfort"], 0x7C0, 0x7C8) as client:
            begun = time.perf_counter()
            answer = client.read_data_by_identifier(0xF190)
            assert answer is not None
            assert answer.service_data.values[0xF190] == VIN.encode()
            assert time.perf_counter() - begun >= 0.15
            client.change_session(3)
            with pytest.raises(NegativeResponseException, match="RequestOutOfRange"):
                client.read_data_by_identifier(0xF191)
            with pytest.raises(NegativeResponseException, match="ServiceNotSupported"):
                client.clear_dtc()
            with pytest.raises(NegativeResponseException, match="ConditionsNotCorrect"):
                client.get_dtc_by_status_mask(0xFF)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--variant", "x"), Exit.USAGE, "--variant and --ecu-options need --pdx"),
        (("--recorded-ids", "7A0:7A8"), Exit.USAGE, "--recorded-ids needs --recorded"),
        (("--recorded", "LOG", "--recorded-ids", "7A0"), Exit.USAGE, "two or three CAN identif"),
        (("--recorded", "LOG"), Exit.REFUSED, "quiet.log: nobody in it answers a UDS request"),
        (("--pdx", "LOG"), Exit.REFUSED, "quiet.log: not a PDX"),
        (
            ("--ecu", "door"),
            Exit.USAGE,
            "--ecu door: one of ccu, blower, flap, ecomp, ptc, rear, none",
        ),
    ],
)
def test_what_no_ecu_can_be_made_of_is_said(
    tmp_path: Path, arguments: tuple[str, ...], code: Exit, said: str
) -> None:
    log = tmp_path / "quiet.log"
    log.write_text("(1780300800.000000) can0 7C0#0322F190CCCCCCCC\n")
    given = (str(log) if argument == "LOG" else argument for argument in arguments)
    ended = canota("ecus", "serve", VIN, "--state", str(tmp_path / "ecus"), *given)
    assert (ended.code, said in ended.err) == (code, True), ended.err
