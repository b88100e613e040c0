"""ECUs with two slots: staged by the running application, then tried, confirmed or reverted.

stage     10 03, 27, 2E F15A, 31 01 FF00, 34, 36 ..., 37, 31 01 0202
activate  10 03, 27, 31 01 FF01, 31 01 0210, 11 01
confirm   10 03, 27, 31 01 0211
revert    10 03, 27, 31 01 0212, 11 01
"""

import asyncio
from dataclasses import replace

from protocols.uds import Session
from vehicle_gateway.flashing.dialogue import Dialogue, RoutineFailedError
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.write import read_back, resume_point
from vehicle_gateway.update import (
    Inventory,
    ProgressSink,
    TransferFigures,
    UpdateError,
    UpdateJob,
)


class TwoSlotUpdater:
    """`EcuUpdater` of one ECU whose application programs its inactive slot."""

    single_slot = False

    def __init__(self, site: Site) -> None:
        self._site = site
        self.ecu = site.ecu.name

    async def stage(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        dialogue = self._site.dialogue()
        await dialogue.wait_for("staging")
        offset = resume_point(
            job.image, resume_from=resume_from, sector_size=self._site.ecu.sector_size
        )
        try:
            figures = await self._write(dialogue, job, offset, progress)
        except RoutineFailedError:
            if offset == 0:
                raise
            # What was there from before the interruption is not what it was taken for.
            figures = await self._write(dialogue, job, 0, progress)
        return replace(figures, staging_s=loop.time() - start_s)

    async def activate(
        self,
        job: UpdateJob,
        *,
        resume_from: int,  # noqa: ARG002 the other slot is whole
        progress: ProgressSink,  # noqa: ARG002 seconds, not bytes
    ) -> TransferFigures:
        loop = asyncio.get_running_loop()
        dialogue = self._site.dialogue()
        await dialogue.wait_for("activating")
        if await self._runs(dialogue, job.image_sha256, job.nonce):
            # Asked a second time: to activate the other slot now would be to go back.
            return TransferFigures()
        await self._unlock(dialogue, "activating")
        routines = self._site.routines
        await dialogue.check("checking dependencies", routines.check_dependencies)
        await dialogue.check("activating", routines.activate)
        reset_s = loop.time()
        await dialogue.reset("activating")
        return TransferFigures(out_of_use_s=loop.time() - reset_s)

    async def confirm(self, job: UpdateJob) -> None:  # noqa: ARG002 the slot that runs is meant
        dialogue = self._site.dialogue()
        await self._unlock(dialogue, "confirming")
        await dialogue.check("confirming", self._site.routines.confirm)

    async def revert(
        self,
        job: UpdateJob,
        *,
        progress: ProgressSink,  # noqa: ARG002 seconds, not bytes
    ) -> TransferFigures:
        loop = asyncio.get_running_loop()
        dialogue = self._site.dialogue()
        await dialogue.wait_for("reverting")
        went_back = await self._runs(dialogue, job.before_sha256, job.nonce)
        # Also where the old image runs: a trial that waits for its reset is taken back.
        await self._unlock(dialogue, "reverting")
        await dialogue.check("reverting", self._site.routines.revert)
        if went_back:
            return TransferFigures()
        reset_s = loop.time()
        await dialogue.reset("reverting")
        if not await self._runs(dialogue, job.before_sha256, job.nonce):
            raise UpdateError(
                ecu=self.ecu, step="reverting", cause="does not run the image from before"
            )
        return TransferFigures(out_of_use_s=loop.time() - reset_s)

    async def inventory(self, nonce: bytes) -> Inventory:
        return await self._site.inventory(nonce)

    async def _write(
        self, dialogue: Dialogue, job: UpdateJob, offset: int, progress: ProgressSink
    ) -> TransferFigures:
        await self._unlock(dialogue, "unlocking")
        return await self._site.writer(dialogue, progress).write(
            job.image, address=job.address, offset=offset, check_option=b""
        )

    async def _unlock(self, dialogue: Dialogue, step: str) -> None:
        await dialogue.serial()
        await dialogue.enter(step, Session.EXTENDED)
        await dialogue.unlock(step)

    async def _runs(self, dialogue: Dialogue, sha256: bytes, nonce: bytes) -> bool:
        found = await read_back(dialogue, "reading back", self._site.routines, nonce)
        return found is not None and found.image_sha256 == sha256
