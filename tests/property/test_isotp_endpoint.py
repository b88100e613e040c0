from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from protocols.isotp import (
    Endpoint,
    IsoTpError,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    SendFailed,
    Transmit,
    segment,
)
from protocols.isotp.codec import decode
from protocols.isotp.parameters import TX_DATA_LENGTHS
from tests.support.isotp import exchange

paddings = st.sampled_from((None, 0x00, 0xCC))
messages = st.integers(1, 5000).flatmap(lambda size: st.binary(min_size=size, max_size=size))
extensions = st.sampled_from((None, 0x55))


@given(
    message=messages | st.binary(min_size=1, max_size=200),
    lengths=st.tuples(st.sampled_from(TX_DATA_LENGTHS), st.sampled_from(TX_DATA_LENGTHS)),
    padding=paddings,
    block_size=st.sampled_from((0, 0, 1, 8, 255)),
    extension=extensions,
    runs=st.booleans(),
)
def test_any_message_survives_between_any_two_endpoints(
    message: bytes,
    lengths: tuple[int, int],
    padding: int | None,
    block_size: int,
    extension: int | None,
    runs: bool,  # noqa: FBT001 hypothesis hands it over by name
) -> None:
    ours, theirs = (
        Endpoint(
            IsoTpParameters(
                tx_data_length=length,
                padding=padding,
                block_size=block_size,
                tx_address_extension=extension,
                rx_address_extension=extension,
            )
        )
        for length in lengths
    )
    sent, received = exchange(ours, theirs, ours.send(message, now=0.0), runs=runs)
    assert sent == [MessageSent()]
    assert received[-1] == MessageReceived(message)
    assert ours.next_deadline() is None
    assert theirs.next_deadline() is None


@given(message=messages, tx_data_length=st.sampled_from(TX_DATA_LENGTHS), padding=paddings)
def test_segment_gives_the_frames_that_an_endpoint_sends(
    message: bytes, tx_data_length: int, padding: int | None
) -> None:
    parameters = IsoTpParameters(tx_data_length=tx_data_length, padding=padding)
    ours, theirs = Endpoint(parameters), Endpoint(parameters)
    frames: list[bytes] = []
    events = ours.send(message, now=0.0)
    while events:
        for event in events:
            assert isinstance(event, Transmit)
            frames += event.frames
        answers = [
            answer
            for event in events
            if isinstance(event, Transmit)
            for frame in event.frames
            for answer in theirs.receive(frame, now=0.0)
        ]
        ours.transmitted(now=0.0)
        events = [
            event
            for answer in answers
            if isinstance(answer, Transmit)
            for event in ours.receive(answer.frames[0], now=0.0)
        ]
    assert frames == segment(message, tx_data_length, padding=padding)


frame_bytes = st.binary(max_size=64) | st.binary(max_size=8).map(lambda data: b"\x10\x20" + data)


@given(
    frames=st.lists(
        frame_bytes | st.integers(0x20, 0x2F).map(lambda pci: bytes((pci,)) + bytes(7)),
        max_size=40,
    ),
    extension=extensions,
    limit=st.integers(1, 5000),
)
def test_any_bytes_end_in_events_and_never_in_a_foreign_error(
    frames: list[bytes], extension: int | None, limit: int
) -> None:
    endpoint = Endpoint(
        IsoTpParameters(
            max_message_length=limit,
            tx_address_extension=extension,
            rx_address_extension=extension,
        )
    )
    endpoint.send(b"a message of more than one frame", now=0.0)
    for now, frame in enumerate(frames):
        for event in endpoint.receive(frame, now=float(now)):
            if isinstance(event, SendFailed | ReceptionFailed):
                assert isinstance(event.error, IsoTpError)
            if isinstance(event, MessageReceived):
                assert len(event.message) <= limit
        endpoint.transmitted(now=float(now))
        endpoint.handle_timeout(now=float(now))


@given(frame=frame_bytes)
def test_any_bytes_decode_or_are_refused_in_the_family(frame: bytes) -> None:
    with suppress(IsoTpError):
        assert decode(frame) is not None


@given(
    frames=st.lists(
        st.tuples(st.integers(0, 17), st.sampled_from((8, 8, 8, 8, 8, 8, 5))),
        max_size=60,
    ),
    length=st.integers(8, 400),
)
def test_a_run_of_frames_has_the_effect_of_its_frames_one_by_one(
    frames: list[tuple[int, int]], length: int
) -> None:
    # Mostly the right sequence, now and then a wrong number or a short frame.
    run = [
        bytes((0x20 | (place + 1 if number < 17 else number) % 16,)) + bytes(size - 1)
        for place, (number, size) in enumerate(frames)
    ]
    first = (0x1000 | length).to_bytes(2, "big") + b"first!"
    one, all_at_once = Endpoint(IsoTpParameters()), Endpoint(IsoTpParameters())
    for endpoint in (one, all_at_once):
        endpoint.receive(first, now=0.0)
    singly = [event for frame in run for event in one.receive(frame, now=0.5)]
    # Errors compare by identity: their texts tell them apart.
    assert repr(all_at_once.receive_run(run, now=0.5)) == repr(singly)
    assert all_at_once.next_deadline() == one.next_deadline()
