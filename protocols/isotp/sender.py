"""The sending half of an endpoint (ISO 15765-2, 9.6.5 and 9.8, sender side)."""

from collections.abc import Sequence
from enum import Enum, auto

from protocols.editions import IsoTpEdition
from protocols.isotp.codec import (
    MAX_LENGTH,
    MAX_SHORT_LENGTH,
    FlowControl,
    FlowStatus,
    consecutive_frames,
    first_frame,
    first_frame_room,
    pad,
    single_frame,
)
from protocols.isotp.errors import (
    BufferOverflowError,
    FlowControlTimeoutError,
    FlowStatusError,
    FrameLateError,
    FrameNotSentError,
    IsoTpError,
    MessageTooLongError,
    SendInProgressError,
    WaitLimitError,
)
from protocols.isotp.events import Event, MessageSent, SendFailed, Transmit
from protocols.isotp.parameters import IsoTpParameters


class SenderState(Enum):
    #: No message.
    IDLE = auto()
    #: The only, or the last, frame is on its way.
    LAST_ON_WIRE = auto()
    #: A first frame, or the last one of a block, is on its way; flow control comes next.
    BLOCK_END_ON_WIRE = auto()
    #: Waiting for flow control (N_Bs).
    WAITING_FOR_FLOW_CONTROL = auto()
    #: A frame in the middle of a block is on its way; STmin comes next.
    FRAME_ON_WIRE = auto()
    #: STmin between two consecutive frames.
    SEPARATION = auto()


_FLOW_CONTROL_EXPECTED = frozenset(
    {SenderState.BLOCK_END_ON_WIRE, SenderState.WAITING_FOR_FLOW_CONTROL}
)


class Sender:
    def __init__(self, parameters: IsoTpParameters) -> None:
        self._parameters = parameters
        address = parameters.tx_address_extension
        self._extension = b"" if address is None else bytes((address,))
        self._room = parameters.tx_data_length - len(self._extension)
        escape = parameters.edition >= IsoTpEdition.E2016
        self._limit = MAX_LENGTH if escape else MAX_SHORT_LENGTH
        self.state = SenderState.IDLE
        self.deadline: float | None = None
        self._message = b""
        self._offset = 0
        self._number = 0
        self._waits = 0
        #: Consecutive frames left in the block; None: no further flow control.
        self._block_left: int | None = None
        self._st_min_s = 0.0

    @property
    def in_segments(self) -> bool:
        """Whether a message of several frames is being sent."""
        return bool(self._message)

    def check(self, message: bytes) -> bytes | None:
        """The frame that carries `message` alone, or None: several do; errors as of `send`."""
        if self.state is not SenderState.IDLE:
            raise SendInProgressError(f"the message before still has {self.state.name}")
        if not message:
            raise MessageTooLongError("a message has at least one byte")
        single = single_frame(message, self._parameters.tx_data_length, self._extension)
        if single is None and (self._parameters.functional or len(message) > self._limit):
            raise MessageTooLongError(f"{len(message)} bytes do not fit what may be sent")
        return single

    def send(self, message: bytes, *, now: float) -> Transmit:
        single = self.check(message)
        if single is not None:
            frame = pad(single, self._parameters.padding)
            return self._transmit(SenderState.LAST_ON_WIRE, (frame,), now=now)
        self._message = message
        self._offset = first_frame_room(len(message), self._room)
        self._number = 1
        self._waits = 0
        frame = self._extension + first_frame(message, self._room)
        return self._transmit(SenderState.BLOCK_END_ON_WIRE, (frame,), now=now)

    def transmitted(self, *, now: float) -> list[Event]:
        match self.state:
            case SenderState.LAST_ON_WIRE:
                self._reset()
                return [MessageSent()]
            case SenderState.BLOCK_END_ON_WIRE:
                self.state = SenderState.WAITING_FOR_FLOW_CONTROL
                self.deadline = now + self._parameters.n_bs_s
            case SenderState.FRAME_ON_WIRE:
                self.state = SenderState.SEPARATION
                self.deadline = now + self._st_min_s
            case _:
                pass
        return []

    def receive(self, frame: FlowControl, *, now: float) -> list[Event]:
        """Flow control; ignored where none is expected (9.8.3)."""
        if self.state not in _FLOW_CONTROL_EXPECTED:
            return []
        match frame.status:
            case FlowStatus.CONTINUE_TO_SEND:
                self._waits = 0
                self._block_left = frame.block_size or None
                self._st_min_s = frame.st_min_s
                return [self._next_frames(now=now)]
            case FlowStatus.WAIT:
                self._waits += 1
                if self._waits > self._parameters.max_wait_frames:
                    return self._fail(WaitLimitError(f"{self._waits} WAIT frames in a row"))
                self.state = SenderState.WAITING_FOR_FLOW_CONTROL
                self.deadline = now + self._parameters.n_bs_s
                return []
            case FlowStatus.OVERFLOW:
                length = len(self._message)
                return self._fail(BufferOverflowError(f"no room for {length} bytes there"))
            case _:
                return self._fail(FlowStatusError(f"flow status {frame.status} is reserved"))

    def handle_timeout(self, *, now: float) -> list[Event]:
        if self.deadline is None or now < self.deadline:
            return []
        if self.state is SenderState.SEPARATION:
            limit = self._parameters.n_cs_s
            if now - self.deadline > limit:
                message = f"no ConsecutiveFrame handed over within N_Cs = {limit} s after STmin"
                return self._fail(FrameLateError(message))
            return [self._next_frames(now=now)]
        if self.state is SenderState.WAITING_FOR_FLOW_CONTROL:
            limit = self._parameters.n_bs_s
            return self._fail(FlowControlTimeoutError(f"no flow control within N_Bs = {limit} s"))
        limit = self._parameters.n_as_s
        return self._fail(FrameNotSentError(f"the wire took no frame within N_As = {limit} s"))

    def _next_frames(self, *, now: float) -> Transmit:
        """The rest of the block at once where STmin is 0, else one frame."""
        step = self._room - 1
        left = -(-(len(self._message) - self._offset) // step)
        block = left if self._block_left is None else min(left, self._block_left)
        count = block if self._st_min_s == 0 else 1
        stop = min(self._offset + count * step, len(self._message))
        frames = consecutive_frames(
            self._message,
            self._offset,
            stop,
            room=self._room,
            sequence_number=self._number,
            padding=self._parameters.padding,
            extension=self._extension,
        )
        self._offset = stop
        self._number = (self._number + count) % 16
        if self._block_left is not None:
            self._block_left -= count
        if stop == len(self._message):
            state = SenderState.LAST_ON_WIRE
        elif self._block_left == 0:
            state = SenderState.BLOCK_END_ON_WIRE
        else:
            state = SenderState.FRAME_ON_WIRE
        return self._transmit(state, frames, now=now)

    def _transmit(self, state: SenderState, frames: Sequence[bytes], *, now: float) -> Transmit:
        self.state = state
        further_s = self._parameters.n_as_further_s * (len(frames) - 1)
        self.deadline = now + self._parameters.n_as_s + further_s
        return Transmit(frames)

    def _fail(self, error: IsoTpError) -> list[Event]:
        self._reset()
        return [SendFailed(error)]

    def _reset(self) -> None:
        self.state = SenderState.IDLE
        self.deadline = None
        self._message = b""
