"""`canota ecus serve --bench`: a test bench's ECU beside those of the vehicle."""

import signal
import subprocess
import sys
from pathlib import Path

import can
import pytest

from tests.support.ecu import VIN

pytestmark = pytest.mark.system


def test_a_bench_ecu_is_fitted_by_name_and_answers_from_its_boot_loader(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: S603 our own program, fixed arguments
        [
            sys.executable,
            "-m",
            "canota",
            "ecus",
            "serve",
            VIN,
            "--bench",
            "bench",
            f"--state={tmp_path}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = (line.strip().partition("=") for line in process.stdout)
        uri = next(uri for name, _, uri in lines if name == "comfort")
        with can.Bus(interface="canota", channel=uri.replace("can://bridge/", "tcp://")) as bus:
            bus.send(can.Message(arbitration_id=0x7C0, data=b"\x02\x10\x02", is_extended_id=False))
            answers = iter(lambda: bus.recv(10.0), None)
            answer = next(found for found in answers if found.arbitration_id == 0x7C8)
        assert bytes(answer.data[:7]) == bytes.fromhex("06 50 02 00 32 01 F4")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        process.stdout.close()


def test_an_ecu_of_the_vehicle_is_not_fitted_twice(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 our own program, fixed arguments
        [
            sys.executable,
            "-m",
            "canota",
            "ecus",
            "serve",
            VIN,
            "--bench",
            "ccu",
            f"--state={tmp_path}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--bench ccu: every vehicle has it already" in done.stderr
