"""Exact lengths of CAN and CAN FD frames on the wire, stuff bits included (ISO 11898-1, 10.4-10.5).

A sender inserts an inverse bit after five equal ones: in classic frames from the start of frame
through the CRC, in FD frames through the last data bit (their CRC field has stuff bits at fixed
places, so its value does not matter). Lengths count from the start of frame through the three
bits of intermission. The delimiters and the bit rate switch itself are charged at the nominal
rate: less than one bit of error.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.can.frame import FrameHeader
from protocols.can.payloads import Payloads

NS_PER_S: Final = 1_000_000_000
#: Bits between the end of a frame and the next start of frame.
INTERMISSION_BITS: Final = 3
#: CRC delimiter, ACK slot, ACK delimiter, end of frame (7), intermission (3).
_TAIL_BITS: Final = 10 + INTERMISSION_BITS
_CRC15_POLYNOMIAL: Final = 0x4599
#: Data bytes that a frame can have -> DLC.
DATA_LENGTH_CODES: Final[dict[int, int]] = {
    **{length: length for length in range(9)},
    12: 9,
    16: 10,
    20: 11,
    24: 12,
    32: 13,
    48: 14,
    64: 15,
}


class FrameError(Exception):
    """A frame that no wire can carry."""


def check(header: FrameHeader, data: bytes) -> None:
    """Raise `FrameError` unless a frame with this header can carry this data."""
    limit = 0x1FFF_FFFF if header.extended else 0x7FF
    if not 0 <= header.identifier <= limit:
        raise FrameError(f"identifier 0x{header.identifier:X} is above 0x{limit:X}")
    if header.bit_rate_switch and not header.fd:
        raise FrameError(f"0x{header.identifier:X}: only an FD frame switches the bit rate")
    if len(data) not in DATA_LENGTH_CODES or (len(data) > 8 and not header.fd):
        kind = "FD" if header.fd else "classic"
        raise FrameError(f"0x{header.identifier:X}: a {kind} frame has no {len(data)} data bytes")


# Stuffing is a machine of ten states: 5 * last bit + (length of its run - 1), the run being 1 to 5.
# A full run of 5 is resolved only when another bit follows, because an FD frame's last data bit
# is followed by a fixed stuff bit and never by one of its own.


def _step(state: int, bit: int) -> tuple[int, int]:
    """Next state and stuff bits inserted before this bit."""
    last, run = divmod(state, 5)
    stuffed = 0
    if run == 4:
        stuffed, last, run = 1, 1 - last, 0
    return (5 * last + run + 1, stuffed) if bit == last else (5 * bit, stuffed)


def _walk(state: int, value: int, width: int) -> tuple[int, int]:
    count = 0
    for position in range(width - 1, -1, -1):
        state, stuffed = _step(state, value >> position & 1)
        count += stuffed
    return state, count


def _table(width: int) -> list[int]:
    """[state << width | value] -> next state << width << 4 | stuff bits."""
    walks = (_walk(state, value, width) for state in range(10) for value in range(1 << width))
    return [next_state << width << 4 | count for next_state, count in walks]


#: A run of zero bits before the start of frame does not exist: the bus is recessive.
_IDLE: Final = 5
_BYTE: Final = _table(8)
_SEVEN: Final = _table(7)
#: A full run at the end of a classic frame's CRC still gets its stuff bit.
_PENDING: Final = tuple(int(state % 5 == 4) for state in range(10))


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 7
        for _ in range(8):
            crc = (crc << 1) ^ (_CRC15_POLYNOMIAL if crc & 0x4000 else 0)
        table.append(crc & 0x7FFF)
    return table


_CRC15: Final = _crc_table()

# Tables for bursts: indices and entries are of numpy's index type, so that nothing is converted.

#: [state << 8 | byte] -> next state << 12 | stuff bits: an entry >> 4 is an index less its byte.
_BYTE_ARRAY: Final = np.array(_BYTE, dtype=np.intp)
_COUNT: Final = 0xF
#: Byte places of a burst at a time: what fits the caches of a processor core.
_GROUP: Final = 8
#: [state << 7 | last seven CRC bits] -> stuff bits, the one that is due after them included.
_SEVEN_ARRAY: Final = np.array(
    [(entry & _COUNT) + _PENDING[entry >> 11] for entry in _SEVEN], dtype=np.intp
)


def _crc_places() -> NDArray[np.intp]:
    """[place from the end << 8 | byte] -> its part of the CRC: the XOR of all parts is the CRC."""
    table = [_CRC15]
    for _ in range(7):
        table.append([(crc << 8 & 0x7FFF) ^ _CRC15[crc >> 7] for crc in table[-1]])
    return np.array(table, dtype=np.intp).reshape(-1)


_CRC_PLACES: Final = _crc_places()


def _head_fields(header: FrameHeader) -> list[tuple[int, int]]:
    """(value, width) of the fields from the start of frame up to, not including, the DLC."""
    identifier = header.identifier
    if header.extended:
        # SOF, ID28-18, SRR, IDE, ID17-0, RTR or RRS
        fields = [(0, 1), (identifier >> 18, 11), (3, 2), (identifier & 0x3FFFF, 18), (0, 1)]
    else:
        fields = [(0, 1), (identifier, 11), (0, 2)]  # SOF, ID, RTR or RRS, IDE
    if header.fd:
        fields += [(1, 1), (0, 1), (int(header.bit_rate_switch), 1)]  # FDF, res, BRS
    else:
        fields += [(0, 2 if header.extended else 1)]  # r1, r0
    return fields


@lru_cache(maxsize=4096)
def _classic_head(header: FrameHeader, length: int) -> tuple[int, int, int, int]:
    """State, CRC and bits up to the data field of a classic frame; its bits without stuffing."""
    fields = [*_head_fields(header), (DATA_LENGTH_CODES[length], 4)]
    state, crc, stuffed, plain = _IDLE, 0, 0, 0
    for value, width in fields:
        state, count = _walk(state, value, width)
        stuffed += count
        plain += width
        for position in range(width - 1, -1, -1):
            feedback = (crc >> 14 & 1) ^ (value >> position & 1)
            crc = (crc << 1 & 0x7FFF) ^ (_CRC15_POLYNOMIAL if feedback else 0)
    return state, crc, stuffed, plain + 8 * length + 15 + _TAIL_BITS


@lru_cache(maxsize=4096)
def _fd_head(header: FrameHeader, length: int) -> tuple[int, int, int, int]:
    """State before the data field, stuff bits of the data phase so far, plain bits per phase."""
    state, nominal = _IDLE, _TAIL_BITS
    for value, width in _head_fields(header):
        state, count = _walk(state, value, width)
        nominal += width + count
    state, stuffed = _walk(state, DATA_LENGTH_CODES[length], 5)  # ESI 0, DLC
    # Stuff count (4) and CRC, each group of four bits after a fixed stuff bit.
    crc_field = 4 + 17 + 6 if length <= 16 else 4 + 21 + 7
    return state, stuffed, nominal, 5 + 8 * length + crc_field


@lru_cache(maxsize=8192)
def frame_bits(header: FrameHeader, data: bytes) -> tuple[int, int]:
    """Bits of one frame at the nominal and at the data bit rate, intermission included.

    Raises `FrameError` for a frame that cannot be.
    """
    check(header, data)
    if header.fd:
        state, count, nominal, plain = _fd_head(header, len(data))
        for byte in data:
            entry = _BYTE[state << 8 | byte]
            state = entry >> 12
            count += entry & 0xF
        return (nominal, plain + count) if header.bit_rate_switch else (nominal + plain + count, 0)
    state, crc, count, plain = _classic_head(header, len(data))
    for byte in data:
        entry = _BYTE[state << 8 | byte]
        state = entry >> 12
        count += entry & 0xF
        crc = (crc << 8 & 0x7FFF) ^ _CRC15[crc >> 7 ^ byte]
    entry = _BYTE[state << 8 | crc >> 7]
    count += entry & 0xF
    entry = _SEVEN[entry >> 12 << 7 | crc & 0x7F]
    return plain + count + (entry & 0xF) + _PENDING[entry >> 11], 0


def burst_bits(
    header: FrameHeader, payloads: Sequence[bytes]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`frame_bits` of many frames with one header, one array for each phase."""
    run = Payloads.of(payloads)
    if run is None:
        singly = [frame_bits(header, payload) for payload in payloads]
        nominal, fast = np.array(singly, dtype=np.int64).reshape(len(payloads), 2).T
        return nominal, fast
    if not run.uniform:
        whole, last = burst_bits(header, run[:-1]), frame_bits(header, run[-1])
        nominal, fast = (np.append(bits, bit) for bits, bit in zip(whole, last, strict=True))
        return nominal, fast
    bits = _counted(header, run.data, run.length)
    if header.bit_rate_switch:
        return np.full(len(run), _fd_head(header, run.length)[2], dtype=np.int64), bits
    return bits, np.zeros(len(run), dtype=np.int64)


