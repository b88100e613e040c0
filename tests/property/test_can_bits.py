from hypothesis import given
from hypothesis import strategies as st

from protocols.can import FrameHeader
from protocols.can.bits import burst_bits, burst_ns, frame_bits, frame_ns
from tests.support.can import reference_bits

FD_LENGTHS = (*range(9), 12, 16, 20, 24, 32, 48, 64)


@st.composite
def headers(draw: st.DrawFn) -> FrameHeader:
    extended = draw(st.booleans())
    limit = 0x1FFF_FFFF if extended else 0x7FF
    fd = draw(st.booleans())
    return FrameHeader(
        draw(st.integers(0, limit) | st.sampled_from((0, limit))),
        extended=extended,
        fd=fd,
        bit_rate_switch=fd and draw(st.booleans()),
    )


def payloads_of(length: int) -> st.SearchStrategy[bytes]:
    dull = st.sampled_from((b"\x00", b"\xff", b"\xf8", b"\x07", b"\x1f", b"\x83")).map(
        lambda byte: byte * length
    )
    return dull | st.binary(min_size=length, max_size=length)


@st.composite
def bursts(draw: st.DrawFn) -> tuple[FrameHeader, list[bytes]]:
    header = draw(headers())
    lengths = st.sampled_from(FD_LENGTHS if header.fd else range(9))
    return header, draw(st.lists(lengths.flatmap(payloads_of), min_size=1, max_size=12))


@given(burst=bursts())
def test_a_frame_has_the_bits_that_a_bitwise_sender_writes(
    burst: tuple[FrameHeader, list[bytes]],
) -> None:
    header, payloads = burst
    for data in payloads:
        assert frame_bits(header, data) == reference_bits(header, data)


@given(burst=bursts())
def test_a_burst_side_by_side_equals_its_frames_one_by_one(
    burst: tuple[FrameHeader, list[bytes]],
) -> None:
    header, payloads = burst
    nominal, fast = burst_bits(header, payloads)
    assert list(zip(nominal.tolist(), fast.tolist(), strict=True)) == [
        frame_bits(header, data) for data in payloads
    ]
    rates = {"bit_rate": 500_000, "data_bit_rate": 2_000_000}
    assert burst_ns(header, payloads, **rates).tolist() == [
        frame_ns(header, data, **rates) for data in payloads
    ]
