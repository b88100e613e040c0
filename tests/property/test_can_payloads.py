"""Frames in one buffer are the frames: `Payloads` and `Stamps` against plain lists."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.can import FrameHeader, Payloads
from protocols.can.bits import NS_PER_S, burst_bits, frame_bits
from protocols.can.stamps import Stamps
from protocols.isotp import first_and_rest, segment
from protocols.isotp.codec import first_frame_room
from protocols.isotp.parameters import TX_DATA_LENGTHS

CLASSIC = FrameHeader(0x7A0)


def in_pieces(data: bytes, length: int) -> list[bytes]:
    return [data[at : at + length] for at in range(0, len(data), length)]


slices = st.tuples(st.none() | st.integers(-12, 12), st.none() | st.integers(-12, 12)).map(
    lambda ends: slice(*ends)
)


@settings(deadline=None)
@given(data=st.binary(max_size=80), length=st.integers(1, 8), part=slices)
def test_frames_in_one_buffer_are_those_of_a_list(data: bytes, length: int, part: slice) -> None:
    frames, plain = Payloads(data, length), in_pieces(data, length)
    assert list(frames) == plain
    assert frames == plain
    assert hash(frames) == hash(tuple(plain))
    assert [frames[place] for place in range(len(plain))] == plain
    assert [frames[place] for place in range(-len(plain), 0)] == plain
    assert frames[part] == plain[part]
    assert frames.uniform == (len({*map(len, plain)} | {length}) == 1)
    for outside in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError):
            frames[outside]


@settings(deadline=None)
@given(frames=st.lists(st.binary(max_size=3), max_size=9))
def test_frames_are_gathered_only_where_they_are_of_one_length(frames: list[bytes]) -> None:
    gathered = Payloads.of(frames)
    if gathered is not None:
        assert gathered == frames
        assert gathered.uniform
    elif len(frames) > 3:
        assert len({*map(len, frames)}) > 1 or not frames[0]


def test_a_burst_with_gaps_is_none() -> None:
    with pytest.raises(ValueError, match="follow each other"):
        Payloads(bytes(40), 8)[::2]


@settings(deadline=None)
@given(ends=st.lists(st.integers(0, 10**9), max_size=9), origin=st.integers(0, 10**15), part=slices)
def test_stamps_are_seconds_to_the_nanosecond(ends: list[int], origin: int, part: slice) -> None:
    stamps = Stamps(origin, ends)
    plain = [(origin + end) / NS_PER_S for end in ends]
    assert stamps == plain
    assert stamps[part] == plain[part]
    assert [stamps[place] for place in range(len(ends))] == plain
    assert [round(at * NS_PER_S) - origin for at in stamps] == ends


@settings(deadline=None)
@given(
    message=st.binary(min_size=1, max_size=400),
    length=st.sampled_from(TX_DATA_LENGTHS),
    padding=st.none() | st.just(0xAA),
    extension=st.sampled_from((b"", b"\xf1")),
)
def test_the_rest_of_a_message_is_what_the_standard_makes_of_it(
    message: bytes, length: int, padding: int | None, extension: bytes
) -> None:
    first, rest = first_and_rest(message, length, padding=padding, extension=extension)
    assert [first, *rest] == segment(message, length, padding=padding, extension=extension)
    if not rest:
        return
    room = length - len(extension)
    done = first_frame_room(len(message), room)
    for number, frame in enumerate(rest, start=1):
        content = message[done : done + room - 1]
        head = extension + bytes((0x20 | number % 16,)) + content
        filling = frame[len(head) :]
        assert frame[: len(head)] == head
        assert set(filling) <= {0xCC if padding is None else padding}
        assert len(frame) == length or number == len(rest)
        done += len(content)
    assert done == len(message)


@settings(deadline=None)
@given(
    rest=st.binary(min_size=300, max_size=400),
    header=st.sampled_from((CLASSIC, FrameHeader(0x7A0, fd=True, bit_rate_switch=True))),
)
def test_bits_asked_for_twice_are_the_same_and_of_that_header(
    rest: bytes, header: FrameHeader
) -> None:
    frames = Payloads(rest, 8)
    expected = [frame_bits(header, frame) for frame in frames]
    for _ in range(2):
        nominal, fast = burst_bits(header, frames)
        assert list(zip(nominal.tolist(), fast.tolist(), strict=True)) == expected
        nominal += 1  # what a caller does with its answer is not in the next one
        fast += 1
