"""ECUs with one slot: programmed through their boot loader while the whole wire stands back.

all of the wire   3E 80 every 2 s, 10 83, 31 01 0203, 85 82, 28 83 01
this ECU          10 02, 27, 2E F15A, 31 01 FF00, 34, 36 ..., 37, 31 01 0202, 31 01 FF01, 11 01
all of the wire   28 80 01, 85 81, 10 81: at the end, and also after a failure
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from dbc import EcuDescription
from protocols.uds import (
    CommunicationControl,
    DataIdentifier,
    DtcSetting,
    Session,
    requests,
)
from protocols.uds.routine_status import Precondition
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.tester_present import session_kept_open
from vehicle_gateway.flashing.write import read_back, resume_point
from vehicle_gateway.update import (
    Inventory,
    Progress,
    ProgressSink,
    TransferFigures,
    UpdateError,
    UpdateJob,
)
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.tester import FunctionalTester, NegativeResponseError

_OPENING = "silencing the wire"
_CLOSING = "releasing the wire"


class SingleSlotUpdater:
    """`EcuUpdater` of one ECU that cannot run while it is programmed."""

    single_slot = True

    def __init__(self, site: Site) -> None:
        self._site = site
        self.ecu = site.ecu.name

    async def stage(
        self,
        job: UpdateJob,
        *,
        resume_from: int,  # noqa: ARG002 nothing is written yet
        progress: ProgressSink,  # noqa: ARG002 nothing is written yet
    ) -> TransferFigures:
        if job.present is None:
            raise UpdateError(
                ecu=self.ecu, step="staging", cause="one slot, and its present image is not at hand"
            )
        _check_fits(self._site.ecu, "new image", job.image, job.address)
        _check_fits(self._site.ecu, "present image", job.present, job.present_address)
        dialogue = self._site.dialogue()
        await dialogue.wait_for("staging")
        if await self._application_runs(dialogue):
            await dialogue.enter("staging", Session.EXTENDED)
            answer = await dialogue.ask("checking preconditions", self._preconditions())
            _check_preconditions(self.ecu, answer)
            await dialogue.enter("staging", Session.DEFAULT)
        return TransferFigures()

    async def activate(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        return await self._program(job.image, job.address, resume_from, progress)

    async def confirm(self, job: UpdateJob) -> None:
        """Nothing to keep or to give up: there is one slot."""

    async def revert(self, job: UpdateJob, *, progress: ProgressSink) -> TransferFigures:
        dialogue = self._site.dialogue()
        await dialogue.wait_for("reverting")
        if await self._runs(dialogue, job.before_sha256, job.nonce):
            return TransferFigures()
        if job.present is None:
            raise UpdateError(
                ecu=self.ecu, step="reverting", cause="its image from before is not at hand"
            )
        figures = await self._program(job.present, job.present_address, 0, progress)
        if not await self._runs(dialogue, job.before_sha256, job.nonce):
            raise UpdateError(
                ecu=self.ecu, step="reverting", cause="does not run the image from before"
            )
        return figures

    async def inventory(self, nonce: bytes) -> Inventory:
        return await self._site.inventory(nonce)

    async def _program(
        self, image: bytes, address: int, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        loop = asyncio.get_running_loop()
        dialogue = self._site.dialogue()
        await dialogue.wait_for("programming")
        await dialogue.serial()
        runs = await self._application_runs(dialogue)
        async with self._wire_stands_back(dialogue if runs else None):
            start_s = loop.time()
            await dialogue.enter("entering the boot loader", Session.PROGRAMMING)
            await dialogue.unlock("unlocking")
            offset = resume_point(
                image, resume_from=resume_from, sector_size=self._site.ecu.sector_size
            )
            figures = await self._site.writer(dialogue, progress).write(
                image,
                address=address,
                offset=offset,
                check_option=zlib.crc32(image).to_bytes(4),
            )
            await dialogue.check("checking dependencies", self._site.routines.check_dependencies)
            progress(Progress(ecu=self.ecu, step="activating"))
            await dialogue.reset("activating")
            return replace(figures, out_of_use_s=loop.time() - start_s)

    @asynccontextmanager
    async def _wire_stands_back(self, must_agree: Dialogue | None) -> AsyncIterator[None]:
        """No normal messages, no DTCs, no session that runs out, until the block is left.

        An ECU that says nothing to 0203 does not know it, or its answer got lost; of the ECU that
        is programmed, if its application runs, that has to be known: it is asked by itself.
        """
        everyone = self._site.functional()
        try:
            async with session_kept_open(everyone.tell):
                try:
                    await self._ask_all(everyone, must_agree)
                    yield
                except BaseException:
                    # What went wrong first is what has to be told.
                    with suppress(UpdateError):
                        await self._release(everyone)
                    raise
                await self._release(everyone)
        except WireError as error:
            raise UpdateError(ecu=self.ecu, step=_OPENING, cause=str(error)) from error

    async def _ask_all(self, everyone: FunctionalTester, must_agree: Dialogue | None) -> None:
        """Whoever refuses one of the four stops it: a wire half silent is not safe to program."""
        await _insist(everyone, requests.session_control(Session.EXTENDED, suppress=True))
        answers = await _insist(everyone, self._preconditions())
        for ecu, answer in answers.items():
            _check_preconditions(ecu, answer)
        if must_agree is not None and self.ecu not in answers:
            # What got lost may have been the 10 83.
            await must_agree.enter("checking preconditions", Session.EXTENDED)
            answer = await must_agree.ask("checking preconditions", self._preconditions())
            _check_preconditions(self.ecu, answer)
        await _insist(everyone, requests.control_dtc_setting(DtcSetting.OFF, suppress=True))
        silence = CommunicationControl.DISABLE_RX_AND_TX
        await _insist(everyone, requests.communication_control(silence, suppress=True))

    async def _release(self, everyone: FunctionalTester) -> None:
        """All three, whatever becomes of each: an ECU left silent would be worse than an error."""
        failed: WireError | None = None
        for request in (
            requests.communication_control(CommunicationControl.ENABLE_RX_AND_TX, suppress=True),
            requests.control_dtc_setting(DtcSetting.ON, suppress=True),
            requests.session_control(Session.DEFAULT, suppress=True),
        ):
            try:
                await everyone.request(request)
            except WireError as error:
                failed = error
        if failed is not None:
            raise UpdateError(ecu=self.ecu, step=_CLOSING, cause=str(failed)) from failed

    def _preconditions(self) -> bytes:
        return requests.start_routine(self._site.routines.check_preconditions)

    async def _runs(self, dialogue: Dialogue, sha256: bytes, nonce: bytes) -> bool:
        if not await self._application_runs(dialogue):
            return False
        found = await read_back(dialogue, "reading back", self._site.routines, nonce)
        return found is not None and found.image_sha256 == sha256

    async def _application_runs(self, dialogue: Dialogue) -> bool:
        number = DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER
        return await dialogue.read_if_known("reading back", number) != ""


async def _insist(everyone: FunctionalTester, request: bytes) -> dict[str, bytes]:
    """What the ECUs of the wire answer; `UpdateError` names the first that refuses."""
    agreed: dict[str, bytes] = {}
    for ecu, answer in (await everyone.request(request)).items():
        if isinstance(answer, NegativeResponseError):
            raise UpdateError(ecu=ecu, step="checking preconditions", cause=str(answer))
        agreed[ecu] = answer
    return agreed


def _check_fits(ecu: EcuDescription, what: str, image: bytes, address: int) -> None:
    start, end = ecu.application_base, ecu.application_base + ecu.slot_size
    if not image or address < start or address + len(image) > end:
        raise UpdateError(
            ecu=ecu.name,
            step="staging",
            cause=f"{what}: {len(image)} bytes at 0x{address:08X} are not within "
            f"0x{start:08X} to 0x{end:08X}",
        )


def _check_preconditions(ecu: str, answer: bytes) -> None:
    """71 01 0203, status, number of failed ones, one byte each."""
    status = answer[4:]
    if not status or status[0] == 0:
        return
    failed = ", ".join(_precondition(code) for code in status[2:]) or f"status {status[0]:02X}"
    raise UpdateError(ecu=ecu, step="checking preconditions", cause=f"not met: {failed}")


def _precondition(code: int) -> str:
    try:
        return Precondition(code).name.lower().replace("_", " ")
    except ValueError:
        return f"{code:02X}"
