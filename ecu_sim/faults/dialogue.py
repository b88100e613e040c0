"""Faults of messages: between an ECU's transports and its diagnostic server, on any wire."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Final, TypeAlias

from clock import Timer
from ecu_sim.faults import End, Given, Hits, Layer, Target
from ecu_sim.faults.readings import NRC, REQUESTS, TIME, Requests, whole
from protocols.uds import Nrc, ServiceId
from protocols.uds.enums import NEGATIVE_RESPONSE, POSITIVE_RESPONSE

_EACH: Final = Requests()


@dataclass(frozen=True, slots=True, kw_only=True)
class LateAnswer:
    """Answers are sent late, negative ones (and 78) too."""

    layer = Layer.SERVER
    by_s: Annotated[float, Given(TIME, "how late")]
    at: Annotated[Requests, Given(REQUESTS, "answers to these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """The request is served, and nothing is answered."""

    layer = Layer.SERVER
    at: Annotated[Requests, Given(REQUESTS, "answers to these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckBusy:
    """Requests are answered busyRepeatRequest (21), however often they are repeated."""

    layer = Layer.SERVER
    at: Annotated[Requests, Given(REQUESTS, "these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckPending:
    """Requests are answered responsePending (78) again and again; served as the fault ends."""

    layer = Layer.SERVER
    at: Annotated[Requests, Given(REQUESTS, "these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeAnswer:
    """Requests are refused with a negative response code of one's choice."""

    layer = Layer.SERVER
    code: Annotated[int, Given(NRC, "the code")]
    at: Annotated[Requests, Given(REQUESTS, "these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongKey:
    """Every key of 27 is wrong: 35, then 36 and 37 as the attempts are used up."""

    layer = Layer.SERVER


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAnswer:
    """One byte of each positive answer is inverted."""

    layer = Layer.SERVER
    byte: Annotated[
        int, Given(whole(0, 4095), "which, from 0; the last one of shorter answers")
    ] = 4095
    at: Annotated[Requests, Given(REQUESTS, "answers to these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortAnswer:
    """Positive answers end after some bytes."""

    layer = Layer.SERVER
    length: Annotated[int, Given(whole(1, 4095), "bytes that are left")]
    at: Annotated[Requests, Given(REQUESTS, "answers to these requests")] = _EACH


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The ECU resets instead of answering."""

    layer = Layer.SERVER
    at: Annotated[Requests, Given(REQUESTS, "at these requests")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLoss:
    """The supply is gone at once, in the middle of whatever was being written."""

    layer = Layer.SERVER
    at: Annotated[Requests, Given(REQUESTS, "at these requests")]
    off_s: Annotated[float, Given(TIME, "until it is back")] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """The ECU closes its testers' connections instead of answering (DoIP)."""

    layer = Layer.SERVER
    at: Annotated[Requests, Given(REQUESTS, "at these requests")]


DialogueFault: TypeAlias = (
    LateAnswer
    | NoAnswer
    | StuckBusy
    | StuckPending
    | NegativeAnswer
    | WrongKey
    | WrongAnswer
    | ShortAnswer
    | Reset
    | PowerLoss
    | Disconnect
)


@dataclass(eq=False, slots=True)
class _Armed:
    fault: DialogueFault
    hits: Hits
    seen: int = 0

    def meets(self, request: bytes) -> bool:
        if isinstance(self.fault, WrongKey):
            return request[:1] == _SECURITY_ACCESS and request[1:2] != b"" and not request[1] & 1
        at = self.fault.at
        if not request.startswith(at.start):
            return False
        self.seen += 1
        return at.number in (0, self.seen)


@dataclass(eq=False, slots=True)
class _Stuck:
    """A request that is answered 78 for as long as its fault lasts."""

    armed: _Armed
    serve: Callable[[], None]
    timer: Timer


@dataclass(slots=True)
class _Delayed:
    """Answers to one tester that are on their way to the transport."""

    #: None is done before this time of the loop.
    due: float = 0.0
    handles: list[asyncio.TimerHandle] = field(default_factory=list)


def _nobody_asks() -> None:
    """Nothing depends on it."""


class Dialogue:
    """Asked for every request before it is served, and for every answer before it is sent."""

    def __init__(self, target: Target, *, p2_s: float, p2_star_s: float) -> None:
        self._target = target
        self._p2_s, self._p2_star_s = p2_s, p2_star_s
        self._loop = asyncio.get_running_loop()
        self._armed: list[_Armed] = []
        #: (tester, service) -> what is done to the answers of the request under way.
        self._exchanges: dict[tuple[int, int], list[_Armed]] = {}
        self._stuck: list[_Stuck] = []
        self._delayed: dict[int, _Delayed] = {}
        self._when_idle: list[Callable[[], None]] = []
        #: Called with each request as it comes in, before anything is done to it.
        self.on_request: list[Callable[[bytes], None]] = []
        #: Called with each session that the ECU's server enters.
        self.on_session: list[Callable[[int], None]] = []

    def begin(self, fault: DialogueFault, hits: Hits) -> End:
        armed = _Armed(fault, hits)
        self._armed.append(armed)

        def end() -> None:
            if armed in self._armed:
                self._armed.remove(armed)
            for exchange in self._exchanges.values():
                if armed in exchange:
                    exchange.remove(armed)
            released = [one for one in self._stuck if one.armed is armed]
            self._stuck = [one for one in self._stuck if one.armed is not armed]
            for one in released:
                one.timer.cancel()
                one.serve()

        return end

    def request(
        self,
        message: bytes,
        *,
        source: int,
        serve: Callable[[bytes], None],
        send: Callable[[bytes], None],
    ) -> None:
        """A request has come in: `serve` gets it, changed perhaps, or `send` an answer."""
        for tell in tuple(self.on_request):
            tell(message)
        if not self._armed or not message:
            serve(message)
            return
        met = [armed for armed in tuple(self._armed) if armed.meets(message)]
        self._exchanges[source, message[0]] = [
            armed
            for armed in met
            if isinstance(armed.fault, LateAnswer | NoAnswer | WrongAnswer | ShortAnswer)
        ]
        for armed in met:
            match armed.fault:
                case WrongKey():
                    armed.hits.add()
                    message = (
                        message[:-1] + bytes((message[-1] ^ 0xFF,)) if message[2:] else message
                    )
                case StuckBusy():
                    self._refuse(armed, message, Nrc.BUSY_REPEAT_REQUEST, source, send)
                    return
                case NegativeAnswer(code=code):
                    self._refuse(armed, message, code, source, send)
                    return
                case StuckPending():
                    self._keep_pending(armed, message, source, serve, send)
                    return
                case Reset() | PowerLoss() | Disconnect():
                    armed.hits.add()
                    self._interrupt(armed.fault)
                    return
        serve(message)

    def answer(
        self,
        payload: bytes,
        *,
        source: int,
        send: Callable[[bytes], None],
        lost: Callable[[], None] = _nobody_asks,
    ) -> None:
        """The server answers: it goes to `send` now, later, changed, or not at all (`lost`)."""
        service = _service_of(payload)
        exchange = self._exchanges.get((source, service), [])
        delay_s = 0.0
        for armed in exchange:
            fault = armed.fault
            positive = payload[0] != NEGATIVE_RESPONSE
            match fault:
                case NoAnswer():
                    armed.hits.add()
                    lost()
                    return
                case LateAnswer(by_s=by_s):
                    armed.hits.add()
                    delay_s += by_s
                case WrongAnswer(byte=byte) if positive:
                    armed.hits.add()
                    at = min(byte, len(payload) - 1)
                    payload = payload[:at] + bytes((payload[at] ^ 0xFF,)) + payload[at + 1 :]
                case ShortAnswer(length=length) if positive:
                    armed.hits.add()
                    payload = payload[:length]
        self._send(payload, source, delay_s, send)

    def entered(self, session: int) -> None:
        """The ECU's server has entered a session."""
        for tell in tuple(self.on_session):
            tell(session)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call back once every answer that is late is with its transport."""
        if any(one.handles for one in self._delayed.values()):
            self._when_idle.append(callback)
        else:
            callback()

    def reset(self) -> None:
        """The ECU's program ends: what was volatile is gone, what has begun goes on."""
        for delayed in self._delayed.values():
            for handle in delayed.handles:
                handle.cancel()
        self._delayed.clear()
        self._when_idle.clear()
        for one in self._stuck:
            one.timer.cancel()
        self._stuck.clear()

    def _refuse(
        self,
        armed: _Armed,
        request: bytes,
        code: int,
        source: int,
        send: Callable[[bytes], None],
    ) -> None:
        armed.hits.add()
        self.answer(bytes((NEGATIVE_RESPONSE, request[0], code)), source=source, send=send)

    def _interrupt(self, fault: Reset | PowerLoss | Disconnect) -> None:
        match fault:
            case Reset():
                self._target.reset_by_fault()
            case PowerLoss(off_s=off_s):
                self._target.lose_power(off_s)
            case Disconnect():
                self._target.hang_up()

    def _keep_pending(
        self,
        armed: _Armed,
        message: bytes,
        source: int,
        serve: Callable[[bytes], None],
        send: Callable[[bytes], None],
    ) -> None:
        def pending() -> None:
            self._refuse(armed, message, Nrc.RESPONSE_PENDING, source, send)
            timer.set(self._loop.time() + self._p2_star_s * _MARGIN)

        timer = Timer(self._loop, pending)
        self._stuck.append(_Stuck(armed, partial(serve, message), timer))
        timer.set(self._loop.time() + self._p2_s * _MARGIN)

    def _send(
        self, payload: bytes, source: int, delay_s: float, send: Callable[[bytes], None]
    ) -> None:
        now = self._loop.time()
        delayed = self._delayed.get(source)
        due = max(now + delay_s, 0.0 if delayed is None else delayed.due)
        if due <= now:
            send(payload)
            return
        if delayed is None:
            delayed = self._delayed[source] = _Delayed()
        delayed.due = due

        def late() -> None:
            delayed.handles.pop(0)
            send(payload)
            if not any(one.handles for one in self._delayed.values()):
                waiting, self._when_idle = self._when_idle, []
                for callback in waiting:
                    callback()

        delayed.handles.append(self._loop.call_at(due, late))


#: 78 goes out after this share of P2 or P2*.
_MARGIN: Final = 0.8
_SECURITY_ACCESS: Final = bytes((ServiceId.SECURITY_ACCESS,))


def _service_of(answer: bytes) -> int:
    """The service that an answer is about."""
    if answer[0] == NEGATIVE_RESPONSE:
        return answer[1] if len(answer) > 1 else 0
    return answer[0] - POSITIVE_RESPONSE
