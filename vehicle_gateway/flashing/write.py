"""What both kinds of ECU have in common: fingerprint, erase, download, check."""

import asyncio
from datetime import datetime

from dbc import RoutineIdentifiers
from protocols.uds import Nrc, requests
from protocols.uds.routine_status import ALFID
from protocols.uds.slot_digest import DIGEST_LENGTH, SIGNATURE_LENGTH
from vehicle_gateway.flashing.bound import WireTime
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.transfer import Download
from vehicle_gateway.update import (
    Progress,
    ProgressSink,
    ReadBack,
    TransferFigures,
    UpdateError,
)
from vehicle_gateway.wires.tester import NegativeResponseError


class Writer:
    """Writes images into one ECU's application area, in a session that is open and unlocked."""

    def __init__(
        self,
        dialogue: Dialogue,
        *,
        wire: WireTime,
        routines: RoutineIdentifiers,
        start_date: datetime,
        progress: ProgressSink,
    ) -> None:
        self._dialogue = dialogue
        self._wire = wire
        self._routines = routines
        self._start_date = start_date
        self._progress = progress

    async def write(
        self, image: bytes, *, address: int, offset: int, check_option: bytes
    ) -> TransferFigures:
        """2E F15A, FF00, 34/36/37, 0202.

        Raises `RoutineFailedError` if the ECU does not find the image good, `UpdateError` for
        everything else.
        """
        dialogue = self._dialogue
        await dialogue.leave_fingerprint("fingerprinting", self._start_date)
        download = Download(
            dialogue,
            image,
            address=address,
            offset=offset,
            wire=self._wire,
            progress=self._progress,
        )
        size = len(image) - offset
        sectors = -(-size // dialogue.ecu.sector_size)
        self.note("erasing", len(image), remaining_s=sectors * dialogue.ecu.erase_s)
        # The ECU erases for seconds: time enough to slice the image and compute the bound.
        planning = asyncio.create_task(download.plan(dialogue.ecu.max_block_length))
        try:
            await dialogue.check(
                "erasing", self._routines.erase_memory, memory_range(address + offset, size)
            )
            plan = await planning
        finally:
            planning.cancel()
        figures = await download.run(plan)
        self.note("verifying", len(image), done=len(image))
        await dialogue.check("verifying", self._routines.check_memory, check_option)
        return figures

    def note(self, step: str, size: int, *, done: int = 0, remaining_s: float = 0.0) -> None:
        self._progress(
            Progress(
                ecu=self._dialogue.ecu.name,
                step=step,
                bytes_done=done,
                bytes_total=size,
                remaining_s=remaining_s,
            )
        )


def memory_range(address: int, size: int) -> bytes:
    """Option record of a routine over a range: address and size of four bytes each."""
    return bytes([ALFID]) + address.to_bytes(4) + size.to_bytes(4)


def resume_point(image: bytes, *, resume_from: int, sector_size: int) -> int:
    """Where to go on: a sector boundary, and always something left to send.

    The ECU takes the end of the last download for the end of its image.
    """
    last = (len(image) - 1) // sector_size * sector_size
    return max(0, min(resume_from // sector_size * sector_size, last))


async def read_back(
    dialogue: Dialogue, step: str, routines: RoutineIdentifiers, nonce: bytes
) -> ReadBack | None:
    """The boot loader's statement of the active slot; None where it has no image to speak of."""
    request = requests.start_routine(routines.slot_digest, nonce)
    try:
        answer = await dialogue.ask(step, request)
    except UpdateError as error:
        refusal = error.__cause__
        if isinstance(refusal, NegativeResponseError) and refusal.code in _NO_IMAGE:
            return None
        raise
    status = answer[4:]
    if len(status) != 1 + DIGEST_LENGTH + SIGNATURE_LENGTH:
        raise UpdateError(
            ecu=dialogue.ecu.name,
            step=step,
            cause=f"a digest record of {len(status)} bytes",
        )
    if status[0] != 0:
        return None
    return ReadBack(
        nonce=nonce,
        image_sha256=status[1 : 1 + DIGEST_LENGTH],
        signature=status[1 + DIGEST_LENGTH :],
    )


#: How an ECU without a running image says so when it is asked for the digest.
_NO_IMAGE = frozenset(
    {
        Nrc.SERVICE_NOT_SUPPORTED,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED,
        Nrc.CONDITIONS_NOT_CORRECT,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
)
