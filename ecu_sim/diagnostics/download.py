"""One download: blocks in order, taken while the one before is still being programmed."""

from typing import Protocol

from ecu_sim.diagnostics import Job, Nrc, Refusal
from ecu_sim.diagnostics.work import Run
from protocols.uds.data_formats import DataFormatError, Decoder
from protocols.uds.requests import next_block

#: Blocks that may wait while one is programmed.
WAITING_BLOCKS = 1
#: 36, counter, and a byte at least.
_SHORTEST_BLOCK = 3


class Sink(Protocol):
    """Where a download goes: the device, or one of its files (see `Device`)."""

    def transfer(self, data: bytes) -> Job: ...
    def transfer_exit(self) -> Job: ...
    def transfer_abort(self) -> None: ...


class Download:
    """Between 34 and 37. A block is acknowledged when it is taken, programmed afterwards.

    A block that could not be programmed is told with the next 36 or 37 (NRC 72).
    """

    def __init__(self, sink: Sink, decoder: Decoder, *, max_block_length: int) -> None:
        self._sink = sink
        self._decoder = decoder
        self.max_block_length = max_block_length
        self._expected = 0x01
        self._last: int | None = None
        self._waiting: list[bytes] = []
        self._run: Run | None = None
        self._failure: Refusal | None = None

    @property
    def full(self) -> bool:
        """No room for another block until the one under way is programmed."""
        return self._run is not None and len(self._waiting) >= WAITING_BLOCKS

    @property
    def busy(self) -> bool:
        return self._run is not None

    @property
    def failure(self) -> Refusal | None:
        return self._failure

    def is_repeated(self, counter: int) -> bool:
        """The last block again (its answer was lost): answered, not written a second time."""
        return counter == self._last

    def check(self, request: bytes) -> None:
        """Raise the `Refusal` that a 36 deserves, before its data is looked at."""
        if self._failure is not None:
            raise self._failure
        if not _SHORTEST_BLOCK <= len(request) <= self.max_block_length:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "length of the block")
        if self.is_repeated(request[1]):
            return
        if self._decoder.complete:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "everything that was announced has come")
        if request[1] != self._expected:
            raise Refusal(Nrc.WRONG_BLOCK_SEQUENCE_COUNTER)

    def take(self, request: bytes, *, now: float) -> None:
        """Take a block that `check` has passed, into the buffer or straight to the memory.

        Raises the `Refusal` of one that is not what was announced; it leaves no trace where it is
        only too long, and ends the download where it cannot be decoded.
        """
        try:
            data = self._decoder.decode(request[2:])
        except DataFormatError as error:
            refusal = Refusal(Nrc.TRANSFER_DATA_SUSPENDED, str(error))
            if not self._decoder.intact:
                self._fail(refusal)
            raise refusal from error
        self._last = request[1]
        self._expected = next_block(request[1])
        if self._run is not None:
            self._waiting.append(data)
            return
        self._program(data, now=now)

    def _program(self, data: bytes, *, now: float) -> None:
        try:
            run = Run(self._sink.transfer(data), now=now)
        except Refusal as refusal:
            self._fail(refusal)
            return
        self._run = None if run.finished else run

    def next_deadline(self) -> float | None:
        return self._run.due if self._run is not None else None

    def advance(self, *, now: float) -> None:
        run = self._run
        if run is None:
            return
        try:
            run.advance(now=now)
        except Refusal as refusal:
            self._fail(refusal)
            return
        if not run.finished:
            return
        self._run = None
        while self._waiting and not self.busy:
            # It waited only for this one: it begins where this one ended, not where we noticed.
            self._program(self._waiting.pop(0), now=now)

    def _fail(self, refusal: Refusal) -> None:
        self._run = None
        self._waiting.clear()
        self._failure = refusal

    def check_exit(self) -> None:
        """Raise the `Refusal` that a 37 deserves: everything announced must have come."""
        if self._failure is not None:
            raise self._failure
        if not self._decoder.complete:
            raise Refusal(
                Nrc.REQUEST_SEQUENCE_ERROR, f"{self._decoder.left} bytes are still to come"
            )

    def exit(self) -> Job:
        """End the transfer, once everything that was taken has been programmed."""
        self.check_exit()
        return self._sink.transfer_exit()

    def abort(self) -> None:
        if self._run is not None:
            self._run.close()
        self._run = None
        self._waiting.clear()
        self._sink.transfer_abort()
