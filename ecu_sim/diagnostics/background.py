"""Routines that run on in the background of a session (31), and their jobs' deadlines."""

from collections.abc import Iterable
from dataclasses import dataclass

from ecu_sim.diagnostics import BackgroundRoutine, Nrc, Refusal
from ecu_sim.diagnostics.work import Run


@dataclass(slots=True)
class _Started:
    routine: BackgroundRoutine
    run: Run | None


class BackgroundRoutines:
    """The last run of each routine; one that has ended can be asked for until the next reset."""

    def __init__(self) -> None:
        self._started: dict[int, _Started] = {}

    def start(self, rid: int, routine: BackgroundRoutine, *, now: float) -> bytes:
        """Begin a run; its status. `Refusal(REQUEST_SEQUENCE_ERROR)` while one runs already."""
        if self._is_running(rid):
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "the routine runs already")
        run = Run(routine.start(), now=now)
        self._started[rid] = _Started(routine, None if run.finished else run)
        return routine.status()

    def stop(self, rid: int) -> bytes:
        if not self._is_running(rid):
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "the routine does not run")
        self._end(self._started[rid])
        return self._started[rid].routine.status()

    def results(self, rid: int) -> bytes:
        started = self._started.get(rid)
        if started is None:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "the routine has not been started")
        return started.routine.status()

    def end(self, rids: Iterable[int]) -> None:
        """Stop those that run: their session is over."""
        for rid in rids:
            if rid in self._started:
                self._end(self._started[rid])

    def next_deadline(self) -> float | None:
        return min((one.run.due for one in self._started.values() if one.run), default=None)

    def advance(self, now: float) -> None:
        for started in self._started.values():
            run = started.run
            if run is None or run.due > now:
                continue
            try:
                run.advance(now=now)
            except Refusal:
                started.run = None  # it has ended itself: its status says so
            else:
                started.run = None if run.finished else run

    def _is_running(self, rid: int) -> bool:
        return rid in self._started and self._started[rid].run is not None

    @staticmethod
    def _end(started: _Started) -> None:
        run, started.run = started.run, None
        if run is not None:
            started.routine.stop()
            run.close()
