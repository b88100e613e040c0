"""The bridge protocol: a CAN wire's port over a byte stream, with an exact `sent`.

A client opens one port on one wire (`Open`, answered by `Opened` or `Refused`), says what it wants
to hear (`Listen`), and queues bursts (`Send`), each confirmed at its last bit (`Sent`). Every
record is a 32-bit length, a type byte and a body; numbers are big-endian. Times are not sent: the
two ends have different clocks, and a record is written at the moment it tells of.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from protocols.can.bits import FrameError, check
from protocols.can.frame import FrameHeader

#: Raised with every change that an older end would not understand.
VERSION: Final = 2
#: Longest record in bytes, type byte included: a burst of 65535 bytes in classic frames fits.
MAX_RECORD: Final = 256 * 1024

_OPEN, _OPENED, _REFUSED, _LISTEN, _SEND, _SENT, _FRAMES, _ERROR = range(1, 9)
_EXTENDED, _FD, _BRS = 1 << 31, 1 << 30, 1 << 29
_MAX_HEADERS: Final = 1024


class BridgeError(Exception):
    """A peer that breaks the bridge protocol; the connection is of no more use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Client's first record."""

    wire: str
    node: str
    version: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    #: bit/s; the data rate is 0 on a classic wire.
    bit_rate: int
    data_bit_rate: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No port, or no longer one; the server closes after it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Listen:
    """Hear these identifiers from now on, in place of those before; None: every frame."""

    headers: tuple[FrameHeader, ...] | None


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a burst; `token` (32 bits) comes back in `Sent`."""

    token: int
    header: FrameHeader
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    token: int


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of other nodes that followed each other under one header; the last ended now."""

    header: FrameHeader
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Error:
    """An error frame has ended now; told to those who hear every frame."""

    #: `error_frames.ErrorClass` bits.
    classes: int


Record = Open | Opened | Refused | Listen | Send | Sent | Frames | Error


def encode(record: Record) -> bytes:
    """The bytes of one record; `BridgeError` if it is too long for the protocol."""
    match record:
        case Open():
            body = bytes((_OPEN, record.version)) + _text(record.wire) + _text(record.node)
        case Opened():
            body = struct.pack(">BII", _OPENED, record.bit_rate, record.data_bit_rate)
        case Refused(reason):
            body = bytes((_REFUSED,)) + reason.encode()[:1024]
        case Listen(headers):
            if headers is not None and len(headers) > _MAX_HEADERS:
                raise BridgeError(
                    f"{len(headers)} identifiers to listen to, {_MAX_HEADERS} at most"
                )
            numbers = [_number(header) for header in headers or ()]
            body = struct.pack(f">BB{len(numbers)}I", _LISTEN, headers is None, *numbers)
        case Send(token, header, payloads):
            body = struct.pack(">BII", _SEND, token, _number(header)) + _frames(payloads)
        case Sent(token):
            body = struct.pack(">BI", _SENT, token)
        case Error(classes):
            body = struct.pack(">BI", _ERROR, classes)
        case Frames(header, payloads):
            body = struct.pack(">BI", _FRAMES, _number(header)) + _frames(payloads)
    if len(body) > MAX_RECORD:
        raise BridgeError(f"a record of {len(body)} bytes, {MAX_RECORD} are the limit")
    return len(body).to_bytes(4, "big") + body


def split(payloads: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Pieces of a burst that each fit one record, order kept."""
    step = (MAX_RECORD - 16) // 65
    return (tuple(payloads[at : at + step]) for at in range(0, len(payloads), step))


class BridgeDecoder:
    """Bytes as they come -> records; holds one unfinished record at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Record]:
        """The records that are complete now; `BridgeError` ends the connection."""
        self._buffer += data
        records: list[Record] = []
        start = 0
        while len(self._buffer) - start >= 4:
            length = int.from_bytes(self._buffer[start : start + 4], "big")
            if not 0 < length <= MAX_RECORD:
                raise BridgeError(f"a record of {length} bytes, {MAX_RECORD} are the limit")
            if len(self._buffer) - start - 4 < length:
                break
            records.append(decode(bytes(self._buffer[start + 4 : start + 4 + length])))
            start += 4 + length
        del self._buffer[:start]
        return records


def decode(record: bytes) -> Record:
    """One record, without its length; `BridgeError` names what is wrong."""
    try:
        return _decode(record)
    except (struct.error, UnicodeDecodeError, IndexError, FrameError) as error:
        kind = record[0] if record else None
        raise BridgeError(f"a malformed record of type {kind}: {error}") from error


def _decode(record: bytes) -> Record:
    body = record[1:]
    match record[0]:
        case 0x01:
            wire, rest = _take_text(body[1:])
            node, rest = _take_text(rest)
            return Open(wire=wire, node=node, version=body[0])
        case 0x02:
            bit_rate, data_bit_rate = struct.unpack(">II", body)
            return Opened(bit_rate=bit_rate, data_bit_rate=data_bit_rate)
        case 0x03:
            return Refused(body.decode(errors="replace"))
        case 0x04:
            numbers = struct.unpack(f">{len(body[1:]) // 4}I", body[1:])
            if len(numbers) > _MAX_HEADERS:
                raise BridgeError(f"{len(numbers)} identifiers to listen to")
            return Listen(None if body[0] else tuple(map(_header, numbers)))
        case 0x05:
            token, number = struct.unpack(">II", body[:8])
            return Send(token, *_take_frames(number, body[8:]))
        case 0x06:
            return Sent(*struct.unpack(">I", body))
        case 0x07:
            (number,) = struct.unpack(">I", body[:4])
            return Frames(*_take_frames(number, body[4:]))
        case 0x08:
            return Error(*struct.unpack(">I", body))
        case kind:
            raise BridgeError(f"a record of unknown type {kind}")


def _number(header: FrameHeader) -> int:
    flags = _EXTENDED * header.extended | _FD * header.fd | _BRS * header.bit_rate_switch
    return header.identifier | flags


def _header(number: int) -> FrameHeader:
    header = FrameHeader(
        number & 0x1FFF_FFFF, bool(number & _EXTENDED), bool(number & _FD), bool(number & _BRS)
    )
    check(header, b"")
    return header


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 0xFF:
        raise BridgeError(f"a name of {len(data)} bytes")
    return bytes((len(data),)) + data


def _take_text(data: bytes) -> tuple[str, bytes]:
    end = 1 + data[0]
    if end > len(data):
        raise BridgeError("a name that is longer than its record")
    return data[1:end].decode(), data[end:]


def _frames(payloads: Sequence[bytes]) -> bytes:
    return b"".join(bytes((len(data),)) + data for data in payloads)


def _take_frames(number: int, data: bytes) -> tuple[FrameHeader, tuple[bytes, ...]]:
    header = _header(number)
    payloads = []
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        payload = data[at + 1 : end]
        if end > len(data):
            raise BridgeError("a frame that is longer than its record")
        check(header, payload)
        payloads.append(payload)
        at = end
    if not payloads:
        raise BridgeError("a burst without frames")
    return header, tuple(payloads)
