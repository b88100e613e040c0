"""The telematics gateway as a whole: its parts joined, its journal resumed, its cloud asked."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from dbc.vehicle import VehicleDescription
from protocols.preconditions import PreconditionError, parse
from vehicle_gateway.assembly import (
    NONCE_BYTES,
    GatewayError,
    GatewayOptions,
    Parts,
    Seams,
    assemble,
)
from vehicle_gateway.diagnostics.ledger import LedgerError
from vehicle_gateway.diagnostics.state import VehicleState
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.management import ManagementError, UnreachableError, Withdrawal
from vehicle_gateway.outbox import OutboxError
from vehicle_gateway.software import description
from vehicle_gateway.update import GATEWAY, Inventory, Progress
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.begin import begin, inventories
from vehicle_gateway.update.conditions import VehicleClearance
from vehicle_gateway.update.coordinator import CoordinatorError, Outcome
from vehicle_gateway.update.images import NotNowError
from vehicle_gateway.update.journal import JournalError
from vehicle_gateway.update.offer import Offer
from vehicle_gateway.update.vehicle import Phase, VehicleUpdate
from vehicle_gateway.wires import Links

_LOG = logging.getLogger(__name__)

#: Seconds between two looks at terminal 15.
_LOOK_S: Final = 1.0
#: A car is parked when terminal 15 has been off for so long; a message that is lost is not that.
_PARKED_S: Final = 5.0
#: A parked car is woken so often, in seconds, to say what it runs; while an ECU is missing after
#: this, doubled each time.
_PARKED_READ_S: Final = 86_400.0
_MISSING_READ_S: Final = 600.0
#: What ECUs are not asked anything else in.
_UNDISTURBED: Final = frozenset({Phase.ACTIVATING, Phase.CONFIRMING, Phase.REVERTING})


class RestartRequiredError(Exception):
    """This process has to end, so that the gateway's other software is started in its place."""


class CloudAwayError(GatewayError):
    """The cloud cannot be reached: the same again later goes on where this ended."""


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
        self._open: Parts | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open everything; `GatewayError` says what cannot be opened."""
        async with AsyncExitStack() as stack:
            self._open = await assemble(self._options, self._links, stack, self.pace, self._seams)
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

    async def _turn(self, parts: Parts) -> Outcome | None:
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

    async def _asked(self, parts: Parts) -> Offer | None:
        """What the cloud offers; nothing while it lacks reports of what was done before."""
        waiting = await parts.management.deliver()
        if any(parcel.kind == "report" for parcel in waiting):
            raise UnreachableError(f"{len(waiting)} messages wait for the cloud")
        now_s = asyncio.get_running_loop().time()
        due = parts.state.in_use or now_s >= parts.read_again_s
        # A tester far away has the ECUs to itself.
        found = await self._read(parts) if due and not parts.remote.active else ()
        answer = await parts.management.check_in(found, unfinished_campaign="")
        if answer.offer is not None and not found and not parts.remote.active:
            # What it is offered goes by what the cloud knew: it shall know what runs now.
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

    async def _read(self, parts: Parts) -> tuple[Inventory, ...]:
        """What the ECUs say of themselves; how long a parked car sleeps from now on."""
        nonce = self._options.rng.randbytes(NONCE_BYTES)
        found = await inventories(parts.updaters.values(), nonce)
        if any(one.error for one in found):
            parts.missing_s = min(2 * parts.missing_s or _MISSING_READ_S, _PARKED_READ_S)
        else:
            parts.missing_s = 0.0
        sleeps_s = parts.missing_s or _PARKED_READ_S
        parts.read_again_s = asyncio.get_running_loop().time() + sleeps_s
        return found

    async def _begin(self, parts: Parts, offer: Offer) -> None:
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

    async def _update(self, parts: Parts) -> Outcome:
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
        parts: Parts,
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

    async def _wait(self, parts: Parts) -> None:
        """Until the next check-in; ECUs of a car that was used for moments are asked by it."""
        loop = asyncio.get_running_loop()
        pause_s = parts.next_check_in_s or self._options.poll_s
        until_s = loop.time() + pause_s * self._options.rng.uniform(0.95, 1.05)
        while (left_s := until_s - loop.time()) > 0:
            if parts.remote.active:
                parts.wake()  # Its tester finds ECUs that answer.
            if parts.state.in_use or parts.remote.active:
                parts.read_again_s = -math.inf
            await asyncio.sleep(min(left_s, _LOOK_S))

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
