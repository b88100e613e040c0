import pytest

from protocols.can import FrameHeader
from protocols.can.bits import FrameError, burst_bits, frame_bits, frame_ns
from tests.support.can import reference_bits, seeded

CLASSIC = FrameHeader(0x7E0)
FD = FrameHeader(0x7E0, fd=True, bit_rate_switch=True)


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (CLASSIC, 8),
        (FrameHeader(0x18DA20F1, extended=True), 8),
        (FD, 64),
        (FrameHeader(0x18DA20F1, extended=True, fd=True, bit_rate_switch=True), 64),
        (FrameHeader(0x100, fd=True), 12),
    ],
)
def test_a_thousand_random_frames_have_the_bits_of_the_reference(
    header: FrameHeader, length: int
) -> None:
    rng = seeded(f"{header}")
    payloads = [rng.randbytes(length) for _ in range(1000)]
    expected = [reference_bits(header, data) for data in payloads]
    nominal, fast = burst_bits(header, payloads)
    assert list(zip(nominal.tolist(), fast.tolist(), strict=True)) == expected
    assert [frame_bits(header, data) for data in payloads] == expected


def test_random_consecutive_frames_have_the_known_mean_length() -> None:
    rng = seeded(1)
    payloads = [bytes((0x20 | n % 16,)) + rng.randbytes(7) for n in range(4000)]
    nominal, _ = burst_bits(CLASSIC, payloads)
    assert nominal.mean() == pytest.approx(116.4, abs=0.2)
    payloads = [bytes((0x20 | n % 16,)) + rng.randbytes(63) for n in range(4000)]
    nominal, fast = burst_bits(FD, payloads)
    assert nominal.mean() == pytest.approx(32.0, abs=0.1)
    assert fast.mean() == pytest.approx(565.8, abs=0.5)


def test_an_fd_frame_is_timed_in_two_phases() -> None:
    nominal, fast = frame_bits(FD, bytes(64))
    expected = nominal * 2000 + fast * 500
    assert frame_ns(FD, bytes(64), bit_rate=500_000, data_bit_rate=2_000_000) == expected


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (CLASSIC, 9),
        (FD, 9),
        (FD, 65),
        (FrameHeader(0x800), 0),
        (FrameHeader(0x2000_0000, extended=True), 0),
        (FrameHeader(-1), 0),
        (FrameHeader(1, bit_rate_switch=True), 0),
    ],
)
def test_a_frame_that_cannot_be_is_refused(header: FrameHeader, length: int) -> None:
    with pytest.raises(FrameError):
        frame_bits(header, bytes(length))
    with pytest.raises(FrameError):
        burst_bits(header, [bytes(length)] * 8)
