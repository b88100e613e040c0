"""`EcuUpdater` by a flash sequence: which phase of it each call of the update flow runs."""

import asyncio
from dataclasses import replace

from dbc import EcuDescription
from protocols.firmware.formats import Image
from vehicle_gateway.flashing.firmware_file import loader_of
from vehicle_gateway.flashing.load import Load, LoadError, parts_of
from vehicle_gateway.flashing.perform import Performance
from vehicle_gateway.flashing.sequence import CONFIRM, REVERT, SELF_TEST, STAGE
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.update import (
    Inventory,
    Progress,
    ProgressSink,
    TransferFigures,
    UpdateError,
    UpdateJob,
)


class SequenceUpdater:
    """`EcuUpdater` of one ECU.

    One slot: `stage` asks whether it may, `program` does it, and going back is `program` with the
    image from before. Two slots: `stage` writes, the other phases decide which slot runs. One slot
    with a staging area: `stage` and `activate` as for two slots, and going back is both of them
    with the image from before; `program` where no application runs.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.ecu = site.ecu.name
        self.single_slot = site.sequence.single_slot
        self.staging_area = site.sequence.staging_area

    async def stage(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        if not self.single_slot:
            figures = await self._run(STAGE, job, progress, resume_from=resume_from)
            return replace(figures, staging_s=loop.time() - start_s)
        _check_fits(self._site.ecu, "new image", job.image, job.address)
        if job.present is not None:
            _check_fits(self._site.ecu, "present image", job.present, job.present_address)
        elif not job.committed:
            raise UpdateError(
                ecu=self.ecu, step="staging", cause="one slot, and its present image is not at hand"
            )
        figures = await self._run(STAGE, job, progress, resume_from=resume_from)
        if not self.staging_area:
            return figures
        return replace(figures, staging_s=loop.time() - start_s)

    async def activate(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        phase = await self._site.writing_phase()
        return await self._run(phase, job, progress, resume_from=resume_from)

    async def self_test(self, job: UpdateJob) -> None:
        await self._run(SELF_TEST, job, _unseen)

    async def confirm(self, job: UpdateJob) -> None:
        """Nothing to keep or to give up where there is one slot and nothing else."""
        await self._run(CONFIRM, job, _unseen)

    async def revert(self, job: UpdateJob, *, progress: ProgressSink) -> TransferFigures:
        if not self.single_slot:
            return await self._run(REVERT, job, progress)
        # A copy that waits for its reset is taken back.
        await self._run(REVERT, job, progress)
        if await self._old_image_runs(job):
            return TransferFigures()
        if job.present is None:
            raise UpdateError(
                ecu=self.ecu, step="reverting", cause="its image from before is not at hand"
            )
        back = replace(
            job,
            image=job.present,
            address=job.present_address,
            image_sha256=job.before_sha256,
            before_sha256=job.image_sha256,
        )
        figures = TransferFigures()
        if self.staging_area:
            figures += await self._run(STAGE, back, progress)
        figures += await self._run(await self._site.writing_phase(), back, progress)
        if not await self._old_image_runs(job):
            raise UpdateError(
                ecu=self.ecu, step="reverting", cause="does not run the image from before"
            )
        return figures

    async def inventory(self, nonce: bytes) -> Inventory:
        return await self._site.inventory(nonce)

    async def _old_image_runs(self, job: UpdateJob) -> bool:
        dialogue = self._site.dialogue()
        await dialogue.wait_for("reverting")
        return await self._site.runs(dialogue, job.before_sha256, job.nonce)

    async def _run(
        self, phase: str, job: UpdateJob, progress: ProgressSink, *, resume_from: int = 0
    ) -> TransferFigures:
        try:
            parts = parts_of((Image(address=job.address, data=job.image),), self._site.sequence)
            loader = loader_of(self._site.sequence)
        except LoadError as error:
            raise UpdateError(ecu=self.ecu, step=phase, cause=str(error)) from error
        load = Load(
            parts=parts,
            loader=loader.parts,
            entry=loader.entry,
            loader_format=loader.data_format,
            new_sha256=job.image_sha256,
            old_sha256=job.before_sha256,
            nonce=job.nonce,
        )
        # Where there are several blocks, or a loader before them, it begins afresh.
        offset = resume_point(
            job.image, resume_from=resume_from, sector_size=self._site.ecu.sector_size
        )
        offset = offset if len(parts) == 1 and not loader.parts else 0
        return await Performance(self._site, load, progress=progress, offset=offset).run(phase)


def resume_point(image: bytes, *, resume_from: int, sector_size: int) -> int:
    """Where to go on: a sector boundary, and always something left to send.

    The ECU takes the end of the last download for the end of its image.
    """
    last = (len(image) - 1) // sector_size * sector_size
    return max(0, min(resume_from // sector_size * sector_size, last))


def _check_fits(ecu: EcuDescription, what: str, image: bytes, address: int) -> None:
    start, end = ecu.application_base, ecu.application_base + ecu.slot_size
    if not image or address < start or address + len(image) > end:
        raise UpdateError(
            ecu=ecu.name,
            step="staging",
            cause=f"{what}: {len(image)} bytes at 0x{address:08X} are not within "
            f"0x{start:08X} to 0x{end:08X}",
        )


def _unseen(_progress: Progress) -> None:
    """Nobody watches: a request, and no bytes."""
