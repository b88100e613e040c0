"""Ethernet frames with IPv4 and UDP or TCP around bytes, for captures of simulated wires.

Simulated Ethernet wires carry bytes; here they get headers that are made up but true to each
other: addresses, lengths, checksums (RFC 791, RFC 768, RFC 9293).
"""

import struct
from dataclasses import dataclass
from typing import Final

#: Payload of a full TCP segment: 1500 bytes of MTU less 20 of IPv4 and 20 of TCP.
SEGMENT: Final = 1460
TCP: Final = 6
UDP: Final = 17
_IPV4: Final = b"\x08\x00"
#: Shortest frame without its check sequence; what is shorter is padded with zeros.
_SHORTEST: Final = 60
_DO_NOT_FRAGMENT: Final = 0x4000
_TIME_TO_LIVE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One end of a conversation."""

    mac: bytes
    ip: bytes
    port: int


def broadcast(port: int) -> Host:
    """All hosts of the wire (limited broadcast)."""
    return Host(mac=b"\xff" * 6, ip=b"\xff" * 4, port=port)


def udp_frame(source: Host, target: Host, payload: bytes) -> bytes:
    length = 8 + len(payload)
    datagram = struct.pack(">HHHH", source.port, target.port, length, 0) + payload
    total = checksum(_pseudo_header(source, target, UDP, length) + datagram)
    # No sum at all is written as zero, so a sum of zero is written as its other form.
    summed = datagram[:6] + (total or 0xFFFF).to_bytes(2) + payload
    return _frame(source, target, UDP, summed)


def tcp_frame(source: Host, target: Host, segment: bytes) -> bytes:
    """`segment` has room for its checksum, bytes 16 and 17, and zeros there."""
    total = checksum(_pseudo_header(source, target, TCP, len(segment)) + segment)
    return _frame(source, target, TCP, segment[:16] + total.to_bytes(2) + segment[18:])


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo_header(source: Host, target: Host, protocol: int, length: int) -> bytes:
    return struct.pack(">4s4sBBH", source.ip, target.ip, 0, protocol, length)


def _frame(source: Host, target: Host, protocol: int, payload: bytes) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        0,
        _DO_NOT_FRAGMENT,
        _TIME_TO_LIVE,
        protocol,
        0,
        source.ip,
        target.ip,
    )
    head = head[:10] + checksum(head).to_bytes(2) + head[12:]
    return (target.mac + source.mac + _IPV4 + head + payload).ljust(_SHORTEST, b"\0")
