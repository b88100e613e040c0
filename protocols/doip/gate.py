"""What a tester far away may say to a DoIP entity: services that only read, or everything. Pure.

A gate stands in one connection's stream from the tester. What it does not let through it answers
itself, as the ECU would: 8002, and a negative response with NRC 33, securityAccessDenied
(ISO 14229-1, Annex A).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from protocols.doip.decoder import DEFAULT_MAX_PAYLOAD, DoipDecoder, HeaderFault
from protocols.doip.messages import (
    VERSION_2012,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    HeaderNegativeAcknowledge,
    encode,
)

#: Service -> the sub-functions that pass; None: all of them. 14229-1: 10 (the default and the
#: extended session), 19, 22, 24, 2A, 3E.
READ_SERVICES: Final[Mapping[int, frozenset[int] | None]] = MappingProxyType(
    {
        0x10: frozenset({0x01, 0x03}),
        0x19: None,
        0x22: None,
        0x24: None,
        0x2A: None,
        0x3E: None,
    }
)
_NEGATIVE: Final = 0x7F
_SECURITY_ACCESS_DENIED: Final = 0x33
#: Without suppressPosRspMsgIndicationBit.
_SUB_FUNCTION: Final = 0x7F
#: Functional addresses (ISO 13400-2): ECUs do not answer them one by one with a refusal.
_FUNCTIONAL: Final = range(0xE000, 0xF000)


@dataclass(frozen=True, slots=True)
class Pass:
    """Bytes for the entity."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes back to the tester."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """What the tester sends is not DoIP: close the connection."""

    reason: str


class ReadGate:
    """Feed a tester's bytes as they come; holds one message at most."""

    def __init__(self, *, max_payload: int = DEFAULT_MAX_PAYLOAD) -> None:
        self._decoder = DoipDecoder(max_payload=max_payload)

    def receive(self, data: bytes) -> list[Pass | Answer | Broken]:
        made: list[Pass | Answer | Broken] = []
        for found in self._decoder.receive(data):
            version = self._decoder.version or VERSION_2012
            match found:
                case HeaderFault(code=code, reason=reason, closes=closes):
                    nack = HeaderNegativeAcknowledge(code)
                    made.append(Answer(encode(nack, version=version)))
                    if closes:
                        made.append(Broken(reason))
                case DiagnosticMessage() if not reads_only(found.user_data):
                    made.append(Answer(_refusal(found, version)))
                case _:
                    made.append(Pass(encode(found, version=version)))
        return made


def reads_only(request: bytes) -> bool:
    """Whether a request is one of those that pass."""
    if not request or request[0] not in READ_SERVICES:
        return False
    allowed = READ_SERVICES[request[0]]
    return allowed is None or (len(request) > 1 and request[1] & _SUB_FUNCTION in allowed)


def _refusal(message: DiagnosticMessage, version: int) -> bytes:
    tester, ecu = message.source_address, message.target_address
    acknowledge = DiagnosticAcknowledge(source_address=ecu, target_address=tester)
    taken = encode(acknowledge, version=version)
    if ecu in _FUNCTIONAL:
        return taken
    service = message.user_data[0] if message.user_data else 0
    refusal = DiagnosticMessage(
        source_address=ecu,
        target_address=tester,
        user_data=bytes((_NEGATIVE, service, _SECURITY_ACCESS_DENIED)),
    )
    return taken + encode(refusal, version=version)
