"""CAN and CAN FD data link: frames, exact bit counts, and the port that programs hold."""

from protocols.can.frame import FrameHeader, arbitration_key
from protocols.can.payloads import Payloads
from protocols.can.port import LONGEST_RUN_S, CanPort, Receive, ReceiveRun, Sent

__all__ = [
    "LONGEST_RUN_S",
    "CanPort",
    "FrameHeader",
    "Payloads",
    "Receive",
    "ReceiveRun",
    "Sent",
    "arbitration_key",
]