#: Bits of bursts that were counted lately, by content: a flash engine works out what a block will
#: take, and a simulated wire asks again when the block goes out.
_lately: OrderedDict[tuple[FrameHeader, int, bytes], NDArray[np.uint16]] = OrderedDict()
#: So many bursts, of so many frames at most: 16 MiB.
_KEPT_BURSTS: Final = 4096
_KEPT_FRAMES: Final = 2048


def _counted(header: FrameHeader, data: bytes, length: int) -> NDArray[np.int64]:
    """Bits of the phase with the data bytes; `_equal_bits`, or what it said before."""
    if len(data) > length * _KEPT_FRAMES:
        return _equal_bits(header, data, length)
    key = (header, length, blake2b(data, digest_size=16).digest())
    known = _lately.pop(key, None)
    bits = _equal_bits(header, data, length) if known is None else known.astype(np.int64)
    _lately[key] = bits.astype(np.uint16) if known is None else known
    if len(_lately) > _KEPT_BURSTS:
        _lately.popitem(last=False)
    return bits


def _equal_bits(header: FrameHeader, data: bytes, length: int) -> NDArray[np.int64]:
    """Frames of one length, side by side: one table look-up per byte place for all of them."""
    check(header, data[:length])
    columns = np.frombuffer(data, dtype=np.uint8).reshape(-1, length).T
    index = np.empty(columns.shape[1], dtype=np.intp)
    if header.fd:
        start, stuffed, nominal, plain = _fd_head(header, length)
        index.fill(start << 8)
        bits = np.full_like(index, plain + stuffed + (0 if header.bit_rate_switch else nominal))
        for place in range(0, length, _GROUP):
            bits += _stuffed(columns[place : place + _GROUP].astype(np.intp, order="C"), index)
        return bits
    start, crc_so_far, stuffed, plain = _classic_head(header, length)
    index.fill(start << 8)
    group = columns.astype(np.intp, order="C")
    bits = _stuffed(group, index)
    for _ in range(length):
        crc_so_far = (crc_so_far << 8 & 0x7FFF) ^ _CRC15[crc_so_far >> 7]
    group += _from_end(length)
    crc = np.bitwise_xor.reduce(_CRC_PLACES.take(group, mode="clip"), axis=0)
    crc ^= crc_so_far
    index |= crc >> 7
    entry = _BYTE_ARRAY.take(index, mode="clip")
    bits += entry & _COUNT
    crc &= 0x7F
    crc |= entry >> 12 << 7
    bits += _SEVEN_ARRAY.take(crc, mode="clip")
    bits += plain + stuffed
    return bits


