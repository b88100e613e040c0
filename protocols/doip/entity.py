"""A DoIP entity, without I/O: its sockets, routing activation, alive checks, discovery.

A connection is a number that the shell gives (never twice). Its life is a `Socket` of the table;
time is loop time in seconds.
"""

from collections.abc import Callable

from protocols.doip.decoder import HeaderFault
from protocols.doip.discovery import Discovery
from protocols.doip.entity_events import Announce, Close, EntityEvent, Request, Transmit
from protocols.doip.messages import (
    RESOLUTION_S,
    ActivationCode,
    AliveCheckRequest,
    AliveCheckResponse,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    DiagnosticNack,
    DiagnosticNegativeAcknowledge,
    HeaderNack,
    HeaderNegativeAcknowledge,
    Message,
    PowerMode,
    RoutingActivationRequest,
    RoutingActivationResponse,
    encode,
)
from protocols.doip.settings import PLAIN, Acknowledge, EntitySettings, Peer
from protocols.doip.sockets import STATES, Socket, SocketState, SocketTable

__all__ = [
    "Announce",
    "Close",
    "DoipEntity",
    "EntityEvent",
    "EntitySettings",
    "Objection",
    "Request",
    "Transmit",
]

#: (target address, request) -> why it cannot be taken now, `None` if it can: 05, 06 or 08.
Objection = Callable[[int, bytes], DiagnosticNack | None]


