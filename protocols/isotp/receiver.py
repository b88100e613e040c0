"""The receiving half of an endpoint (ISO 15765-2, 9.6 and 9.8, receiver side)."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from protocols.can.payloads import Payloads
from protocols.isotp.codec import (
    CF_CYCLE,
    ConsecutiveFrame,
    FirstFrame,
    FlowStatus,
    SingleFrame,
    flow_control,
    pad,
)
from protocols.isotp.errors import (
    ConsecutiveFrameTimeoutError,
    FrameNotSentError,
    IsoTpError,
    MessageTooLongError,
    SequenceNumberError,
    UnexpectedFrameError,
    WaitLimitError,
)
from protocols.isotp.events import (
    Event,
    MessageReceived,
    ReceptionFailed,
    ReceptionStarted,
    Transmit,
)
from protocols.isotp.parameters import IsoTpParameters


class ReceiverState(Enum):
    #: No message.
    IDLE = auto()
    #: Our CTS is on its way (N_Ar).
    CONTINUE_ON_WIRE = auto()
    #: Consecutive frames are due (N_Cr).
    RECEIVING = auto()
    #: The application is not ready: flow control is due, CTS or WAIT (N_Br).
    HELD = auto()
    #: Our WAIT is on its way (N_Ar).
    WAIT_ON_WIRE = auto()


_CONSECUTIVE_FRAME_EXPECTED: Final = frozenset(
    {ReceiverState.CONTINUE_ON_WIRE, ReceiverState.RECEIVING}
)


class Receiver:
    """Memory is bounded by `max_message_length` and the frames that are really here."""

    def __init__(self, parameters: IsoTpParameters) -> None:
        self._parameters = parameters
        address = parameters.tx_address_extension
        self._extension = b"" if address is None else bytes((address,))
        self.state = ReceiverState.IDLE
        self.deadline: float | None = None
        #: Whether the application takes more; while not, flow control says WAIT.
        self.ready = True
        self._waits = 0
        self._buffer = bytearray()
        #: Message bytes still to come; 0: no reception.
        self._missing = 0
        self._length = 0
        #: Message bytes of a full consecutive frame: RX_DL, fixed by the first frame, less PCI.
        self._step = 0
        self._number = 0
        self._block_left = 0

    def single(self, frame: SingleFrame) -> list[Event]:
        events = self._interrupted("SingleFrame")
        if len(frame.message) > self._parameters.max_message_length:
            return [*events, ReceptionFailed(self._too_long(len(frame.message)))]
        return [*events, MessageReceived(frame.message)]

    def first(self, frame: FirstFrame, *, step: int, now: float) -> list[Event]:
        if self._parameters.functional:
            return []  # functional addressing carries single frames only
        events = self._interrupted("FirstFrame")
        if frame.length > self._parameters.max_message_length:
            overflow = self._flow_control(FlowStatus.OVERFLOW)
            return [*events, overflow, ReceptionFailed(self._too_long(frame.length))]
        self._buffer = bytearray(frame.data)
        self._length = frame.length
        self._missing = frame.length - len(frame.data)
        self._step = step
        self._number = 1
        self._waits = 0
        return [*events, ReceptionStarted(frame.length), *self._go_on(now=now)]

    def make_ready(self, *, now: float) -> list[Event]:
        """The application takes more: a sender that waits for it may go on."""
        self.ready = True
        return self._go_on(now=now) if self.state is ReceiverState.HELD else []

    def flow_control_sent(self, *, now: float) -> list[Event]:
        """Our flow control is on the wire: N_Cr begins, or after a WAIT N_Br again."""
        match self.state:
            case ReceiverState.CONTINUE_ON_WIRE:
                self.state = ReceiverState.RECEIVING
                self.deadline = now + self._parameters.n_cr_s
            case ReceiverState.WAIT_ON_WIRE:
                return self._go_on(now=now)
            case _:
                pass
        return []

    def consecutive(self, frame: ConsecutiveFrame, *, now: float) -> list[Event]:
        """One frame; ignored when none is due or its length is not what its place asks (9.8.3)."""
        if self.state not in _CONSECUTIVE_FRAME_EXPECTED:
            return []
        wanted = min(self._missing, self._step)
        if not wanted <= len(frame.data) <= self._step:
            return []
        if frame.sequence_number != self._number:
            message = f"ConsecutiveFrame {frame.sequence_number} where {self._number} was due"
            return self._fail(SequenceNumberError(message))
        self._number = (self._number + 1) % 16
        self._buffer += frame.data[:wanted]
        self._missing -= wanted
        if not self._missing:
            received = MessageReceived(bytes(self._buffer))
            self._reset()
            return [received]
        self.state = ReceiverState.RECEIVING
        self.deadline = now + self._parameters.n_cr_s
        if self._block_left:
            self._block_left -= 1
            if not self._block_left:
                return self._go_on(now=now)
        return []

    def consecutive_run(self, frames: Sequence[bytes], *, now: float) -> int:
        """Take full consecutive frames from the head of a run at once; returns how many.

        Takes none where one frame could ask for more than storing it: a wrong number or length,
        the end of a block. The caller goes on frame by frame there, and with the last frame.
        """
        size = self._step + 1
        if self.state not in _CONSECUTIVE_FRAME_EXPECTED:
            return 0
        count = min(len(frames), (self._missing - 1) // self._step)
        if count < 2 or self._block_left or self._extension:
            return 0
        run = Payloads.of(frames[:count])
        if run is None or run.length != size or not run.uniform:
            return 0
        cycles = CF_CYCLE * (count // 16 + 2)
        if run.data[::size] != cycles[self._number : self._number + count]:
            return 0
        data = bytearray(run.data)
        del data[::size]
        self._buffer += data
        self._missing -= len(data)
        self._number = (self._number + count) % 16
        self.state = ReceiverState.RECEIVING
        self.deadline = now + self._parameters.n_cr_s
        return count

    def handle_timeout(self, *, now: float) -> list[Event]:
        if self.deadline is None or now < self.deadline:
            return []
        parameters = self._parameters
        match self.state:
            case ReceiverState.HELD:
                return self._wait(now=now)
            case ReceiverState.RECEIVING:
                message = f"no ConsecutiveFrame within N_Cr = {parameters.n_cr_s} s"
                return self._fail(ConsecutiveFrameTimeoutError(message))
            case _:
                message = f"the wire took no FlowControl within N_Ar = {parameters.n_ar_s} s"
                return self._fail(FrameNotSentError(message))

    def _go_on(self, *, now: float) -> list[Event]:
        """CTS, or as much time as N_Br leaves the application."""
        if not self.ready:
            self.state = ReceiverState.HELD
            self.deadline = now + self._parameters.n_br_s
            return []
        self._waits = 0
        self._block_left = self._parameters.block_size
        self.state = ReceiverState.CONTINUE_ON_WIRE
        self.deadline = now + self._parameters.n_ar_s
        return [self._flow_control(FlowStatus.CONTINUE_TO_SEND)]

    def _wait(self, *, now: float) -> list[Event]:
        limit = self._parameters.max_own_wait_frames
        if self._waits >= limit:
            return self._fail(WaitLimitError(f"not ready after N_WFTmax = {limit} WAIT frames"))
        self._waits += 1
        self.state = ReceiverState.WAIT_ON_WIRE
        self.deadline = now + self._parameters.n_ar_s
        return [self._flow_control(FlowStatus.WAIT)]

    def _interrupted(self, by: str) -> list[Event]:
        if self.state is ReceiverState.IDLE:
            return []
        got = self._length - self._missing
        return self._fail(UnexpectedFrameError(f"{by} after {got} of {self._length} bytes"))

    def _too_long(self, length: int) -> MessageTooLongError:
        limit = self._parameters.max_message_length
        return MessageTooLongError(f"a message of {length} bytes, at most {limit} are taken")

    def _flow_control(self, status: FlowStatus) -> Transmit:
        parameters = self._parameters
        frame = flow_control(status, block_size=parameters.block_size, st_min=parameters.st_min)
        return Transmit((pad(self._extension + frame, parameters.padding),))

    def _fail(self, error: IsoTpError) -> list[Event]:
        self._reset()
        return [ReceptionFailed(error)]

    def _reset(self) -> None:
        self.state = ReceiverState.IDLE
        self._missing = 0
        self._block_left = 0
        self._buffer = bytearray()
        self.deadline = None
