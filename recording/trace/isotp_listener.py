"""ISO-TP as a third party hears it: whole messages out of one direction's frames (ISO 15765-2).

A listener cannot ask for frames again, so it takes what comes and says what is missing. Of a long
message it keeps the beginning; the rest is counted.
"""

from dataclasses import dataclass
from typing import Final

from protocols.isotp.codec import (
    ConsecutiveFrame,
    FirstFrame,
    FlowControl,
    FlowStatus,
    Frame,
    SingleFrame,
    decode,
)
from protocols.isotp.errors import FrameFormatError

#: Bytes of a message that are kept; what is put into words stands before.
KEPT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    #: Its first `KEPT` bytes at most.
    data: bytes
    length: int
    frames: int
    #: Stamp of its first frame.
    first_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A message that did not come to its end, or a frame that belongs to none."""

    reason: str


Heard = Message | Broken | FlowControl


class IsoTpListener:
    """One direction between a tester and an ECU."""

    def __init__(self) -> None:
        self._data = bytearray()
        #: Bytes of the message that is coming in; 0: none.
        self._length = 0
        self._received = 0
        self._frames = 0
        self._first_ns = 0
        self._number = 0

    def receive(self, frame: bytes, at_ns: int) -> tuple[Frame | None, list[Heard]]:
        """The frame, None for one that is none, and what it completes, breaks or asks for."""
        try:
            found = decode(frame)
        except FrameFormatError as error:
            return None, [Broken(reason=str(error))]
        match found:
            case SingleFrame(message):
                whole = Message(data=message, length=len(message), frames=1, first_ns=at_ns)
                return found, [*self._interrupted(), whole]
            case FirstFrame(length, data):
                heard = self._interrupted()
                self._data = bytearray(data[:KEPT])
                self._length, self._received = length, len(data)
                self._frames, self._first_ns, self._number = 1, at_ns, 1
                return found, heard
            case ConsecutiveFrame():
                return found, self._consecutive(found)
            case FlowControl():
                return found, [found]

    def _consecutive(self, frame: ConsecutiveFrame) -> list[Heard]:
        if not self._length:
            return []  # the rest of a message whose beginning was not heard, or was said to break
        if frame.sequence_number != self._number:
            self._length = 0
            reason = f"consecutive frame {frame.sequence_number} where {self._number} was due"
            return [Broken(reason=reason)]
        self._number = (self._number + 1) % 16
        self._frames += 1
        data = frame.data[: self._length - self._received]
        self._received += len(data)
        if len(self._data) < KEPT:
            self._data += data[: KEPT - len(self._data)]
        if self._received < self._length:
            return []
        whole = Message(
            data=bytes(self._data),
            length=self._length,
            frames=self._frames,
            first_ns=self._first_ns,
        )
        self._length = 0
        return [whole]

    def _interrupted(self) -> list[Heard]:
        if not self._length:
            return []
        reason = f"a message broke off after {self._received} of {self._length} bytes"
        self._length = 0
        return [Broken(reason=reason)]


def words_of(frame: Frame) -> str:
    """One frame, for people."""
    match frame:
        case SingleFrame(message):
            return f"single frame, {len(message)} bytes"
        case FirstFrame(length):
            return f"first frame of {length} bytes"
        case ConsecutiveFrame(number):
            return f"consecutive frame {number}"
        case FlowControl(status, block_size, st_min_s):
            return f"flow control: {_status(status)}, BS {block_size}, STmin {st_min_s * 1000:g} ms"


def _status(status: int) -> str:
    try:
        return FlowStatus(status).name.lower().replace("_", " ")
    except ValueError:
        return f"status {status}"