class DoipEntity:
    """An entity on Ethernet. Every method that takes `now` may cause events for any connection.

    `objection` is asked after the entity's own checks of a diagnostic message.
    """

    def __init__(
        self, settings: EntitySettings, *, objection: Objection = lambda _target, _request: None
    ) -> None:
        self.settings = settings
        self._objection = objection
        self._table = SocketTable(settings)
        self._discovery = Discovery(settings, self._table.open_sockets)

    # The four verbs

    def connected(self, connection: int, *, now: float, peer: Peer = PLAIN) -> list[EntityEvent]:
        if not self._table.has_place_for(peer):
            return [Close(connection)]
        self._table.add(connection, peer, now=now)
        return []

    def disconnected(self, connection: int, *, now: float) -> list[EntityEvent]:
        """The peer closed; activations that waited for this socket may go on."""
        self._table.sockets.pop(connection, None)
        return self._resume(now)

    def receive(self, connection: int, data: bytes, *, now: float) -> list[EntityEvent]:
        events: list[EntityEvent] = []
        socket = self._table.sockets.get(connection)
        if socket is None:
            return events
        for message in socket.decoder.receive(data):
            if connection not in self._table.sockets:
                break
            events += self._handle(connection, socket, message, now=now)
        if socket.tester is not None:
            socket.inactive_at = now + self.settings.general_inactivity_s
        return events + self._resume(now)

    def send(
        self,
        payload: bytes,
        *,
        tester: int,
        now: float,
        source: int | None = None,
        connection: int | None = None,
    ) -> list[EntityEvent]:
        """A response of an ECU (`None`: the one at the entity's own address).

        Dropped if that tester is not connected any more, or is by another `connection` than the
        one that asked (`None`: any).
        """
        found = self._table.routing_for(tester)
        if found is None or connection not in {None, found[0]}:
            return []
        at, socket = found
        socket.inactive_at = now + self.settings.general_inactivity_s
        message = DiagnosticMessage(
            source_address=self.settings.logical_address if source is None else source,
            target_address=tester,
            user_data=payload,
        )
        return [self._transmit(at, message)]

    def next_deadline(self) -> float | None:
        deadlines = [
            deadline
            for socket in self._table.sockets.values()
            for deadline in (socket.inactive_at, socket.alive_until, socket.confirm_at)
            if deadline is not None
        ]
        if self._discovery.announce_at is not None:
            deadlines.append(self._discovery.announce_at)
        return min(deadlines, default=None)

    def handle_timeout(self, *, now: float) -> list[EntityEvent]:
        now += RESOLUTION_S
        events: list[EntityEvent] = [Announce(data) for data in self._discovery.announce(now=now)]
        for connection, socket in list(self._table.sockets.items()):
            silent = socket.alive_until is not None and socket.alive_until <= now
            if silent or socket.inactive_at <= now:
                events += self._close(connection)
            elif socket.confirm_at is not None and socket.confirm_at <= now:
                events += self._confirmed(connection, socket, granted=self._will_grant(socket))
        return events + self._resume(now)

    # What else comes from outside

    @property
    def power_mode(self) -> PowerMode:
        return self._discovery.power_mode

    @power_mode.setter
    def power_mode(self, mode: PowerMode) -> None:
        self._discovery.power_mode = mode

    def start_announcing(self, *, wait_s: float, now: float) -> None:
        """Announce the vehicle after a random wait of 0 to 0.5 s that the caller draws."""
        self._discovery.start_announcing(wait_s=wait_s, now=now)

    def receive_datagram(self, data: bytes, *, now: float) -> list[bytes]:
        """Answers to one UDP datagram: identification, entity status, power mode."""
        return self._discovery.receive(data, now=now)

    def delivered(self, request: Request, nack: DiagnosticNack | None) -> list[EntityEvent]:
        """`request` is on its network, or failed to get there (`Acknowledge.ON_DELIVERY`)."""
        deferred = self.settings.acknowledge is Acknowledge.ON_DELIVERY
        if not deferred or request.connection not in self._table.sockets:
            return []
        message = DiagnosticMessage(
            source_address=request.source,
            target_address=request.target,
            user_data=request.payload,
        )
        if nack is not None:
            return self._refuse(request.connection, message, nack)
        return [self._acknowledgement(request.connection, message)]

    def confirm(self, tester: int, *, granted: bool, now: float) -> list[EntityEvent]:
        """A person in the vehicle says yes or no to a tester that was answered 11."""
        for connection, socket in list(self._table.sockets.items()):
            if socket.tester == tester and socket.state is SocketState.PENDING_CONFIRMATION:
                return [
                    *self._confirmed(connection, socket, granted=granted),
                    *self._resume(now),
                ]
        return []

    # Messages

    def _handle(
        self, connection: int, socket: Socket, message: Message | HeaderFault, *, now: float
    ) -> list[EntityEvent]:
        match message:
            case DiagnosticMessage():
                return self._diagnostic(connection, socket, message)
            case RoutingActivationRequest():
                return self._activate(connection, socket, message, now=now)
            case AliveCheckResponse(source) if source == socket.tester:
                socket.alive_until = None
                return self._resume(now)
            case AliveCheckRequest() if self.settings.answers_alive_check:
                answer = AliveCheckResponse(self.settings.logical_address)
                return [self._transmit(connection, answer)]
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
        self, connection: int, socket: Socket, message: DiagnosticMessage
    ) -> list[EntityEvent]:
        nack = self._refusal(socket, message)
        if nack is not None:
            return self._refuse(connection, message, nack)
        request = Request(
            payload=message.user_data,
            source=message.source_address,
            target=message.target_address,
            functional=message.target_address in self.settings.functional_addresses,
            connection=connection,
        )
        if self.settings.acknowledge is Acknowledge.ON_DELIVERY:
            return [request]
        # The acknowledgement goes before whatever the ECU answers.
        return [self._acknowledgement(connection, message), request]

    def _refusal(self, socket: Socket, message: DiagnosticMessage) -> DiagnosticNack | None:
        """The checks of a diagnostic message in the order of ISO 13400-2."""
        settings, target = self.settings, message.target_address
        if not socket.routes or socket.tester != message.source_address:
            return DiagnosticNack.INVALID_SOURCE_ADDRESS
        if target not in settings.reachable:
            foreign = any(target in network for network in settings.foreign_networks)
            nack = DiagnosticNack
            return nack.UNKNOWN_NETWORK if foreign else nack.UNKNOWN_TARGET_ADDRESS
        if len(message.user_data) > settings.max_request:
            return DiagnosticNack.MESSAGE_TOO_LARGE
        return self._objection(target, message.user_data)

    def _acknowledgement(self, connection: int, message: DiagnosticMessage) -> Transmit:
        acknowledge = DiagnosticAcknowledge(
            source_address=message.target_address,
            target_address=message.source_address,
            previous=message.user_data[: self.settings.repeated_bytes],
        )
        return self._transmit(connection, acknowledge)

    def _refuse(
        self, connection: int, message: DiagnosticMessage, nack: DiagnosticNack
    ) -> list[EntityEvent]:
        refusal = DiagnosticNegativeAcknowledge(
            source_address=message.target_address,
            target_address=message.source_address,
            code=nack,
            previous=message.user_data[: self.settings.repeated_bytes],
        )
        sent = self._transmit(connection, refusal)
        return [sent, *(self._close(connection) if nack in self.settings.closing_nacks else [])]

    # Routing activation

    def _activate(
        self, connection: int, socket: Socket, request: RoutingActivationRequest, *, now: float
    ) -> list[EntityEvent]:
        if socket.waiting is not None:
            return []  # the first one is still being decided
        code = self._table.decide(connection, socket, request)
        if code is not None:
            return self._conclude(connection, socket, request, code, now=now)
        # An alive check of those in the way decides; the answer waits for it.
        socket.waiting = request
        socket.inactive_at = max(socket.inactive_at, now + 2 * self.settings.alive_check_s)
        events: list[EntityEvent] = []
        for other, its in self._table.in_the_way(request):
            if its.alive_until is None:
                its.alive_until = now + self.settings.alive_check_s
                events.append(self._transmit(other, AliveCheckRequest()))
        return events

    def _resume(self, now: float) -> list[EntityEvent]:
        """Answer the activations whose alive checks are all decided."""
        events: list[EntityEvent] = []
        for connection, socket in list(self._table.sockets.items()):
            request = socket.waiting
            if request is None:
                continue
            code = self._table.after_alive_checks(socket, request)
            if code is not None:
                events += self._conclude(connection, socket, request, code, now=now)
        return events

    def _conclude(
        self,
        connection: int,
        socket: Socket,
        request: RoutingActivationRequest,
        code: int,
        *,
        now: float,
    ) -> list[EntityEvent]:
        socket.waiting = None
        if code in self.settings.closing_codes:
            return [self._activation(connection, request, code), *self._close(connection)]
        if state := STATES.get(ActivationCode(code)):
            socket.state, socket.tester = state, request.source_address
            routes = state is SocketState.ACTIVE
            socket.granted = request.activation_type if routes else None
            socket.inactive_at = now + self.settings.general_inactivity_s
        if socket.state is SocketState.PENDING_CONFIRMATION and socket.unconfirmed is None:
            rule = self.settings.activations[request.activation_type]
            socket.unconfirmed = request
            wait_s = None if rule.confirmation is None else rule.confirmation.after_s
            socket.confirm_at = None if wait_s is None else now + wait_s
        return [self._activation(connection, request, code)]

    def _will_grant(self, socket: Socket) -> bool:
        if socket.unconfirmed is None:
            return False
        confirmation = self.settings.activations[socket.unconfirmed.activation_type].confirmation
        return confirmation is not None and confirmation.granted

    def _confirmed(self, connection: int, socket: Socket, *, granted: bool) -> list[EntityEvent]:
        request, socket.unconfirmed, socket.confirm_at = socket.unconfirmed, None, None
        code = ActivationCode.SUCCESS if granted else ActivationCode.CONFIRMATION_REJECTED
        events: list[EntityEvent] = []
        if request is not None and self.settings.tells_confirmation:
            events.append(self._activation(connection, request, code))
        if granted and request is not None:
            socket.state, socket.granted = SocketState.ACTIVE, request.activation_type
        elif code in self.settings.closing_codes:
            events += self._close(connection)
        else:
            socket.state, socket.tester = SocketState.INITIALIZED, None
        return events

    def _activation(
        self, connection: int, request: RoutingActivationRequest, code: int
    ) -> Transmit:
        rule = self.settings.activations.get(request.activation_type)
        response = RoutingActivationResponse(
            source_address=request.source_address,
            entity_address=self.settings.logical_address,
            code=code,
            oem=None if rule is None else rule.oem,
        )
        return self._transmit(connection, response)

    # Small parts

    def _close(self, connection: int) -> list[EntityEvent]:
        del self._table.sockets[connection]
        return [Close(connection)]

    def _transmit(self, connection: int, message: Message) -> Transmit:
        """In the version that the tester speaks, as it is set."""
        spoken = self._table.sockets[connection].decoder.version
        in_kind = self.settings.answer_in_kind and spoken in self.settings.versions
        version = spoken if in_kind and spoken is not None else self.settings.version
        return Transmit(connection, encode(message, version=version))
