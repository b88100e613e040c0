"""Starts the gateway's software, watches it, and starts it again: what a boot loader is to an ECU.

The process runs from the slot that the record names, and gets that slot's number. It is alive as
long as it touches the file `alive`; one that does not is killed and started anew. On trial, a
process that is killed for that has failed; one that ends by itself has used up one of the trial's
starts.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vehicle_gateway.software import RESTART_CODE, SoftwareError
from vehicle_gateway.software.record import State
from vehicle_gateway.software.slots import Package, SoftwareSlots
from vehicle_gateway.software.unpack import unpack

_LOG = logging.getLogger(__name__)
_ALIVE: Final = "alive"
_LOOK_S: Final = 0.2


def alive(folder: Path) -> None:
    """Say to the launcher that this process lives."""
    (folder / _ALIVE).touch()


class Launcher:
    """Runs one gateway after the other until one ends that was not asked to start anew."""

    def __init__(
        self,
        slots: SoftwareSlots,
        command: Callable[[Package], Sequence[str]],
        *,
        watchdog_s: float = 60.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`command` makes the arguments of Python for a package; `stopped` ends the running one."""
        self._slots = slots
        self._command = command
        self._watchdog_s = watchdog_s
        self._stopped = stopped

    def run(self) -> int:
        """The exit code of the last process; `SoftwareError` if nothing can be started."""
        while True:
            package = self._slots.start()
            trial = self._slots.record.state is State.TRIAL
            _LOG.info(
                "gateway_starts slot=%d version=%s trial=%s",
                package.slot,
                package.declared.software_version,
                trial,
            )
            folder = self._slots.folder / f"slot-{package.slot}"
            try:
                unpack(package.archive, folder)
            except SoftwareError as error:
                if not trial:
                    raise
                _LOG.warning("gateway_trial_failed cause=%s", error)
                self._slots.fail()
                continue
            code = self._watch(folder, self._command(package))
            if self._stopped():
                return code
            trial = self._slots.record.state is State.TRIAL
            _LOG.info("gateway_ended slot=%d code=%d trial=%s", package.slot, code, trial)
            if code != RESTART_CODE and not trial:
                return code

    def _watch(self, folder: Path, arguments: Sequence[str]) -> int:
        alive(self._slots.folder)
        process = subprocess.Popen(  # noqa: S603 our own verified software
            [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(folder)}
        )
        stopping = False
        touched, since_s = self._touched_ns(), _now_s()
        while True:
            try:
                return process.wait(timeout=_LOOK_S)
            except subprocess.TimeoutExpired:
                pass
            if self._stopped() and not stopping:
                process.terminate()
                stopping = True
            if touched != (touched := self._touched_ns()):
                since_s = _now_s()
            if _now_s() - since_s > self._watchdog_s:
                _LOG.warning("gateway_hangs pid=%d", process.pid)
                process.kill()
                process.wait()
                self._slots.fail()
                return RESTART_CODE

    def _touched_ns(self) -> int:
        """When the file was touched last: only whether that changes counts."""
        return (self._slots.folder / _ALIVE).stat().st_mtime_ns


def _now_s() -> float:
    """Of a clock that nobody sets: a gateway gets the date when it is long since running."""
    return time.monotonic()  # noqa: TID251 a real process is watched
