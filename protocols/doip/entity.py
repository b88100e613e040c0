"""A DoIP entity, without I/O: its sockets, routing activation, alive checks, discovery.

A connection is a number that the shell gives (never twice). Its life is in `_Socket`; which
activation gets which answer is decided in `_activate`, in the order of ISO 13400-2's socket
handler. Time is loop time in seconds.
"""

from dataclasses import dataclass
from typing import Final

from protocols.doip.decoder import DEFAULT_MAX_PAYLOAD, DoipDecoder, HeaderFault, decode_datagram
from protocols.doip.messages import (
    RESOLUTION_S,
    VERSION_2012,
    ActivationCode,
    ActivationType,
    AliveCheckRequest,
    AliveCheckResponse,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    DiagnosticNack,
    DiagnosticNegativeAcknowledge,
    EntityStatusRequest,
    EntityStatusResponse,
    HeaderNack,
    HeaderNegativeAcknowledge,
    Message,
    PowerModeRequest,
    PowerModeResponse,
    RoutingActivationRequest,
    RoutingActivationResponse,
    VehicleAnnouncement,
    VehicleIdentificationRequest,
    encode,
)

#: External testers, and the vehicle's own (ISO 13400-2 logical address table).
TESTER_ADDRESSES: Final = range(0x0E00, 0x1000)

#: After these the entity closes the connection (ISO 13400-2 leaves 04, 07 and 11 open).
CLOSING_CODES: Final = frozenset(
    {
        ActivationCode.UNKNOWN_SOURCE_ADDRESS,
        ActivationCode.NO_FREE_SOCKET,
        ActivationCode.SOURCE_ADDRESS_DIFFERS,
        ActivationCode.SOURCE_ADDRESS_ACTIVE_ELSEWHERE,
        ActivationCode.CONFIRMATION_REJECTED,
        ActivationCode.UNSUPPORTED_TYPE,
    }
)
_NODE: Final = 0x01
_READY: Final = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySettings:
    #: 17 characters.
    vin: str
    #: The entity's own address, also that of the ECU behind it.
    logical_address: int
    #: Six bytes each: usually the MAC address; of the group.
    eid: bytes
    gid: bytes
    #: Addresses that reach the ECU as a group.
    functional_addresses: frozenset[int] = frozenset({0xE400})
    version: int = VERSION_2012
    activation_types: frozenset[int] = frozenset(
        {ActivationType.DEFAULT, ActivationType.REGULATORY}
    )
    tester_addresses: range = TESTER_ADDRESSES
    #: Testers at a time; one socket more is kept so that the next one gets a proper refusal.
    max_testers: int = 4
    #: Longest UDS request in bytes (MDS).
    max_request: int = 0x1_0000
    #: T_TCP_Initial_Inactivity, T_TCP_General_Inactivity, T_TCP_Alive_Check.
    initial_inactivity_s: float = 2.0
    general_inactivity_s: float = 300.0
    alive_check_s: float = 0.5
    #: A_DoIP_Announce_Num and A_DoIP_Announce_Interval.
    announcements: int = 3
    announce_interval_s: float = 0.5
    #: Vehicle identification answers per second, at most (they are larger than their questions).
    identifications_per_s: int = 20


@dataclass(frozen=True, slots=True)
class Transmit:
    connection: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once what was sent to it is out."""

    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A diagnostic request, already acknowledged."""

    payload: bytes
    source: int
    functional: bool


@dataclass(frozen=True, slots=True)
class Announce:
    """Broadcast this datagram."""

    data: bytes


EntityEvent = Transmit | Close | Request | Announce


@dataclass(slots=True)
class _Socket:
    decoder: DoipDecoder
    #: When it is closed unless something happens on it.
    inactive_at: float
    #: The tester whose routing is active here.
    tester: int | None = None
    #: An alive check is open until then.
    alive_until: float | None = None
    #: The activation that waits for others' alive checks.
    waiting: RoutingActivationRequest | None = None


