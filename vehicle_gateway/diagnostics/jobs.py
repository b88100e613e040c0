"""Runs the jobs that the cloud offers: each at most once, each with a result."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from protocols.preconditions import Evaluation, Expression
from protocols.uds import MalformedResponseError
from vehicle_gateway.diagnostics.ledger import Begun, JobLedger, valid
from vehicle_gateway.diagnostics.orders import (
    ClearDtcs,
    Finding,
    Job,
    JobEnd,
    JobResult,
    OutputHold,
    Routine,
    TakeSnapshot,
)
from vehicle_gateway.diagnostics.perform import (
    Dialogue,
    JobEndError,
    Watch,
    clear,
    hold_output,
    restore,
    run_routine,
)
from vehicle_gateway.diagnostics.state import VehicleState, findings, unmet
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.testers import Testers

_LOG = logging.getLogger(__name__)

_CUT_OFF: Final = (
    "begun, and cut off before its end: it may have had its effect, and it is not repeated"
)


class Results(Protocol):
    """Where results go."""

    def keep_result(self, result: JobResult) -> None:
        """Have it on disk for the cloud; raises `OutboxError`."""

    def holds_result(self, job_id: str) -> bool:
        """Whether a job's result waits for the cloud."""


#: Reads ECUs (none: all) and keeps the snapshot under an id.
TakeReading = Callable[[str, Sequence[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunner:
    """`condition` is what has to be met for anything that moves, clears or tests something."""

    vin: str
    testers: Testers
    state: VehicleState
    ledger: JobLedger
    results: Results
    take_reading: TakeReading
    condition: Expression
    now_us: Callable[[], int]

    async def recover(self) -> None:
        """Give back what a gateway that was cut off within a job held, and say so.

        Raises `LedgerError` and `OutboxError`.
        """
        for job_id, begun in self.ledger.cut_off().items():
            if not self.results.holds_result(job_id):
                await self._recover(job_id, begun)
            self.ledger.end(job_id)

    async def run(self, jobs: Sequence[Job]) -> None:
        """Do what was not done before, in order. Raises `LedgerError` and `OutboxError`."""
        self.ledger.keep_only({job.id for job in jobs})
        for job in jobs:
            if not valid(job.id):
                _LOG.error("job_ignored name=%r", job.name)
            elif not self.ledger.knows(job.id):
                result = await self._do(job)
                self.results.keep_result(result)
                self.ledger.end(job.id)
                _LOG.info("job_ends job=%s end=%s", job.name, result.end.value)

    async def _do(self, job: Job) -> JobResult:
        start_us = self.now_us()
        dialogue = Dialogue(self.testers, asyncio.get_running_loop().time)
        conditions: tuple[Finding, ...] = ()
        snapshot = ""
        try:
            self._check(job, start_us)
            if not isinstance(job.action, TakeSnapshot):
                evaluation = await self.state.heard(self.condition, self.testers.wake)
                conditions = findings(evaluation)
                _require(evaluation)
            self.ledger.begin(job.id, _begun(job, start_us))
            detail = await self._perform(job, dialogue)
            end = JobEnd.SUCCEEDED
            snapshot = _snapshot_of(job)
        except JobEndError as error:
            end, detail = error.end, error.detail
        except (WireError, MalformedResponseError) as error:
            end, detail = JobEnd.FAILED, str(error)
        return JobResult(
            job=job.name,
            end=end,
            detail=detail,
            start_us=start_us,
            finish_us=self.now_us(),
            exchanges=dialogue.exchanges,
            snapshot=snapshot,
            conditions=conditions,
        )

    def _check(self, job: Job, now_us: int) -> None:
        if now_us > job.expire_us:
            late_s = (now_us - job.expire_us) / 1_000_000
            raise JobEndError(JobEnd.EXPIRED, f"its time was over {late_s:.0f} s ago")
        known = self.testers.vehicle.ecus
        unknown = [ecu for ecu in _ecus(job) if ecu not in known]
        if unknown:
            raise JobEndError(
                JobEnd.REFUSED, f"no ECU {', '.join(unknown)} in this vehicle: {', '.join(known)}"
            )

    async def _perform(self, job: Job, dialogue: Dialogue) -> str:
        watch = Watch(self.state, self.condition, self.testers.wake)
        match job.action:
            case Routine():
                return await run_routine(job.action, dialogue, watch)
            case OutputHold():
                return await hold_output(job.action, dialogue, watch)
            case ClearDtcs():
                ecus = job.action.ecus or tuple(self.testers.vehicle.ecus)
                return await clear(job.action, dialogue, ecus)
            case TakeSnapshot():
                ecus = job.action.ecus or tuple(self.testers.vehicle.ecus)
                await self.take_reading(_snapshot_of(job), ecus)
                return f"read: {', '.join(ecus)}"

    async def _recover(self, job_id: str, begun: Begun) -> None:
        dialogue = Dialogue(self.testers, asyncio.get_running_loop().time)
        detail = _CUT_OFF
        if begun.ecu in self.testers.vehicle.ecus:
            try:
                await restore(dialogue, begun.ecu, output=begun.output, routine=begun.routine)
                detail += f"; {begun.ecu} is back in its default session"
            except (WireError, MalformedResponseError) as error:
                detail += f"; {error}: its session has ended by itself (S3)"
        now_us = self.now_us()
        self.results.keep_result(
            JobResult(
                job=f"vehicles/{self.vin}/diagnosticJobs/{job_id}",
                end=JobEnd.UNKNOWN,
                detail=detail,
                start_us=begun.start_us or now_us,
                finish_us=now_us,
                exchanges=dialogue.exchanges,
            )
        )
        _LOG.warning("job_cut_off job=%s detail=%s", job_id, detail)


def _require(evaluation: Evaluation) -> None:
    if not evaluation.met:
        raise JobEndError(JobEnd.REFUSED, unmet(evaluation))


def _ecus(job: Job) -> tuple[str, ...]:
    match job.action:
        case Routine(ecu=ecu) | OutputHold(ecu=ecu):
            return (ecu,)
        case ClearDtcs(ecus=ecus) | TakeSnapshot(ecus=ecus):
            return ecus


def _begun(job: Job, start_us: int) -> Begun:
    match job.action:
        case Routine(ecu=ecu, routine_identifier=routine):
            return Begun(start_us=start_us, ecu=ecu, routine=routine)
        case OutputHold(ecu=ecu, data_identifier=output):
            return Begun(start_us=start_us, ecu=ecu, output=output)
        case _:
            return Begun(start_us=start_us)


def _snapshot_of(job: Job) -> str:
    return f"job-{job.id}" if isinstance(job.action, TakeSnapshot) else ""
