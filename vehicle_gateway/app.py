"""The telematics gateway as a whole: its parts joined, its journal resumed, its cloud asked."""

import asyncio
import fcntl
import logging
import math
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from clock import is_virtual
from dbc.vehicle import VehicleDescription
from protocols.link import Link
from protocols.preconditions import PreconditionError, evaluate, parse
from protocols.stream import ByteStream
from protocols.uds import MalformedResponseError
from vehicle_gateway.calls import Caller
from vehicle_gateway.calls.budget import UNLIMITED, DataBudget, DataLimits
from vehicle_gateway.calls.channel import open_channel
from vehicle_gateway.calls.line import Line
from vehicle_gateway.diagnostics import EcuDiagnostics
from vehicle_gateway.diagnostics.interlock import DATABASE as INTERLOCK_DATABASE
from vehicle_gateway.diagnostics.interlock import CanInterlock
from vehicle_gateway.diagnostics.jobs import JobRunner
from vehicle_gateway.diagnostics.ledger import JobLedger, LedgerError
from vehicle_gateway.diagnostics.live import Follower
from vehicle_gateway.diagnostics.observer import Observer, PlanFile
from vehicle_gateway.diagnostics.orders import SignalBatch
from vehicle_gateway.diagnostics.reader import clear_dtcs, read_ecu
from vehicle_gateway.diagnostics.readings import VehicleReadings
from vehicle_gateway.diagnostics.signals import SignalRecorder
from vehicle_gateway.diagnostics.state import STANDING_IN_PARK, VehicleState
from vehicle_gateway.driver import FolderConsent
from vehicle_gateway.flashing import described, updaters
from vehicle_gateway.flashing.key_hook import KeyHookError
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.sequence import SequenceError
from vehicle_gateway.management import (
    ManagementError,
    RemoteScope,
    Snapshot,
    UnreachableError,
    Withdrawal,
)
from vehicle_gateway.management.grpc import GrpcManagement, ProgressReporter
from vehicle_gateway.management.grpc.remote import RemoteAccess
from vehicle_gateway.outbox import Outbox, OutboxError
from vehicle_gateway.software import description
from vehicle_gateway.software.running import RunningSoftware
from vehicle_gateway.software.updater import SoftwareUpdater
from vehicle_gateway.transfer import Artifacts
from vehicle_gateway.transfer.grpc import GrpcImages
from vehicle_gateway.update import GATEWAY, EcuUpdater, Inventory, Progress, UpdateError
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.begin import begin, inventories
from vehicle_gateway.update.conditions import VehicleClearance
from vehicle_gateway.update.consent import Choice, Question
from vehicle_gateway.update.coordinator import CoordinatorError, Outcome
from vehicle_gateway.update.images import NotNowError
from vehicle_gateway.update.journal import Journal, JournalError, Kind
from vehicle_gateway.update.offer import Offer
from vehicle_gateway.update.vehicle import Phase, VehicleUpdate
from vehicle_gateway.wires import Links, Wire, WireError
from vehicle_gateway.wires.testers import Testers

_LOG = logging.getLogger(__name__)

_NONCE_BYTES: Final = 16
#: Seconds between the check-ins by which new gateway software shows that it can do its work.
_CHECK_IN_AGAIN_S: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
#: Seconds between two looks at terminal 15 while an update runs.
_LOOK_S: Final = 1.0
#: A car is parked when terminal 15 has been off for so long; a message that is lost is not that.
_PARKED_S: Final = 5.0
#: A parked car is woken so often, in seconds, to say what it runs: where all ECUs have answered,
#: and where one has not.
_PARKED_READ_S: Final = 86_400.0
_PARKED_MISSING_S: Final = 600.0
#: A signal is kept once in so many seconds.
_SIGNAL_PERIOD_S: Final = 1.0
#: Seconds of signals before a reading that belongs to no update.
_SIGNALS_AROUND_S: Final = 60.0
#: What ECUs are not asked anything else in.
_UNDISTURBED: Final = frozenset({Phase.ACTIVATING, Phase.CONFIRMING, Phase.REVERTING})


