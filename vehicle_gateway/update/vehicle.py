"""The update of the whole vehicle: does what the coordinator decides, entry before effect."""

import asyncio
import logging
import zlib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol, Self

from dbc.vehicle import VehicleDescription
from vehicle_gateway.update import (
    EcuUpdater,
    Inventory,
    Progress,
    ProgressSink,
    TransferFigures,
    UpdateError,
    UpdateJob,
)
from vehicle_gateway.update.account import Opening, UpdateReport, opening_of, report
from vehicle_gateway.update.begin import inventories, inventory_of
from vehicle_gateway.update.clearance import Clearance, ConditionsError
from vehicle_gateway.update.coordinator import (
    Direction,
    EcuState,
    Verb,
    advance,
    decide,
    fold,
    interlocked,
    may_wait,
    resumed,
)
from vehicle_gateway.update.images import Images, before_of, check_offer, make_job, runs
from vehicle_gateway.update.journal import Entry, Journal, JournalError, Kind
from vehicle_gateway.update.offer import OfferedImage, PublishedImage

_LOG = logging.getLogger(__name__)

#: Seconds before an ECU that did not answer is asked again (a reset takes up to a second).
_ASK_AGAIN_S: Final = (1.0, 3.0)
#: Seconds in which an ECU whose application falls over has come to rest.
_SETTLING_S: Final = 3.0
#: Seconds to wait after a failure: this, doubled with each failure of the same ECU.
_RETRY_S: Final = 2.0
#: The same for an ECU that is away while it is staged.
_ABSENT_S: Final = 2.0
#: So many characters of a campaign's id stand in a snapshot's.
_CAMPAIGN_CHARACTERS: Final = 32


class VehicleDiagnostics(Protocol):
    """What the flow needs of the vehicle's diagnostics."""

    async def record(self, occasion: str, *, campaign: str, snapshot: str) -> None:
        """Read every ECU and keep what it said under the id `snapshot`, for the cloud to get.

        `occasion` is `before_update` or `after_update`. An ECU that cannot be read is a part of
        the snapshot. Raises `UpdateError` if nothing could be kept.
        """

    async def clear_dtcs(self) -> None:
        """Clear all ECUs' DTCs; `UpdateError` names those that did not."""


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


