"""One end of an ISO-TP connection: frames in, events out, no I/O and no clock."""

from collections import deque
from collections.abc import Sequence

from protocols.editions import IsoTpEdition
from protocols.isotp.codec import (
    MAX_SHORT_LENGTH,
    ConsecutiveFrame,
    FirstFrame,
    FlowControl,
    SingleFrame,
    decode,
)
from protocols.isotp.errors import FrameFormatError, SendInProgressError
from protocols.isotp.events import Event, Transmit
from protocols.isotp.parameters import FRAME_LENGTHS, IsoTpParameters
from protocols.isotp.receiver import Receiver, ReceiverState
from protocols.isotp.sender import Sender


class Endpoint:
    """Sends and receives messages, each direction one at a time (ISO 15765-2, full duplex).

    Times are loop seconds, handed in. Every `Transmit` is answered by one call of `transmitted`,
    in order, when the last bit of its last frame is on the wire: there the standard's timers
    start. What the peer does wrong comes back as `SendFailed` or `ReceptionFailed`; bytes that
    are no N_PDU, or come where none is due, are ignored, as the standard says.
    """

    def __init__(self, parameters: IsoTpParameters) -> None:
        self.parameters = parameters
        self._sender = Sender(parameters)
        self._receiver = Receiver(parameters)
        self._skip = 0 if parameters.rx_address_extension is None else 1
        self._has_no_escape = parameters.edition < IsoTpEdition.E2016
        longest = 8 if self._has_no_escape else 64
        shortest = 8 if parameters.rx_padding_required else 1
        #: CAN_DL values of the frames that are looked at.
        self._data_lengths = frozenset(
            length for length in FRAME_LENGTHS if shortest <= length <= longest
        )
        #: Transmits on their way, oldest first: the sender's by number, the receiver's below 0.
        self._outstanding: deque[int] = deque()
        self._sender_transmit = 0
        self._receiver_transmit = 0
        #: Half duplex: the message that waits for the end of a reception.
        self._deferred: bytes | None = None

    def send(self, message: bytes, *, now: float) -> list[Event]:
        """Begin to send; raises `SendInProgressError` or `MessageTooLongError`, nothing changed.

        With half duplex a message waits for the end of a reception that has begun.
        """
        if self._deferred is not None:
            raise SendInProgressError("the message before waits for the end of a reception")
        if self.parameters.half_duplex and self._receiver.state is not ReceiverState.IDLE:
            self._sender.check(message)
            self._deferred = message
            return []
        return self._noted([self._sender.send(message, now=now)], sender=True)

    def hold(self) -> None:
        """The application is not ready: a first frame, or a block's end, is answered WAIT."""
        self._receiver.ready = False

    def release(self, *, now: float) -> list[Event]:
        """The application is ready again: whoever waits for it may go on."""
        return self._noted(self._receiver.make_ready(now=now))

    def receive(self, data: bytes, *, now: float) -> list[Event]:
        """The data bytes of one frame from the peer, at its last bit."""
        return self._with_deferred(self._received(data, now=now), now=now)

    def _received(self, data: bytes, *, now: float) -> list[Event]:
        if len(data) not in self._data_lengths:
            return []
        if self._skip:
            if not data or data[0] != self.parameters.rx_address_extension:
                return []
            data_length, data = len(data), data[1:]
        else:
            data_length = len(data)
        try:
            frame = decode(data, data_length=data_length)
        except FrameFormatError:
            return []  # 9.6.1: an N_PDU of unknown type or wrong length is ignored
        begins = isinstance(frame, SingleFrame | FirstFrame)
        if begins and self.parameters.half_duplex and self._sender.in_segments:
            return []  # 9.8.3: half duplex, a segmented message is being sent
        match frame:
            case ConsecutiveFrame():
                return self._noted(self._receiver.consecutive(frame, now=now))
            case SingleFrame():
                return self._receiver.single(frame)
            case FirstFrame() if self._has_no_escape and frame.length > MAX_SHORT_LENGTH:
                return []  # 9.6.3.1 of that edition: FF_DL 0 is ignored
            case FirstFrame():
                step = len(data) - 1
                return self._noted(self._receiver.first(frame, step=step, now=now))
            case FlowControl():
                return self._noted(self._sender.receive(frame, now=now), sender=True)

    def receive_run(self, frames: Sequence[bytes], *, now: float) -> list[Event]:
        """Frames that arrived one after the other, the last one now; equal to `receive` of each."""
        taken = self._receiver.consecutive_run(frames, now=now)
        events: list[Event] = []
        for frame in frames[taken:]:
            events += self.receive(frame, now=now)
        return events

    def transmitted(self, *, now: float) -> list[Event]:
        """The oldest `Transmit` that is on its way is on the wire, to the last bit."""
        if not self._outstanding:
            return []
        number = self._outstanding.popleft()
        if number < 0:
            if number != -self._receiver_transmit:
                return []  # of a reception that was broken off
            return self._noted(self._receiver.flow_control_sent(now=now))
        if number != self._sender_transmit:
            return []  # overtaken: flow control came first, or the message has failed
        return self._noted(self._sender.transmitted(now=now), sender=True)

    def next_deadline(self) -> float | None:
        ours, theirs = self._sender.deadline, self._receiver.deadline
        if ours is None or theirs is None:
            return ours if theirs is None else theirs
        return min(ours, theirs)

    def handle_timeout(self, *, now: float) -> list[Event]:
        """That moment has come; called early, it answers `[]`."""
        events = [
            *self._noted(self._receiver.handle_timeout(now=now)),
            *self._noted(self._sender.handle_timeout(now=now), sender=True),
        ]
        return self._with_deferred(events, now=now)

    def _with_deferred(self, events: list[Event], *, now: float) -> list[Event]:
        if self._deferred is None or self._receiver.state is not ReceiverState.IDLE:
            return events
        message, self._deferred = self._deferred, None
        return [*events, *self._noted([self._sender.send(message, now=now)], sender=True)]

    def _noted(self, events: list[Event], *, sender: bool = False) -> list[Event]:
        for event in events:
            if not isinstance(event, Transmit):
                continue
            if sender:
                self._sender_transmit += 1
                self._outstanding.append(self._sender_transmit)
            else:
                self._receiver_transmit += 1
                self._outstanding.append(-self._receiver_transmit)
        return events
