"""Byte streams and datagrams out of Ethernet frames: what DoIP needs of IP, TCP and UDP.

A third party's view: segments are put in order as far as a few that are early can be kept; what is
lost is said, and a stream is taken up again where a DoIP header begins.
"""

import struct
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from protocols.doip.decoder import DoipDecoder

_VLAN: Final = frozenset({0x8100, 0x88A8})
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP, _UDP = 6, 17
_FIN, _SYN, _RST = 0x01, 0x02, 0x04
#: Early segments that are kept for one direction.
_EARLY: Final = 64
#: Directions of connections that are followed at once; the one that was silent longest goes.
_STREAMS: Final = 64
#: Longest DoIP message that is put together: a block of 1 MiB and its head.
_MAX_PAYLOAD: Final = (1 << 20) + 64
_SEQUENCE: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A TCP segment or a UDP datagram."""

    source: str
    target: str
    source_port: int
    target_port: int
    data: bytes
    #: TCP only.
    sequence_number: int = 0
    flags: int = 0
    tcp: bool = False


def packet(frame: bytes) -> Packet | None:
    """What an Ethernet frame carries; None for what is neither TCP nor UDP, or a fragment."""
    at = 12
    kind = int.from_bytes(frame[at : at + 2])
    while kind in _VLAN:
        at += 4
        kind = int.from_bytes(frame[at : at + 2])
    content = frame[at + 2 :]
    if kind == _IPV4 and len(content) >= 20:
        head, total = (content[0] & 0xF) * 4, int.from_bytes(content[2:4])
        if int.from_bytes(content[6:8]) & 0x3FFF or head < 20:
            return None
        addresses = content[12:16], content[16:20]
        # 0: the network card cut it into segments after it was captured.
        return _transport(content[9], addresses, content[head : max(head, total or len(content))])
    if kind == _IPV6 and len(content) >= 40:
        length = int.from_bytes(content[4:6])
        return _transport(content[6], (content[8:24], content[24:40]), content[40 : 40 + length])
    return None


def _transport(protocol: int, addresses: tuple[bytes, bytes], data: bytes) -> Packet | None:
    source, target = (str(ip_address(address)) for address in addresses)
    if protocol == _UDP and len(data) >= 8:
        source_port, target_port, length = struct.unpack_from(">HHH", data)
        return Packet(
            source=source,
            target=target,
            source_port=source_port,
            target_port=target_port,
            data=data[8 : max(8, length)],
        )
    if protocol == _TCP and len(data) >= 20:
        source_port, target_port, number = struct.unpack_from(">HHI", data)
        return Packet(
            source=source,
            target=target,
            source_port=source_port,
            target_port=target_port,
            data=data[max(20, (data[12] >> 4) * 4) :],
            sequence_number=number,
            flags=data[13],
            tcp=True,
        )
    return None


class _Stream:
    """One direction of a connection."""

    def __init__(self) -> None:
        #: Sequence number that is due; None: not known yet.
        self.due: int | None = None
        self.early: dict[int, bytes] = {}
        self.decoder = DoipDecoder(max_payload=_MAX_PAYLOAD)


class TcpListener:
    """Every connection to a DoIP entity. Memory is bounded by the streams and their messages."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[str, int, str, int], _Stream] = OrderedDict()

    def receive(self, segment: Packet) -> tuple[DoipDecoder, bytes]:
        """The direction's decoder, and the bytes that are next for it."""
        key = (segment.source, segment.source_port, segment.target, segment.target_port)
        stream = self._streams.get(key)
        if stream is None or segment.flags & _SYN:
            stream = self._streams[key] = _Stream()
            while len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
        self._streams.move_to_end(key)
        if segment.flags & _SYN:
            stream.due = (segment.sequence_number + 1) % _SEQUENCE
        data = self._next(stream, segment)
        if segment.flags & (_FIN | _RST):
            self._streams.pop(key, None)
        return stream.decoder, data

    def _next(self, stream: _Stream, segment: Packet) -> bytes:
        data = segment.data
        if not data:
            return b""
        if stream.due is None:
            if not _begins(data):
                return b""  # the middle of a message whose beginning was not heard
            stream.due = segment.sequence_number
        behind = (stream.due - segment.sequence_number) % _SEQUENCE
        if behind < _SEQUENCE // 2:
            data = data[behind:]  # sent again, wholly or in part
        else:
            stream.early[segment.sequence_number] = data
            if len(stream.early) <= _EARLY:
                return b""
            return self._jump(stream)
        stream.due = (stream.due + len(data)) % _SEQUENCE
        return data + self._early(stream)

    def _early(self, stream: _Stream) -> bytes:
        """What has waited for the bytes that are here now."""
        found = []
        while stream.due is not None and (data := stream.early.pop(stream.due, None)) is not None:
            stream.due = (stream.due + len(data)) % _SEQUENCE
            found.append(data)
        return b"".join(found)

    def _jump(self, stream: _Stream) -> bytes:
        """Bytes are lost: go on at the first kept segment that a message begins with."""
        early, stream.early = stream.early, {}
        stream.decoder = DoipDecoder(max_payload=_MAX_PAYLOAD)
        stream.due = None
        for number in sorted(early):
            if _begins(early[number]):
                stream.due = number
                stream.early = {place: data for place, data in early.items() if place >= number}
                break
        return self._early(stream)


def _begins(data: bytes) -> bool:
    """Whether a DoIP header may begin here."""
    return len(data) >= 8 and data[0] ^ data[1] == 0xFF
