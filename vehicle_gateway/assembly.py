"""What a gateway is made of: its options, and its parts joined by them."""

import asyncio
import fcntl
import logging
import math
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import grpc

from clock import is_virtual
from dbc.vehicle import VehicleDescription
from protocols.link import Link
from protocols.preconditions import parse
from protocols.stream import ByteStream
from vehicle_gateway.calls import Caller
from vehicle_gateway.calls.budget import UNLIMITED, DataBudget, DataLimits
from vehicle_gateway.calls.channel import open_channel
from vehicle_gateway.calls.line import Line
from vehicle_gateway.diagnostics.interlock import DATABASE as INTERLOCK_DATABASE
from vehicle_gateway.diagnostics.interlock import CanInterlock
from vehicle_gateway.diagnostics.jobs import JobRunner
from vehicle_gateway.diagnostics.ledger import JobLedger
from vehicle_gateway.diagnostics.live import Follower
from vehicle_gateway.diagnostics.observer import Observer, PlanFile
from vehicle_gateway.diagnostics.readings import VehicleReadings
from vehicle_gateway.diagnostics.signals import SignalRecorder
from vehicle_gateway.diagnostics.state import STANDING_IN_PARK, VehicleState
from vehicle_gateway.driver import FolderConsent
from vehicle_gateway.flashing import described, updaters
from vehicle_gateway.flashing.key_hook import KeyHookError
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.sequence import SequenceError
from vehicle_gateway.management import ManagementError, RemoteScope, Withdrawal
from vehicle_gateway.management.grpc import GrpcManagement, ProgressReporter
from vehicle_gateway.management.grpc.remote import RemoteAccess
from vehicle_gateway.outbox import Outbox, OutboxError
from vehicle_gateway.software.running import RunningSoftware
from vehicle_gateway.software.updater import SoftwareUpdater
from vehicle_gateway.transfer import Artifacts
from vehicle_gateway.transfer.grpc import GrpcImages
from vehicle_gateway.update import GATEWAY, EcuUpdater, UpdateError
from vehicle_gateway.update.begin import inventories
from vehicle_gateway.update.consent import Choice, Question
from vehicle_gateway.update.journal import Journal, JournalError, Kind
from vehicle_gateway.wireless import WirelessDiagnostics
from vehicle_gateway.wires import Links, Wire, WireError
from vehicle_gateway.wires.testers import Testers

_LOG = logging.getLogger(__name__)

NONCE_BYTES: Final = 16
#: Seconds between the check-ins by which new gateway software shows that it can do its work.
_CHECK_IN_AGAIN_S: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
#: A signal is kept once in so many seconds.
_SIGNAL_PERIOD_S: Final = 1.0


class GatewayError(Exception):
    """The gateway cannot do its work; the message says what stands in the way."""


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


@dataclass(slots=True, kw_only=True)
class Parts:
    """What an open gateway holds."""

    journal: Journal
    archive: Path
    artifacts: Artifacts
    outbox: Outbox
    updaters: Mapping[str, EcuUpdater]
    images: GrpcImages
    management: GrpcManagement
    diagnostics: WirelessDiagnostics
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
    #: From when on a parked car is woken to say what it runs (loop time, seconds), and how long it
    #: sleeps after that while an ECU is missing.
    read_again_s: float = -math.inf
    missing_s: float = 0.0

    def reporter(self, on_withdrawal: Callable[[Withdrawal], None]) -> ProgressReporter:
        return ProgressReporter(
            self.channel,
            self.caller,
            campaign=campaign_of(self.journal),
            on_withdrawal=on_withdrawal,
        )


def campaign_of(journal: Journal) -> str:
    return str(journal.entries[0].fields["offer"]["campaign"])


async def assemble(
    options: GatewayOptions, links: Links, stack: AsyncExitStack, pace: Pace, seams: Seams
) -> Parts:
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
    diagnostics = WirelessDiagnostics(
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
    remote = RemoteAccess(
        channel,
        caller,
        edge=options.edge_node,
        forbidden=partial(forbidden, state, options.description, testers.wake),
        begins=observer.pause,
        ends=observer.resume,
    )
    stack.push_async_callback(remote.close)
    observing = asyncio.create_task(observer.run(), name="diagnostics")
    stack.push_async_callback(_ended, observing)
    restart = asyncio.Event()
    if options.software is not None:
        by_name[GATEWAY] = SoftwareUpdater(
            options.software,
            restart=restart.set,
            check_in=partial(_checked_in, journal, management, by_name, options.rng),
        )
    return Parts(
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
    campaign = campaign_of(journal)
    for pause_s in (*_CHECK_IN_AGAIN_S, None):
        found = await inventories(by_name.values(), rng.randbytes(NONCE_BYTES))
        try:
            await management.check_in(found, unfinished_campaign=campaign)
        except ManagementError as error:
            cause = str(error)
        else:
            return
        if pause_s is not None:
            await asyncio.sleep(pause_s * rng.uniform(0.8, 1.2))  # not all of a fleet at once
    raise UpdateError(ecu=GATEWAY, step="checking in", cause=cause)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def forbidden(
    state: VehicleState,
    vehicle: VehicleDescription,
    wake: Callable[[], None],
    scope: RemoteScope,
) -> str:
    """What stands against a tester far away now; empty if nothing does.

    The wires are kept awake: what they say is watched while a session lasts.
    """
    if is_virtual(asyncio.get_running_loop()):
        return "a live stream needs real time"
    if scope is RemoteScope.READ or not vehicle.conditions.safe:
        return ""
    wake()
    evaluation = await state.heard(parse(vehicle.conditions.safe), wake)
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
