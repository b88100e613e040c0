"""SocketCAN's error frames (linux/can/error.h): what a CAN controller says of its wire, in words.

An error frame is no frame of the wire: a driver makes it where its controller saw something go
wrong. The identifier has a bit per class of error, and 8 data bytes tell more of some classes.
"""

from enum import IntFlag
from typing import Final

#: Data bytes of an error frame.
ERROR_LENGTH: Final = 8


class ErrorClass(IntFlag):
    """Bits of the identifier."""

    TX_TIMEOUT = 0x001
    LOST_ARBITRATION = 0x002
    #: Data byte 1 tells of the controller.
    CONTROLLER = 0x004
    #: Data byte 2 tells the kind, byte 3 the place.
    PROTOCOL = 0x008
    TRANSCEIVER = 0x010
    NO_ACKNOWLEDGEMENT = 0x020
    BUS_OFF = 0x040
    BUS_ERROR = 0x080
    RESTARTED = 0x100
    #: Data bytes 6 and 7 are the transmit and the receive error counter.
    COUNTERS = 0x200


_CLASSES: Final = {
    ErrorClass.TX_TIMEOUT: "transmission timed out",
    ErrorClass.LOST_ARBITRATION: "arbitration lost",
    ErrorClass.TRANSCEIVER: "transceiver error",
    ErrorClass.NO_ACKNOWLEDGEMENT: "no acknowledgement",
    ErrorClass.BUS_OFF: "bus-off",
    ErrorClass.BUS_ERROR: "bus error",
    ErrorClass.RESTARTED: "controller restarted",
}
#: Bits of data byte 1.
_CONTROLLER: Final = {
    0x01: "receive buffer overflow",
    0x02: "transmit buffer overflow",
    0x04: "receive error warning",
    0x08: "transmit error warning",
    0x10: "receive error passive",
    0x20: "transmit error passive",
    0x40: "error active again",
}
#: Bits of data byte 2.
_PROTOCOL: Final = {
    0x01: "bit error",
    0x02: "form error",
    0x04: "stuff error",
    0x08: "dominant bit not sent",
    0x10: "recessive bit not sent",
    0x20: "overload",
    0x40: "active error announcement",
    0x80: "while sending",
}
#: Data byte 3, where the CRC did not fit.
_CRC_SEQUENCE: Final = 0x08


def in_words(identifier: int, data: bytes) -> str:
    """What an error frame says; any identifier and any bytes have words."""
    data = data[:ERROR_LENGTH].ljust(ERROR_LENGTH, b"\0")
    said = [words for bit, words in _CLASSES.items() if identifier & bit]
    if identifier & ErrorClass.CONTROLLER:
        said += [words for bit, words in _CONTROLLER.items() if data[1] & bit] or ["controller"]
    if identifier & ErrorClass.PROTOCOL:
        said += [words for bit, words in _PROTOCOL.items() if data[2] & bit]
        said.append("CRC error" if data[3] == _CRC_SEQUENCE else "protocol violation")
    if identifier & ErrorClass.COUNTERS:
        said.append(f"transmit errors {data[6]}, receive errors {data[7]}")
    return ", ".join(said) or f"error class 0x{identifier:X}"
