"""A pytest plugin that runs the collected tests on each mutant, in a forked process."""

import contextlib
import gc
import importlib
import os
import pickle
import signal
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Final

import pytest

from tests.mutation.mutants import Mutant, Row, module_name


class Outcome(Enum):
    KILLED = "killed"
    TIMEOUT = "killed by the clock"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """Of one test: its seconds, and the functions of the targets that it runs."""

    seconds: float
    functions: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    child: int
    mutant: Mutant
    #: Where the child writes which test has failed.
    noticed: int

    def noticed_by(self) -> list[str]:
        """The test that failed, of a child that has ended."""
        with os.fdopen(self.noticed, "rb") as file:
            found = file.read().decode()
        return [found] if found else []


#: How a child ends.
_ALL_PASSED: Final = 0
_ONE_FAILED: Final = 1


class Forks:
    def __init__(
        self,
        mutants: Sequence[Mutant],
        *,
        workers: int,
        timeout_s: float,
        slowest_s: float,
        told: Callable[[Verdict], None],
    ) -> None:
        self._mutants = mutants
        self._workers = workers
        self._timeout_s = timeout_s
        self._slowest_s = slowest_s
        self._told = told
        #: Of each test, how many mutants it has noticed: whoever notices much is asked first.
        self._noticed: Counter[str] = Counter()
        self.verdicts: list[Verdict] = []
        self._failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("the tests cannot be collected")
        reach = self._measured(session.items)
        # What lives in the parent is not looked at by the children's collections again and again.
        gc.collect()
        gc.freeze()
        running: dict[int, _Running] = {}
        waiting = list(self._mutants)
        while waiting or running:
            while waiting and len(running) < self._workers:
                begun = self._fork(waiting.pop(0), session.items, reach)
                running[begun.child] = begun
            child, status = os.wait()
            if child in running:
                ended = running.pop(child)
                self._noticed.update(ended.noticed_by())
                verdict = Verdict(ended.mutant, _outcome(status))
                self.verdicts.append(verdict)
                self._told(verdict)
        return True

    def _measured(self, items: Sequence[pytest.Item]) -> dict[str, _Reach]:
        """Run all tests on the code as it is: they must pass, and their reach is kept."""
        paths = {str(Path(mutant.path).resolve()) for mutant in self._mutants}
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) / "reach"
            child = os.fork()
            if child == 0:
                with _quiet():
                    found = {item.nodeid: self._reach_of(item, paths) for item in items}
                kept.write_bytes(pickle.dumps(found))
                os._exit(_ONE_FAILED if self._failed else _ALL_PASSED)
            _, status = os.waitpid(child, 0)
            if status:
                raise pytest.UsageError("the tests fail on the code as it is")
            read: dict[str, _Reach] = pickle.loads(kept.read_bytes())  # noqa: S301 our own child's
            return read

    def _reach_of(self, item: pytest.Item, paths: set[str]) -> _Reach:
        seen: set[tuple[str, str]] = set()

        def trace(frame: FrameType, _event: str, _argument: object) -> None:
            code = frame.f_code
            if code.co_filename in paths:
                seen.add((code.co_filename, code.co_qualname.partition(".<locals>")[0]))

        began = time.perf_counter()
        sys.setprofile(trace)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            sys.setprofile(None)
        return _Reach(seconds=time.perf_counter() - began, functions=frozenset(seen))

    def _asks(self, reach: _Reach, places: set[tuple[str, str]]) -> bool:
        return reach.seconds <= self._slowest_s and not places.isdisjoint(reach.functions)

    def _fork(
        self, mutant: Mutant, items: Sequence[pytest.Item], reach: dict[str, _Reach]
    ) -> "_Running":
        reader, writer = os.pipe()
        child = os.fork()
        if child:
            os.close(writer)
            return _Running(child=child, mutant=mutant, noticed=reader)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
        path = str(Path(mutant.path).resolve())
        places = {(path, function) for function in mutant.reached_by}
        reaching = [item for item in items if self._asks(reach[item.nodeid], places)]
        try:
            with _quiet():
                _exchange(mutant)
                for item in sorted(
                    reaching,
                    key=lambda one: (-self._noticed[one.nodeid], reach[one.nodeid].seconds),
                ):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                    if self._failed:
                        os.write(writer, item.nodeid.encode())
                        break
        except BaseException:  # noqa: BLE001 whatever it is, a test run that ends so has noticed
            self._failed = True
        os._exit(_ONE_FAILED if self._failed else _ALL_PASSED)


def _outcome(status: int) -> Outcome:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return Outcome.TIMEOUT
    return Outcome.SURVIVED if status == 0 else Outcome.KILLED


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what a child says is of interest."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        yield


def _exchange(mutant: Mutant) -> None:
    """Give the function its mutated body, or the table its row, wherever it was imported to."""
    module = importlib.import_module(module_name(mutant.path))
    if isinstance(mutant.put, Row):
        _exchange_row(module, mutant.put)
        return
    place: object = module
    for part in mutant.function.split("."):
        place = vars(place)[part]
    function = _function_of(place)
    _require_same_shape(function.__code__, mutant.put)
    function.__code__ = mutant.put


def _exchange_row(module: types.ModuleType, row: Row) -> None:
    table = vars(module)[row.table]
    if isinstance(table, types.MappingProxyType):
        # It keeps everyone from writing; what it is a view of is the only thing that it refers to.
        (table,) = gc.get_referents(table)
    table[list(table)[row.number]] = eval(row.value, vars(module))  # noqa: S307 of our own source


def _function_of(found: object) -> FunctionType:
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    found = getattr(found, "__wrapped__", found)
    if not isinstance(found, types.FunctionType):
        raise TypeError(f"{found!r} is no function")
    return found


def _require_same_shape(before: CodeType, after: CodeType) -> None:
    if before.co_freevars != after.co_freevars:
        raise ValueError(f"{before.co_qualname}: other names from around it")
