"""Captures that Wireshark reads: pcapng blocks with CAN and Ethernet on one time line.

Layout of the IETF draft "PCAP Next Generation (pcapng) Capture File Format": one section, one
interface per wire, one enhanced packet block per frame, stamps in whole nanoseconds. Numbers are
little-endian; inside a CAN frame they are big-endian, as its link type says.
"""

import struct
from enum import IntEnum
from typing import Final

from protocols.can.frame import FrameHeader

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
#: Stamps count 10 to the minus 9 seconds.
_NANOSECONDS: Final = bytes((9,))

_EXTENDED: Final = 1 << 31
_ERROR: Final = 1 << 29
_ERROR_FRAME_LENGTH: Final = 8
_CAN_HEAD: Final = struct.Struct(">IBBxx")
_CAN_FD: Final = 0x04
_BIT_RATE_SWITCH: Final = 0x01


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
    """One wire. Interfaces are numbered from 0 in the order in which they stand in the file."""
    options = {
        _INTERFACE_NAME: name.encode(),
        _INTERFACE_SPEED: bit_rate.to_bytes(8, "little"),
        _TIMESTAMP_RESOLUTION: _NANOSECONDS,
    }
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0) + _options(options))


def packet(interface_number: int, data: bytes, *, at_ns: int) -> bytes:
    """One frame, `at_ns` nanoseconds after 1970."""
    length = len(data)
    head = struct.pack("<IIIII", interface_number, at_ns >> 32, at_ns & 0xFFFF_FFFF, length, length)
    return _block(_ENHANCED_PACKET, head + _padded(data))


def can_frame(header: FrameHeader, data: bytes) -> bytes:
    """A CAN or CAN FD frame as `LinkType.CAN_SOCKETCAN` has it."""
    identifier = header.identifier | (_EXTENDED if header.extended else 0)
    flags = _CAN_FD * header.fd | _BIT_RATE_SWITCH * header.bit_rate_switch
    return _CAN_HEAD.pack(identifier, len(data), flags) + data


def can_error_frame(kind: CanError) -> bytes:
    """An error frame; that of a violation says that a CRC did not match."""
    at_crc = kind is CanError.PROTOCOL_VIOLATION
    data = _CRC_SEQUENCE if at_crc else bytes(_ERROR_FRAME_LENGTH)
    return _CAN_HEAD.pack(_ERROR | kind, _ERROR_FRAME_LENGTH, 0) + data


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
