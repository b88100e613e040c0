"""ISO 15765-2 transport on CAN and CAN FD: codec, and one endpoint as a core without I/O."""

from protocols.isotp import addressing
from protocols.isotp.addressing import Address
from protocols.isotp.codec import first_and_rest, segment
from protocols.isotp.endpoint import Endpoint
from protocols.isotp.errors import IsoTpError
from protocols.isotp.events import (
    Event,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    ReceptionStarted,
    SendFailed,
    Transmit,
)
from protocols.isotp.parameters import IsoTpParameters

__all__ = [
    "Address",
    "Endpoint",
    "Event",
    "IsoTpError",
    "IsoTpParameters",
    "MessageReceived",
    "MessageSent",
    "ReceptionFailed",
    "ReceptionStarted",
    "SendFailed",
    "Transmit",
    "addressing",
    "first_and_rest",
    "segment",
]
