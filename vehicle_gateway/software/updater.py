"""The gateway as one more part of an update: `EcuUpdater` over its own software slots."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from protocols.uds import slot_digest
from vehicle_gateway.software import HARDWARE_ID, SoftwareError
from vehicle_gateway.software.record import State
from vehicle_gateway.software.running import RunningSoftware
from vehicle_gateway.update import (
    GATEWAY,
    Inventory,
    Progress,
    ProgressSink,
    ReadBack,
    TransferFigures,
    UpdateError,
    UpdateJob,
)


class SoftwareUpdater:
    """Changes the slots and has the process started anew; the flow goes on in the next one."""

    ecu = GATEWAY
    single_slot = False
    staging_area = False

    def __init__(
        self,
        software: RunningSoftware,
        *,
        restart: Callable[[], None],
        check_in: Callable[[], Awaitable[None]],
    ) -> None:
        """`restart` has this process end and be started anew.

        `check_in` talks to the cloud; `UpdateError` if it does not answer in good time.
        """
        self._slots = software.slots
        self._running = software.package
        self._identity = software.identity
        self._restart = restart
        self._check_in = check_in
        self._checked_in = False

    async def stage(
        self,
        job: UpdateJob,
        *,
        resume_from: int,  # noqa: ARG002 a file is written in one go
        progress: ProgressSink,
    ) -> TransferFigures:
        if self._runs(job.image_sha256):
            raise self._error("staging", "the new software runs already")
        with _told("staging"):
            self._slots.stage(job.image)
        size = len(job.image)
        progress(Progress(ecu=GATEWAY, step="staged", bytes_done=size, bytes_total=size))
        return TransferFigures()

    async def activate(
        self,
        job: UpdateJob,
        *,
        resume_from: int,  # noqa: ARG002 nothing is transferred
        progress: ProgressSink,
    ) -> TransferFigures:
        if self._runs(job.image_sha256):
            return TransferFigures()
        record = self._slots.record
        if record.state is State.REVERTED:
            raise self._error("activating", "the trial of the new software failed")
        with _told("activating"):
            if record.state is not State.REQUESTED:
                self._slots.activate()
        progress(Progress(ecu=GATEWAY, step="activating"))
        return await self._started_anew()

    async def self_test(self, job: UpdateJob) -> None:  # noqa: ARG002 what runs is what is tested
        """Whether this software can do what a gateway is for: check in with its cloud."""
        await self._check_in()
        self._checked_in = True

    async def confirm(self, job: UpdateJob) -> None:
        if not self._runs(job.image_sha256):
            raise self._error("confirming", "the new software does not run")
        if not self._checked_in:
            await self.self_test(job)
        with _told("confirming"):
            self._slots.confirm(self._running.slot)

    async def revert(self, job: UpdateJob, *, progress: ProgressSink) -> TransferFigures:
        with _told("reverting"):
            self._slots.revert()
        if self._runs(job.before_sha256):
            return TransferFigures()
        progress(Progress(ecu=GATEWAY, step="reverting"))
        return await self._started_anew()

    async def inventory(self, nonce: bytes) -> Inventory:
        declared, sha256 = self._running.declared, self._running.sha256
        serial = self._identity.serial_number
        signature = slot_digest.sign(
            self._identity.key, hardware_id=HARDWARE_ID, serial=serial, nonce=nonce, sha256=sha256
        )
        return Inventory(
            ecu=GATEWAY,
            hardware_id=HARDWARE_ID,
            serial_number=serial,
            software_number=declared.software_number,
            software_version=declared.software_version,
            supplier_version=declared.supplier_version,
            read_back=ReadBack(nonce=nonce, image_sha256=sha256, signature=signature),
        )

    def _runs(self, sha256: bytes) -> bool:
        return self._running.sha256 == sha256

    async def _started_anew(self) -> NoReturn:
        """Never returns in this process: whoever waits is cancelled with it."""
        self._restart()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody completes the future")

    def _error(self, step: str, cause: str) -> UpdateError:
        return UpdateError(ecu=GATEWAY, step=step, cause=cause)


@contextmanager
def _told(step: str) -> Iterator[None]:
    """A `SoftwareError` inside becomes the `UpdateError` of a step."""
    try:
        yield
    except SoftwareError as error:
        raise UpdateError(ecu=GATEWAY, step=step, cause=str(error)) from error
