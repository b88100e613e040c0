"""The tester's end of one DoIP connection, without I/O."""

from dataclasses import dataclass
from typing import Final

from protocols.doip.decoder import DEFAULT_MAX_PAYLOAD, DoipDecoder, HeaderFault
from protocols.doip.errors import DoipError, DoipTimeoutError
from protocols.doip.messages import (
    RESOLUTION_S,
    VERSION_2012,
    ActivationCode,
    ActivationType,
    AliveCheckRequest,
    AliveCheckResponse,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    DiagnosticNegativeAcknowledge,
    HeaderNegativeAcknowledge,
    RoutingActivationRequest,
    RoutingActivationResponse,
    encode,
)

#: A_DoIP_Ctrl and A_DoIP_Diagnostic_Message: how long an answer may take.
CONTROL_TIMEOUT_S: Final = 2.0
ACKNOWLEDGE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Transmit:
    data: bytes


@dataclass(frozen=True, slots=True)
class Activated:
    """Routing is active: diagnostic messages may be sent."""

    entity_address: int


@dataclass(frozen=True, slots=True)
class ActivationRefused:
    """The entity will not route for us; `code` as in `ActivationCode`."""

    code: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """8002: the entity has taken the message for `target`; P2 starts."""

    target: int


@dataclass(frozen=True, slots=True)
class Refused:
    """8003: the message for `target` was not taken; `code` as in `DiagnosticNack`."""

    target: int
    code: int


@dataclass(frozen=True, slots=True)
class Response:
    """A diagnostic message for us, from the ECU `source`."""

    source: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class HeaderRefused:
    """0000: the entity's header handler refused something of ours; `code` as in `HeaderNack`."""

    code: int


@dataclass(frozen=True, slots=True)
class PeerBroken:
    """What the entity sends is not DoIP: close the connection."""

    reason: str


ClientEvent = (
    Transmit
    | Activated
    | ActivationRefused
    | Acknowledged
    | Refused
    | Response
    | HeaderRefused
    | PeerBroken
)


class DoipClient:
    """One TCP connection to an entity: `connect` first, `send` once `Activated` has come.

    `handle_timeout` raises `DoipTimeoutError` when the entity owes an answer for too long.
    """

    def __init__(
        self,
        *,
        source_address: int,
        version: int = VERSION_2012,
        activation_type: int = ActivationType.DEFAULT,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
    ) -> None:
        self._source = source_address
        self._version = version
        self._activation_type = activation_type
        self._decoder = DoipDecoder(max_payload=max_payload)
        self._active = False
        #: What the entity owes us: target address (`None`: the activation) -> deadline.
        self._owed: dict[int | None, float] = {}

    @property
    def active(self) -> bool:
        return self._active

    def connect(self, *, now: float) -> list[ClientEvent]:
        """Ask for routing activation; the TCP connection stands."""
        self._owed[None] = now + CONTROL_TIMEOUT_S
        request = RoutingActivationRequest(
            source_address=self._source, activation_type=self._activation_type
        )
        return [Transmit(encode(request, version=self._version))]

    def send(self, message: bytes, *, target: int, now: float) -> list[ClientEvent]:
        """Send a request to the ECU or functional group `target`."""
        if not self._active:
            raise DoipError(f"routing not active for 0x{self._source:04X}: nothing sent")
        self._owed[target] = now + ACKNOWLEDGE_TIMEOUT_S
        diagnostic = DiagnosticMessage(
            source_address=self._source, target_address=target, user_data=message
        )
        return [Transmit(encode(diagnostic, version=self._version))]

    def receive(self, data: bytes, *, now: float) -> list[ClientEvent]:  # noqa: ARG002 one verb for all cores
        events: list[ClientEvent] = []
        for message in self._decoder.receive(data):
            match message:
                case DiagnosticMessage(
                    source_address=source, target_address=target, user_data=user
                ):
                    if target == self._source:
                        events.append(Response(source, user))
                case DiagnosticAcknowledge(source_address=target):
                    self._owed.pop(target, None)
                    events.append(Acknowledged(target))
                case DiagnosticNegativeAcknowledge(source_address=target, code=code):
                    self._owed.pop(target, None)
                    events.append(Refused(target, code))
                case RoutingActivationResponse(entity_address=entity, code=code):
                    events.append(self._activation(entity, code))
                case AliveCheckRequest():
                    alive = AliveCheckResponse(self._source)
                    events.append(Transmit(encode(alive, version=self._version)))
                case HeaderNegativeAcknowledge(code):
                    events.append(HeaderRefused(code))
                case HeaderFault(reason=reason, closes=True):
                    events.append(PeerBroken(reason))
                case _:
                    continue  # what a tester is not asked for is not answered
        return events

    def _activation(self, entity: int, code: int) -> ClientEvent:
        self._owed.pop(None, None)
        self._active = code == ActivationCode.SUCCESS
        return Activated(entity) if self._active else ActivationRefused(code)

    def next_deadline(self) -> float | None:
        return min(self._owed.values(), default=None)

    def handle_timeout(self, *, now: float) -> list[ClientEvent]:
        late = [owed for owed, deadline in self._owed.items() if deadline <= now + RESOLUTION_S]
        if not late:
            return []
        for owed in late:
            del self._owed[owed]
        if late[0] is None:
            raise DoipTimeoutError(f"no routing activation response within {CONTROL_TIMEOUT_S} s")
        raise DoipTimeoutError(
            f"0x{late[0]:04X}: diagnostic message not acknowledged within {ACKNOWLEDGE_TIMEOUT_S} s"
        )
