"""`python -m tests.mutation FOLDER`: exit code 1 below the share that has to be killed."""

import argparse
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import pytest

from tests.mutation.forks import Forks, Outcome, Verdict
from tests.mutation.mutants import Mutant, mutants, rows
from tests.mutation.targets import TARGETS

#: Where survivors stand, with the reason why each may live.
REASONS: Final = Path(__file__).parents[2] / "docs/explanation/mutants.md"
LEAST: Final = 0.90
#: Tests that wait for a disk at each entry of a journal wait here for nothing, where there is it.
MEMORY: Final = Path("/dev/shm")  # noqa: S108 the temporary folder below it has a name of its own


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS), help="what is mutated")
    parser.add_argument(
        "--file", action="append", help="only sources whose path has this in it; may be repeated"
    )
    parser.add_argument(
        "--tests", action="append", help="only tests whose path has this in it; may be repeated"
    )
    parser.add_argument(
        "--rows", action="store_true", help="mistakes in the rows of tables, and not in functions"
    )
    parser.add_argument("--sample", type=int, help="so many mutants, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds of one mutant")
    parser.add_argument(
        "--slowest", type=float, default=math.inf, help="leave out tests that take more seconds"
    )
    options = parser.parse_args(arguments)
    made = [
        mutant
        for path in _sources(options.target)
        if any(part in str(path) for part in options.file or [""])
        for mutant in (rows if options.rows else mutants)(path.read_text("utf-8"), str(path))
    ]
    if options.sample is not None and options.sample < len(made):
        made = random.Random(options.seed).sample(made, options.sample)  # noqa: S311 repeatable
    plugin = Forks(
        made,
        workers=options.workers,
        timeout_s=options.timeout,
        slowest_s=options.slowest,
        told=_Told(len(made)),
    )
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        options_of_pytest = [
            *("-q", "-n0", "-p", "no:cacheprovider"),
            *(f"--basetemp={folder}/tests", "-o", "tmp_path_retention_policy=failed"),
        ]
        tests = [
            test
            for test in TARGETS[options.target]
            if any(part in test for part in options.tests or [""])
        ]
        code = pytest.main([*options_of_pytest, *tests], plugins=[plugin])
    if code != pytest.ExitCode.OK:
        return 1
    return _summed_up(plugin.verdicts)


def _sources(target: str) -> list[Path]:
    path = Path(target)
    return [path] if path.is_file() else sorted(path.glob("*.py"))


class _Told:
    """Progress on the error output."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._began = total, 0, time.perf_counter()

    def __call__(self, verdict: Verdict) -> None:
        self._done += 1
        if verdict.outcome is Outcome.SURVIVED:
            sys.stderr.write(f"survived {verdict.mutant}\n")
        if self._done % 25 == 0 or self._done == self._total:
            took_s = time.perf_counter() - self._began
            sys.stderr.write(f"{self._done} of {self._total} in {took_s:.0f} s\n")


def _summed_up(verdicts: list[Verdict]) -> int:
    survivors = [one.mutant for one in verdicts if one.outcome is Outcome.SURVIVED]
    known = REASONS.read_text("utf-8") if REASONS.exists() else ""
    for mutant in sorted(survivors, key=lambda one: (one.path, one.line, one.number)):
        sys.stdout.write(f"{'explained' if _explained(mutant, known) else 'SURVIVED'}: {mutant}\n")
    killed = len(verdicts) - len(survivors)
    share = killed / len(verdicts) if verdicts else 1.0
    late = sum(one.outcome is Outcome.TIMEOUT for one in verdicts)
    sys.stdout.write(
        f"{len(verdicts)} mutants, {killed} killed ({late} by the clock),"
        f" {len(survivors)} survived: {share:.1%}\n"
    )
    return 0 if share >= LEAST else 1


def _explained(mutant: Mutant, known: str) -> bool:
    return f"`{mutant.name}`" in known


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
