"""The UDS server of one ECU program (ISO 14229-1, -2), without I/O.

The general rules come from tables (`protocols.uds.rules`); the services are in `services/`; here
is what holds them together: sessions and their owner, S3, P2 and P2*, and one request at a time.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ecu_sim.diagnostics import (
    Device,
    EnterBootloader,
    Nrc,
    Refusal,
    Respond,
    Restart,
    SendUnsegmented,
    ServerEvent,
)
from ecu_sim.diagnostics.handling import Request, positive
from ecu_sim.diagnostics.identifiers import read_identifier
from ecu_sim.diagnostics.security import AttemptLimits, KeyScheme
from ecu_sim.diagnostics.services import serve
from ecu_sim.diagnostics.services.events import respond_to_events, restore_events
from ecu_sim.diagnostics.state import ServerState, ServerTiming
from ecu_sim.diagnostics.work import Answer, Run, Work
from protocols.uds import ResetType, ServiceId, Session
from protocols.uds.enums import NEGATIVE_RESPONSE
from protocols.uds.rules import (
    SILENT_IF_FUNCTIONAL,
    ServerRules,
    check,
    suppresses_positive,
)

#: 78 goes out after this share of P2 or P2*, early enough for the wire.
PENDING_MARGIN = 0.8
#: A loop that counts whole nanoseconds calls us at the one nearest to a deadline.
_RESOLUTION_S = 1e-9
#: Suppressed, so it never interrupts the tester that waits for its answer.
_KEEP_ALIVE = bytes([ServiceId.TESTER_PRESENT, 0x80])


@dataclass(slots=True, kw_only=True)
class _Pending:
    """The request that is being answered."""

    service_id: int
    source: int
    functional: bool
    suppress: bool
    work: Work
    run: Run | None = None
    #: When the next 78 is due.
    pending_due: float
    pending_sent: bool = False


class UdsServer:
    """Answers testers; `source` is a tester's address: one value per tester and connection.

    On CAN the functional and the physical requests of a wire come from one tester. After `Restart`
    or `EnterBootloader` the server is deaf: the ECU is being reset.

    Each `Respond` is followed by `sent` once it is on the wire, or cannot get there: S3 starts with
    the last bit of an answer. Messages of several frames are told by `reception_began`, and by
    `reception_failed` if they do not arrive.
    """

    def __init__(
        self,
        device: Device,
        rules: ServerRules,
        *,
        timing: ServerTiming,
        now: float,
        attempts: AttemptLimits | None = None,
        max_response: int = 4095,
        scheme: KeyScheme | None = None,
        stock_answer: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        self._rules = rules
        self._state = ServerState(
            device=device,
            rules=rules,
            timing=timing,
            attempts=attempts or AttemptLimits(),
            now=now,
            max_response=max_response,
            scheme=scheme,
            stock_answer=stock_answer,
        )
        restore_events(self._state, now=now)
        self._pending: _Pending | None = None
        self._s3_deadline: float | None = None
        #: The answer whose last bit starts S3, while it is on its way.
        self._answering: Respond | None = None
        #: The session's tester is sending a message of several frames.
        self._receiving = False
        self._ended = False

    @property
    def session(self) -> Session:
        return self._state.session

    def watch_sessions(self, watch: Callable[[Session], None]) -> None:
        """Call back with each session that is entered, by a request or by S3."""
        self._state.on_session = watch

    @property
    def busy(self) -> bool:
        """Whether a request is being answered that takes a job."""
        return self._pending is not None

    def resume_programming(self, *, source: int, now: float) -> list[ServerEvent]:
        """Go on where the application's 10 02 left: a boot loader's first answer is 50 02."""
        events: list[ServerEvent] = [
            Respond(self._state.enter(Session.PROGRAMMING, source=source), source)
        ]
        self._restart_s3(events, source, now)
        return events

    def receive(
        self, request: bytes, *, source: int, functional: bool, now: float
    ) -> list[ServerEvent]:
        """One whole request. Answers that take time come from `handle_timeout`."""
        events = self.handle_timeout(now=now)
        if not functional and source == self._state.owner:
            self._receiving = False
        if self._ended or not request:
            return events
        if self._pending is not None:
            return events + self._while_busy(request, source)
        foreign = self._state.owner not in {None, source}
        if foreign and self._is_exclusive(request[0]):
            return events + _negative(request[0], Nrc.BUSY_REPEAT_REQUEST, source)
        objection = check(
            self._rules,
            request,
            session=self._state.session,
            unlocked=self._state.unlocked_for(source),
            functional=functional,
        )
        if objection is not None:
            answers = self._refuse(request[0], objection, source, functional=functional)
        else:
            answers = self._serve(request, source, functional=functional, now=now)
        if self._pending is None:
            self._restart_s3(answers, source, now)
        return events + answers + self._state.take_afterwards()

    def reception_began(self, *, source: int) -> None:
        """The first of several frames of a request has come: S3 stops (ISO 14229-2)."""
        if source == self._state.owner:
            self._receiving = True
            self._s3_deadline = None

    def reception_failed(self, *, source: int, now: float) -> None:
        """The rest of it did not come: S3 starts anew."""
        if source == self._state.owner and self._receiving:
            self._receiving = False
            if self._pending is None and self._answering is None:
                self._s3_deadline = now + self._state.timing.s3_s

    def sent(self, answer: Respond, *, now: float) -> None:
        """The answer's last bit is on the wire, or it has been given up."""
        if answer is not self._answering:
            return
        self._answering = None
        if not self._receiving:
            self._s3_deadline = now + self._state.timing.s3_s

    def next_deadline(self) -> float | None:
        return min((due for due, _ in self._deadlines()), default=None)

    def handle_timeout(self, *, now: float) -> list[ServerEvent]:
        """Everything due by now, each at its own time and in that order."""
        events: list[ServerEvent] = []
        while deadlines := [due for due in self._deadlines() if due[0] <= now + _RESOLUTION_S]:
            at, act = min(deadlines, key=lambda due: due[0])
            events += act(at)
            events += self._state.take_afterwards()
        return events

    def _deadlines(self) -> list[tuple[float, Callable[[float], list[ServerEvent]]]]:
        """What is to happen when; of two at one time the earlier in this list comes first."""
        if self._ended:
            return []
        deadlines: list[tuple[float, Callable[[float], list[ServerEvent]]]] = []
        download, pending = self._state.download, self._pending
        if download is not None and (due := download.next_deadline()) is not None:
            deadlines.append((due, self._advance_download))
        if pending is not None:
            if pending.run is not None:
                deadlines.append((pending.run.due, self._advance_pending))
            deadlines.append((pending.pending_due, self._respond_pending))
        if (due := self._state.routines.next_deadline()) is not None:
            deadlines.append((due, self._advance_routines))
        if self._s3_deadline is not None:
            deadlines.append((self._s3_deadline, self._expire_session))
        if (due := self._state.schedule.next_deadline()) is not None:
            deadlines.append((due, self._send_periodic))
        events = self._state.events.next_deadline(self._state.session)
        if events is not None and pending is None:
            deadlines.append((events, partial(respond_to_events, self._state)))
        return deadlines

    # One request at a time

    def _is_exclusive(self, service_id: int) -> bool:
        rule = self._rules.services.get(service_id)
        return rule is not None and not rule.shared

    def _while_busy(self, request: bytes, source: int) -> list[ServerEvent]:
        """A request while another is being answered: only keep-alives pass, unanswered."""
        if request == _KEEP_ALIVE:
            return []
        return _negative(request[0], Nrc.BUSY_REPEAT_REQUEST, source)

    def _serve(
        self, request: bytes, source: int, *, functional: bool, now: float
    ) -> list[ServerEvent]:
        try:
            outcome = serve(self._state, Request(request, source, functional, now))
        except Refusal as refusal:
            return self._refuse(request[0], refusal.nrc, source, functional=functional)
        suppress = suppresses_positive(self._rules, request)
        if isinstance(outcome, Answer):
            return self._answer(outcome, source, suppress=suppress)
        if source == self._state.owner:
            self._s3_deadline = self._answering = None
        self._pending = _Pending(
            service_id=request[0],
            source=source,
            functional=functional,
            suppress=suppress,
            work=outcome,
            pending_due=now + self._state.timing.p2_s * PENDING_MARGIN,
        )
        return self._advance_pending(now)

    def _advance_download(self, now: float) -> list[ServerEvent]:
        download = self._state.download
        if download is not None:
            download.advance(now=now)
        return self._advance_pending(now)

    def _advance_pending(self, now: float) -> list[ServerEvent]:
        pending = self._pending
        if pending is None or (pending.run is None and pending.work.waits()):
            return []
        try:
            if pending.run is None:
                pending.run = Run(pending.work.start(now), now=now)
            else:
                pending.run.advance(now=now)
            if pending.run.result is None:
                return []
            answer = pending.work.finish(pending.run.result)
        except Refusal as refusal:
            events = self._refuse(
                pending.service_id,
                refusal.nrc,
                pending.source,
                functional=pending.functional and not pending.pending_sent,
            )
        else:
            suppress = pending.suppress and not pending.pending_sent
            events = self._answer(answer, pending.source, suppress=suppress)
        self._pending = None
        self._state.events.catch_up(now)
        self._restart_s3(events, pending.source, now)
        return events

    def _respond_pending(self, now: float) -> list[ServerEvent]:
        pending = self._pending
        if pending is None:
            return []
        pending.pending_sent = True
        pending.pending_due = now + self._state.timing.p2_star_s * PENDING_MARGIN
        return _negative(pending.service_id, Nrc.RESPONSE_PENDING, pending.source)

    def _advance_routines(self, now: float) -> list[ServerEvent]:
        self._state.routines.advance(now)
        return []

    def _send_periodic(self, now: float) -> list[ServerEvent]:
        """2A: what is due. A record that cannot be read now is left out this time."""
        periodic = self._rules.data.periodic
        events: list[ServerEvent] = []
        for did, source in self._state.schedule.take_due(now):
            with suppress(Refusal):
                record = read_identifier(self._state, did, source=source)
                message = bytes([did & 0xFF]) + record
                if periodic is not None and periodic.unsegmented:
                    events.append(SendUnsegmented(message, source))
                else:
                    service = ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER
                    events.append(Respond(positive(service, message), source))
        return events

    def _answer(self, answer: Answer, source: int, *, suppress: bool) -> list[ServerEvent]:
        if any(isinstance(event, Restart | EnterBootloader) for event in answer.then):
            self._ended = True
        if suppress or answer.payload is None:
            return list(answer.then)
        return [Respond(answer.payload, source), *answer.then]

    def _refuse(
        self, service_id: int, nrc: Nrc, source: int, *, functional: bool
    ) -> list[ServerEvent]:
        if functional and nrc in SILENT_IF_FUNCTIONAL:
            return []
        return _negative(service_id, nrc, source)

    # Sessions in time

    def _restart_s3(self, answers: list[ServerEvent], source: int, now: float) -> None:
        """A request has been served: S3 starts when the answer is out, or here if none is given."""
        if self._state.session == Session.DEFAULT:
            self._s3_deadline = self._answering = None
            self._receiving = False
        elif source == self._state.owner:
            told = [event for event in answers if isinstance(event, Respond)]
            self._answering = told[-1] if told else None
            waits = self._answering is not None or self._receiving
            self._s3_deadline = None if waits else now + self._state.timing.s3_s

    def _expire_session(self, now: float) -> list[ServerEvent]:  # noqa: ARG002 a deadline's act takes its time
        """S3: the tester went away."""
        self._s3_deadline = None
        left = self._state.session
        self._state.leave()
        if not (self._rules.default_restarts and left == Session.PROGRAMMING):
            return []
        self._ended = True
        return [Restart(ResetType.SOFT)]


def _negative(service_id: int, nrc: Nrc, source: int) -> list[ServerEvent]:
    return [Respond(bytes([NEGATIVE_RESPONSE, service_id, nrc]), source)]