class DoipEntity:
    """One ECU on Ethernet. Every method that takes `now` may cause events for any connection."""

    def __init__(self, settings: EntitySettings, *, reachable: bool = True) -> None:
        self._settings = settings
        self._sockets: dict[int, _Socket] = {}
        self._announce_at: float | None = None
        self._announcements_left = 0
        self._identification_window = 0.0
        self._identifications = 0
        #: Whether the ECU behind the entity takes requests.
        self.reachable = reachable

    # The four verbs

    def connected(self, connection: int, *, now: float) -> list[EntityEvent]:
        if len(self._sockets) > self._settings.max_testers:
            return [Close(connection)]
        decoder = DoipDecoder(max_payload=max(DEFAULT_MAX_PAYLOAD, self._settings.max_request + 4))
        self._sockets[connection] = _Socket(decoder, now + self._settings.initial_inactivity_s)
        return []

    def disconnected(self, connection: int, *, now: float) -> list[EntityEvent]:
        """The peer closed; activations that waited for this socket may go on."""
        self._sockets.pop(connection, None)
        return self._resume(now)

    def receive(self, connection: int, data: bytes, *, now: float) -> list[EntityEvent]:
        events: list[EntityEvent] = []
        socket = self._sockets.get(connection)
        if socket is None:
            return events
        for message in socket.decoder.receive(data):
            if connection not in self._sockets:
                break
            events += self._handle(connection, socket, message, now=now)
        if socket.tester is not None:
            socket.inactive_at = now + self._settings.general_inactivity_s
        return events + self._resume(now)

    def send(self, payload: bytes, *, tester: int, now: float) -> list[EntityEvent]:
        """A response of the ECU; dropped if that tester is not connected any more."""
        for connection, socket in self._sockets.items():
            if socket.tester == tester:
                socket.inactive_at = now + self._settings.general_inactivity_s
                message = DiagnosticMessage(
                    source_address=self._settings.logical_address,
                    target_address=tester,
                    user_data=payload,
                )
                return [self._transmit(connection, message)]
        return []

    def start_announcing(self, *, wait_s: float, now: float) -> None:
        """Announce the vehicle after a random wait of 0 to 0.5 s that the caller draws."""
        self._announce_at = now + wait_s
        self._announcements_left = self._settings.announcements

    def next_deadline(self) -> float | None:
        deadlines = [socket.inactive_at for socket in self._sockets.values()]
        deadlines += [
            socket.alive_until
            for socket in self._sockets.values()
            if socket.alive_until is not None
        ]
        if self._announce_at is not None:
            deadlines.append(self._announce_at)
        return min(deadlines, default=None)

    def handle_timeout(self, *, now: float) -> list[EntityEvent]:
        now += RESOLUTION_S
        events: list[EntityEvent] = []
        if self._announce_at is not None and self._announce_at <= now:
            events.append(Announce(self._encode(self._announcement())))
            self._announcements_left -= 1
            more = self._announcements_left > 0
            self._announce_at = now + self._settings.announce_interval_s if more else None
        for connection, socket in list(self._sockets.items()):
            silent = socket.alive_until is not None and socket.alive_until <= now
            if silent or socket.inactive_at <= now:
                events += self._close(connection)
        return events + self._resume(now)

    def receive_datagram(self, data: bytes, *, now: float) -> list[bytes]:
        """Answers to one UDP datagram: identification, entity status, power mode."""
        message = decode_datagram(data)
        match message:
            case HeaderFault(code=code):
                # A refusal is no longer than what it refuses: nothing to amplify.
                return [self._encode(HeaderNegativeAcknowledge(code))]
            case VehicleIdentificationRequest(eid, vin):
                ours = eid in {None, self._settings.eid} and vin in {None, self._vin()}
                if not ours or not self._may_identify(now):
                    return []
                return [self._encode(self._announcement())]
            case EntityStatusRequest():
                return [self._encode(self._status())]
            case PowerModeRequest():
                return [self._encode(PowerModeResponse(_READY))]
            case _:
                return []

    # Messages

    def _handle(
        self, connection: int, socket: _Socket, message: Message | HeaderFault, *, now: float
    ) -> list[EntityEvent]:
        match message:
            case DiagnosticMessage():
                return self._diagnostic(connection, socket, message)
            case RoutingActivationRequest():
                return self._activate(connection, socket, message, now=now)
            case AliveCheckResponse(source) if source == socket.tester:
                socket.alive_until = None
                return self._resume(now)
            case HeaderFault():
                refusal = self._transmit(connection, HeaderNegativeAcknowledge(message.code))
                return [refusal, *(self._close(connection) if message.closes else [])]
            case HeaderNegativeAcknowledge() | AliveCheckResponse():
                return []
            case _:
                # Known, but not for an entity's TCP socket.
                unknown = HeaderNegativeAcknowledge(HeaderNack.UNKNOWN_PAYLOAD_TYPE)
                return [self._transmit(connection, unknown)]

    def _diagnostic(
        self, connection: int, socket: _Socket, message: DiagnosticMessage
    ) -> list[EntityEvent]:
        nack = self._objection(socket, message)
        if nack is not None:
            refusal = DiagnosticNegativeAcknowledge(
                source_address=message.target_address,
                target_address=message.source_address,
                code=nack,
            )
            invalid = nack == DiagnosticNack.INVALID_SOURCE_ADDRESS
            sent = self._transmit(connection, refusal)
            return [sent, *(self._close(connection) if invalid else [])]
        acknowledge = DiagnosticAcknowledge(
            source_address=message.target_address, target_address=message.source_address
        )
        request = Request(
            payload=message.user_data,
            source=message.source_address,
            functional=message.target_address in self._settings.functional_addresses,
        )
        # The acknowledgement goes before whatever the ECU answers.
        return [self._transmit(connection, acknowledge), request]

    def _objection(self, socket: _Socket, message: DiagnosticMessage) -> DiagnosticNack | None:
        settings = self._settings
        known = settings.functional_addresses | {settings.logical_address}
        checks: tuple[tuple[bool, DiagnosticNack], ...] = (
            (socket.tester != message.source_address, DiagnosticNack.INVALID_SOURCE_ADDRESS),
            (message.target_address not in known, DiagnosticNack.UNKNOWN_TARGET_ADDRESS),
            (len(message.user_data) > settings.max_request, DiagnosticNack.MESSAGE_TOO_LARGE),
            (not self.reachable, DiagnosticNack.TARGET_UNREACHABLE),
        )
        return next((nack for broken, nack in checks if broken), None)

    # Routing activation

    def _activate(
        self, connection: int, socket: _Socket, request: RoutingActivationRequest, *, now: float
    ) -> list[EntityEvent]:
        if socket.waiting is not None:
            return []  # the first one is still being decided
        code = self._decide(connection, socket, request)
        if code is not None:
            return self._conclude(connection, socket, request, code, now=now)
        # An alive check of those in the way decides; the answer waits for it.
        socket.waiting = request
        socket.inactive_at = max(socket.inactive_at, now + 2 * self._settings.alive_check_s)
        events: list[EntityEvent] = []
        for other, its in self._in_the_way(request):
            if its.alive_until is None:
                its.alive_until = now + self._settings.alive_check_s
                events.append(self._transmit(other, AliveCheckRequest()))
        return events

    def _decide(
        self, connection: int, socket: _Socket, request: RoutingActivationRequest
    ) -> ActivationCode | None:
        """The code that needs no alive check, `None` if one is needed."""
        if request.source_address not in self._settings.tester_addresses:
            return ActivationCode.UNKNOWN_SOURCE_ADDRESS
        if request.activation_type not in self._settings.activation_types:
            return ActivationCode.UNSUPPORTED_TYPE
        if socket.tester is not None:
            same = socket.tester == request.source_address
            return ActivationCode.SUCCESS if same else ActivationCode.SOURCE_ADDRESS_DIFFERS
        others = [other for other, _ in self._in_the_way(request) if other != connection]
        return None if others else ActivationCode.SUCCESS

    def _in_the_way(self, request: RoutingActivationRequest) -> list[tuple[int, _Socket]]:
        """Whoever uses the same address; else, with all places taken, everyone."""
        active = [(at, socket) for at, socket in self._sockets.items() if socket.tester is not None]
        same = [(at, socket) for at, socket in active if socket.tester == request.source_address]
        if same or len(active) < self._settings.max_testers:
            return same
        return active

    def _resume(self, now: float) -> list[EntityEvent]:
        """Answer the activations whose alive checks are all decided."""
        events: list[EntityEvent] = []
        for connection, socket in list(self._sockets.items()):
            request = socket.waiting
            if request is None or connection not in self._sockets:
                continue
            in_the_way = [its for _, its in self._in_the_way(request)]
            if any(its.alive_until is not None for its in in_the_way):
                continue
            code = ActivationCode.SUCCESS
            if any(its.tester == request.source_address for its in in_the_way):
                code = ActivationCode.SOURCE_ADDRESS_ACTIVE_ELSEWHERE
            elif in_the_way:
                code = ActivationCode.NO_FREE_SOCKET
            events += self._conclude(connection, socket, request, code, now=now)
        return events

    def _conclude(
        self,
        connection: int,
        socket: _Socket,
        request: RoutingActivationRequest,
        code: ActivationCode,
        *,
        now: float,
    ) -> list[EntityEvent]:
        socket.waiting = None
        if code == ActivationCode.SUCCESS:
            socket.tester = request.source_address
            socket.inactive_at = now + self._settings.general_inactivity_s
        response = RoutingActivationResponse(
            source_address=request.source_address,
            entity_address=self._settings.logical_address,
            code=code,
        )
        closing = self._close(connection) if code in CLOSING_CODES else []
        return [self._transmit(connection, response), *closing]

    # Small parts

    def _close(self, connection: int) -> list[EntityEvent]:
        del self._sockets[connection]
        return [Close(connection)]

    def _transmit(self, connection: int, message: Message) -> Transmit:
        return Transmit(connection, self._encode(message))

    def _encode(self, message: Message) -> bytes:
        return encode(message, version=self._settings.version)

    def _vin(self) -> bytes:
        return self._settings.vin.encode("ascii")

    def _announcement(self) -> VehicleAnnouncement:
        return VehicleAnnouncement(
            vin=self._vin(),
            logical_address=self._settings.logical_address,
            eid=self._settings.eid,
            gid=self._settings.gid,
        )

    def _status(self) -> EntityStatusResponse:
        active = sum(socket.tester is not None for socket in self._sockets.values())
        return EntityStatusResponse(
            node_type=_NODE,
            max_sockets=self._settings.max_testers,
            open_sockets=active,
            max_data_size=self._settings.max_request,
        )

    def _may_identify(self, now: float) -> bool:
        """So many answers per second, whoever asks."""
        if now >= self._identification_window + 1:
            self._identification_window, self._identifications = now, 0
        self._identifications += 1
        return self._identifications <= self._settings.identifications_per_s