class GatewayError(Exception):
    """The gateway cannot do its work; the message says what stands in the way."""


class RestartRequiredError(Exception):
    """This process has to end, so that the gateway's other software is started in its place."""


class CloudAwayError(GatewayError):
    """The cloud cannot be reached: the same again later goes on where this ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    vin: str
    #: `host:port` of the cloud's gRPC.
    cloud: str
    #: Journal, artifacts and outbox; one gateway at a time.
    state_directory: Path
    description: VehicleDescription
    #: Master secret of the ECUs' security access keys.
    diagnostics_master: bytes
    #: True for a secret that is published with the sources.
    dev_only_keys: bool = False
    #: A vehicle outside of a laboratory: published secrets are refused.
    production: bool = False
    #: The date at loop time 0, with its time zone.
    start_date: datetime
    #: Seconds between check-ins where the cloud does not say; a tenth of it is left to chance.
    poll_s: float = 30.0
    #: Seconds between the clearing of the DTCs and the last reading, for monitors to complete.
    observe_s: float = 180.0
    #: What has to be met for anything that an operator moves, tests or clears from afar.
    actuator_condition: str = STANDING_IN_PARK
    #: Seconds of signals that a snapshot holds at most.
    signal_window_s: float = 600.0
    #: How many bytes the gateway may use for a campaign, in a day and in a month.
    data_limits: DataLimits = UNLIMITED
    #: What lies between gateway and cloud in virtual time; in real time a proxy does.
    link: Link | None = None
    #: Connects to the vehicle's DoIP edge node for testers far away; None: they are refused.
    edge_node: Callable[[], Awaitable[ByteStream]] | None = None
    #: What the driver says to every release; None: the driver is asked, see `driver.py`.
    standing_consent: Choice | None = None
    #: Told what the driver is asked, when that begins; must not raise or block.
    on_question: Callable[[Question], None] | None = None
    #: The gateway's own software, where a launcher has started it from one of two slots.
    software: RunningSoftware | None = None
    #: Spreads pauses and makes the nonces of check-ins.
    rng: random.Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Where a test bench stands between a gateway and its disk, its ECUs and its cloud."""

    open_journal: Callable[[Path], Journal] = Journal
    #: Puts something around each of the vehicle's wires, by its name.
    around_wire: Callable[[str, Wire], Wire] = lambda _name, wire: wire
    #: See every call to the cloud.
    interceptors: tuple[grpc.aio.ClientInterceptor, ...] = ()


