import struct
from collections.abc import Iterator

from protocols import pcapng
from protocols.can import FrameHeader
from protocols.pcapng import CanError, LinkType


def blocks(capture: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block, its two lengths checked against each other."""
    at = 0
    while at < len(capture):
        kind, length = struct.unpack_from("<II", capture, at)
        assert length % 4 == 0
        assert struct.unpack_from("<I", capture, at + length - 4) == (length,)
        yield kind, capture[at + 8 : at + length - 4]
        at += length


def test_a_capture_is_a_section_then_interfaces_then_packets() -> None:
    capture = (
        pcapng.section("canota")
        + pcapng.interface("comfort", LinkType.CAN_SOCKETCAN, bit_rate=500_000)
        + pcapng.interface("rear", LinkType.ETHERNET, bit_rate=100_000_000)
        + pcapng.packet(1, b"abcde", at_ns=1_780_300_800_123_456_789)
    )
    section, comfort, rear, packet = blocks(capture)
    assert section[0] == 0x0A0D0D0A
    assert section[1][:8] == bytes.fromhex("4d3c2b1a 0100 0000")
    assert (comfort[0], comfort[1][:2]) == (1, (227).to_bytes(2, "little"))
    assert (rear[0], rear[1][:2]) == (1, (1).to_bytes(2, "little"))
    # if_tsresol: stamps are nanoseconds.
    assert bytes.fromhex("0900 0100 09 000000") in comfort[1]
    number, high, low, captured, original = struct.unpack_from("<IIIII", packet[1])
    assert (packet[0], number, captured, original) == (6, 1, 5, 5)
    assert high << 32 | low == 1_780_300_800_123_456_789
    assert packet[1][20:] == b"abcde\0\0\0"


def test_a_can_frame_says_its_identifier_format_and_length() -> None:
    classic = pcapng.can_frame(FrameHeader(0x7A0), b"\x01\x02")
    extended = pcapng.can_frame(FrameHeader(0x18DA1020, extended=True), b"")
    fast = pcapng.can_frame(FrameHeader(0x7B0, fd=True, bit_rate_switch=True), bytes(12))
    assert classic == bytes.fromhex("000007a0 02 00 0000 0102")
    assert extended == bytes.fromhex("98da1020 00 00 0000")
    assert fast[:8] == bytes.fromhex("000007b0 0c 05 0000")


def test_an_error_frame_says_what_was_wrong() -> None:
    unheard = pcapng.can_error_frame(CanError.NO_ACKNOWLEDGEMENT)
    corrupted = pcapng.can_error_frame(CanError.PROTOCOL_VIOLATION)
    assert unheard == bytes.fromhex("20000020 08 00 0000") + bytes(8)
    assert corrupted == bytes.fromhex("20000008 08 00 0000 00000008 00000000")
