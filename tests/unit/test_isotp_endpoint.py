"""An ISO-TP endpoint: timers, flow control and what a bad peer gets, clause by clause."""

import pytest

from protocols.isotp import (
    Endpoint,
    Event,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    ReceptionStarted,
    SendFailed,
    Transmit,
    segment,
)
from protocols.isotp.codec import st_min_seconds
from protocols.isotp.errors import (
    BufferOverflowError,
    ConsecutiveFrameTimeoutError,
    FlowControlTimeoutError,
    FlowStatusError,
    FrameNotSentError,
    IsoTpError,
    MessageTooLongError,
    ParameterError,
    SendInProgressError,
    SequenceNumberError,
    UnexpectedFrameError,
    WaitLimitError,
)
from tests.support.isotp import exchange

MESSAGE = bytes(range(100))
FIRST = segment(MESSAGE, 8)[0]
CTS = b"\x30\x00\x00"


def endpoint(**parameters: int) -> Endpoint:
    return Endpoint(parameters_of(**parameters))


def parameters_of(**parameters: int) -> IsoTpParameters:
    return IsoTpParameters(**parameters)  # type: ignore[arg-type] # none of them is the flag


def waiting(**parameters: int) -> Endpoint:
    """An endpoint whose first frame is on the wire since 0 s."""
    core = endpoint(**parameters)
    core.send(MESSAGE, now=0.0)
    core.transmitted(now=0.0)
    return core


def receiving(**parameters: int) -> Endpoint:
    """An endpoint that has had a first frame at 0 s and sent its flow control."""
    core = endpoint(**parameters)
    core.receive(FIRST, now=0.0)
    core.transmitted(now=0.0)
    return core


def error_of(events: list[Event]) -> IsoTpError:
    (event,) = (event for event in events if isinstance(event, SendFailed | ReceptionFailed))
    return event.error


@pytest.mark.parametrize(
    ("length", "tx_data_length", "frames", "last"),
    [
        (7, 8, 1, 8),
        (8, 8, 2, 8),
        (62, 64, 1, 64),
        (63, 64, 2, 8),
        (7, 64, 1, 8),
        (8, 64, 1, 12),
        (4094, 8, 585, 8),
        (4095, 8, 586, 8),
        (4095, 64, 66, 8),
        (65515, 64, 1040, 64),
    ],
)
def test_a_message_takes_the_frames_that_the_standard_says(
    length: int, tx_data_length: int, frames: int, last: int
) -> None:
    made = segment(bytes(length), tx_data_length)
    assert (len(made), len(made[-1])) == (frames, last)


def test_a_message_above_4095_bytes_has_its_length_in_32_bits() -> None:
    assert segment(bytes(4096), 8)[0] == b"\x10\x00\x00\x00\x10\x00\x00\x00"


def test_with_block_size_0_and_no_separation_the_rest_is_one_run() -> None:
    events = waiting().receive(CTS, now=0.1)
    assert events == [Transmit(tuple(segment(MESSAGE, 8)[1:]))]


def test_each_block_waits_for_its_flow_control() -> None:
    core = waiting()
    frames = segment(MESSAGE, 8)[1:]
    assert core.receive(b"\x30\x04\x00", now=0.1) == [Transmit(tuple(frames[:4]))]
    assert core.transmitted(now=0.2) == []
    assert core.next_deadline() == pytest.approx(1.2)
    assert core.receive(b"\x30\x00\x00", now=0.3) == [Transmit(tuple(frames[4:]))]
    assert core.transmitted(now=0.4) == [MessageSent()]


def test_separation_time_runs_from_the_last_bit_of_each_frame() -> None:
    core = waiting()
    frames = segment(MESSAGE, 8)[1:]
    assert core.receive(b"\x30\x00\x0a", now=0.1) == [Transmit((frames[0],))]
    assert core.transmitted(now=0.2) == []
    assert core.next_deadline() == pytest.approx(0.21)
    assert core.handle_timeout(now=0.205) == []
    assert core.handle_timeout(now=0.2101) == [Transmit((frames[1],))]


