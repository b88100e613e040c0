"""Bytes on a bridge connection give records that encode to themselves, or a `BridgeError`."""

from contextlib import suppress
from typing import Final

from fuzz import Harness
from protocols.can import FrameHeader
from protocols.can.bridge import (
    BridgeDecoder,
    BridgeError,
    Error,
    Frames,
    Listen,
    Open,
    Opened,
    Refused,
    Send,
    Sent,
    decode,
    encode,
)


def prove(data: bytes) -> None:
    with suppress(BridgeError):
        BridgeDecoder().receive(data)
    try:
        record = decode(data)
    except BridgeError:
        return
    if isinstance(record, Refused):
        return  # its text is shortened and mended
    if BridgeDecoder().receive(encode(record)) != [record]:
        raise AssertionError(f"{record} does not survive")


_FAST: Final = FrameHeader(0x18DA1020, extended=True, fd=True, bit_rate_switch=True)
_RECORDS: Final = (
    encode(Open(wire="comfort", node="tester")),
    encode(Opened(bit_rate=500_000, data_bit_rate=2_000_000)),
    encode(Refused("no")),
    encode(Listen((FrameHeader(0x7A8), _FAST))),
    encode(Listen(None)),
    encode(Send(7, _FAST, (bytes(64), bytes(8)))),
    encode(Sent(7)),
    encode(Error(0x88)),
    encode(Frames(FrameHeader(0x7A8), (b"\x01", bytes(8)))),
)
HARNESS: Final = Harness(
    prove=prove, seeds=tuple(seed for one in _RECORDS for seed in (one, one[4:]))
)
