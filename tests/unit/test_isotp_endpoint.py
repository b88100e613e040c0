"""An ISO-TP endpoint: timers, flow control and what a bad peer gets, clause by clause."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from clock import run
from protocols.editions import IsoTpEdition
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
    FrameLateError,
    FrameNotSentError,
    IsoTpError,
    MessageTooLongError,
    ParameterError,
    SendInProgressError,
    SequenceNumberError,
    UnexpectedFrameError,
    WaitLimitError,
)
from protocols.isotp.parameters import FRAME_LENGTHS, TX_DATA_LENGTHS
from tests.support.isotp import exchange

MESSAGE = bytes(range(100))
FIRST = segment(MESSAGE, 8)[0]
CTS = b"\x30\x00\x00"
WAIT = b"\x31\x00\x00" + b"\xcc" * 5


def endpoint(**parameters: int) -> Endpoint:
    return Endpoint(parameters_of(**parameters))


def parameters_of(**parameters: int) -> IsoTpParameters:
    return IsoTpParameters(**parameters)  # type: ignore[arg-type] # none of them is a flag, a time or an edition


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


def test_flow_control_that_the_wire_never_takes_fails_after_n_ar() -> None:
    core = endpoint()
    core.receive(FIRST, now=0.0)
    assert core.handle_timeout(now=0.999) == []
    assert isinstance(error_of(core.handle_timeout(now=1.0)), FrameNotSentError)
    assert core.transmitted(now=1.1) == []
    assert core.next_deadline() is None


def test_who_is_not_ready_sends_wait_every_n_br_and_goes_on_when_released() -> None:
    core = endpoint()
    core.hold()
    assert core.receive(FIRST, now=0.0) == [ReceptionStarted(100)]
    for begin in (0.0, 0.6):
        assert core.handle_timeout(now=begin + 0.499) == []
        assert core.handle_timeout(now=begin + 0.5) == [Transmit((WAIT,))]
        core.transmitted(now=begin + 0.6)
    assert core.release(now=1.5) == [Transmit((CTS + b"\xcc" * 5,))]
    core.transmitted(now=1.5)
    assert core.next_deadline() == 2.5


def test_a_release_while_the_wait_frame_is_on_the_wire_is_kept_for_its_end() -> None:
    core = endpoint()
    core.hold()
    core.receive(FIRST, now=0.0)
    core.handle_timeout(now=0.5)
    assert core.release(now=0.51) == []
    assert core.transmitted(now=0.52) == [Transmit((CTS + b"\xcc" * 5,))]


def test_a_wait_frame_that_the_wire_never_takes_fails_after_n_ar() -> None:
    core = endpoint()
    core.hold()
    core.receive(FIRST, now=0.0)
    core.handle_timeout(now=0.5)
    assert core.handle_timeout(now=1.499) == []
    assert isinstance(error_of(core.handle_timeout(now=1.5)), FrameNotSentError)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_no_more_than_n_wftmax_wait_frames_are_sent(limit: int) -> None:
    core = endpoint(max_own_wait_frames=limit)
    core.hold()
    core.receive(FIRST, now=0.0)
    for number in range(limit):
        assert core.handle_timeout(now=(number + 1) * 0.5) == [Transmit((WAIT,))]
        core.transmitted(now=(number + 1) * 0.5)
    assert isinstance(error_of(core.handle_timeout(now=(limit + 1) * 0.5)), WaitLimitError)
    assert core.release(now=10.0) == []


def test_a_held_receiver_waits_between_two_blocks_and_ignores_frames_it_did_not_ask_for() -> None:
    core = receiving(block_size=1)
    core.hold()
    frames = segment(MESSAGE, 8)
    assert core.receive(frames[1], now=0.1) == []
    assert core.receive(frames[2], now=0.2) == []
    assert core.receive_run(frames[2:], now=0.2) == []
    assert core.release(now=0.3) == [Transmit((b"\x30\x01\x00" + b"\xcc" * 5,))]
    assert core.receive(frames[2], now=0.4) == [Transmit((b"\x30\x01\x00" + b"\xcc" * 5,))]


@pytest.mark.parametrize(("late_s", "fails"), [(0.799, False), (0.801, True)])
def test_a_consecutive_frame_that_comes_after_n_cs_is_not_sent_any_more(
    late_s: float,
    fails: bool,  # noqa: FBT001 a parameter
) -> None:
    core = waiting()
    core.receive(b"\x30\x00\x0a", now=0.1)
    core.transmitted(now=0.2)
    events = core.handle_timeout(now=0.21 + late_s)
    assert [type(event) for event in events] == [SendFailed if fails else Transmit]
    if fails:
        assert isinstance(error_of(events), FrameLateError)


#: How to bring an endpoint to each of its timers, which then began at 0 s, and what it says.
TIMERS: dict[str, tuple[Callable[[IsoTpParameters], Endpoint], type[IsoTpError] | None]] = {
    "n_as_s": (lambda parameters: at_first_frame(parameters, on_wire=False), FrameNotSentError),
    "n_bs_s": (
        lambda parameters: at_first_frame(parameters, on_wire=True),
        FlowControlTimeoutError,
    ),
    "n_ar_s": (lambda parameters: at_flow_control(parameters, on_wire=False), FrameNotSentError),
    "n_cr_s": (
        lambda parameters: at_flow_control(parameters, on_wire=True),
        ConsecutiveFrameTimeoutError,
    ),
    "n_br_s": (lambda parameters: held(parameters), None),  # noqa: PLW0108 defined below
}


def at_first_frame(parameters: IsoTpParameters, *, on_wire: bool) -> Endpoint:
    core = Endpoint(parameters)
    core.send(MESSAGE, now=0.0)
    if on_wire:
        core.transmitted(now=0.0)
    return core


def at_flow_control(parameters: IsoTpParameters, *, on_wire: bool) -> Endpoint:
    core = Endpoint(parameters)
    core.receive(FIRST, now=0.0)
    if on_wire:
        core.transmitted(now=0.0)
    return core


def held(parameters: IsoTpParameters) -> Endpoint:
    core = Endpoint(parameters)
    core.hold()
    core.receive(FIRST, now=0.0)
    return core


@pytest.mark.parametrize("seconds", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("timer", TIMERS)
def test_each_timer_is_a_setting_and_ends_on_the_virtual_clock_at_its_limit(
    timer: str, seconds: float
) -> None:
    make, error = TIMERS[timer]

    async def main() -> tuple[list[Event], float]:
        loop = asyncio.get_running_loop()
        core = make(replace(IsoTpParameters(), **{timer: seconds}))  # type: ignore[arg-type] # all are times
        due = core.next_deadline()
        assert due == seconds
        await asyncio.sleep(seconds - 1e-6)
        assert core.handle_timeout(now=loop.time()) == []
        await asyncio.sleep(due - loop.time())
        return core.handle_timeout(now=loop.time()), loop.time()

    events, at = run(main(), virtual=True)
    assert at == pytest.approx(seconds, abs=1e-9)
    if error is None:
        assert events == [Transmit((WAIT,))]
    else:
        assert isinstance(error_of(events), error)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("timer", ["n_bs_s", "n_cr_s"])
def test_the_frame_that_is_waited_for_counts_up_to_the_limit(
    timer: str,
    early: bool,  # noqa: FBT001 a parameter
) -> None:
    core = TIMERS[timer][0](IsoTpParameters())
    at = 0.999 if early else 1.001
    assert bool(core.handle_timeout(now=at)) is not early
    events = core.receive(CTS if timer == "n_bs_s" else segment(MESSAGE, 8)[1], now=at)
    assert (core.next_deadline() is not None) is early
    assert bool(events) is (early and timer == "n_bs_s")


def test_half_duplex_does_not_see_what_begins_while_it_sends() -> None:
    core = Endpoint(IsoTpParameters(half_duplex=True))
    core.send(MESSAGE, now=0.0)
    assert core.receive(b"\x02hi", now=0.1) == []
    assert core.receive(FIRST, now=0.1) == []
    core.transmitted(now=0.2)
    assert core.receive(CTS, now=0.3) == [Transmit(tuple(segment(MESSAGE, 8)[1:]))]


@pytest.mark.parametrize("whole", [True, False])
def test_half_duplex_sends_when_the_reception_is_over(
    whole: bool,  # noqa: FBT001 a parameter
) -> None:
    core = Endpoint(IsoTpParameters(half_duplex=True))
    first, *rest = segment(MESSAGE, 8)
    core.receive(first, now=0.0)
    core.transmitted(now=0.0)
    assert core.send(b"yes", now=0.1) == []
    with pytest.raises(SendInProgressError):
        core.send(b"and", now=0.1)
    events = core.receive_run(rest, now=0.2) if whole else core.handle_timeout(now=1.0)
    assert isinstance(events[0], MessageReceived if whole else ReceptionFailed)
    assert events[1:] == [Transmit((b"\x03yes" + b"\xcc" * 4,))]


def test_half_duplex_refuses_at_once_what_it_could_never_send() -> None:
    core = Endpoint(IsoTpParameters(half_duplex=True))
    core.receive(FIRST, now=0.0)
    with pytest.raises(MessageTooLongError):
        core.send(b"", now=0.1)


def test_the_2004_edition_has_neither_long_messages_nor_long_frames() -> None:
    old = IsoTpParameters(edition=IsoTpEdition.E2004)
    core = Endpoint(old)
    with pytest.raises(MessageTooLongError):
        core.send(bytes(4096), now=0.0)
    assert core.send(bytes(4095), now=0.0)
    assert Endpoint(old).receive(segment(bytes(4096), 8)[0], now=0.0) == []
    assert Endpoint(old).receive(segment(bytes(20), 64)[0], now=0.0) == []
    assert Endpoint(old).receive(segment(bytes(4095), 8)[0], now=0.0)


@pytest.mark.parametrize("code", [*range(0x80, 0xF1), *range(0xFA, 0x100)])
def test_every_reserved_st_min_is_taken_for_127_ms(code: int) -> None:
    core = waiting()
    core.receive(bytes((0x30, 0, code)), now=0.1)
    core.transmitted(now=0.2)
    assert core.next_deadline() == pytest.approx(0.327)


@pytest.mark.parametrize("number", [number for number in range(16) if number != 1])
def test_every_sequence_number_but_the_next_ends_the_reception(number: int) -> None:
    core = receiving()
    events = core.receive(bytes((0x20 | number,)) + bytes(7), now=0.1)
    assert isinstance(error_of(events), SequenceNumberError)


@pytest.mark.parametrize(
    ("frame", "extension", "message"),
    [
        (b"\x00\x07" + bytes(10), None, None),
        (b"\x00\x08" + bytes(10), None, bytes(8)),
        (b"\x00\x0a" + bytes(10), None, bytes(10)),
        (b"\x00\x0b" + bytes(10), None, None),
        (b"\x05" + bytes(11), None, None),
        (b"\x55\x00\x06" + bytes(9), 0x55, None),
        (b"\x55\x00\x07" + bytes(9), 0x55, bytes(7)),
        (b"\x55\x00\x0a" + bytes(9), 0x55, None),
        (b"\x55\x07" + bytes(6), 0x55, None),
        (b"\x55\x06" + bytes(6), 0x55, bytes(6)),
    ],
)
def test_a_single_frame_has_the_length_that_its_can_dl_asks_for(
    frame: bytes, extension: int | None, message: bytes | None
) -> None:
    core = Endpoint(
        IsoTpParameters(
            tx_data_length=64, tx_address_extension=extension, rx_address_extension=extension
        )
    )
    expected = [] if message is None else [MessageReceived(message)]
    assert core.receive(frame, now=0.0) == expected


@pytest.mark.parametrize("length", TX_DATA_LENGTHS)
@pytest.mark.parametrize("extension", [b"", b"\x55"])
def test_every_frame_but_the_last_is_full_and_the_last_is_the_shortest_that_holds_it(
    length: int, extension: bytes
) -> None:
    for size in range(1, 3 * length):
        frames = segment(bytes(size), length, padding=None, extension=extension)
        assert {len(frame) for frame in frames[:-1]} <= {length}
        content = size + 1 + len(extension) if len(frames) == 1 else 0
        if len(frames) == 1 and content > 8:
            content += 1
        if len(frames) > 1:
            done = length - 2 - len(extension)
            done += (len(frames) - 2) * (length - 1 - len(extension))
            content = 1 + len(extension) + size - done
        assert len(frames[-1]) == next(dl for dl in FRAME_LENGTHS if dl >= content)


@pytest.mark.parametrize("length", [9, 10, 11, 13, 17, 33, 63, 65])
@pytest.mark.parametrize(
    "head", [b"\x00\x08", b"\x10\x80", b"\x30\x00\x00"], ids=["single", "first", "flow control"]
)
def test_a_frame_of_a_length_that_can_does_not_have_is_ignored(head: bytes, length: int) -> None:
    core = waiting(tx_data_length=64)
    assert core.receive(head.ljust(length, b"\xcc"), now=0.1) == []
    assert core.next_deadline() == 1.0


@pytest.mark.parametrize("data_length", TX_DATA_LENGTHS)
def test_the_first_frame_fixes_the_length_of_those_that_follow(data_length: int) -> None:
    message = bytes(range(200))
    first, second, *_ = segment(message, data_length)
    core = endpoint()
    assert core.receive(first, now=0.0)[0] == ReceptionStarted(200)
    for other in TX_DATA_LENGTHS:
        if other != data_length:
            assert core.receive(b"\x21" + bytes(other - 1), now=0.1) == []
    core.receive(second, now=0.5)
    assert core.next_deadline() == 1.5


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"\x02hi", b"hi"),
        (b"\x02hi" + bytes(5), b"hi"),
        (b"\x02hi" + bytes(1), None),
        (b"\x02hi" + bytes(4), None),
    ],
)
def test_a_single_frame_is_either_as_short_as_it_can_be_or_filled_up_to_8(
    frame: bytes, message: bytes | None
) -> None:
    assert endpoint().receive(frame, now=0.0) == (
        [] if message is None else [MessageReceived(message)]
    )


def test_where_padding_is_required_no_shorter_frame_is_seen() -> None:
    strict = IsoTpParameters(rx_padding_required=True)
    core = Endpoint(strict)
    assert core.receive(b"\x02hi", now=0.0) == []
    assert core.receive(b"\x02hi" + bytes(5), now=0.0) == [MessageReceived(b"hi")]
    core.send(MESSAGE, now=0.0)
    core.transmitted(now=0.0)
    assert core.receive(CTS, now=0.1) == []
    assert core.receive(CTS + bytes(5), now=0.1)
    first, *rest = segment(bytes(15), 8, padding=None)
    core = Endpoint(strict)
    core.receive(first, now=0.0)
    core.receive(rest[0], now=0.1)
    assert core.receive(rest[1], now=0.2) == []
    assert core.receive(rest[1].ljust(8, b"\x55"), now=0.2) == [MessageReceived(bytes(15))]


def test_the_last_frame_may_be_longer_than_its_rest_but_not_shorter() -> None:
    first, middle, last = segment(bytes(range(16)), 8)
    for cut, whole in ((2, False), (3, False), (4, True), (8, True)):
        core = endpoint()
        core.receive(first, now=0.0)
        core.receive(middle, now=0.1)
        assert bool(core.receive(last[:cut], now=0.2)) is whole


@pytest.mark.parametrize("tx_data_length", TX_DATA_LENGTHS)
@pytest.mark.parametrize("extension", [None, 0x55])
def test_a_first_frame_for_what_one_frame_carries_is_ignored(
    tx_data_length: int, extension: int | None
) -> None:
    head = b"" if extension is None else bytes((extension,))
    room = tx_data_length - len(head)
    least = room if tx_data_length == 8 else room - 1
    for length, taken in ((1, False), (least - 1, False), (least, True), (4095, True)):
        core = Endpoint(
            IsoTpParameters(tx_address_extension=extension, rx_address_extension=extension)
        )
        frame = head + (0x1000 | length).to_bytes(2)
        events = core.receive(frame.ljust(tx_data_length, b"\x00"), now=0.0)
        assert bool(events) is taken, (tx_data_length, length)


def test_each_flow_control_sets_block_size_and_separation_anew() -> None:
    core = waiting()
    frames = segment(MESSAGE, 8)[1:]
    assert core.receive(b"\x30\x02\x00", now=0.1) == [Transmit(tuple(frames[:2]))]
    core.transmitted(now=0.2)
    assert core.receive(b"\x30\x01\x0a", now=0.3) == [Transmit((frames[2],))]
    core.transmitted(now=0.4)
    assert core.receive(b"\x30\x03\x14", now=0.5) == [Transmit((frames[3],))]
    core.transmitted(now=0.6)
    assert core.next_deadline() == pytest.approx(0.62)
    assert core.handle_timeout(now=0.62) == [Transmit((frames[4],))]
    core.transmitted(now=0.63)
    assert core.handle_timeout(now=0.65) == [Transmit((frames[5],))]
    core.transmitted(now=0.66)
    assert core.receive(b"\x30\x00\x00", now=0.7) == [Transmit(tuple(frames[6:]))]


def test_a_wait_frame_changes_neither_block_size_nor_separation() -> None:
    core = waiting()
    core.receive(b"\x31\x01\x7f", now=0.1)
    assert core.receive(CTS, now=0.2) == [Transmit(tuple(segment(MESSAGE, 8)[1:]))]


@pytest.mark.parametrize("status", range(3, 16))
def test_every_reserved_flow_status_ends_the_message(status: int) -> None:
    core = waiting()
    events = core.receive(bytes((0x30 | status, 0, 0)), now=0.1)
    assert isinstance(error_of(events), FlowStatusError)
    assert core.next_deadline() is None


def test_flow_control_in_the_middle_of_a_block_is_ignored() -> None:
    core = waiting()
    core.receive(b"\x30\x00\x0a", now=0.1)
    for frame in (CTS, b"\x32\x00\x00", b"\x3f\x00\x00", b"\x31\x00\x00"):
        assert core.receive(frame, now=0.1) == []
    core.transmitted(now=0.2)
    assert core.receive(b"\x32\x00\x00", now=0.2) == []
    assert core.next_deadline() == pytest.approx(0.21)


@pytest.mark.parametrize("kind", range(4, 16))
def test_an_n_pdu_of_an_unknown_type_disturbs_neither_direction(kind: int) -> None:
    ours, theirs = waiting(), receiving()
    for core in (ours, theirs):
        assert core.receive(bytes((kind << 4,)).ljust(8, b"\x00"), now=0.1) == []
        assert core.next_deadline() == 1.0


@pytest.mark.parametrize(
    "frame", [FIRST, b"\x21" + bytes(7), CTS, b"\x00\x08" + bytes(10)[:6]], ids=repr
)
def test_a_functional_address_hears_single_frames_alone(frame: bytes) -> None:
    core = Endpoint(IsoTpParameters(functional=True))
    assert core.receive(frame, now=0.0) == []
    assert core.next_deadline() is None
    assert core.receive(b"\x02hi", now=0.0) == [MessageReceived(b"hi")]


def test_full_duplex_receives_a_long_message_in_the_middle_of_its_own() -> None:
    core = waiting()
    frames = segment(MESSAGE, 8)[1:]
    core.receive(b"\x30\x00\x0a", now=0.1)
    core.transmitted(now=0.2)
    started, flow = core.receive(FIRST, now=0.205)
    assert started == ReceptionStarted(100)
    assert isinstance(flow, Transmit)
    assert core.handle_timeout(now=0.2101) == [Transmit((frames[1],))]
    core.transmitted(now=0.22)  # of our flow control, which went first
    core.transmitted(now=0.23)
    *silent, last = (core.receive(frame, now=0.231) for frame in frames)
    assert silent == [[]] * len(silent)
    assert last == [MessageReceived(MESSAGE)]
    assert core.handle_timeout(now=0.2401) == [Transmit((frames[2],))]
