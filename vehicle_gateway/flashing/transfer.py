"""The download itself: 34, 36 for every block, 37.

All requests are sliced and the bound is computed before the first 34, while the ECU erases; between
an answer and the next block there is nothing left to prepare.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from protocols.uds import MalformedResponseError, Nrc, requests, responses
from vehicle_gateway.flashing.bound import (
    Bound,
    BoundCalculator,
    RoughWireTime,
    WireTime,
    block_size,
)
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.encoding import Encoded, best, plain
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.sequence import MemoryFormat
from vehicle_gateway.flashing.tester_present import PERIOD_S
from vehicle_gateway.update import Progress, ProgressSink, TransferFigures
from vehicle_gateway.wires import WireError

#: Progress is told so often per download, and whenever another sector is certain.
_NOTES: Final = 200
#: The step of a download that someone holds.
_HELD: Final = "held"
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
    encoded: Encoded
    requests: Sequence[bytes]
    #: Bytes of the image that the ECU has after each block.
    taken: Sequence[int]
    bound: Bound


#: Gives the ways in which some bytes may be transferred; more than one are compared.
Encodings = Callable[[bytes], Awaitable[Sequence[Encoded]]]


async def as_it_is(data: bytes) -> Sequence[Encoded]:
    return [plain(data)]


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
        encodings: Encodings = as_it_is,
        pace: Pace | None = None,
        step: str = "transferring",
    ) -> None:
        """`address` is where `image[0]` goes; the first `offset` bytes are there already."""
        self._memory = memory or MemoryFormat()
        self._encodings = encodings
        self._pace = pace
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
        """Choose the data format, slice, and compute the bound; gives way between blocks."""
        room = self._dialogue.tester.longest_request
        max_block_length = min(max_block_length, room or max_block_length)
        candidates = await self._encodings(self._image[self._offset :])
        if len(candidates) == 1:
            return await self._sliced(candidates[0], max_block_length, self._wire)
        block = block_size(max_block_length, self._dialogue.ecu.page_size)
        longest = requests.transfer_data(1, candidates[0].data[:block])
        rough = RoughWireTime(self._wire, longest)
        plans = [await self._sliced(one, max_block_length, rough) for one in candidates]
        chosen = best([(one.encoded, one.bound.total_s) for one in plans])
        return await self._sliced(chosen, max_block_length, self._wire)

    async def _sliced(self, encoded: Encoded, max_block_length: int, wire: WireTime) -> Plan:
        ecu = self._dialogue.ecu
        block = block_size(max_block_length, ecu.page_size)
        calculator = BoundCalculator(wire, ecu, address=self._address + self._offset)
        decoder = encoded.decoder()
        blocks: list[bytes] = []
        taken: list[int] = []
        counter = 1
        done = self._offset
        for at in range(0, len(encoded.data), block):
            chunk = encoded.data[at : at + block]
            request = requests.transfer_data(counter, chunk)
            size = len(decoder.decode(chunk))
            calculator.add(request, size)
            done += size
            blocks.append(request)
            taken.append(done)
            counter = requests.next_block(counter)
            await asyncio.sleep(0)
        return Plan(
            max_block_length=max_block_length,
            block=block,
            encoded=encoded,
            requests=blocks,
            taken=taken,
            bound=calculator.result(),
        )

    async def run(self, plan: Plan) -> TransferFigures:
        """34, every 36, 37. Raises `UpdateError`; a block whose answer is lost is sent again."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        allowed = await self._announce(plan)
        if allowed < plan.max_block_length or not self._dialogue.ecu.max_block_length:
            # The ECU's own word counts, not the vehicle description's.
            plan = await self._sliced(plan.encoded, allowed, self._wire)
        left_s, held_s = plan.bound.total_s, 0.0
        first_s = loop.time()
        for number, (request, block_s) in enumerate(
            zip(plan.requests, plan.bound.blocks_s, strict=True)
        ):
            if self._pace is not None and self._pace.held:
                held_s += await self._held(
                    self._pace, plan.taken[number - 1] if number else self._offset
                )
            # 14229-1: the same counter again is acknowledged and not written again.
            await self._dialogue.ask(self._step, request)
            left_s -= block_s
            gone_s = plan.bound.total_s - left_s
            behind = (loop.time() - first_s - held_s) / gone_s if gone_s else 1.0
            self._note(plan, number, max(left_s, 0.0) * max(behind, 1.0))
        await self._finish()
        passed_s = loop.time() - start_s - held_s
        return TransferFigures(transfer_s=passed_s, bound_s=plan.bound.total_s)

    async def _held(self, pace: Pace, taken: int) -> float:
        """Wait for our turn, and say so; the seconds that it took."""
        dialogue, size = self._dialogue, len(self._image)
        held = Progress(ecu=dialogue.ecu.name, step=_HELD, bytes_done=taken, bytes_total=size)
        self._progress(replace(held, verified=self._verified))
        self._noted = -1  # it is told anew when it goes on
        try:
            return await pace.turn(dialogue.tester.tell, period_s=PERIOD_S)
        except WireError as error:
            raise dialogue.failed(self._step, error) from error

    async def _announce(self, plan: Plan) -> int:
        """34; the longest block that the ECU takes, as planned where its word got lost."""
        memory = self._memory
        request = requests.request_download(
            self._address + self._offset,
            len(self._image) - self._offset,
            data_format=plan.encoded.identifier,
            address_bytes=memory.address_bytes,
            size_bytes=memory.size_bytes,
        )
        answer = await self._dialogue.ask_once(self._step, request, done=_UNDER_WAY)
        if answer is None:
            return plan.max_block_length
        try:
            return responses.decode_download(answer)
        except MalformedResponseError as error:
            raise self._dialogue.failed(self._step, error) from error

    async def _finish(self) -> None:
        """37; refused as out of sequence after a lost answer, it was carried out the first time."""
        await self._dialogue.ask_once(self._step, requests.request_transfer_exit(), done=_OVER)

    def _note(self, plan: Plan, number: int, remaining_s: float) -> None:
        size = len(self._image)
        sector = self._dialogue.ecu.sector_size
        taken, written = plan.taken[number], number - _IN_FLIGHT_BLOCKS
        certain = plan.taken[written] // sector * sector if written >= 0 else self._offset
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
                remaining_s=remaining_s,
                verified=self._verified,
            )
        )
