"""The download itself: 34, 36 for every block, 37.

All requests are sliced and the bound is computed before the first 34, while the ECU erases; between
an answer and the next block there is nothing left to prepare.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocols.uds import MalformedResponseError, Nrc, requests, responses
from vehicle_gateway.flashing.bound import Bound, BoundCalculator, WireTime, block_size
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.sequence import MemoryFormat
from vehicle_gateway.update import Progress, ProgressSink, TransferFigures

#: Progress is told so often per download, and whenever another sector is certain.
_NOTES: Final = 200
#: The ECU holds one block in its buffer while it programs the one before it: when it has taken a
#: block, all but the last two are in its memory.
_IN_FLIGHT_BLOCKS: Final = 2
#: What a second 34 gets while the first one's download is under way, and a second 37 after it.
_UNDER_WAY: Final = frozenset({Nrc.CONDITIONS_NOT_CORRECT, Nrc.UPLOAD_DOWNLOAD_NOT_ACCEPTED})
_OVER: Final = frozenset({Nrc.REQUEST_SEQUENCE_ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A download, sliced."""

    max_block_length: int
    #: Data bytes per block; the last one may be shorter.
    block: int
    requests: Sequence[bytes]
    bound: Bound


class Download:
    """One image (or the rest of it) on its way to one ECU."""

    def __init__(
        self,
        dialogue: Dialogue,
        image: bytes,
        *,
        address: int,
        offset: int,
        wire: WireTime,
        progress: ProgressSink,
        memory: MemoryFormat | None = None,
        step: str = "transferring",
    ) -> None:
        """`address` is where `image[0]` goes; the first `offset` bytes are there already."""
        self._memory = memory or MemoryFormat()
        self._step = step
        self._dialogue = dialogue
        self._image = image
        self._address = address
        self._offset = offset
        self._wire = wire
        self._progress = progress
        self._noted = -1
        self._verified = offset

    async def plan(self, max_block_length: int) -> Plan:
        """Slice the image and compute the bound; gives way to the loop between blocks."""
        ecu = self._dialogue.ecu
        block = block_size(max_block_length, ecu.page_size)
        calculator = BoundCalculator(self._wire, ecu, address=self._address + self._offset)
        blocks: list[bytes] = []
        counter = 1
        for at in range(self._offset, len(self._image), block):
            request = requests.transfer_data(counter, self._image[at : at + block])
            calculator.add(request)
            blocks.append(request)
            counter = requests.next_block(counter)
            await asyncio.sleep(0)
        return Plan(
            max_block_length=max_block_length,
            block=block,
            requests=blocks,
            bound=calculator.result(),
        )

    async def run(self, plan: Plan) -> TransferFigures:
        """34, every 36, 37. Raises `UpdateError`; a block whose answer is lost is sent again."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        allowed = await self._announce(plan.max_block_length)
        if allowed < plan.max_block_length or not self._dialogue.ecu.max_block_length:
            # The ECU's own word counts, not the vehicle description's.
            plan = await self.plan(allowed)
        left_s = plan.bound.total_s
        taken = self._offset
        for request, block_s in zip(plan.requests, plan.bound.blocks_s, strict=True):
            # 14229-1: the same counter again is acknowledged and not written again.
            await self._dialogue.ask(self._step, request)
            taken += len(request) - 2
            left_s -= block_s
            self._note(plan, taken, left_s)
        await self._finish()
        return TransferFigures(transfer_s=loop.time() - start_s, bound_s=plan.bound.total_s)

    async def _announce(self, planned: int) -> int:
        """34; the longest block that the ECU takes, as planned where its word got lost."""
        memory = self._memory
        request = requests.request_download(
            self._address + self._offset,
            len(self._image) - self._offset,
            data_format=memory.data_format,
            address_bytes=memory.address_bytes,
            size_bytes=memory.size_bytes,
        )
        answer = await self._dialogue.ask_once(self._step, request, done=_UNDER_WAY)
        if answer is None:
            return planned
        try:
            return responses.decode_download(answer)
        except MalformedResponseError as error:
            raise self._dialogue.failed(self._step, error) from error

    async def _finish(self) -> None:
        """37; refused as out of sequence after a lost answer, it was carried out the first time."""
        await self._dialogue.ask_once(self._step, requests.request_transfer_exit(), done=_OVER)

    def _note(self, plan: Plan, taken: int, left_s: float) -> None:
        size = len(self._image)
        sector = self._dialogue.ecu.sector_size
        certain = (taken - _IN_FLIGHT_BLOCKS * plan.block) // sector * sector
        note = taken * _NOTES // size
        if note == self._noted and certain <= self._verified:
            return
        self._noted = note
        self._verified = max(certain, self._verified)
        self._progress(
            Progress(
                ecu=self._dialogue.ecu.name,
                step=self._step,
                bytes_done=taken,
                bytes_total=size,
                remaining_s=max(left_s, 0.0),
                verified=self._verified,
            )
        )