class Gateway:
    """One vehicle's gateway. An asynchronous context; `run` and `run_once` enter it if needed."""

    def __init__(
        self,
        options: GatewayOptions,
        links: Links,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        on_phase: Callable[[Phase], None] | None = None,
        seams: Seams | None = None,
    ) -> None:
        """`on_progress` and `on_phase` are told what happens; they must not raise or block."""
        if options.production and options.dev_only_keys:
            raise GatewayError(
                "diagnostics_master: DEV ONLY, published with the sources; "
                "a production gateway needs a secret of its own"
            )
        if options.start_date.tzinfo is None:
            raise GatewayError("start_date: needs a time zone")
        try:
            parse(options.actuator_condition)
        except PreconditionError as error:
            raise GatewayError(f"actuator_condition: {error}") from error
        self._options = options
        self._links = links
        self._on_progress = on_progress
        self._on_phase = on_phase
        self._seams = seams or Seams()
        #: Holds all downloads between two blocks, and lets them go on.
        self.pace = Pace()
        self._open: _Open | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open everything; `GatewayError` says what cannot be opened."""
        async with AsyncExitStack() as stack:
            self._open = await _opened(self._options, self._links, stack, self.pace, self._seams)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = None
        await self._stack.aclose()

    async def run(self) -> None:
        """Check in, update, report, wait, until cancelled; what is away is asked again.

        Raises `RestartRequiredError` as of `run_once`.
        """
        if self._open is None:
            async with self:
                await self.run()
            return
        while True:
            try:
                await self.run_once()
            except CloudAwayError as error:
                _LOG.info("cloud_away cause=%s", error)
            except GatewayError as error:
                _LOG.error("gateway_error cause=%s", error)
            await self._wait(self._open)

    async def run_once(self) -> Outcome | None:
        """Finish what the journal holds, or else check in once and carry out what is offered.

        Answers with the outcome of the update, None if there was none. Raises `GatewayError`, and
        `RestartRequiredError` where the update goes on in the gateway's other software.
        """
        if self._open is None:
            async with self:
                return await self.run_once()
        try:
            return await self._turn(self._open)
        except (NotNowError, UnreachableError) as error:
            raise CloudAwayError(str(error)) from error
        except (
            JournalError,
            CoordinatorError,
            OutboxError,
            LedgerError,
            ManagementError,
        ) as error:
            raise GatewayError(str(error)) from error
        except OSError as error:
            raise GatewayError(f"{self._options.state_directory}: {error}") from error

    async def _turn(self, parts: "_Open") -> Outcome | None:
        await parts.jobs.recover()
        if not parts.journal.entries:
            offer = await self._asked(parts)
            if offer is None:
                return None
            await self._begin(parts, offer)
        parts.read_again_s = -math.inf
        outcome = await self._update(parts)
        await parts.management.deliver()
        return outcome

    async def _asked(self, parts: "_Open") -> Offer | None:
        """What the cloud offers; nothing while it lacks reports of what was done before."""
        waiting = await parts.management.deliver()
        if any(parcel.kind == "report" for parcel in waiting):
            raise UnreachableError(f"{len(waiting)} messages wait for the cloud")
        found = await self._read(parts)
        answer = await parts.management.check_in(found, unfinished_campaign="")
        parts.next_check_in_s = answer.next_check_in_s
        parts.observer.take(answer.orders)
        if answer.remote is not None:
            parts.remote.begin(answer.remote)
        if answer.offer is None and parts.remote.active:
            return None  # Jobs wait too: they come again with the next check-in.
        if answer.offer is None:
            await parts.jobs.run(answer.orders.jobs)
            if answer.orders.jobs:
                await parts.management.deliver()
            return None
        if parts.remote.active:
            _LOG.info("update_waits campaign=%s cause=remote session", answer.offer.campaign)
            return None
        key = answer.offer.campaign.rpartition("/")[2]
        if any(parcel.key == key for parcel in parts.outbox.rejected("report")):
            _LOG.error("offer_ignored campaign=%s cause=its report was refused", key)
            return None
        return answer.offer

    async def _read(self, parts: "_Open") -> tuple[Inventory, ...]:
        """What the ECUs say of themselves; those of a parked car sleep on, for a day at most."""
        now_s = asyncio.get_running_loop().time()
        if parts.state.in_use or parts.remote.active or now_s >= parts.read_again_s:
            nonce = self._options.rng.randbytes(_NONCE_BYTES)
            parts.inventories = await inventories(parts.updaters.values(), nonce)
            missing = any(one.error for one in parts.inventories)
            parts.read_again_s = now_s + (_PARKED_MISSING_S if missing else _PARKED_READ_S)
        return parts.inventories

    async def _begin(self, parts: "_Open", offer: Offer) -> None:
        wanted = {image.image.file_sha256 for image in offer.images}
        wanted |= {image.present.file_sha256 for image in offer.images if image.present}
        parts.artifacts.keep_only(frozenset(wanted))
        concerned = [parts.updaters[one.ecu] for one in offer.images if one.ecu in parts.updaters]
        begin(
            parts.journal,
            vin=self._options.vin,
            offer=offer,
            before=await inventories(concerned, offer.nonce),
            vehicle=self._known(),
            now_us=parts.now_us(),
        )
        _LOG.info("update_begins campaign=%s release=%s", offer.campaign, offer.release)

    async def _update(self, parts: "_Open") -> Outcome:
        """Carry the journal's update to its end, with progress going out beside it."""
        resumed = len(parts.journal.entries) > 1

        def on_phase(phase: Phase) -> None:
            reporter.phase(phase)
            if phase in _UNDISTURBED:
                parts.observer.pause()
            if self._on_phase is not None:
                self._on_phase(phase)

        def on_progress(progress: Progress) -> None:
            reporter.progress(progress)
            if self._on_progress is not None:
                self._on_progress(progress)

        update = VehicleUpdate(
            journal=parts.journal,
            vehicle=self._known(),
            updaters=parts.updaters,
            images=parts.images,
            diagnostics=parts.diagnostics,
            clearance=VehicleClearance(
                vehicle=self._options.description,
                readings=parts.readings,
                interlock=parts.interlock,
                wake=parts.wake,
                consent=parts.consent,
                now_us=parts.now_us,
            ),
            now_us=parts.now_us,
            observe_s=self._options.observe_s,
            on_phase=on_phase,
            on_progress=on_progress,
        )
        if update.opening.vin != self._options.vin:
            raise JournalError(
                f"{parts.journal.path}: is of {update.opening.vin}, not of {self._options.vin}"
            )

        def on_withdrawal(withdrawal: Withdrawal) -> None:
            if withdrawal.campaign != update.opening.offer.campaign:
                return
            try:
                update.withdraw(withdrawal.reason)
            except JournalError as error:
                _LOG.warning("not_withdrawn cause=%s", error)  # The cloud says it again.

        parts.budget.campaign = update.opening.offer.campaign
        reporter = parts.reporter(on_withdrawal)
        sending = asyncio.create_task(reporter.run(parts.now_us), name="progress")
        asking = asyncio.create_task(
            self._ask_on(parts, update.opening.offer.campaign, on_withdrawal, at_once=resumed),
            name="check-ins",
        )
        following = asyncio.create_task(_follow_drive(parts.state, update), name="drive cycles")
        try:
            result = await self._carried_out(update, parts.restart)
            used = parts.budget.used(result.campaign)
            result = replace(result, bytes_sent=used.sent, bytes_received=used.received)
            parts.management.keep_report(result)
            update.finish(result)
            parts.journal.archive(parts.archive)
        finally:
            parts.budget.campaign = ""
            parts.observer.resume()
            asking.cancel()
            following.cancel()
            reporter.stop()
            await sending
            for task in (asking, following):
                with suppress(asyncio.CancelledError):
                    await task
        _LOG.info("update_ends outcome=%s reason=%s", result.outcome.value, result.reason)
        return result.outcome

    async def _ask_on(
        self,
        parts: "_Open",
        campaign: str,
        on_withdrawal: Callable[[Withdrawal], None],
        *,
        at_once: bool,
    ) -> None:
        """Check in while an update runs, which may be for days: it may be taken back.

        The ECUs are not asked meanwhile.
        """
        if not at_once:
            await self._wait(parts)
        while True:
            try:
                answer = await parts.management.check_in((), unfinished_campaign=campaign)
            except ManagementError as error:
                _LOG.info("check_in_lost cause=%s", error)
            else:
                parts.next_check_in_s = answer.next_check_in_s
                parts.observer.take(answer.orders)
                if answer.withdrawal is not None:
                    on_withdrawal(answer.withdrawal)
            await self._wait(parts)

    async def _wait(self, parts: "_Open") -> None:
        pause_s = parts.next_check_in_s or self._options.poll_s
        await asyncio.sleep(pause_s * self._options.rng.uniform(0.95, 1.05))

    def _known(self) -> VehicleDescription:
        """All that can be updated: the vehicle's ECUs, and this gateway's own software."""
        vehicle = self._options.description
        if self._options.software is None:
            return vehicle
        return replace(vehicle, ecus={**vehicle.ecus, GATEWAY: description()})

    async def _carried_out(self, update: VehicleUpdate, restart: asyncio.Event) -> UpdateReport:
        """Run it, unless the gateway's own software is to be changed."""
        running = asyncio.create_task(update.run(), name="update")
        asked = asyncio.create_task(restart.wait(), name="restart")
        try:
            await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
            raise RestartRequiredError("the gateway's other software is to be started")
        finally:
            for task in (running, asked):
                task.cancel()
            await asyncio.wait({running, asked})


