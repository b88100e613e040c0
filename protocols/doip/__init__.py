"""Diagnostics over IP (ISO 13400-2): messages, framing, the tester's and the entity's cores."""

from protocols.doip.client import (
    Acknowledged,
    Activated,
    ActivationRefused,
    ClientEvent,
    DoipClient,
    HeaderRefused,
    PeerBroken,
    Refused,
    Response,
    Transmit,
)
from protocols.doip.decoder import DoipDecoder, HeaderFault, decode_datagram
from protocols.doip.errors import DoipError, DoipTimeoutError
from protocols.doip.messages import (
    ActivationCode,
    DiagnosticNack,
    HeaderNack,
    Message,
    PayloadType,
    encode,
)

__all__ = [
    "Acknowledged",
    "Activated",
    "ActivationCode",
    "ActivationRefused",
    "ClientEvent",
    "DiagnosticNack",
    "DoipClient",
    "DoipDecoder",
    "DoipError",
    "DoipTimeoutError",
    "HeaderFault",
    "HeaderNack",
    "HeaderRefused",
    "Message",
    "PayloadType",
    "PeerBroken",
    "Refused",
    "Response",
    "Transmit",
    "decode_datagram",
    "encode",
]
