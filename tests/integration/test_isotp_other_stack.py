"""Another stack's transport (can-isotp, unmodified) against an endpoint of ours, frame by frame.

Nothing but two queues lies between them. Our endpoint lives in virtual seconds; the other one has
a clock of its own, so it is polled until it has said what it has to say.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import isotp
import pytest

from protocols.can import FrameHeader
from protocols.isotp import (
    Address,
    Endpoint,
    Event,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    Transmit,
    addressing,
)
from protocols.isotp.parameters import TX_DATA_LENGTHS
from tests.support.can import seeded

#: Polls of the other stack without a frame of it: far more than 127 ms of its clock take.
_PATIENCE: Final = 2_000_000

_MODES: Final = isotp.AddressingMode
_11: Final = (FrameHeader(0x7A0), FrameHeader(0x7A8))
_29: Final = (FrameHeader(0x18DAB0F1, extended=True), FrameHeader(0x18DAF1B0, extended=True))

#: Our end, and the same connection as the other stack describes its end.
ADDRESSES: Final[dict[str, tuple[Address, isotp.Address]]] = {
    "normal 11": (
        addressing.normal(*_11),
        isotp.Address(_MODES.Normal_11bits, txid=0x7A8, rxid=0x7A0),
    ),
    "normal 29": (
        addressing.normal(*_29),
        isotp.Address(_MODES.Normal_29bits, txid=0x18DAF1B0, rxid=0x18DAB0F1),
    ),
    "normal fixed": (
        addressing.normal_fixed(source=0xF1, target=0xB0),
        isotp.Address(_MODES.NormalFixed_29bits, source_address=0xB0, target_address=0xF1),
    ),
    "extended 11": (
        addressing.extended(*_11, source=0xF1, target=0xB0),
        isotp.Address(
            _MODES.Extended_11bits, source_address=0xB0, target_address=0xF1, txid=0x7A8, rxid=0x7A0
        ),
    ),
    "extended 29": (
        addressing.extended(*_29, source=0xF1, target=0xB0),
        isotp.Address(
            _MODES.Extended_29bits,
            source_address=0xB0,
            target_address=0xF1,
            txid=0x18DAF1B0,
            rxid=0x18DAB0F1,
        ),
    ),
    "mixed 11": (
        addressing.mixed_11(*_11, extension=0x99),
        isotp.Address(_MODES.Mixed_11bits, address_extension=0x99, txid=0x7A8, rxid=0x7A0),
    ),
    "mixed 29": (
        addressing.mixed_29(source=0xF1, target=0xB0, extension=0x99),
        isotp.Address(
            _MODES.Mixed_29bits, source_address=0xB0, target_address=0xF1, address_extension=0x99
        ),
    ),
}


@dataclass
class Frame:
    """What lies in a queue."""

    header: FrameHeader
    data: bytes
    #: Our virtual time when it was handed over, if it is ours.
    at_s: float = 0.0


class Pair:
    """Our endpoint, the other stack, and the two queues."""

    def __init__(
        self, address: str, parameters: IsoTpParameters, *, fd: bool = False, **theirs: object
    ) -> None:
        ours, other = ADDRESSES[address]
        self.address = ours
        self.ours = Endpoint(ours.applied_to(parameters))
        self.now = 0.0
        self.to_them: deque[Frame] = deque()
        self.to_us: deque[Frame] = deque()
        self.carried: list[Frame] = []
        self.events: list[Event] = []
        self.errors: list[Exception] = []
        self._fd = fd
        self.theirs = isotp.TransportLayerLogic(
            rxfn=self._their_next,
            txfn=self._from_them,
            address=other,
            error_handler=self.errors.append,
            params={
                "blocksize": 0,
                "max_frame_size": 100_000,
                "can_fd": fd,
                "tx_data_length": parameters.tx_data_length,
                **theirs,
            },
        )

    def send(self, message: bytes) -> None:
        self.act(self.ours.send(message, now=self.now))

    def run(self, done: Callable[[], bool]) -> None:
        """Let both ends work until `done`; our clock jumps where nothing else moves."""
        for _ in range(_PATIENCE):
            if done():
                return
            self.theirs.process()
            if self.to_us:
                frame = self.to_us.popleft()
                assert frame.header.identifier == self.address.receive.identifier
                assert frame.header.extended == self.address.receive.extended
                self.act(self.ours.receive(frame.data, now=self.now))
            elif self.waits_for_separation():
                self.now = self.ours.next_deadline() or self.now
                self.act(self.ours.handle_timeout(now=self.now))
        raise AssertionError(f"nothing more happens: {self.events}, {self.errors}")

    def waits_for_separation(self) -> bool:
        """Whether we, and not they, are to go on: our timeouts are a second long."""
        due = self.ours.next_deadline()
        return due is not None and due - self.now < 0.2 and not self.to_them

    def act(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Transmit):
                self.events.append(event)
                continue
            for data in event.frames:
                frame = Frame(self.address.transmit, data, self.now)
                self.to_them.append(frame)
                self.carried.append(frame)
            self.act(self.ours.transmitted(now=self.now))

    def received(self) -> list[bytes]:
        return [event.message for event in self.events if isinstance(event, MessageReceived)]

    def _their_next(self, _timeout: float) -> isotp.CanMessage | None:
        if not self.to_them:
            return None
        frame = self.to_them.popleft()
        return isotp.CanMessage(
            arbitration_id=frame.header.identifier,
            data=frame.data,
            dlc=len(frame.data),
            extended_id=frame.header.extended,
            is_fd=self._fd,
        )

    def _from_them(self, message: isotp.CanMessage) -> None:
        header = FrameHeader(message.arbitration_id, extended=message.is_extended_id)
        self.to_us.append(Frame(header, bytes(message.data)))


def message_of(length: int) -> bytes:
    return seeded(length).randbytes(length)


def both_ways(pair: Pair, message: bytes) -> None:
    pair.send(message)
    pair.run(lambda: pair.theirs.available() and MessageSent() in pair.events)
    heard = pair.theirs.recv()
    assert heard is not None
    assert bytes(heard) == message
    pair.theirs.send(message[::-1])
    pair.run(lambda: bool(pair.received()))
    assert pair.received() == [message[::-1]]
    assert pair.errors == []
    assert pair.ours.next_deadline() is None


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("length", [1, 6, 7, 8, 62, 63, 300, 4095, 4096])
@pytest.mark.parametrize("tx_data_length", [8, 64])
def test_messages_of_every_kind_cross_in_every_addressing(
    address: str, length: int, tx_data_length: int
) -> None:
    pair = Pair(address, IsoTpParameters(tx_data_length=tx_data_length), fd=tx_data_length > 8)
    both_ways(pair, message_of(length))


@pytest.mark.parametrize("tx_data_length", TX_DATA_LENGTHS)
@pytest.mark.parametrize("padding", [None, 0xCC])
@pytest.mark.parametrize("address", ["normal 11", "mixed 29"])
def test_messages_cross_with_every_frame_length_padded_or_not(
    tx_data_length: int, padding: int | None, address: str
) -> None:
    parameters = IsoTpParameters(tx_data_length=tx_data_length, padding=padding)
    for length in (*range(1, 71), 1000):
        pair = Pair(address, parameters, fd=tx_data_length > 8, tx_padding=padding)
        both_ways(pair, message_of(length))


@pytest.mark.parametrize("our_block", [0, 1, 2, 8, 255])
@pytest.mark.parametrize("their_block", [0, 1, 2, 8, 255])
def test_messages_cross_with_the_block_size_that_either_end_asks_for(
    our_block: int, their_block: int
) -> None:
    pair = Pair("normal 11", IsoTpParameters(block_size=our_block), blocksize=their_block)
    both_ways(pair, message_of(2000))


@pytest.mark.parametrize(("code", "seconds"), [(1, 0.001), (20, 0.02), (127, 0.127), (0, 0.0)])
def test_the_separation_that_they_ask_for_lies_between_our_frames(
    code: int, seconds: float
) -> None:
    pair = Pair("normal 11", IsoTpParameters(), stmin=code, blocksize=3)
    message = message_of(50)
    pair.send(message)
    pair.run(pair.theirs.available)
    heard = pair.theirs.recv()
    assert heard is not None
    assert bytes(heard) == message
    times = [frame.at_s for frame in pair.carried if frame.data[0] >> 4 == 2]
    gaps = [after - before for before, after in pairwise(times)]
    within = [gap for number, gap in enumerate(gaps, start=1) if number % 3]
    assert within == pytest.approx([seconds] * len(within))


@pytest.mark.parametrize("code", [0x00, 0x01, 0x05, 0xF1, 0xF5, 0xF9])
def test_a_separation_that_we_ask_for_is_understood(code: int) -> None:
    both_ways(Pair("normal 11", IsoTpParameters(st_min=code)), message_of(40))


def test_wait_frames_of_ours_hold_their_sender() -> None:
    pair = Pair("normal 11", IsoTpParameters(n_br_s=0.01), wftmax=3)
    pair.ours.hold()
    pair.theirs.send(message_of(40))
    pair.run(lambda: [frame.data[0] for frame in pair.carried] == [0x31, 0x31])
    pair.act(pair.ours.release(now=pair.now))
    pair.run(lambda: bool(pair.received()))
    assert pair.received() == [message_of(40)]
    assert pair.errors == []


def test_more_wait_frames_of_ours_than_they_take_end_their_message() -> None:
    pair = Pair("normal 11", IsoTpParameters(n_br_s=0.01), wftmax=3)
    pair.ours.hold()
    pair.theirs.send(message_of(40))
    pair.run(lambda: bool(pair.errors))
    assert isinstance(pair.errors[0], isotp.MaximumWaitFrameReachedError)


def test_an_overflow_of_ours_ends_their_message() -> None:
    pair = Pair("normal 11", IsoTpParameters(max_message_length=100))
    pair.theirs.send(message_of(101))
    pair.run(lambda: bool(pair.errors))
    assert [type(error) for error in pair.errors] == [isotp.OverflowError]


def test_an_overflow_of_theirs_ends_our_message() -> None:
    pair = Pair("normal 11", IsoTpParameters(), max_frame_size=100)
    pair.send(message_of(101))
    pair.run(lambda: bool(pair.events))
    assert "no room for 101 bytes" in repr(pair.events[0])


@pytest.mark.parametrize(
    ("address", "tester"),
    [
        ("normal fixed", addressing.normal_fixed(source=0xB0, target=0xF1, functional=True)),
        (
            "mixed 29",
            addressing.mixed_29(source=0xB0, target=0xF1, extension=0x99, functional=True),
        ),
    ],
)
def test_their_functional_single_frame_is_heard_at_the_functional_address(
    address: str, tester: Address
) -> None:
    pair = Pair(address, IsoTpParameters())
    group = Endpoint(tester.swapped().applied_to(IsoTpParameters()))
    pair.theirs.send(b"\x3e\x80", target_address_type=isotp.TargetAddressType.Functional)
    pair.theirs.process()
    (frame,) = pair.to_us
    assert frame.header == tester.transmit
    assert group.receive(frame.data, now=0.0) == [MessageReceived(b"\x3e\x80")]