@dataclass(slots=True, kw_only=True)
class _Open:
    """What an open gateway holds."""

    journal: Journal
    archive: Path
    artifacts: Artifacts
    outbox: Outbox
    updaters: Mapping[str, EcuUpdater]
    images: GrpcImages
    management: GrpcManagement
    diagnostics: "_WirelessDiagnostics"
    observer: Observer
    jobs: JobRunner
    channel: grpc.aio.Channel
    caller: Caller
    budget: DataBudget
    remote: RemoteAccess
    now_us: Callable[[], int]
    readings: VehicleReadings
    #: Has sleeping wires say their values.
    wake: Callable[[], None]
    state: VehicleState
    interlock: CanInterlock
    consent: FolderConsent
    #: Set where this process has to end for the gateway's other software.
    restart: asyncio.Event
    next_check_in_s: float = 0.0
    #: What the ECUs said last, and from when on a parked car is woken to say it again.
    inventories: tuple[Inventory, ...] = ()
    read_again_s: float = -math.inf

    def reporter(self, on_withdrawal: Callable[[Withdrawal], None]) -> ProgressReporter:
        return ProgressReporter(
            self.channel,
            self.caller,
            campaign=_campaign_of(self.journal),
            on_withdrawal=on_withdrawal,
        )


def _campaign_of(journal: Journal) -> str:
    return str(journal.entries[0].fields["offer"]["campaign"])


