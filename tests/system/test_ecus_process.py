import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doipclient.client import DoIPClient

import firmware
from tests.support.ecu import VIN

pytestmark = pytest.mark.system


class EcuProcess:
    """`python -m ecu_sim serve` over one state directory."""

    def __init__(self, state: Path, *extra: str) -> None:
        keys = firmware.KEYS
        self._process = subprocess.Popen(  # noqa: S603 our own program, fixed arguments
            [
                sys.executable,
                "-m",
                "ecu_sim",
                "serve",
                f"--state={state}",
                f"--vin={VIN}",
                f"--image-key={keys / 'image-signing.dev-only.pub.pem'}",
                f"--diagnostics-master={keys / 'diagnostics-master.dev-only.hex'}",
                *extra,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.endpoints = dict(self._process.stdout.readline().split() for _ in range(3))

    def ask(self, request: str) -> bytes:
        """A request to the rear zone by an independent client."""
        port = int(self.endpoints["rear"].rpartition(":")[2])
        client: Any = DoIPClient(  # type: ignore[no-untyped-call] # the library ships no annotations
            "127.0.0.1", 0x1031, tcp_port=port, udp_port=port, client_logical_address=0x0E80
        )
        try:
            client.send_diagnostic(bytes.fromhex(request))
            return bytes(client.receive_diagnostic(timeout=10))
        finally:
            client.close()

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        code = self._process.wait(timeout=20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def test_a_killed_process_comes_back_with_the_flash_that_it_had(tmp_path: Path) -> None:
    image = firmware.image_path("rear", "1.0.0")
    first = EcuProcess(tmp_path, f"--factory-image=rear={image}")
    try:
        version = first.ask("22 F1 89")
    finally:
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    again = EcuProcess(tmp_path)
    try:
        assert again.ask("22 F1 89") == version == b"\x62\xf1\x891.0.0"
    finally:
        assert again.end(signal.SIGTERM) == 0