@cache
def _from_end(length: int) -> NDArray[np.intp]:
    """A column of what to add to a byte for its entry in `_CRC_PLACES`."""
    return np.arange(length - 1, -1, -1, dtype=np.intp).reshape(length, 1) << 8


def _stuffed(columns: NDArray[np.intp], index: NDArray[np.intp]) -> NDArray[np.int64]:
    """Stuff bits in some data bytes of each frame; a row of `columns` is one byte place.

    `index` has state << 8 of each frame, before and, when this returns, after them.
    """
    entries = np.empty_like(columns)
    for column, entry in zip(columns, entries, strict=True):
        np.bitwise_or(index, column, out=index)
        _BYTE_ARRAY.take(index, out=entry, mode="clip")
        np.right_shift(entry, 4, out=index)
    entries &= _COUNT
    total: NDArray[np.int64] = entries.sum(axis=0)
    return total


def frame_ns(header: FrameHeader, data: bytes, *, bit_rate: int, data_bit_rate: int = 0) -> int:
    """Time of one frame on the wire in whole ns, intermission included; rates in bit/s."""
    nominal, fast = frame_bits(header, data)
    if not fast:
        return nominal * NS_PER_S // bit_rate
    return nominal * NS_PER_S // bit_rate + fast * NS_PER_S // data_bit_rate


def burst_ns(
    header: FrameHeader, payloads: Sequence[bytes], *, bit_rate: int, data_bit_rate: int = 0
) -> NDArray[np.int64]:
    """`frame_ns` of many frames with one header."""
    nominal, fast = burst_bits(header, payloads)
    total = _ns(nominal, bit_rate)
    if header.bit_rate_switch:
        total += _ns(fast, data_bit_rate)
    return total


def _ns(bits: NDArray[np.int64], bit_rate: int) -> NDArray[np.int64]:
    bit_ns, rest = divmod(NS_PER_S, bit_rate)
    return bits * NS_PER_S // bit_rate if rest else bits * bit_ns