async def _follow_drive(state: VehicleState, update: VehicleUpdate) -> None:
    """Staging rests when a car that was in use is parked, and goes on when it is used again."""
    parked = -1  # looks in a row; it counts from the first use on
    while True:
        if state.in_use:
            parked = 0
            update.go_on()
        elif parked >= 0:
            parked += 1
            if parked * _LOOK_S >= _PARKED_S:
                update.rest()
        await asyncio.sleep(_LOOK_S)


class _WirelessDiagnostics:
    """`VehicleDiagnostics`: reads the whole vehicle and hands it to the outbox."""

    def __init__(
        self,
        *,
        testers: Testers,
        recorders: tuple[SignalRecorder, ...],
        management: GrpcManagement,
        now_us: Callable[[], int],
        window_s: float,
    ) -> None:
        self._testers = testers
        self._recorders = recorders
        self._management = management
        self._now_us = now_us
        self._window_s = window_s

    async def record(self, occasion: str, *, campaign: str, snapshot: str) -> None:
        async with asyncio.TaskGroup() as group:
            reading = [
                group.create_task(read_ecu(self._testers, name), name=f"diagnostics {name}")
                for name in self._testers.vehicle.ecus
            ]
        now_s = asyncio.get_running_loop().time()
        taken = Snapshot(
            id=snapshot,
            occasion=occasion,
            campaign=campaign,
            time_us=self._now_us(),
            loop_time_s=now_s,
            ecus=tuple(task.result() for task in reading),
            signals=tuple(
                series
                for recorder in self._recorders
                for series in recorder.window(now_s - self._window_s, now_s)
            ),
        )
        try:
            self._management.keep_snapshot(taken)
        except OutboxError as error:
            raise UpdateError(ecu="", step="diagnostics", cause=str(error)) from error

    def keep_reading(
        self, occasion: str, snapshot: str, time_us: int, ecus: Sequence[EcuDiagnostics]
    ) -> None:
        """`observer.Keeping`: a reading that belongs to no update."""
        now_s = asyncio.get_running_loop().time()
        self._management.keep_snapshot(
            Snapshot(
                id=snapshot,
                occasion=occasion,
                campaign="",
                time_us=time_us,
                loop_time_s=now_s,
                ecus=tuple(ecus),
                signals=tuple(
                    series
                    for recorder in self._recorders
                    for series in recorder.window(now_s - _SIGNALS_AROUND_S, now_s)
                ),
            )
        )

    def keep_batch(self, batch: SignalBatch) -> None:
        """`observer.Keeping`."""
        self._management.keep_batch(batch)

    async def deliver(self) -> None:
        """Send what is kept now; what cannot be sent waits for the next check-in."""
        try:
            await self._management.deliver()
        except (OSError, ManagementError, OutboxError) as error:
            _LOG.warning("not_delivered cause=%s", error)

    async def clear_dtcs(self) -> None:
        async with asyncio.TaskGroup() as group:
            clearing = [
                group.create_task(self._clear(name), name=f"clear {name}")
                for name in self._testers.vehicle.ecus
            ]
        if failed := [cause for task in clearing if (cause := task.result())]:
            raise UpdateError(ecu="", step="clearing DTCs", cause="; ".join(failed))

    async def _clear(self, name: str) -> str:
        try:
            await clear_dtcs(self._testers.tester(name))
        except (WireError, MalformedResponseError) as error:
            return str(error)
        return ""


