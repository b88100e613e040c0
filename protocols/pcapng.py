"""Captures that Wireshark reads: pcapng blocks with CAN and Ethernet on one time line.

Layout of the IETF draft "PCAP Next Generation (pcapng) Capture File Format": one section, one
interface per wire, one enhanced packet block per frame, stamps in whole nanoseconds. Numbers are
little-endian; inside a CAN frame they are big-endian, as its link type says.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np

from protocols.can.frame import FrameHeader
from protocols.can.payloads import Payloads

_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_UNKNOWN_LENGTH: Final = -1

_END_OF_OPTIONS: Final = 0
#: Section header: the program that wrote the capture.
_USER_APPLICATION: Final = 4
#: Interface description.
_INTERFACE_NAME: Final = 2
_INTERFACE_SPEED: Final = 8
_TIMESTAMP_RESOLUTION: Final = 9
#: Packet: its direction.
_PACKET_FLAGS: Final = 2
_OUTBOUND: Final = bytes((2, 0, 0, 0))
#: Stamps count 10 to the minus 9 seconds.
_NANOSECONDS: Final = bytes((9,))

_EXTENDED: Final = 1 << 31
_REMOTE: Final = 1 << 30
_ERROR: Final = 1 << 29
_ERROR_FRAME_LENGTH: Final = 8
_CAN_HEAD: Final = struct.Struct(">IBBxx")
#: Places in a packet block: its stamp's upper half, and the data bytes of a CAN frame.
_PACKET_STAMP: Final = 12
_PACKET_CONTENT: Final = 28 + _CAN_HEAD.size
_CAN_FD: Final = 0x04
_BIT_RATE_SWITCH: Final = 0x01
_ESI: Final = 0x02


class LinkType(IntEnum):
    """What the bytes of an interface's packets begin with (tcpdump's registry of link types)."""

    ETHERNET = 1
    CAN_SOCKETCAN = 227


class CanError(IntEnum):
    """Error classes of SocketCAN's error frames (linux/can/error.h)."""

    PROTOCOL_VIOLATION = 0x08
    NO_ACKNOWLEDGEMENT = 0x20


#: Where a protocol violation was seen: the CRC sequence (data byte 3).
_CRC_SEQUENCE: Final = bytes((0, 0, 0, 0x08, 0, 0, 0, 0))


def section(application: str) -> bytes:
    """The block that every capture begins with."""
    head = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, _UNKNOWN_LENGTH)
    return _block(_SECTION, head + _options({_USER_APPLICATION: application.encode()}))


def interface(name: str, link_type: LinkType, *, bit_rate: int) -> bytes:
    """One wire (bit rate 0: not known). Interfaces count from 0 in their order in the file."""
    options = {_INTERFACE_NAME: name.encode(), _TIMESTAMP_RESOLUTION: _NANOSECONDS}
    if bit_rate:
        options[_INTERFACE_SPEED] = bit_rate.to_bytes(8, "little")
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0) + _options(options))


def packet(interface_number: int, data: bytes, *, at_ns: int, outbound: bool = False) -> bytes:
    """One frame, `at_ns` nanoseconds after 1970; `outbound`: who captured has sent it."""
    length = len(data)
    head = struct.pack("<IIIII", interface_number, at_ns >> 32, at_ns & 0xFFFF_FFFF, length, length)
    options = _options({_PACKET_FLAGS: _OUTBOUND}) if outbound else b""
    return _block(_ENHANCED_PACKET, head + _padded(data) + options)


def can_frame(
    header: FrameHeader,
    data: bytes,
    *,
    error_state_indicator: bool = False,
    remote: int | None = None,
) -> bytes:
    """A CAN or CAN FD frame as `LinkType.CAN_SOCKETCAN` has it; `remote`: the length asked for."""
    identifier = header.identifier | (_EXTENDED if header.extended else 0)
    if remote is not None:
        return _CAN_HEAD.pack(identifier | _REMOTE, remote, 0)
    flags = _CAN_FD * header.fd | _BIT_RATE_SWITCH * header.bit_rate_switch
    return _CAN_HEAD.pack(identifier, len(data), flags | _ESI * error_state_indicator) + data


def can_packets(
    interface_number: int, header: FrameHeader, payloads: Payloads, at_ns: Sequence[int]
) -> bytes:
    """`packet` of each `can_frame`, all at once; `at_ns` are nanoseconds after 1970."""
    if not payloads:
        return b""
    if not payloads.uniform:
        head = can_packets(interface_number, header, payloads[:-1], at_ns[:-1])
        return head + packet(interface_number, can_frame(header, payloads[-1]), at_ns=at_ns[-1])
    first = packet(interface_number, can_frame(header, payloads[0]), at_ns=0)
    blocks = np.empty((len(payloads), len(first)), dtype=np.uint8)
    blocks[:] = np.frombuffer(first, dtype=np.uint8)
    stamps = np.asarray(at_ns, dtype="<u8").view(np.uint8).reshape(-1, 8)
    blocks[:, _PACKET_STAMP : _PACKET_STAMP + 4] = stamps[:, 4:]
    blocks[:, _PACKET_STAMP + 4 : _PACKET_STAMP + 8] = stamps[:, :4]
    content = np.frombuffer(payloads.data, dtype=np.uint8).reshape(-1, payloads.length)
    blocks[:, _PACKET_CONTENT : _PACKET_CONTENT + payloads.length] = content
    return blocks.tobytes()


def can_error_frame(kind: CanError) -> bytes:
    """An error frame; that of a violation says that a CRC did not match."""
    return _CAN_HEAD.pack(_ERROR | kind, _ERROR_FRAME_LENGTH, 0) + error_data(kind)


def error_data(kind: CanError) -> bytes:
    """The data bytes of such an error frame."""
    return _CRC_SEQUENCE if kind is CanError.PROTOCOL_VIOLATION else bytes(_ERROR_FRAME_LENGTH)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _options(options: dict[int, bytes]) -> bytes:
    parts = [
        struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options.items()
    ]
    return b"".join((*parts, struct.pack("<HH", _END_OF_OPTIONS, 0)))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