class _TurnedError(Exception):
    """What an ECU was asked for is void: the journal says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Which piece of hardware answers for an ECU."""

    serial_number: str
    hardware_id: str

    @classmethod
    def of(cls, inventory: Inventory) -> Self:
        return cls(serial_number=inventory.serial_number, hardware_id=inventory.hardware_id)

    @classmethod
    def told(cls, entry: Entry) -> Self:
        """The part that a `REPLACED` entry tells of."""
        names = ("serial_number", "hardware_id")
        serial_number, hardware_id = (str(entry.fields.get(name, "")) for name in names)
        return cls(serial_number=serial_number, hardware_id=hardware_id)


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
        if not journal.entries:
            raise JournalError(f"{journal.path}: no update in it")
        self._opening = opening_of(journal.entries[0])
        self._state = resumed(fold(self._opening.parts, journal.entries[1:]))
        self._journal = journal
        self._vehicle = vehicle
        self._updaters = updaters
        self._images = images
        self._diagnostics = diagnostics
        self._clearance = clearance
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
        self._jobs: dict[str, UpdateJob] = {}
        self._offered = {offered.ecu: offered for offered in self._opening.offer.images}
        self._before = {inventory.ecu: inventory for inventory in self._opening.before}
        #: The part that answers for each ECU; empty fields are not known.
        self._parts = {ecu: _Part.of(inventory) for ecu, inventory in self._before.items()}
        for entry in journal.entries:
            if entry.kind is Kind.REPLACED:
                self._parts[entry.ecu] = _Part.told(entry)

    @property
    def opening(self) -> Opening:
        return self._opening

    async def run(self) -> UpdateReport:
        """Go on to the end; the report is made when nothing but the `FINISHED` entry is missing.

        Raises `NotNowError` before anything is touched, `JournalError` at any time: the same
        again later goes on where this ended.
        """
        self._clearance.hold(engaged=interlocked(self._state))
        if self._state.direction is Direction.KEEP:
            self._discard_dead()
        if Kind.DOWNLOADED in self._state.facts:
            await self._load_again()
        while (decision := decide(self._state)).verb not in {Verb.FINISH, Verb.NOTHING}:
            _LOG.debug("update_decides verb=%s ecus=%s", decision.verb.value, decision.ecus)
            if phase := PHASES.get(decision.verb):
                self._on_phase(phase)
            await self._do(decision.verb, decision.ecus)
        return report(self._journal.entries, self._vehicle, finish_us=self._now_us())

    def withdraw(self, cause: str) -> bool:
        """Have the update go back, as it may until its commit; answers whether this turned it.

        The entry is on disk when this returns. What is being fetched, staged or waited for is
        broken off; an ECU that is being activated ends that first. Asked again, or behind the
        commit, it changes nothing. Raises `JournalError`; then the update goes on.
        """
        if self._state.direction is not Direction.FORWARD:
            return False
        _LOG.info("update_withdrawn cause=%s", cause)
        self._note(Kind.CANCELLED, cause=cause)
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
        if Kind.FINISHED not in self._state.facts:
            self._note(Kind.FINISHED, outcome=result.outcome.value, cause=result.reason)
        self._on_phase(Phase.DONE)

    async def _do(self, verb: Verb, ecus: tuple[str, ...]) -> None:
        match verb:
            case Verb.SNAPSHOT_BEFORE:
                await self._breakably(self._snapshot(Kind.SNAPSHOT_BEFORE, "before_update"))
            case Verb.DOWNLOAD:
                await self._breakably(self._download())
            case Verb.STAGE:
                await self._stage_all(ecus)
            case Verb.CLEAR:
                await self._breakably(self._clear())
            case Verb.ACTIVATE:
                await self._watched(partial(self._at_once, self._activate, ecus))
            case Verb.READ_BACK:
                await self._watched(partial(self._at_once, self._prove, ecus))
            case Verb.COMMIT:
                await self._watched(self._commit)
            case Verb.CONFIRM:
                await self._at_once(self._confirm, ecus)
            case Verb.REVERT:
                await self._clearance.safe(self._opening.offer)
                await self._at_once(self._revert, ecus)
            case Verb.GIVE_UP:
                for ecu in ecus:
                    self._note(Kind.LOST, ecu, step="given up", cause=self._state.part(ecu).cause)
            case Verb.CLEAR_DTCS:
                await self._clear_dtcs()
            case Verb.SNAPSHOT_AFTER:
                if self._state.direction is Direction.KEEP:
                    await asyncio.sleep(self._observe_s)
                await self._snapshot(Kind.SNAPSHOT_AFTER, "after_update")
            case Verb.INSPECT:
                await self._inspect()
            case Verb.FINISH | Verb.NOTHING:
                pass

    # The vehicle as a whole

    async def _snapshot(self, kind: Kind, occasion: str) -> None:
        started_us = self._now_us()
        taken = sum(entry.kind is kind for entry in self._journal.entries)
        campaign = self._opening.offer.campaign
        name = _snapshot_id(campaign, occasion, taken)
        try:
            await self._diagnostics.record(occasion, campaign=campaign, snapshot=name)
        except UpdateError as error:
            _LOG.warning("snapshot_missing occasion=%s cause=%s", occasion, error)
            self._note(kind, started_us=started_us, cause=str(error))
        else:
            self._note(kind, started_us=started_us, snapshot=name)

    async def _clear_dtcs(self) -> None:
        started_us = self._now_us()
        try:
            await self._diagnostics.clear_dtcs()
        except UpdateError as error:
            _LOG.warning("dtcs_not_cleared cause=%s", error)
            self._note(Kind.DTCS_CLEARED, started_us=started_us, cause=str(error))
        else:
            self._note(Kind.DTCS_CLEARED, started_us=started_us)

    async def _download(self) -> None:
        started_us = self._now_us()
        try:
            for offered in self._opening.offer.images:
                ecu = self._vehicle.ecus.get(offered.ecu)
                check_offer(offered, ecu, self._before.get(offered.ecu))
            for part in self._state.parts:
                if part.state is not EcuState.UNCHANGED:
                    self._jobs[part.ecu] = await self._job(self._offered[part.ecu])
            self._journal.reserve()
        except UpdateError as error:
            self._fail(error, started_us=started_us)
        except JournalError as error:
            self._note(Kind.FAILED, started_us=started_us, step="downloading", cause=str(error))
        else:
            self._note(Kind.DOWNLOADED, started_us=started_us)

    async def _load_again(self) -> None:
        """After a restart: the files are at hand, unless someone removed them."""
        for part in self._state.parts:
            if part.state in {EcuState.UNCHANGED, EcuState.LOST}:
                continue
            try:
                self._jobs[part.ecu] = await self._job(self._offered[part.ecu])
            except UpdateError as error:
                # Two-slot ECUs go back without it; the others fail when they need it.
                _LOG.warning("image_missing ecu=%s cause=%s", part.ecu, error)

    async def _job(self, offered: OfferedImage) -> UpdateJob:
        ecu = check_offer(
            offered, self._vehicle.ecus.get(offered.ecu), self._before.get(offered.ecu)
        )
        wanted: list[PublishedImage] = [offered.image]
        committed = self._state.direction is Direction.KEEP
        if ecu.single_slot and offered.present is not None and not committed:
            wanted.append(offered.present)
        total = sum(image.file_size for image in wanted)
        files: dict[bytes, bytes] = {}
        done = 0
        for image in wanted:

            def note(at_hand: int, before: int = done) -> None:
                self._on_progress(
                    Progress(
                        ecu=ecu.name,
                        step="downloading",
                        bytes_done=before + at_hand,
                        bytes_total=total,
                    )
                )

            try:
                files[image.file_sha256] = await self._images.fetch(image, note)
            except UpdateError as error:
                raise UpdateError(ecu=ecu.name, step=error.step, cause=error.cause) from error
            done += image.file_size
        return make_job(
            self._opening.offer,
            offered,
            ecu,
            self._before[ecu.name],
            files,
            committed=committed,
        )

    async def _stage_all(self, ecus: tuple[str, ...]) -> None:
        if self._state.direction is Direction.FORWARD:
            await self._breakably(self._stage_forward(ecus))
        else:
            await self._at_once(self._stage, ecus)

    async def _stage_forward(self, ecus: tuple[str, ...]) -> None:
        started_us = self._now_us()
        await self._awake.wait()
        self._staging = asyncio.current_task()
        try:
            await self._clearance.staging(self._opening.offer)
        except UpdateError as error:
            self._fail(error, started_us=started_us)
        else:
            # The first failure ends it for all: the others need not go on.
            await self._at_once(self._stage, ecus, stop_at_failure=True)

    async def _clear(self) -> None:
        """Preconditions, consent and interlock; a restarted gateway asks for all of it again."""
        started_us, begun = self._now_us(), interlocked(self._state)
        try:
            found = await self._clearance.obtain(
                self._opening.offer,
                entries=self._journal.entries,
                begun=begun,
                note=lambda kind, fields: self._note(kind, **fields),
            )
        except UpdateError as error:
            self._fail(error, started_us=started_us, kind=Kind.FAILED if begun else Kind.REFUSED)
        else:
            self._note(Kind.CLEARED, started_us=started_us, **found)

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it while the preconditions hold: one that no longer does turns the update back.

        Behind the commit nothing turns any more; then it waits until the vehicle is safe.
        """
        if self._state.direction is not Direction.FORWARD:
            await self._clearance.safe(self._opening.offer)
            await work()
            return
        started_us = self._now_us()
        doing = asyncio.create_task(work(), name="watched")
        watching = asyncio.create_task(self._clearance.violation(), name="preconditions")
        try:
            await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and self._state.direction is Direction.FORWARD:
                # On disk before anything is broken off.
                self._fail(watching.result(), started_us=started_us)
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
        ecus = [part.ecu for part in self._state.parts]
        for inventory in await asyncio.gather(*(self._ask(ecu) for ecu in ecus)):
            if self._is_replaced(inventory):
                self._replaced(inventory)
            elif (wrong := self._not_new(inventory)) is not None:
                error = UpdateError(ecu=inventory.ecu, step="committing", cause=wrong)
                self._fail(error, ecu=inventory.ecu, started_us=started_us)
        try:
            self._clearance.check()  # Nothing waits between this and the entry.
        except UpdateError as error:
            self._fail(error, started_us=started_us)
        if self._state.direction is Direction.FORWARD:
            self._note(Kind.COMMIT, started_us=started_us, discards=self._dead())
            self._discard_dead()

    def _dead(self) -> tuple[bytes, ...]:
        """Files (by SHA-256) that only going back needs: the roll-back targets."""
        needed = {offered.image.file_sha256 for offered in self._opening.offer.images}
        targets = (offered.present for offered in self._opening.offer.images)
        return tuple(sorted({one.file_sha256 for one in targets if one is not None} - needed))

    def _discard_dead(self) -> None:
        """Behind the commit nothing can be brought back: neither by mistake nor by an attacker."""
        for file_sha256 in self._dead():
            self._images.discard(file_sha256)
        for ecu, job in self._jobs.items():
            self._jobs[ecu] = replace(job, present=None, committed=True)

    async def _inspect(self) -> None:
        """The last look: after a commit, an ECU that does not run the release is not done."""
        started_us = self._now_us()
        found = await inventories(
            [self._updaters[ecu] for ecu in self._offered if ecu in self._updaters],
            self._opening.offer.nonce,
        )
        if self._state.direction is Direction.KEEP:
            if self._reopened(found, started_us):
                return
        else:
            self._lose_replaced(found)
        self._note(Kind.INSPECTED, started_us=started_us, ecus=found)

    def _reopened(self, found: Iterable[Inventory], started_us: int) -> bool:
        reopened = False
        for inventory in found:
            if self._state.part(inventory.ecu).state is EcuState.LOST:
                continue
            if self._is_replaced(inventory):
                self._replaced(inventory)
                reopened = True
                continue
            wrong = self._not_new(inventory)
            if wrong is None:
                continue
            kind = Kind.FAILED if inventory.error else Kind.WENT_BACK
            self._note(kind, inventory.ecu, started_us=started_us, step="inspecting", cause=wrong)
            reopened = True
        return reopened

    def _lose_replaced(self, found: Iterable[Inventory]) -> None:
        """Going back: a part that came meanwhile is left as it is, and told of if it differs."""
        replaced = {entry.ecu for entry in self._journal.entries if entry.kind is Kind.REPLACED}
        for inventory in found:
            ecu = inventory.ecu
            if self._state.part(ecu).state is EcuState.LOST:
                continue
            if self._is_replaced(inventory):
                self._replaced(inventory)
                replaced.add(ecu)
            if ecu not in replaced:
                continue
            old = before_of(self._offered[ecu], self._before[ecu])
            if old and not runs(inventory, old):
                says = inventory.error or f"runs {inventory.software_version or 'no application'}"
                self._note(Kind.FAILED, ecu, step="inspecting", cause=f"was replaced, and {says}")
                self._note(Kind.LOST, ecu, step="given up", cause=self._state.part(ecu).cause)

    # One ECU

    async def _stage(self, ecu: str, started_us: int) -> None:
        part = self._state.part(ecu)
        resume_from = part.verified if part.state is EcuState.STAGING else 0
        if part.state is EcuState.STAGING or part.failures:
            await self._meet(ecu)  # Days may lie between.
        if not resume_from:
            self._note(Kind.STAGING, ecu)
        if ecu not in self._jobs:
            # It ran the release already and has gone back by itself: its image is needed after all.
            self._jobs[ecu] = await self._job(self._offered[ecu])
        job, updater = self._jobs[ecu], self._updater(ecu)
        sink = self._sink(ecu)
        try:
            figures = await updater.stage(job, resume_from=resume_from, progress=sink)
        except UpdateError as error:
            if not resume_from or error.absent or self._state.direction is Direction.BACK:
                raise
            # The ECU may have lost what the journal says it has.
            _LOG.warning("staging_anew ecu=%s cause=%s", ecu, error)
            self._note(Kind.STAGING, ecu)
            figures = await updater.stage(job, resume_from=0, progress=sink)
        self._note(Kind.STAGED, ecu, started_us=started_us, figures=figures)

    async def _activate(self, ecu: str, started_us: int) -> None:
        part = self._state.part(ecu)
        job, updater = self._job_of(ecu, "activating"), self._updater(ecu)
        figures = TransferFigures()
        interrupted = part.state is EcuState.ACTIVATING
        found = await self._meet(ecu)
        if not interrupted:
            self._note(Kind.ACTIVATING, ecu)
        if not interrupted or self._not_new(found) is not None:
            self._on_progress(Progress(ecu=ecu, step="activating"))
            figures = await updater.activate(
                job, resume_from=part.verified if interrupted else 0, progress=self._sink(ecu)
            )
        self._note(Kind.ACTIVATED, ecu, started_us=started_us, figures=figures)

    async def _prove(self, ecu: str, started_us: int) -> None:
        inventory = await self._meet(ecu)
        wrong = self._not_new(inventory)
        if wrong is None:
            await self._test(ecu)
            self._note(Kind.PROVED, ecu, started_us=started_us)
            self._on_progress(Progress(ecu=ecu, step="trial"))
        elif self._state.direction is Direction.KEEP and not inventory.error:
            self._note(Kind.WENT_BACK, ecu, started_us=started_us, step="reading back", cause=wrong)
        else:
            raise UpdateError(ecu=ecu, step="reading back", cause=wrong)

    async def _test(self, ecu: str) -> None:
        """The new application tests itself; one that falls over meanwhile is told as such."""
        job = self._job_of(ecu, "self-test", without_image=True)
        try:
            await self._updater(ecu).self_test(job)
        except UpdateError as error:
            # A reset in the middle of it is told by what the ECU runs once it has settled.
            await asyncio.sleep(_SETTLING_S)
            gone = self._not_new(await self._ask(ecu))
            if gone is None:
                raise
            cause = f"the application does not last: {gone}"
            raise UpdateError(ecu=ecu, step=error.step, cause=cause) from error

    async def _confirm(self, ecu: str, started_us: int) -> None:
        if self._state.part(ecu).state is not EcuState.CONFIRMING:
            self._note(Kind.CONFIRMING, ecu)
        job = self._job_of(ecu, "confirming", without_image=True)
        for last in (False, True):
            # Before: a trial may have ended by itself. After: the ECU says what it keeps.
            inventory = await self._meet(ecu)
            wrong = self._not_new(inventory)
            if wrong is not None and inventory.error:
                raise UpdateError(ecu=ecu, step="confirming", cause=wrong)
            if wrong is not None:
                self._note(
                    Kind.WENT_BACK, ecu, started_us=started_us, step="confirming", cause=wrong
                )
                return
            if not last:
                await self._updater(ecu).confirm(job)
        self._note(Kind.CONFIRMED, ecu, started_us=started_us)
        self._on_progress(Progress(ecu=ecu, step="confirmed"))

    async def _revert(self, ecu: str, started_us: int) -> None:
        part = self._state.part(ecu)
        await self._meet(ecu)
        if part.state is not EcuState.REVERTING:
            self._note(Kind.REVERTING, ecu)
        self._on_progress(Progress(ecu=ecu, step="reverting"))
        job = self._job_of(ecu, "reverting", without_image=not part.single_slot)
        figures = await self._updater(ecu).revert(job, progress=self._sink(ecu))
        inventory = await self._meet(ecu)
        # Where nothing ran before and there is nothing to give back, it is enough to be there.
        old = runs(inventory, job.before_sha256) if job.before_sha256 else not inventory.error
        if not old:
            cause = inventory.error or "does not run its old image"
            raise UpdateError(ecu=ecu, step="reverting", cause=cause)
        self._note(Kind.REVERTED, ecu, started_us=started_us, figures=figures)
        self._on_progress(Progress(ecu=ecu, step="reverted"))

    # What they stand on

    async def _at_once(
        self,
        act: Callable[[str, int], Coroutine[Any, Any, None]],
        ecus: Iterable[str],
        *,
        stop_at_failure: bool = False,
    ) -> None:
        """Do it to all of them; a failure is in the journal when this returns."""
        direction = self._state.direction

        async def one(ecu: str) -> None:
            if self._state.direction is not direction:
                return  # Another ECU's failure has turned the update before this one began.
            started_us = self._now_us()
            part = self._state.part(ecu)
            if part.failures:
                await asyncio.sleep(_RETRY_S * 2 ** (part.failures - 1))
            if part.absences:
                await asyncio.sleep(_ABSENT_S * 2 ** (part.absences - 1))
            try:
                await act(ecu, started_us)
            except _TurnedError:
                return  # What it means for the ECU is in the journal.
            except UpdateError as error:
                if error.absent and may_wait(self._state, ecu):
                    self._is_absent(error, ecu)
                    return
                self._fail(error, ecu=ecu, started_us=started_us)
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

    async def _meet(self, ecu: str) -> Inventory:
        """An ECU's inventory, from the part that has always been there.

        Raises `_TurnedError` if it is another one, or if the update has turned meanwhile;
        `UpdateError` if the part does not fit the release.
        """
        direction = self._state.direction
        found = await self._ask(ecu)
        if self._is_replaced(found):
            self._replaced(found)
            raise _TurnedError
        if self._state.direction is not direction:
            raise _TurnedError
        fits = self._offered[ecu].image.hardware_id
        if self._parts[ecu].hardware_id not in {"", fits}:
            cause = f"its hardware is {self._parts[ecu].hardware_id}, the image is for {fits}"
            raise UpdateError(ecu=ecu, step="replaced", cause=cause)
        return found

    def _is_replaced(self, inventory: Inventory) -> bool:
        known, said = self._parts[inventory.ecu], inventory.serial_number
        return bool(known.serial_number and said and known.serial_number != said)

    def _replaced(self, inventory: Inventory) -> None:
        old, new = self._parts[inventory.ecu], _Part.of(inventory)
        cause = f"serial number {new.serial_number} in the place of {old.serial_number}"
        _LOG.warning("ecu_replaced ecu=%s cause=%s", inventory.ecu, cause)
        self._note(
            Kind.REPLACED,
            inventory.ecu,
            step="replaced",
            cause=cause,
            serial_number=new.serial_number,
            hardware_id=new.hardware_id,
        )
        self._parts[inventory.ecu] = new

    async def _ask(self, ecu: str) -> Inventory:
        """An ECU's inventory; it may be on its way up from a reset."""
        found = await inventory_of(self._updater(ecu), self._opening.offer.nonce)
        for pause_s in _ASK_AGAIN_S:
            if not found.error:
                return found
            await asyncio.sleep(pause_s)
            found = await inventory_of(self._updater(ecu), self._opening.offer.nonce)
        return found

    def _not_new(self, inventory: Inventory) -> str | None:
        """Why this is not the new release, None if it is."""
        image = self._offered[inventory.ecu].image
        if inventory.error:
            return inventory.error
        if inventory.read_back is None or not inventory.application_runs:
            return "no image runs, it stays in its boot loader"
        if inventory.read_back.nonce != self._opening.offer.nonce:
            return "its digest is over another nonce"
        if inventory.read_back.image_sha256 != image.image_sha256:
            return f"runs {inventory.software_version or 'another image'}, not the new image"
        if image.software_version and inventory.software_version != image.software_version:
            return f"says version {inventory.software_version}, not {image.software_version}"
        return None

    def _updater(self, ecu: str) -> EcuUpdater:
        updater = self._updaters.get(ecu)
        if updater is None:
            raise UpdateError(ecu=ecu, step="update", cause="no such ECU in this vehicle")
        return updater

    def _job_of(self, ecu: str, step: str, *, without_image: bool = False) -> UpdateJob:
        job = self._jobs.get(ecu)
        if job is not None:
            return job
        if not without_image or ecu not in self._before:
            raise UpdateError(ecu=ecu, step=step, cause="its image is no longer at hand")
        image = self._offered[ecu].image
        return UpdateJob(
            ecu=ecu,
            image=b"",
            address=image.address,
            image_sha256=image.image_sha256,
            version=self._opening.offer.version,
            nonce=self._opening.offer.nonce,
            before_sha256=before_of(self._offered[ecu], self._before[ecu]),
        )

    def _sink(self, ecu: str) -> ProgressSink:
        def take(progress: Progress) -> None:
            part = self._state.part(ecu)
            running = part.state in {EcuState.STAGING, EcuState.ACTIVATING}
            if running and progress.verified > part.verified:
                try:
                    self._note(Kind.VERIFIED, ecu, sync=False, verified=progress.verified)
                except JournalError as error:  # Only a hint is lost; the next entry tells.
                    _LOG.warning("mark_lost ecu=%s cause=%s", ecu, error)
            self._on_progress(progress)

        return take

    def _is_absent(self, error: UpdateError, ecu: str) -> None:
        _LOG.info("ecu_absent ecu=%s step=%s cause=%s", ecu, error.step, error.cause)
        self._note(Kind.ABSENT, ecu, step=error.step, cause=error.cause)
        self._on_progress(Progress(ecu=ecu, step="waiting"))

    def _fail(
        self, error: UpdateError, *, started_us: int, ecu: str = "", kind: Kind = Kind.FAILED
    ) -> None:
        _LOG.warning("update_failure ecu=%s step=%s cause=%s", error.ecu, error.step, error.cause)
        known = {part.ecu for part in self._state.parts}
        name = ecu or (error.ecu if error.ecu in known else "")
        # What a whole wire refuses may be another ECU's refusal.
        cause = f"{error.ecu}: {error.cause}" if error.ecu not in {"", name} else error.cause
        more: dict[str, Any] = {}
        if isinstance(error, ConditionsError):
            more["conditions"] = error.conditions
        self._note(kind, name, started_us=started_us, step=error.step, cause=cause, **more)

    def _note(self, kind: Kind, ecu: str = "", *, sync: bool = True, **fields: object) -> None:
        entry = Entry(kind=kind, ecu=ecu, time_us=self._now_us(), fields=fields)
        after = advance(self._state, entry)
        self._journal.append(entry, sync=sync)
        self._state = after
        self._clearance.hold(engaged=interlocked(after))


def _snapshot_id(campaign: str, occasion: str, taken: int) -> str:
    """Unique for a vehicle, the same after a restart, and 63 characters at most."""
    short = campaign.rpartition("/")[2]
    if len(short) > _CAMPAIGN_CHARACTERS:
        short = f"{short[:_CAMPAIGN_CHARACTERS]}-{zlib.crc32(short.encode()):08x}"
    again = f"-{taken + 1}" if taken else ""
    return f"{short}-{occasion.removesuffix('_update')}{again}"


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