async def _opened(
    options: GatewayOptions, links: Links, stack: AsyncExitStack, pace: Pace, seams: Seams
) -> _Open:
    folder = options.state_directory
    _lock(folder, stack)
    loop = asyncio.get_running_loop()
    start_us = round(options.start_date.timestamp() * 1_000_000)

    def now_us() -> int:
        return start_us + round(loop.time() * 1_000_000)

    try:
        journal = seams.open_journal(folder / "journal.jsonl")
        stack.callback(journal.close)
        if any(entry.kind is Kind.FINISHED for entry in journal.entries):
            journal.archive(folder / "updates")
    except JournalError as error:
        raise GatewayError(str(error)) from error
    line = None if options.link is None else Line(options.link)
    budget = DataBudget(folder / "data.json", options.data_limits, now_us=now_us)
    stack.callback(budget.close)
    channel = open_channel(
        options.cloud,
        vin=options.vin,
        line=line,
        budget=budget,
        interceptors=seams.interceptors,
    )
    stack.push_async_callback(channel.close, None)
    caller = Caller(vin=options.vin, now_us=now_us, rng=options.rng, line=line, budget=budget)
    try:
        outbox = Outbox(folder / "outbox")
    except OutboxError as error:
        raise GatewayError(str(error)) from error
    management = GrpcManagement(channel, caller, outbox)
    readings, interlock = VehicleReadings(), CanInterlock()
    remote = RemoteAccess(
        channel,
        caller,
        edge=options.edge_node,
        forbidden=partial(_forbidden, readings, options.description),
    )
    stack.push_async_callback(remote.close)
    artifacts = Artifacts(folder / "artifacts")
    try:
        vehicle = described(options.description)
        testers = await stack.enter_async_context(
            Testers(vehicle, links, around_wire=seams.around_wire)
        )
        by_name = updaters(
            testers,
            diagnostics_master=options.diagnostics_master,
            start_date=options.start_date,
            random_bytes=options.rng.randbytes,
            pace=pace,
        )
    except (SequenceError, KeyHookError) as error:
        raise GatewayError(str(error)) from error
    recorders = _recorders(options.description, links, stack, readings, interlock)
    diagnostics = _WirelessDiagnostics(
        testers=testers,
        recorders=recorders,
        management=management,
        now_us=now_us,
        window_s=options.signal_window_s,
    )
    state = VehicleState(readings)
    observer = Observer(
        testers=testers,
        follower=partial(
            Follower, recorders=recorders, testers=testers, state=state, now_us=now_us
        ),
        state=state,
        keeping=diagnostics,
        deliver=diagnostics.deliver,
        now_us=now_us,
        plan_file=PlanFile(folder / "diagnostic-plan.json"),
    )
    observing = asyncio.create_task(observer.run(), name="diagnostics")
    stack.push_async_callback(_ended, observing)
    restart = asyncio.Event()
    if options.software is not None:
        by_name[GATEWAY] = SoftwareUpdater(
            options.software,
            restart=restart.set,
            check_in=partial(_checked_in, journal, management, by_name, options.rng),
        )
    return _Open(
        journal=journal,
        archive=folder / "updates",
        artifacts=artifacts,
        outbox=outbox,
        updaters=by_name,
        images=GrpcImages(channel, caller, artifacts),
        management=management,
        diagnostics=diagnostics,
        observer=observer,
        jobs=JobRunner(
            vin=options.vin,
            testers=testers,
            state=state,
            ledger=JobLedger(folder / "jobs"),
            results=management,
            take_reading=partial(observer.take_reading, "on_request"),
            condition=parse(options.actuator_condition),
            now_us=now_us,
        ),
        channel=channel,
        caller=caller,
        budget=budget,
        remote=remote,
        now_us=now_us,
        readings=readings,
        wake=testers.wake,
        state=state,
        interlock=interlock,
        consent=FolderConsent(folder, standing=options.standing_consent, shown=options.on_question),
        restart=restart,
    )


