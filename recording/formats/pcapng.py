"""pcapng, for Wireshark: CAN and Ethernet in one file, stamps in nanoseconds.

Read back are the link types that are written here, from files of either byte order.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from protocols import pcapng
from protocols.can import Payloads
from protocols.pcapng import CanError, LinkType
from recording.formats import MAX_CHANNELS, LogFormat, checked, frame_header
from recording.records import (
    CanErrorFrame,
    CanFrame,
    CanRun,
    Channel,
    EthernetFrame,
    LogError,
    Record,
)

_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_MAGIC: Final = 0x1A2B3C4D
_NAME, _RESOLUTION = 2, 9
_FLAGS: Final = 2
_EXTENDED, _REMOTE, _ERROR = 1 << 31, 1 << 30, 1 << 29
_FD, _BRS, _ESI = 0x04, 0x01, 0x02
#: From so many frames on a run is quicker to write as a whole.
_MANY: Final = 5
#: Longest block that is read.
_MAX_BLOCK: Final = 1 << 20
#: Data bytes of an FD frame: more than a classic frame of the same link type has.
_CLASSIC: Final = 8


class _Writer:
    def __init__(self, file: BinaryIO, channels: Sequence[Channel], start_ns: int) -> None:
        del start_ns  # every stamp counts from 1970
        self._file = file
        self.size = file.write(pcapng.section("canota"))
        for channel in channels:
            kind = LinkType.ETHERNET if channel.ethernet else LinkType.CAN_SOCKETCAN
            block = pcapng.interface(channel.name, kind, bit_rate=channel.bit_rate)
            self.size += file.write(block)

    def write(self, records: Sequence[Record]) -> None:
        self.size += self._file.write(_run(records) or b"".join(map(_packet, records)))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


def _run(records: Sequence[Record]) -> bytes | None:
    """A run of frames at once; None for what is none, or too short to gain by it."""
    if not isinstance(records, CanRun) or len(records) < _MANY:
        return None
    payloads = Payloads.of(records.payloads)
    if payloads is None:
        return None
    return pcapng.can_packets(records.channel, records.header, payloads, records.stamps_ns)


def _packet(record: Record) -> bytes:
    match record:
        case CanFrame(at_ns, channel, header, data, received, esi, remote):
            frame = pcapng.can_frame(header, data, error_state_indicator=esi, remote=remote)
            return pcapng.packet(channel, frame, at_ns=at_ns, outbound=not received)
        case CanErrorFrame(at_ns, channel, kind):
            return pcapng.packet(channel, pcapng.can_error_frame(kind), at_ns=at_ns)
        case EthernetFrame(at_ns, channel, data, received):
            return pcapng.packet(channel, data, at_ns=at_ns, outbound=not received)


class _Section:
    """One section of a file: its byte order and interfaces."""

    def __init__(self, order: str) -> None:
        self.order = order
        #: Channel, link type, and stamps per second of each interface.
        self.interfaces: list[tuple[int, int, int]] = []


def _read(file: BinaryIO, channels: list[Channel]) -> Iterator[Record]:
    section: _Section | None = None
    at = 0
    while head := file.read(8):
        place = f"byte {at}"
        if len(head) == 8 and head[:4] == _SECTION.to_bytes(4):
            magic = file.read(4)
            section = _Section(_order(magic, place))
            head += magic
        if section is None:
            raise LogError("does not begin as a pcapng file")
        if len(head) < 8:
            raise LogError(f"{place}: a block that is cut short")
        kind, length = struct.unpack_from(f"{section.order}II", head)
        if not 12 <= length <= _MAX_BLOCK or length % 4:
            raise LogError(f"{place}: a block of {length} bytes")
        rest = file.read(length - len(head))
        if len(rest) < length - len(head):
            raise LogError(f"{place}: a block that is cut short")
        body = (head + rest)[8:-4]
        if kind == _INTERFACE:
            _interface(section, body, channels, place)
        elif kind == _ENHANCED and (record := _enhanced(section, body, place)) is not None:
            yield record
        at += length


def _order(magic: bytes, place: str) -> str:
    for order, text in (("<", "little"), (">", "big")):
        if magic == _MAGIC.to_bytes(4, "little" if text == "little" else "big"):
            return order
    raise LogError(f"{place}: a section without its byte order")


def _interface(section: _Section, body: bytes, channels: list[Channel], place: str) -> None:
    if len(body) < 8:
        raise LogError(f"{place}: an interface of {len(body)} bytes")
    if len(channels) >= MAX_CHANNELS:
        raise LogError(f"{place}: more than {MAX_CHANNELS} interfaces")
    (link_type,) = struct.unpack_from(f"{section.order}H", body)
    options = _options(section.order, body[8:])
    name = options.get(_NAME, b"").decode(errors="replace") or str(len(channels) + 1)
    resolution = options.get(_RESOLUTION, b"\x06")[:1] or b"\x06"
    power = resolution[0] & 0x7F
    if power > 63:
        raise LogError(f"{place}: stamps of an interface in unknown units")
    per_second = 2**power if resolution[0] & 0x80 else 10**power
    section.interfaces.append((len(channels), link_type, per_second))
    channels.append(Channel(name=name, ethernet=link_type == LinkType.ETHERNET))


def _options(order: str, data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(f"{order}HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
    return found


def _enhanced(section: _Section, body: bytes, place: str) -> Record | None:
    if len(body) < 20:
        raise LogError(f"{place}: a packet of {len(body)} bytes")
    number, high, low, captured, _ = struct.unpack_from(f"{section.order}IIIII", body)
    if number >= len(section.interfaces):
        raise LogError(f"{place}: a packet of interface {number}, which is not described")
    if 20 + captured > len(body):
        raise LogError(f"{place}: a packet that is longer than its block")
    channel, link_type, per_second = section.interfaces[number]
    at_ns = (high << 32 | low) * 1_000_000_000 // per_second
    data = body[20 : 20 + captured]
    flags = _options(section.order, body[20 + captured + -captured % 4 :]).get(_FLAGS, b"")
    order = "little" if section.order == "<" else "big"
    received = int.from_bytes(flags[:4], order) & 3 != 2  # type: ignore[arg-type]  # one of the two words
    if link_type == LinkType.ETHERNET:
        return EthernetFrame(at_ns, channel, data, received)
    if link_type == LinkType.CAN_SOCKETCAN:
        return _can(data, at_ns, channel, received=received, place=place)
    return None


def _can(
    data: bytes, at_ns: int, channel: int, *, received: bool, place: str
) -> CanFrame | CanErrorFrame:
    if len(data) < 8:
        raise LogError(f"{place}: a CAN frame of {len(data)} bytes")
    number, length, flags = struct.unpack_from(">IBB", data)
    if number & _ERROR:
        unheard = number & CanError.NO_ACKNOWLEDGEMENT
        kind = CanError.NO_ACKNOWLEDGEMENT if unheard else CanError.PROTOCOL_VIOLATION
        return CanErrorFrame(at_ns, channel, kind)
    # Older kernels do not set the flag; the length tells.
    fd = bool(flags & _FD) or length > _CLASSIC
    header = frame_header(
        number & 0x1FFF_FFFF,
        extended=bool(number & _EXTENDED),
        fd=fd,
        bit_rate_switch=fd and bool(flags & _BRS),
    )
    content = b"" if number & _REMOTE else data[8 : 8 + length]
    if not number & _REMOTE and len(content) < length:
        raise LogError(f"{place}: {len(content)} of {length} data bytes")
    checked(header, content, place)
    remote = length if number & _REMOTE else None
    return CanFrame(at_ns, channel, header, content, received, fd and bool(flags & _ESI), remote)


FORMAT: Final = LogFormat(
    name="pcapng",
    endings=(".pcapng",),
    begins=(b"\x0a\x0d\x0d\x0a",),
    resolution_ns=1,
    carries_ethernet=True,
    write=_Writer,
    read=_read,
)
