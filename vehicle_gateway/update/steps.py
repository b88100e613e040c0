"""The steps of one ECU: stage, activate, prove, confirm, revert.

Each asks the ECU what it is and runs before it relies on that, has its entry on disk before its
effect, and may be repeated after any interruption. What fails is an `UpdateError`.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from vehicle_gateway.update import (
    EcuUpdater,
    Inventory,
    Progress,
    TransferFigures,
    UpdateError,
)
from vehicle_gateway.update.begin import inventory_of
from vehicle_gateway.update.coordinator import Direction, EcuState
from vehicle_gateway.update.images import runs
from vehicle_gateway.update.jobs import Jobs
from vehicle_gateway.update.journal import Kind
from vehicle_gateway.update.ledger import Ledger
from vehicle_gateway.update.parts import Parts

_LOG = logging.getLogger(__name__)

#: Seconds before an ECU that did not answer is asked again (a reset takes up to a second).
_ASK_AGAIN_S: Final = (1.0, 3.0)
#: Seconds between the tries of an ECU that has to go back, or on, and at its last look: what a
#: hiccup takes, and in the end what a supply takes that fails and comes again.
PATIENCE_S: Final = (2.0, 16.0, 128.0)
#: Seconds in which an ECU whose application falls over has come to rest.
_SETTLING_S: Final = 3.0


class TurnedError(Exception):
    """What an ECU was asked for is void: the journal says why."""


class EcuSteps:
    """What is done to one ECU. `started_us` is when its step began, for the journal."""

    def __init__(
        self, ledger: Ledger, *, updaters: Mapping[str, EcuUpdater], jobs: Jobs, parts: Parts
    ) -> None:
        self._ledger = ledger
        self._updaters = updaters
        self._jobs = jobs
        self._parts = parts
        self._nonce = ledger.opening.offer.nonce

    async def stage(self, ecu: str, started_us: int) -> None:
        """Have the new image ready, from the last verified byte on."""
        part = self._ledger.state.part(ecu)
        resume_from = part.verified if part.state is EcuState.STAGING else 0
        if part.state is EcuState.STAGING or part.failures:
            await self._meet(ecu)  # Days may lie between.
        if not resume_from:
            self._ledger.note(Kind.STAGING, ecu)
        # One that ran the release already and has gone back by itself needs its image after all.
        job, updater = await self._jobs.fetched(ecu), self._updater(ecu)
        sink = self._ledger.sink(ecu)
        try:
            figures = await updater.stage(job, resume_from=resume_from, progress=sink)
        except UpdateError as error:
            if not resume_from or error.absent or self._ledger.state.direction is Direction.BACK:
                raise
            # The ECU may have lost what the journal says it has.
            _LOG.warning("staging_anew ecu=%s cause=%s", ecu, error)
            self._ledger.note(Kind.STAGING, ecu)
            figures = await updater.stage(job, resume_from=0, progress=sink)
        self._ledger.note(Kind.STAGED, ecu, started_us=started_us, figures=figures)

    async def activate(self, ecu: str, started_us: int) -> None:
        """Have it run the new image on trial; one that does already is only told."""
        part = self._ledger.state.part(ecu)
        job, updater = self._jobs.at_hand(ecu, "activating"), self._updater(ecu)
        figures = TransferFigures()
        interrupted = part.state is EcuState.ACTIVATING
        found = await self._meet(ecu)
        if not interrupted:
            self._ledger.note(Kind.ACTIVATING, ecu)
        if not interrupted or self.not_new(found) is not None:
            self._ledger.on_progress(Progress(ecu=ecu, step="activating"))
            figures = await updater.activate(
                job,
                resume_from=part.verified if interrupted else 0,
                progress=self._ledger.sink(ecu),
            )
        self._ledger.note(Kind.ACTIVATED, ecu, started_us=started_us, figures=figures)

    async def prove(self, ecu: str, started_us: int) -> None:
        """See that the new image runs and passes its own test; what went back is staged again."""
        inventory = await self._meet(ecu)
        wrong = self.not_new(inventory)
        if wrong is None:
            await self._test(ecu)
            self._ledger.note(Kind.PROVED, ecu, started_us=started_us)
            self._ledger.on_progress(Progress(ecu=ecu, step="trial"))
        elif self._ledger.state.direction is Direction.KEEP and not inventory.error:
            self._ledger.note(
                Kind.WENT_BACK, ecu, started_us=started_us, step="reading back", cause=wrong
            )
        else:
            raise UpdateError(ecu=ecu, step="reading back", cause=wrong)

    async def confirm(self, ecu: str, started_us: int) -> None:
        """Have it keep the new image; what went back is staged again."""
        if self._ledger.state.part(ecu).state is not EcuState.CONFIRMING:
            self._ledger.note(Kind.CONFIRMING, ecu)
        job = self._jobs.at_hand(ecu, "confirming", without_image=True)
        for last in (False, True):
            # Before: a trial may have ended by itself. After: the ECU says what it keeps.
            inventory = await self._meet(ecu)
            wrong = self.not_new(inventory)
            if wrong is not None and inventory.error:
                raise UpdateError(ecu=ecu, step="confirming", cause=wrong)
            if wrong is not None:
                self._ledger.note(
                    Kind.WENT_BACK, ecu, started_us=started_us, step="confirming", cause=wrong
                )
                return
            if not last:
                await self._updater(ecu).confirm(job)
        self._ledger.note(Kind.CONFIRMED, ecu, started_us=started_us)
        self._ledger.on_progress(Progress(ecu=ecu, step="confirmed"))

    async def revert(self, ecu: str, started_us: int) -> None:
        """Have it run again what it ran before."""
        part = self._ledger.state.part(ecu)
        await self._meet(ecu)
        if part.state is not EcuState.REVERTING:
            self._ledger.note(Kind.REVERTING, ecu)
        self._ledger.on_progress(Progress(ecu=ecu, step="reverting"))
        job = self._jobs.at_hand(ecu, "reverting", without_image=not part.single_slot)
        figures = await self._updater(ecu).revert(job, progress=self._ledger.sink(ecu))
        inventory = await self._meet(ecu)
        # Where nothing ran before and there is nothing to give back, it is enough to be there.
        old = runs(inventory, job.before_sha256) if job.before_sha256 else not inventory.error
        if not old:
            cause = inventory.error or "does not run its old image"
            raise UpdateError(ecu=ecu, step="reverting", cause=cause)
        self._ledger.note(Kind.REVERTED, ecu, started_us=started_us, figures=figures)
        self._ledger.on_progress(Progress(ecu=ecu, step="reverted"))

    async def ask(self, ecu: str) -> Inventory:
        """An ECU's inventory; it may be on its way up from a reset."""
        try:
            updater = self._updater(ecu)
        except UpdateError as error:
            return Inventory(ecu=ecu, error=f"{error.step}: {error.cause}")
        found = await inventory_of(updater, self._nonce)
        for pause_s in _ASK_AGAIN_S:
            if not found.error:
                return found
            await asyncio.sleep(pause_s)
            found = await inventory_of(updater, self._nonce)
        return found

    def not_new(self, inventory: Inventory) -> str | None:
        """Why this is not the new release, None if it is."""
        image = self._ledger.offered[inventory.ecu].image
        if inventory.error:
            return inventory.error
        if inventory.read_back is None or not inventory.application_runs:
            return "no image runs, it stays in its boot loader"
        if inventory.read_back.nonce != self._nonce:
            return "its digest is over another nonce"
        if inventory.read_back.image_sha256 != image.image_sha256:
            return f"runs {inventory.software_version or 'another image'}, not the new image"
        if image.software_version and inventory.software_version != image.software_version:
            return f"says version {inventory.software_version}, not {image.software_version}"
        return None

    async def _test(self, ecu: str) -> None:
        """The new application tests itself; one that falls over meanwhile is told as such."""
        job = self._jobs.at_hand(ecu, "self-test", without_image=True)
        try:
            await self._updater(ecu).self_test(job)
        except UpdateError as error:
            # A reset in the middle of it is told by what the ECU runs once it has settled.
            await asyncio.sleep(_SETTLING_S)
            gone = self.not_new(await self.ask(ecu))
            if gone is None:
                raise
            cause = f"the application does not last: {gone}"
            raise UpdateError(ecu=ecu, step=error.step, cause=cause) from error

    async def _meet(self, ecu: str) -> Inventory:
        """An ECU's inventory, from the part that has always been there.

        Raises `TurnedError` if it is another one, or if the update has turned meanwhile;
        `UpdateError` if the part does not fit the release.
        """
        direction = self._ledger.state.direction
        found = await self.ask(ecu)
        if self._parts.is_replaced(found):
            self._parts.replace(found)
            raise TurnedError
        if self._ledger.state.direction is not direction:
            raise TurnedError
        fits, is_of = self._ledger.offered[ecu].image.hardware_id, self._parts.hardware_id(ecu)
        if is_of not in {"", fits}:
            cause = f"its hardware is {is_of}, the image is for {fits}"
            raise UpdateError(ecu=ecu, step="replaced", cause=cause)
        return found

    def _updater(self, ecu: str) -> EcuUpdater:
        updater = self._updaters.get(ecu)
        if updater is None:
            raise UpdateError(ecu=ecu, step="update", cause="no such ECU in this vehicle")
        return updater