async def _checked_in(
    journal: Journal,
    management: GrpcManagement,
    by_name: Mapping[str, EcuUpdater],
    rng: random.Random,
) -> None:
    """Check in, for a bounded time; `UpdateError` if the cloud has not answered by then."""
    campaign = _campaign_of(journal)
    for pause_s in (*_CHECK_IN_AGAIN_S, None):
        found = await inventories(by_name.values(), rng.randbytes(_NONCE_BYTES))
        try:
            await management.check_in(found, unfinished_campaign=campaign)
        except ManagementError as error:
            cause = str(error)
        else:
            return
        if pause_s is not None:
            await asyncio.sleep(pause_s)
    raise UpdateError(ecu=GATEWAY, step="checking in", cause=cause)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _forbidden(readings: VehicleReadings, vehicle: VehicleDescription, scope: RemoteScope) -> str:
    """What stands against a tester far away now; empty if nothing does."""
    if is_virtual(asyncio.get_running_loop()):
        return "a live stream needs real time"
    if scope is RemoteScope.READ or not vehicle.conditions.safe:
        return ""
    evaluation = evaluate(parse(vehicle.conditions.safe), readings.read)
    if evaluation.met:
        return ""
    unmet = ", ".join(one.condition for one in evaluation.unmet)
    return f"the vehicle does not let itself be written to now: not met: {unmet}"


def _recorders(
    vehicle: VehicleDescription,
    links: Links,
    stack: AsyncExitStack,
    readings: VehicleReadings,
    interlock: CanInterlock,
) -> tuple[SignalRecorder, ...]:
    """Recorders of all wires with signals; readings and interlock are joined to the same wires."""
    recorders = []
    stack.callback(readings.stop)
    stack.callback(interlock.stop)
    for wire in vehicle.wires.values():
        if not wire.databases:
            continue
        try:
            port = links.can(wire.name)
        except WireError as error:
            # Its ECUs will say so themselves when they are asked.
            _LOG.warning("no_signals wire=%s cause=%s", wire.name, error)
            continue
        recorder = SignalRecorder(wire.name, port, wire.databases, period_s=_SIGNAL_PERIOD_S)
        stack.callback(recorder.stop)
        recorders.append(recorder)
        readings.listen(wire.name, port, wire.databases)
        if INTERLOCK_DATABASE in wire.databases:
            interlock.add(port)
    return tuple(recorders)


def _lock(folder: Path, stack: AsyncExitStack) -> None:
    """One gateway per state directory; the lock ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise GatewayError(f"state directory {folder}: {error.strerror}") from error
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise GatewayError(f"state directory {folder}: another gateway works in it") from error
