"""Answers that take time: jobs on the ECU's memory, run by their own deadlines."""

from collections.abc import Callable
from dataclasses import dataclass

from ecu_sim.diagnostics import Job, ServerEvent


class Run:
    """A job under way: each operation's end is its next deadline, however late we are called."""

    __slots__ = ("_job", "due", "result")

    def __init__(self, job: Job, *, now: float) -> None:
        self._job = job
        #: When the operation under way ends, loop time in seconds.
        self.due = now
        #: What the job returned, once it has.
        self.result: bytes | None = None
        self.advance(now=now)

    @property
    def finished(self) -> bool:
        return self.result is not None

    def advance(self, *, now: float) -> None:
        """Do what is due; the job's `Refusal`, if it fails, comes out here."""
        while self.result is None and self.due <= now:
            try:
                self.due += next(self._job)
            except StopIteration as stop:
                self.result = stop.value or b""

    def close(self) -> None:
        self._job.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """A positive response (`None`: another program sends it), and what follows it."""

    payload: bytes | None
    then: tuple[ServerEvent, ...] = ()


def _at_once() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A request whose answer takes a job."""

    #: Called with the loop time when the job may start; raises `Refusal` if it cannot after all.
    start: Callable[[float], Job]
    #: Makes the answer of the job's result.
    finish: Callable[[bytes], Answer]
    #: The job may not start yet while this is true.
    waits: Callable[[], bool] = _at_once


def done(result: bytes = b"") -> Job:
    """A job that takes no time."""
    yield from ()
    return result
