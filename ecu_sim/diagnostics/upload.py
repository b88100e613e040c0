"""One upload: blocks read out in order (36 after 35)."""

from collections.abc import Callable

from ecu_sim.diagnostics import Nrc, Refusal
from protocols.uds.requests import next_block


class Upload:
    """Between 35 and 37. The last block asked for again (its answer was lost) is sent again."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        *,
        address: int,
        size: int,
        max_block_length: int,
    ) -> None:
        self._read = read
        self._address = address
        self._end = address + size
        #: 76, counter, and the data.
        self._step = max_block_length - 2
        self._expected = 0x01
        self._last: int | None = None
        self._block = b""

    @property
    def complete(self) -> bool:
        return self._address == self._end

    def block(self, request: bytes) -> bytes:
        """Counter and data that answer a 36."""
        if len(request) != 2:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "36 of an upload")
        counter = request[1]
        if counter == self._last:
            return self._block
        if self.complete:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "everything has been sent")
        if counter != self._expected:
            raise Refusal(Nrc.WRONG_BLOCK_SEQUENCE_COUNTER)
        size = min(self._step, self._end - self._address)
        self._block = bytes([counter]) + self._read(self._address, size)
        self._address += size
        self._last = counter
        self._expected = next_block(counter)
        return self._block

    def check_exit(self) -> None:
        """Raise the `Refusal` that a 37 deserves: everything announced must have been sent."""
        if not self.complete:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, f"{self._end - self._address} bytes not sent")
