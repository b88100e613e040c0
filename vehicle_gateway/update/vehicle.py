"""The update of the whole vehicle: does what the coordinator decides, entry before effect."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from enum import Enum
from functools import partial
from typing import Any, Final

from dbc.vehicle import VehicleDescription
from vehicle_gateway.update import EcuUpdater, Progress, ProgressSink, UpdateError
from vehicle_gateway.update.account import Opening, UpdateReport, report
from vehicle_gateway.update.clearance import Clearance
from vehicle_gateway.update.coordinator import (
    Direction,
    State,
    Verb,
    decide,
    interlocked,
    may_wait,
)
from vehicle_gateway.update.images import Images
from vehicle_gateway.update.inspection import Inspection
from vehicle_gateway.update.jobs import Jobs
from vehicle_gateway.update.journal import Journal, JournalError, Kind
from vehicle_gateway.update.ledger import Ledger
from vehicle_gateway.update.parts import Parts
from vehicle_gateway.update.snapshots import Snapshots, VehicleDiagnostics
from vehicle_gateway.update.steps import PATIENCE_S, EcuSteps, TurnedError

_LOG = logging.getLogger(__name__)

#: Seconds to wait for an ECU that is away while it is staged: this, doubled with each time.
_ABSENT_S: Final = 2.0


class Phase(Enum):
    """What the vehicle is at, for whoever watches."""

    DOWNLOADING = "downloading"
    STAGING = "staging"
    #: For preconditions and the driver.
    AWAITING = "awaiting"
    ACTIVATING = "activating"
    CONFIRMING = "confirming"
    REVERTING = "reverting"
    DONE = "done"


#: What a watcher sees while the flow does this; verbs without a row change nothing.
PHASES: Final[Mapping[Verb, Phase]] = {
    Verb.SNAPSHOT_BEFORE: Phase.DOWNLOADING,
    Verb.DOWNLOAD: Phase.DOWNLOADING,
    Verb.STAGE: Phase.STAGING,
    Verb.CLEAR: Phase.AWAITING,
    Verb.ACTIVATE: Phase.ACTIVATING,
    Verb.READ_BACK: Phase.ACTIVATING,
    # Not confirming yet: what stands in the way of the commit still turns it back.
    Verb.COMMIT: Phase.ACTIVATING,
    Verb.CONFIRM: Phase.CONFIRMING,
    Verb.REVERT: Phase.REVERTING,
}


class VehicleUpdate:
    """One update, from its first entry or from wherever its journal ends."""

    def __init__(
        self,
        *,
        journal: Journal,
        vehicle: VehicleDescription,
        updaters: Mapping[str, EcuUpdater],
        images: Images,
        diagnostics: VehicleDiagnostics,
        clearance: Clearance,
        now_us: Callable[[], int],
        observe_s: float,
        on_phase: Callable[[Phase], None],
        on_progress: ProgressSink,
    ) -> None:
        """Take up what the journal holds; it must have its first entry (see `begin`).

        `observe_s` seconds pass between the clearing of the DTCs and the last reading, so that
        monitors can complete. Raises `JournalError` if the journal is not an update's.
        """
        self._clearance = clearance
        self._ledger = Ledger(journal, now_us=now_us, on_state=self._hold, on_progress=on_progress)
        self._parts = Parts(self._ledger)
        self._jobs = Jobs(self._ledger, vehicle=vehicle, images=images)
        self._steps = EcuSteps(self._ledger, updaters=updaters, jobs=self._jobs, parts=self._parts)
        self._inspection = Inspection(
            self._ledger, updaters=updaters, steps=self._steps, parts=self._parts
        )
        self._vehicle = vehicle
        self._snapshots = Snapshots(self._ledger, diagnostics)
        self._now_us = now_us
        self._observe_s = observe_s
        self._on_phase = on_phase
        self._on_progress = on_progress
        #: Work that a withdrawal breaks off.
        self._breakable: set[asyncio.Task[None]] = set()
        #: What stages going forward, and whether it may.
        self._staging: asyncio.Task[Any] | None = None
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def opening(self) -> Opening:
        return self._ledger.opening

    async def run(self) -> UpdateReport:
        """Go on to the end; the report is made when nothing but the `FINISHED` entry is missing.

        Raises `NotNowError` before anything is touched, `JournalError` at any time: the same
        again later goes on where this ended.
        """
        self._hold(self._ledger.state)
        if self._ledger.state.direction is Direction.KEEP:
            self._jobs.discard_dead()
        if Kind.DOWNLOADED in self._ledger.state.facts:
            await self._jobs.fetch_again()
        while (decision := decide(self._ledger.state)).verb not in {Verb.FINISH, Verb.NOTHING}:
            _LOG.debug("update_decides verb=%s ecus=%s", decision.verb.value, decision.ecus)
            if phase := PHASES.get(decision.verb):
                self._on_phase(phase)
            await self._do(decision.verb, decision.ecus)
        return report(self._ledger.entries, self._vehicle, finish_us=self._now_us())

    def withdraw(self, cause: str) -> bool:
        """Have the update go back, as it may until its commit; answers whether this turned it.

        The entry is on disk when this returns. What is being fetched, staged or waited for is
        broken off; an ECU that is being activated ends that first. Asked again, or behind the
        commit, it changes nothing. Raises `JournalError`; then the update goes on.
        """
        if self._ledger.state.direction is not Direction.FORWARD:
            return False
        _LOG.info("update_withdrawn cause=%s", cause)
        self._ledger.note(Kind.CANCELLED, cause=cause)
        for task in self._breakable:
            task.cancel()
        return True

    def rest(self) -> None:
        """Stage no more before `go_on`: the car is parked, and its ECUs shall sleep.

        What is in their memory stays, and staging goes on behind it. Whatever is activated, or
        goes back, is brought to its end all the same.
        """
        if self._awake.is_set():
            _LOG.info("staging_rests")
            self._awake.clear()
            if self._staging is not None:
                self._staging.cancel()

    def go_on(self) -> None:
        if not self._awake.is_set():
            _LOG.info("staging_goes_on")
            self._awake.set()

    def finish(self, result: UpdateReport) -> None:
        """Close the journal; the report is kept elsewhere by now."""
        if Kind.FINISHED not in self._ledger.state.facts:
            self._ledger.note(Kind.FINISHED, outcome=result.outcome.value, cause=result.reason)
        self._on_phase(Phase.DONE)

    async def _do(self, verb: Verb, ecus: tuple[str, ...]) -> None:
        match verb:
            case Verb.SNAPSHOT_BEFORE:
                await self._breakably(self._snapshots.take(Kind.SNAPSHOT_BEFORE, "before_update"))
            case Verb.DOWNLOAD:
                await self._breakably(self._download())
            case Verb.STAGE:
                await self._stage_all(ecus)
            case Verb.CLEAR:
                await self._breakably(self._clear())
            case Verb.ACTIVATE:
                await self._watched(partial(self._at_once, self._steps.activate, ecus))
            case Verb.READ_BACK:
                await self._watched(partial(self._at_once, self._steps.prove, ecus))
            case Verb.COMMIT:
                await self._watched(self._commit)
            case Verb.CONFIRM:
                await self._at_once(self._steps.confirm, ecus)
            case Verb.REVERT:
                await self._clearance.safe(self._ledger.opening.offer)
                await self._at_once(self._steps.revert, ecus)
            case Verb.GIVE_UP:
                for ecu in ecus:
                    self._ledger.give_up(ecu)
            case Verb.CLEAR_DTCS:
                await self._snapshots.clear_dtcs()
            case Verb.SNAPSHOT_AFTER:
                if self._ledger.state.direction is Direction.KEEP:
                    await asyncio.sleep(self._observe_s)
                await self._snapshots.take(Kind.SNAPSHOT_AFTER, "after_update")
            case Verb.INSPECT:
                await self._inspection.look()
            case Verb.FINISH | Verb.NOTHING:
                pass

    # The vehicle as a whole

    async def _download(self) -> None:
        started_us = self._now_us()
        try:
            await self._jobs.fetch()
            self._ledger.reserve()
        except UpdateError as error:
            self._ledger.fail(error, started_us=started_us)
        except JournalError as error:
            self._ledger.note(
                Kind.FAILED, started_us=started_us, step="downloading", cause=str(error)
            )
        else:
            self._ledger.note(Kind.DOWNLOADED, started_us=started_us)

    async def _stage_all(self, ecus: tuple[str, ...]) -> None:
        if self._ledger.state.direction is Direction.FORWARD:
            await self._breakably(self._stage_forward(ecus))
        else:
            await self._at_once(self._steps.stage, ecus)

    async def _stage_forward(self, ecus: tuple[str, ...]) -> None:
        started_us = self._now_us()
        await self._awake.wait()
        self._staging = asyncio.current_task()
        try:
            await self._clearance.staging(self._ledger.opening.offer)
        except UpdateError as error:
            self._ledger.fail(error, started_us=started_us)
        else:
            # The first failure ends it for all: the others need not go on.
            await self._at_once(self._steps.stage, ecus, stop_at_failure=True)

    async def _clear(self) -> None:
        """Preconditions, consent and interlock; a restarted gateway asks for all of it again."""
        started_us, begun = self._now_us(), interlocked(self._ledger.state)
        try:
            found = await self._clearance.obtain(
                self._ledger.opening.offer,
                entries=self._ledger.entries,
                begun=begun,
                note=lambda kind, fields: self._ledger.note(kind, **fields),
            )
        except UpdateError as error:
            self._ledger.fail(
                error, started_us=started_us, kind=Kind.FAILED if begun else Kind.REFUSED
            )
        else:
            self._ledger.note(Kind.CLEARED, started_us=started_us, **found)

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it while the preconditions hold: one that no longer does turns the update back.

        Behind the commit nothing turns any more; then it waits until the vehicle is safe.
        """
        if self._ledger.state.direction is not Direction.FORWARD:
            await self._clearance.safe(self._ledger.opening.offer)
            await work()
            return
        started_us = self._now_us()
        doing = asyncio.create_task(work(), name="watched")
        watching = asyncio.create_task(self._clearance.violation(), name="preconditions")
        try:
            await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and self._ledger.state.direction is Direction.FORWARD:
                # On disk before anything is broken off.
                self._ledger.fail(watching.result(), started_us=started_us)
                doing.cancel()
            await asyncio.wait({doing})
            if not doing.cancelled():
                doing.result()
        finally:
            doing.cancel()
            watching.cancel()
            await asyncio.gather(doing, watching, return_exceptions=True)

    async def _commit(self) -> None:
        """Only while every ECU runs the release: a trial may have ended since it was proved.

        The single-slot ECUs are programmed meanwhile, which takes its time; behind the commit,
        firmware that does not last, or an ECU that is gone, would leave the vehicle half updated.
        """
        started_us = self._now_us()
        ecus = [part.ecu for part in self._ledger.state.parts]
        for inventory in await asyncio.gather(*(self._steps.ask(ecu) for ecu in ecus)):
            if self._parts.is_replaced(inventory):
                self._parts.replace(inventory)
            elif (wrong := self._steps.not_new(inventory)) is not None:
                error = UpdateError(ecu=inventory.ecu, step="committing", cause=wrong)
                self._ledger.fail(error, ecu=inventory.ecu, started_us=started_us)
        try:
            self._clearance.check()  # Nothing waits between this and the entry.
        except UpdateError as error:
            self._ledger.fail(error, started_us=started_us)
        if self._ledger.state.direction is Direction.FORWARD:
            self._ledger.note(Kind.COMMIT, started_us=started_us, discards=self._jobs.dead())
            self._jobs.discard_dead()

    # What they stand on

    async def _at_once(
        self,
        act: Callable[[str, int], Coroutine[Any, Any, None]],
        ecus: Iterable[str],
        *,
        stop_at_failure: bool = False,
    ) -> None:
        """Do it to all of them; a failure is in the journal when this returns."""
        direction = self._ledger.state.direction

        async def one(ecu: str) -> None:
            if self._ledger.state.direction is not direction:
                return  # Another ECU's failure has turned the update before this one began.
            started_us = self._now_us()
            part = self._ledger.state.part(ecu)
            # A failure that has turned the update is none of the way back.
            if part.failures and self._ledger.failed_last(ecu):
                await asyncio.sleep(PATIENCE_S[min(part.failures, len(PATIENCE_S)) - 1])
            if part.absences:
                await asyncio.sleep(_ABSENT_S * 2 ** (part.absences - 1))
            try:
                await act(ecu, started_us)
            except TurnedError:
                return  # What it means for the ECU is in the journal.
            except UpdateError as error:
                if error.absent and may_wait(self._ledger.state, ecu):
                    self._ledger.is_absent(error, ecu)
                    return
                self._ledger.fail(error, ecu=ecu, started_us=started_us)
                self._on_progress(Progress(ecu=ecu, step="failed"))
                if stop_at_failure:
                    raise

        try:
            async with asyncio.TaskGroup() as group:
                for ecu in ecus:
                    group.create_task(one(ecu), name=f"update {ecu}")
        except BaseExceptionGroup as failures:
            # A `UpdateError` is in the journal; anything else is told as itself.
            _, others = failures.split(UpdateError)
            if others is not None:
                raise _first(others) from failures

    async def _breakably(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to its end, or until a withdrawal, which stands in the journal, breaks it off."""
        task = asyncio.create_task(work)
        self._breakable.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._breakable.discard(task)
            if not task.done():  # this update itself is broken off
                task.cancel()
                await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    def _hold(self, state: State) -> None:
        self._clearance.hold(engaged=interlocked(state))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
