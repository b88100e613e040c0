"""CAN and CAN FD data link: frames, exact bit counts, and the port that programs hold."""

from protocols.can.frame import FrameHeader, arbitration_key
from protocols.can.payloads import Payloads
from protocols.can.port import CanPort, Receive, ReceiveRun, Sent

__all__ = [
    "CanPort",
    "FrameHeader",
    "Payloads",
    "Receive",
    "ReceiveRun",
    "Sent",
    "arbitration_key",
]
