"""The way of an edge node to one ECU on CAN: ISO-TP as a tester, one queue, answers to who asked.

An ECU has one conversation at a time: while one tester's request is open, its own further requests
go straight on (the ECU itself says 21 if that is too much), and other testers' wait their turn.
What the ECU sends unasked (2A, 86) goes to who has asked for it (`ecu_sim.edge_subscriptions`).
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from clock import Timer
from ecu_sim.edge_subscriptions import Asker, Subscriptions, suppresses
from protocols.can import CanPort, FrameHeader
from protocols.doip.entity import Request
from protocols.doip.messages import DiagnosticNack
from protocols.isotp import (
    Endpoint,
    Event,
    IsoTpError,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    ReceptionStarted,
    SendFailed,
    Transmit,
)
from protocols.uds import ServiceId

_NEGATIVE: Final = 0x7F
_PENDING: Final = b"\x78"
_ANSWER: Final = 0x40
_PERIODIC: Final = ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER + _ANSWER
#: Services that an ECU answers unasked too -> what of a request its own answer repeats, as a mask.
_REPEATED: Final[dict[int, bytes]] = {
    ServiceId.READ_DTC_INFORMATION: b"\x7f",
    ServiceId.READ_DATA_BY_IDENTIFIER: b"\xff\xff",
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER: b"\xff\xff",
    ServiceId.ROUTINE_CONTROL: b"\x7f\xff\xff",
    ServiceId.RESPONSE_ON_EVENT: b"\x3f",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTuning:
    """What of a route may be chosen."""

    #: Requests that wait for the ECU, at most; one more is NACK 05.
    queue_length: int = 16
    #: What the wire and the edge node take beside the ECU's own P2, in seconds.
    margin_s: float = 0.1
    #: After a request the ECU is listened to for so long: a late answer goes to the tester that
    #: asked last. Longer, and another tester on the same identifiers is disturbed.
    linger_s: float = 5.0
    #: A periodic message (2A) that the ECU sends in a frame of its own, without service identifier
    #: (response type 2), is passed on as a response 6A (type 1); or as it stands in the frame.
    names_periodic: bool = True
    #: ECUs that are woken are waited for this long; then what is for them is lost.
    wake_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """What an edge node knows of one ECU."""

    ecu: str
    logical_address: int
    request: FrameHeader
    response: FrameHeader
    parameters: IsoTpParameters
    #: Longest request in bytes.
    max_request: int
    p2_s: float
    p2_star_s: float
    #: When the ECU leaves a session by itself.
    s3_s: float = 5.0
    #: Where its periodic messages have frames of their own; `None`: among its responses.
    periodic: FrameHeader | None = None
    tuning: RouteTuning = RouteTuning()


@dataclass(slots=True)
class _Open:
    """A request whose answer may still come."""

    asker: Asker
    request: bytes
    functional: bool
    until: float

    def is_answered_by(self, message: bytes) -> bool:
        service = self.request[0]
        if message[0] == _NEGATIVE:
            return message[1:2] == self.request[:1]
        mask = _REPEATED.get(service, b"")
        told = zip(mask, self.request[1:], message[1:], strict=False)
        return message[0] - _ANSWER == service and all(
            asked & bits == answered & bits for bits, asked, answered in told
        )


class EdgeRoute:
    """Made inside a running loop. `respond` takes an answer and whose it is."""

    def __init__(
        self,
        port: CanPort,
        settings: RouteSettings,
        *,
        is_there: Callable[[], bool],
        respond: Callable[[bytes, Asker], None],
        delivered: Callable[[Request, DiagnosticNack | None], None],
    ) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._is_there = is_there
        self._respond = respond
        self._delivered = delivered
        self._endpoint = Endpoint(settings.parameters)
        self._transport_timer = Timer(self._loop, self._transport_timeout)
        self._answer_timer = Timer(self._loop, self._answer_timeout)
        self._waiting: deque[Request] = deque()
        #: What is on its way to the wire.
        self._sending: tuple[Request, _Open] | None = None
        self._open: list[_Open] = []
        #: A message of several frames is coming in: nothing runs out meanwhile.
        self._receiving = False
        self._last_asker: Asker | None = None
        self._listen_until = -math.inf
        #: The ECU is being woken: what is queued waits for it.
        self._held = False
        self._unlisten: Callable[[], None] | None = None
        self._unlisten_periodic: Callable[[], None] | None = None
        self._subscriptions = Subscriptions(s3_s=settings.s3_s + settings.tuning.margin_s)

    @property
    def in_use(self) -> bool:
        """Something waits, is on its way, or was a short while ago."""
        busy = self._sending is not None or bool(self._open) or bool(self._waiting)
        return busy or self._listen_until > self._loop.time()

    def objection(self, request: bytes) -> DiagnosticNack | None:
        """Why a request cannot be queued now."""
        if len(request) > self.settings.max_request:
            return DiagnosticNack.MESSAGE_TOO_LARGE
        if len(request) > self.settings.parameters.max_message_length:
            return DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
        if len(self._waiting) >= self.settings.tuning.queue_length:
            return DiagnosticNack.OUT_OF_MEMORY
        return None if self._is_there() else DiagnosticNack.TARGET_UNREACHABLE

    def put(self, request: Request) -> None:
        """Queue a request that nothing stands against."""
        self._waiting.append(request)
        self._send_next()

    def hold(self) -> None:
        """Keep what is queued until `release`."""
        self._held = True

    def release(self) -> None:
        self._held = False
        self._send_next()

    def expect(self, asker: Asker, request: bytes, *, sent_by: float) -> None:
        """A functional request goes to this ECU too, and will be on the wire by `sent_by`."""
        until = sent_by + self.settings.p2_s + self.settings.tuning.margin_s
        self._open.append(_Open(asker, request, functional=True, until=until))
        self._subscriptions.active(now=self._loop.time())
        self._mind()

    def give_up(self) -> None:
        """The ECU has not woken: what waits for it is lost."""
        lost, self._waiting = self._waiting, deque()
        for request in lost:
            self._delivered(request, DiagnosticNack.TRANSPORT_PROTOCOL_ERROR)
        self.release()

    def restarted(self) -> None:
        """The ECU begins anew, or has ended."""
        self._subscriptions.restarted()
        self._mind()

    def forget(self, connection: int) -> None:
        """A tester is gone: nothing unasked is for it any more. Its requests still go out."""
        self._subscriptions.forget(connection)
        self._mind()

    def close(self) -> None:
        self._transport_timer.cancel()
        self._answer_timer.cancel()
        self._waiting.clear()
        self._open.clear()
        self._hush()
        self._hush_periodic()

    def _owner(self) -> int | None:
        return next((its.asker.tester for its in self._open if not its.functional), None)

    def _send_next(self) -> None:
        owner = self._owner()
        if self._sending is not None or self._held:
            return
        chosen = next((its for its in self._waiting if owner in {None, its.source}), None)
        if chosen is None:
            return
        self._waiting.remove(chosen)
        # How long the transport may take is the endpoint's to watch.
        asker = Asker(chosen.source, chosen.connection)
        opened = _Open(asker, chosen.payload, functional=False, until=math.inf)
        self._open.append(opened)
        self._sending, self._last_asker = (chosen, opened), asker
        self._mind()
        try:
            self._act(self._endpoint.send(chosen.payload, now=self._loop.time()))
        except IsoTpError:
            self._endpoint = Endpoint(self.settings.parameters)
            self._sent(failed=True)

    def _hear(self, _header: FrameHeader, data: bytes, now: float) -> None:
        self._act(self._endpoint.receive(data, now=now))

    def _hear_run(self, _header: FrameHeader, run: Sequence[bytes], times: Sequence[float]) -> None:
        self._act(self._endpoint.receive_run(run, now=times[-1]))

    def _hear_periodic(self, _header: FrameHeader, data: bytes, _now: float) -> None:
        """Response type 2: a frame without transport protocol, padded as its length needs."""
        asker = self._subscriptions.periodic(data)
        if asker is not None:
            named = self.settings.tuning.names_periodic
            self._respond(bytes([_PERIODIC]) * named + data, asker)

    def _transport_timeout(self) -> None:
        self._act(self._endpoint.handle_timeout(now=self._loop.time()))

    def _transmitted(self, endpoint: Endpoint, now: float) -> None:
        if endpoint is self._endpoint:
            self._act(endpoint.transmitted(now=now))

    def _act(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Transmit(frames):
                    sent = partial(self._transmitted, self._endpoint)
                    self._port.send(self.settings.request, frames, sent)
                case MessageSent():
                    self._sent(failed=False)
                case SendFailed():
                    self._sent(failed=True)
                case ReceptionStarted():
                    self._receiving = True
                case ReceptionFailed():
                    self._receiving = False
                case MessageReceived(message):
                    self._receiving = False
                    self._answered(message)
        self._transport_timer.set(self._endpoint.next_deadline())
        self._mind()

    def _sent(self, *, failed: bool) -> None:
        if self._sending is None:
            return
        (request, opened), self._sending = self._sending, None
        now, settings = self._loop.time(), self.settings
        self._delivered(request, DiagnosticNack.TRANSPORT_PROTOCOL_ERROR if failed else None)
        opened.until = now if failed else now + settings.p2_s + settings.tuning.margin_s
        if failed and opened in self._open:
            self._open.remove(opened)
        if not failed:
            self._listen_until = now + settings.tuning.linger_s
            self._subscriptions.active(now=now)
        self._send_next()

    def _answered(self, message: bytes) -> None:
        now = self._loop.time()
        found = self._whose(message)
        if found is None:
            self._unasked(message, now)
            return
        self._respond(message, found.asker)
        self._subscriptions.active(now=now)
        if message[0] == _NEGATIVE and message[2:3] == _PENDING:
            found.until = now + self.settings.p2_star_s + self.settings.tuning.margin_s
        elif found in self._open:
            # The ECU takes one after the other: what came before and was to be silent is accepted.
            at = self._open.index(found)
            self._consented([its for its in self._open[:at] if suppresses(its.request)])
            self._open.remove(found)
            if message[0] != _NEGATIVE:
                self._subscriptions.accepted(found.asker, found.request, now=now)
            self._send_next()

    def _unasked(self, message: bytes, now: float) -> None:
        """Periodic, an event, or an answer that is late."""
        if message[0] == _PERIODIC and len(message) > 1:
            asker = self._subscriptions.periodic(message[1:])
        else:
            asker = self._subscriptions.event(message)
            if asker is None and self._listen_until > now:
                asker = self._last_asker
        if asker is not None:
            self._respond(message, asker)

    def _whose(self, message: bytes) -> _Open | None:
        """The open request that a message answers: the oldest of its service, physical first."""
        if message[0] == _PERIODIC and len(message) > 1:
            return None
        answered = (its for its in self._open if its.is_answered_by(message))
        return next(iter(sorted(answered, key=lambda its: its.functional)), None)

    def _consented(self, silent: list[_Open]) -> None:
        """Requests that are over without an answer, as they were to be."""
        for its in silent:
            self._open.remove(its)
            self._subscriptions.accepted(its.asker, its.request, now=self._loop.time())

    def _answer_timeout(self) -> None:
        now = self._loop.time()
        self._subscriptions.expire(now=now)
        if not self._receiving:
            over = [its for its in self._open if its.until <= now]
            self._consented([its for its in over if suppresses(its.request)])
            self._open = [its for its in self._open if its.until > now]
            self._send_next()
        self._mind()

    def _mind(self) -> None:
        """Listen while an answer, or something unasked, may come; wake when that is over."""
        now = self._loop.time()
        periodic, subscriptions = self.settings.periodic, self._subscriptions
        unasked = subscriptions.has_events or (subscriptions.has_periodic and periodic is None)
        if self._open or self._sending is not None or self._listen_until > now or unasked:
            if self._unlisten is None:
                runs = self.settings.parameters.takes_runs
                self._unlisten = self._port.listen(
                    self._hear,
                    self.settings.response,
                    receive_run=self._hear_run if runs else None,
                )
        else:
            self._hush()
        if periodic is None or not subscriptions.has_periodic:
            self._hush_periodic()
        elif self._unlisten_periodic is None:
            self._unlisten_periodic = self._port.listen(self._hear_periodic, periodic)
        until = [its.until for its in self._open if math.isfinite(its.until)]
        if self._listen_until > now:
            until.append(self._listen_until)
        if (due := subscriptions.next_deadline()) is not None:
            until.append(due)
        # What runs out while a message comes in is looked at again when it is whole or lost.
        self._answer_timer.set(None if self._receiving else min(until, default=None))

    def _hush(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None

    def _hush_periodic(self) -> None:
        if self._unlisten_periodic is not None:
            self._unlisten_periodic()
            self._unlisten_periodic = None
