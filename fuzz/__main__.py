"""`python -m fuzz [--seconds N] [NAME...]`: the harnesses under atheris, side by side."""

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz import CORPUS, Harness, every_harness

#: What a new finding is written to, besides the report.
_FINDINGS: Final = Path("fuzz-findings")
#: A harness that takes so long for one input, or so much memory, has a finding too.
_INPUT_LIMIT_S: Final = 5
_MEMORY_LIMIT_MB: Final = 1024
#: A harness fuzzes so long at least, whatever its start has taken.
_LEAST_S: Final = 2
_ROOMS: Final = (
    *("protocols", "dbc", "recording", "ecu_sim", "vehicle_gateway", "cloud", "canota", "fuzz"),
)
_EXECUTIONS: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERAGE: Final = re.compile(r"cov: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    name: str
    executions: int
    #: Branches that were reached.
    coverage: int
    #: Empty if the invariant held.
    finding: str


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=200, help="for all harnesses together")
    # The child's: a reading of the clock that all processes share.
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all harnesses if none is named")
    options = parser.parse_args(arguments)
    if options.until is not None:
        _fuzz(options.names[0], options.until)
        return 0
    started = time.perf_counter()
    names = options.names or list(every_harness())
    if unknown := set(names) - set(every_harness()):
        parser.error(
            f"no harness {', '.join(sorted(unknown))}; there are {', '.join(every_harness())}"
        )
    return _run(names, options.seconds, started=started)


def _run(names: Sequence[str], seconds: int, *, started: float) -> int:
    jobs = min(len(names), os.cpu_count() or 1)
    budget = Budget(seconds=seconds, harnesses=len(names), jobs=jobs, now=started)

    def watch(name: str) -> Verdict:
        now = time.perf_counter()
        return _watch(name, now + budget.take(now=now))

    failed = False
    with ThreadPoolExecutor(jobs) as pool:
        for verdict in pool.map(watch, names):
            said = f"{verdict.executions:>9} inputs, {verdict.coverage:>5} branches"
            print(f"{verdict.name:<18} {said}  {'FOUND' if verdict.finding else 'ok'}", flush=True)  # noqa: T201 a command line
            if verdict.finding:
                failed = True
                print(verdict.finding, flush=True)  # noqa: T201 a command line
    return int(failed)


class Budget:
    """Seconds for all harnesses together, some of them side by side.

    Each gets its share of what is left, so that a slow start of one shortens the others, and time
    that one does not need is theirs.
    """

    def __init__(self, *, seconds: float, harnesses: int, jobs: int, now: float) -> None:
        self._end = now + seconds
        self._left = harnesses
        self._jobs = jobs

    def take(self, *, now: float) -> float:
        """The share of one harness from its start on, import and instrumentation included."""
        turns = -(-self._left // self._jobs)
        self._left -= 1
        return max(0.0, self._end - now) / max(1, turns)


def _watch(name: str, until: float) -> Verdict:
    """One harness in a process of its own, since a finding ends the fuzzer's."""
    command = [sys.executable, "-m", "fuzz", f"--until={until}", name]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 ourselves
    said = done.stdout + done.stderr
    executions = _EXECUTIONS.findall(said)
    coverage = _COVERAGE.findall(said)
    # A fuzzer that did not get to its first input has proved nothing.
    sound = done.returncode == 0 and executions and int(executions[-1]) > 0
    return Verdict(
        name=name,
        executions=int(executions[-1]) if executions else 0,
        coverage=int(coverage[-1]) if coverage else 0,
        finding="" if sound else said[-4000:],
    )


def _fuzz(name: str, until: float) -> None:
    """Does not return: the fuzzer ends the process then, however long its start has taken."""
    import atheris  # noqa: PLC0415 only here: the harnesses are replayed without it

    with atheris.instrument_imports(include=list(_ROOMS)):
        harness = importlib.import_module(f"fuzz.harnesses.{name}").HARNESS
    if not isinstance(harness, Harness):
        raise TypeError(f"{name}: no harness")
    _FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"canota-fuzz-{name}-") as folder:
        for number, seed in enumerate(harness.seeds):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        known = CORPUS / name
        flags = {
            "max_total_time": max(_LEAST_S, round(until - time.perf_counter())),
            "max_len": harness.max_length,
            "timeout": _INPUT_LIMIT_S,
            "rss_limit_mb": _MEMORY_LIMIT_MB,
            "print_final_stats": 1,
            "artifact_prefix": f"{_FINDINGS}/{name}-",
        }
        given = [f"-{flag}={value}" for flag, value in flags.items()]
        folders = [folder, *([str(known)] if known.is_dir() else [])]
        atheris.Setup([sys.argv[0], *given, *folders], harness.prove)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
