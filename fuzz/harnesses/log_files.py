"""Any bytes read as any log format give valid frames or a `LogError`, in bounded memory."""

from io import BytesIO
from typing import Final

from fuzz import Harness
from protocols.can import FrameHeader
from protocols.can.bits import check
from recording import CanErrorFrame, CanFrame, Channel, LogError, Record
from recording.formats import MAX_CHANNELS, formats

_READERS: Final = tuple(one for one in formats().values() if one.read is not None)


def prove(data: bytes) -> None:
    if not data:
        return
    read = _READERS[data[0] % len(_READERS)].read
    channels: list[Channel] = []
    if read is None:
        raise AssertionError("only formats that are read")
    try:
        for record in read(BytesIO(data[1:]), channels):
            if isinstance(record, CanFrame):
                check(record.header, record.data)
            if not 0 <= record.channel < len(channels) <= MAX_CHANNELS:
                raise AssertionError(f"channel {record.channel} of {len(channels)}")
    except LogError:
        return


def _seed(number: int) -> bytes:
    file = BytesIO()
    writer = _READERS[number].write(file, (Channel(name="a"), Channel(name="b")), 10**18)
    fast = FrameHeader(0x18DA1020, extended=True, fd=True, bit_rate_switch=True)
    records: tuple[Record, ...] = (
        CanFrame(10**18 + 1, 0, FrameHeader(0x7A0), bytes(8)),
        CanFrame(10**18 + 1002, 1, fast, bytes(12), received=False, error_state_indicator=True),
        CanFrame(10**18 + 2003, 0, FrameHeader(1), b"", remote=4),
        CanErrorFrame(10**18 + 3004, 0),
    )
    writer.write(records)
    writer.close()
    return bytes((number,)) + file.getvalue()


HARNESS: Final = Harness(
    prove=prove, seeds=tuple(map(_seed, range(len(_READERS)))), max_length=2048
)