@pytest.mark.parametrize(
    ("code", "seconds"), [(0, 0), (0x7F, 0.127), (0xF1, 1e-4), (0xF9, 9e-4), (0x80, 0.127)]
)
def test_st_min_is_coded_in_two_ranges(code: int, seconds: float) -> None:
    assert st_min_seconds(code) == pytest.approx(seconds)


def test_n_bs_runs_from_the_last_bit_of_the_first_frame() -> None:
    core = endpoint()
    core.send(MESSAGE, now=0.0)
    core.transmitted(now=0.7)
    assert core.next_deadline() == pytest.approx(1.7)
    assert isinstance(error_of(core.handle_timeout(now=1.7)), FlowControlTimeoutError)
    assert core.next_deadline() is None


def test_a_frame_that_the_wire_never_takes_fails_after_n_as() -> None:
    core = endpoint()
    core.send(b"short", now=0.0)
    assert core.next_deadline() == 1.0
    assert isinstance(error_of(core.handle_timeout(now=1.0)), FrameNotSentError)


def test_a_run_of_frames_that_is_lost_with_its_wire_fails_within_seconds() -> None:
    core = endpoint()
    core.send(bytes(4095), now=0.0)
    core.transmitted(now=0.0)
    (run,) = core.receive(bytes([0x30, 0, 0]), now=0.0)
    assert isinstance(run, Transmit)
    assert len(run.frames) == 585
    deadline = core.next_deadline()
    assert deadline is not None
    assert 585 * 0.001 < deadline < 15  # longer than a slow wire takes, shorter than an operator
    assert isinstance(error_of(core.handle_timeout(now=deadline)), FrameNotSentError)


def test_n_cr_runs_from_the_last_frame_of_either_side() -> None:
    core = receiving()
    assert core.next_deadline() == 1.0
    assert core.receive(segment(MESSAGE, 8)[1], now=0.6) == []
    assert core.next_deadline() == 1.6
    assert isinstance(error_of(core.handle_timeout(now=1.6)), ConsecutiveFrameTimeoutError)


def test_wait_frames_prolong_n_bs_up_to_a_limit() -> None:
    core = waiting(max_wait_frames=2)
    for now in (0.9, 1.8):
        assert core.receive(b"\x31\x00\x00", now=now) == []
        assert core.next_deadline() == pytest.approx(now + 1)
    assert isinstance(error_of(core.receive(b"\x31\x00\x00", now=2.0)), WaitLimitError)


@pytest.mark.parametrize(
    ("frame", "error"), [(b"\x32\x00\x00", BufferOverflowError), (b"\x3a\x00\x00", FlowStatusError)]
)
def test_overflow_and_reserved_flow_status_end_the_message(
    frame: bytes, error: type[IsoTpError]
) -> None:
    core = waiting()
    assert isinstance(error_of(core.receive(frame, now=0.1)), error)
    assert core.send(b"next", now=0.2)


def test_a_first_frame_beyond_the_buffer_is_answered_overflow() -> None:
    core = endpoint(max_message_length=99)
    overflow, failed = core.receive(FIRST, now=0.0)
    assert overflow == Transmit((b"\x32\x00\x00" + b"\xcc" * 5,))
    assert isinstance(error_of([failed]), MessageTooLongError)
    huge = core.receive(b"\x10\x00\xff\xff\xff\xff\x00\x00", now=0.0)
    assert isinstance(error_of(huge), MessageTooLongError)


def test_a_first_frame_is_told_at_once_and_answered() -> None:
    assert endpoint(block_size=8, st_min=5).receive(FIRST, now=0.0) == [
        ReceptionStarted(100),
        Transmit((b"\x30\x08\x05" + b"\xcc" * 5,)),
    ]


