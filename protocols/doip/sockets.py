"""An entity's socket table and what it answers to routing activation.

Which activation gets which code is decided in `SocketTable.decide` and `SocketTable.admit`, in the
order of ISO 13400-2: address, type, TLS, socket handler, authentication, confirmation.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocols.doip.decoder import DoipDecoder
from protocols.doip.messages import ActivationCode, RoutingActivationRequest
from protocols.doip.settings import PLAIN, ActivationRule, Confirmation, EntitySettings, Peer
from protocols.editions import DoipEdition

#: How a confirmation that is known at once is told.
_AT_ONCE: Final = {True: ActivationCode.SUCCESS, False: ActivationCode.CONFIRMATION_REJECTED}


class SocketState(Enum):
    """Where a socket stands in routing activation."""

    #: Connected, no tester yet.
    INITIALIZED = "initialized"
    #: A tester has the socket, and has not shown who it is.
    PENDING_AUTHENTICATION = "pending for authentication"
    #: A tester has the socket, and a person in the vehicle is asked.
    PENDING_CONFIRMATION = "pending for confirmation"
    #: Diagnostic messages are routed.
    ACTIVE = "routing active"


#: The state that an activation code leaves a socket in, if it stays open; none: as it was.
STATES: Final = {
    ActivationCode.AUTHENTICATION_MISSING: SocketState.PENDING_AUTHENTICATION,
    ActivationCode.CONFIRMATION_REQUIRED: SocketState.PENDING_CONFIRMATION,
    ActivationCode.SUCCESS: SocketState.ACTIVE,
}


@dataclass(slots=True, kw_only=True)
class Socket:
    decoder: DoipDecoder
    #: When it is closed unless something happens on it.
    inactive_at: float
    peer: Peer = PLAIN
    state: SocketState = SocketState.INITIALIZED
    #: The tester that is registered here.
    tester: int | None = None
    #: An alive check is open until then.
    alive_until: float | None = None
    #: The activation that waits for others' alive checks.
    waiting: RoutingActivationRequest | None = None
    #: The activation that waits for a person, and when that one answers by itself.
    unconfirmed: RoutingActivationRequest | None = None
    confirm_at: float | None = None
    #: The activation type under which routing is active.
    granted: int | None = None

    @property
    def routes(self) -> bool:
        return self.state is SocketState.ACTIVE


class SocketTable:
    """The sockets of an entity by connection, and the rules of who may have one."""

    def __init__(self, settings: EntitySettings) -> None:
        self._settings = settings
        self.sockets: dict[int, Socket] = {}

    def has_place_for(self, peer: Peer) -> bool:
        """Whether one of the n + 1 sockets is free for it; else it cannot even be refused."""
        limit = self._settings.sockets_per_host
        its = sum(socket.peer.host == peer.host for socket in self.sockets.values())
        free = len(self.sockets) <= self._settings.max_testers
        return free and (limit is None or its < limit)

    def add(self, connection: int, peer: Peer, *, now: float) -> None:
        decoder = DoipDecoder(
            max_payload=self._settings.payload_limit,
            versions=self._settings.versions,
            has_room=self._has_room,
        )
        inactive_at = now + self._settings.initial_inactivity_s
        self.sockets[connection] = Socket(decoder=decoder, inactive_at=inactive_at, peer=peer)

    def registered(self) -> list[tuple[int, Socket]]:
        return [(at, its) for at, its in self.sockets.items() if its.tester is not None]

    def open_sockets(self) -> int:
        """As the entity status tells them; the one that is kept for refusals is no socket."""
        if self._settings.counts_fresh_sockets:
            return min(len(self.sockets), self._settings.max_testers)
        return len(self.registered())

    def routing_for(self, tester: int) -> tuple[int, Socket] | None:
        """The socket on which routing is active for a tester."""
        for connection, socket in self.sockets.items():
            if socket.tester == tester and socket.routes:
                return connection, socket
        return None

    def decide(
        self, connection: int, socket: Socket, request: RoutingActivationRequest
    ) -> ActivationCode | None:
        """The code that needs no alive check, `None` if one is needed."""
        rule = self._settings.activations.get(request.activation_type)
        if request.source_address not in self._settings.tester_addresses:
            return ActivationCode.UNKNOWN_SOURCE_ADDRESS
        if rule is None:
            return ActivationCode.UNSUPPORTED_TYPE
        if self._wants_tls(rule) and not socket.peer.secure:
            return ActivationCode.TLS_REQUIRED
        if socket.tester not in {None, request.source_address}:
            return ActivationCode.SOURCE_ADDRESS_DIFFERS
        if socket.tester is None and any(at != connection for at, _ in self.in_the_way(request)):
            return None
        return self.admit(socket, request)

    def in_the_way(self, request: RoutingActivationRequest) -> list[tuple[int, Socket]]:
        """Whoever uses the same address; else, with all places taken, everyone."""
        registered = self.registered()
        same = [(at, its) for at, its in registered if its.tester == request.source_address]
        if same or len(registered) < self._settings.max_testers:
            return same
        return registered

    def after_alive_checks(self, socket: Socket, request: RoutingActivationRequest) -> int | None:
        """The code once those in the way have answered or are gone; `None` until then."""
        in_the_way = [its for _, its in self.in_the_way(request)]
        if any(its.alive_until is not None for its in in_the_way):
            return None
        if any(its.tester == request.source_address for its in in_the_way):
            return ActivationCode.SOURCE_ADDRESS_ACTIVE_ELSEWHERE
        return ActivationCode.NO_FREE_SOCKET if in_the_way else self.admit(socket, request)

    def admit(self, socket: Socket, request: RoutingActivationRequest) -> ActivationCode:
        """The socket is the tester's; the code says whether it may route."""
        rule = self._settings.activations[request.activation_type]
        if not _is_authentic(socket, request, rule):
            return ActivationCode.AUTHENTICATION_MISSING
        match rule.confirmation:
            case Confirmation(granted, 0.0):
                return _AT_ONCE[granted]
            case Confirmation() if socket.granted != request.activation_type:
                return ActivationCode.CONFIRMATION_REQUIRED
            case _:
                return ActivationCode.SUCCESS

    def _wants_tls(self, rule: ActivationRule) -> bool:
        has_code = self._settings.edition >= DoipEdition.E2019
        return has_code and (self._settings.tls_only or rule.tls_only)

    def _has_room(self, length: int) -> bool:
        room = self._settings.receive_memory
        taken = sum(socket.decoder.reserved for socket in self.sockets.values())
        return room is None or taken + length <= room


def _is_authentic(socket: Socket, request: RoutingActivationRequest, rule: ActivationRule) -> bool:
    certified = socket.peer.addresses
    shown = not rule.certificate if certified is None else request.source_address in certified
    return shown and rule.key in {None, request.oem}