def test_a_wrong_sequence_number_ends_the_reception() -> None:
    core = receiving()
    assert isinstance(error_of(core.receive(segment(MESSAGE, 8)[2], now=0.1)), SequenceNumberError)
    assert core.receive(segment(MESSAGE, 8)[1], now=0.2) == []


@pytest.mark.parametrize("frame", [b"\x02hi", FIRST])
def test_a_new_message_in_the_middle_of_one_replaces_it(frame: bytes) -> None:
    events = receiving().receive(frame, now=0.1)
    assert isinstance(error_of(events), UnexpectedFrameError)
    assert isinstance(events[1], MessageReceived | ReceptionStarted)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x08" + bytes(7),
        b"\x05hi",
        b"\x00\x03abcdefghij",
        b"\x10\x07abcdef",
        b"\x10\x20ab",
        b"\x10\x00\x00\x00\x0f\xffab",
        b"\x30\x00",
        b"\x40" + bytes(7),
        b"\xff" * 8,
        b"\x21abcdefg",
        CTS,
    ],
)
def test_what_is_no_frame_or_not_due_is_ignored(frame: bytes) -> None:
    core = endpoint()
    assert core.receive(frame, now=0.0) == []
    assert core.next_deadline() is None


@pytest.mark.parametrize("frame", [b"\x21abc", b"\x21" + bytes(11)], ids=["short", "long"])
def test_a_consecutive_frame_of_another_length_than_the_first_is_ignored(frame: bytes) -> None:
    core = receiving(tx_data_length=64)
    assert core.receive(frame, now=0.1) == []
    assert core.receive(segment(MESSAGE, 8)[1], now=0.2) == []
    assert core.next_deadline() == 1.2


def test_flow_control_before_the_confirmation_is_taken() -> None:
    core = endpoint()
    core.send(MESSAGE, now=0.0)
    (run,) = core.receive(CTS, now=0.1)
    assert isinstance(run, Transmit)
    assert core.transmitted(now=0.1) == []  # of the first frame
    assert core.transmitted(now=0.2) == [MessageSent()]


def test_both_directions_at_once_do_not_disturb_each_other() -> None:
    ours, theirs = endpoint(), endpoint()
    events = ours.send(MESSAGE, now=0.0)
    back = theirs.send(MESSAGE[::-1], now=0.0)
    at_ours, at_theirs = exchange(ours, theirs, events)
    assert at_theirs[-1] == MessageReceived(MESSAGE)
    assert at_ours == [MessageSent()]
    at_theirs, at_ours = exchange(theirs, ours, back)
    assert at_ours[-1] == MessageReceived(MESSAGE[::-1])
    assert at_theirs == [MessageSent()]


def test_one_message_at_a_time_is_sent() -> None:
    core = waiting()
    with pytest.raises(SendInProgressError):
        core.send(b"second", now=0.1)
    assert core.receive(CTS, now=0.2)


def test_functional_addressing_is_single_frames_only() -> None:
    core = Endpoint(IsoTpParameters(functional=True))
    with pytest.raises(MessageTooLongError):
        core.send(bytes(8), now=0.0)
    assert core.receive(FIRST, now=0.0) == []


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(MessageTooLongError):
        endpoint().send(b"", now=0.0)


def test_frames_for_another_address_extension_are_not_seen() -> None:
    core = Endpoint(IsoTpParameters(tx_address_extension=1, rx_address_extension=2))
    assert core.receive(b"\x03\x02hi", now=0.0) == []
    assert core.receive(b"\x02\x02hi", now=0.0) == [MessageReceived(b"hi")]
    assert core.send(b"yo", now=0.0) == [Transmit((b"\x01\x02yo" + b"\xcc" * 4,))]


@pytest.mark.parametrize(
    "parameters",
    [
        {"tx_data_length": 9},
        {"padding": 256},
        {"block_size": -1},
        {"st_min": 256},
        {"max_message_length": 0},
        {"tx_address_extension": 1},
    ],
)
def test_parameters_that_no_endpoint_can_have_are_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(ParameterError):
        parameters_of(**parameters)
