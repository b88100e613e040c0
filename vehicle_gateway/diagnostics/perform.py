"""Carries out what a diagnostic job asks of ECUs, and leaves them as they were found."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from protocols.preconditions import Expression
from protocols.uds import (
    MalformedResponseError,
    OutputControl,
    RoutineControl,
    ServiceId,
    Session,
    requests,
    responses,
)
from protocols.uds.routine_status import RoutineState
from vehicle_gateway.diagnostics.orders import ClearDtcs, Exchange, JobEnd, OutputHold, Routine
from vehicle_gateway.diagnostics.state import VehicleState, unmet
from vehicle_gateway.wires import NoAnswerError, WireError
from vehicle_gateway.wires.tester import NegativeResponseError
from vehicle_gateway.wires.testers import Testers

#: Conditions are looked at, and a routine's results asked for, so often, in seconds.
_LOOK_S: Final = 0.5
#: S3client: well inside an ECU's 5 s.
_KEEP_ALIVE_S: Final = 2.0
#: Exchanges that are kept of the begin of a job, and as many of its end.
_KEPT: Final = 100


class JobEndError(Exception):
    """The job ends here, otherwise than it was asked for."""

    def __init__(self, end: JobEnd, detail: str) -> None:
        super().__init__(detail)
        self.end = end
        self.detail = detail


class Dialogue:
    """The requests and answers of one job, noted as they come; the middle of many is left out."""

    def __init__(self, testers: Testers, now_s: Callable[[], float]) -> None:
        self._testers = testers
        self._now_s = now_s
        self._start_s = now_s()
        self._first: list[Exchange] = []
        self._last: list[Exchange] = []

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        return (*self._first, *self._last)

    async def ask(self, ecu: str, request: bytes, *, again: bool = True) -> bytes:
        """The positive answer; `again`: it may be asked for again if it got lost.

        Raises `WireError`.
        """
        asked_s = self._now_s()
        try:
            tester = self._testers.tester(ecu)
            response = await (tester.insist(request) if again else tester.request(request))
        except NegativeResponseError as error:
            refusal = bytes((0x7F, error.service, error.code))
            self._note(ecu, request, refusal, asked_s, str(error))
            raise
        except WireError as error:
            self._note(ecu, request, b"", asked_s, str(error))
            raise
        self._note(ecu, request, response, asked_s, "")
        return response

    async def keep_alive(self, ecu: str) -> None:
        await self._testers.tester(ecu).tell(requests.tester_present())

    def _note(self, ecu: str, request: bytes, response: bytes, at_s: float, text: str) -> None:
        one = Exchange(
            ecu=ecu,
            request=request,
            response=response,
            offset_s=round(at_s - self._start_s, 6),
            text=text,
        )
        if len(self._first) < _KEPT:
            self._first.append(one)
        else:
            self._last = [*self._last[1 - _KEPT :], one]


class Watch:
    """The condition under which a job goes on; the wires that tell of it are kept awake."""

    def __init__(
        self, state: VehicleState, condition: Expression, wake: Callable[[], None]
    ) -> None:
        self._state = state
        self._condition = condition
        self._wake = wake

    def look(self) -> None:
        """`JobEndError` if it is not met any more."""
        self._wake()
        evaluation = self._state.evaluate(self._condition)
        if not evaluation.met:
            raise JobEndError(JobEnd.ABORTED, f"broken off: {unmet(evaluation)}")


async def run_routine(action: Routine, dialogue: Dialogue, watch: Watch) -> str:
    """Start it (31 01), follow it if it runs on (31 03), stop it (31 02) where it has to end.

    Returns its result in words. Raises `JobEndError` and `WireError`.
    """
    ecu, rid = action.ecu, action.routine_identifier
    async with _extended_session(dialogue, ecu):
        try:
            answer = await dialogue.ask(
                ecu, requests.start_routine(rid, action.option_record), again=False
            )
        except NoAnswerError as error:
            await _stop(dialogue, ecu, rid)
            raise JobEndError(JobEnd.UNKNOWN, f"{error}; it is not repeated") from error
        record = responses.decode_routine(answer, rid)
        if action.run_s and record[:1] == bytes([RoutineState.RUNNING]):
            try:
                record = await _follow(action, dialogue, watch)
            except (JobEndError, WireError, MalformedResponseError, asyncio.CancelledError):
                await _stop(dialogue, ecu, rid)
                raise
    return _said(rid, record)


async def hold_output(action: OutputHold, dialogue: Dialogue, watch: Watch) -> str:
    """Adjust an output (2F 03) for a time, and give it back (2F 00) whatever happens.

    Returns what was held, in words. Raises `JobEndError` and `WireError`.
    """
    ecu, did = action.ecu, action.data_identifier
    control = requests.control_output(
        did,
        OutputControl.SHORT_TERM_ADJUSTMENT,
        state=action.control_state,
        mask=action.control_mask,
    )
    async with _extended_session(dialogue, ecu):
        lost = ""
        try:
            try:
                await dialogue.ask(ecu, control, again=False)
            except NoAnswerError as error:
                lost = str(error)
            else:
                await _hold(action, dialogue, watch)
        finally:
            await give_back(dialogue, ecu, did, action.control_mask)
    if lost:
        raise JobEndError(JobEnd.UNKNOWN, f"{lost}; the output was given back at once")
    state = action.control_state.hex(" ").upper()
    return f"{did:04X} was held at {state} for {action.hold_s:g} s and given back"


async def clear(action: ClearDtcs, dialogue: Dialogue, ecus: tuple[str, ...]) -> str:
    """14 on each ECU. Returns what was cleared; `JobEndError` names those that did not."""
    failed = []
    for ecu in ecus:
        try:
            await dialogue.ask(ecu, requests.clear_dtcs(action.group))
        except WireError as error:
            failed.append(str(error))
    if failed:
        raise JobEndError(JobEnd.FAILED, "; ".join(failed))
    what = "all trouble codes" if action.group == requests.ALL_DTCS else f"group {action.group:06X}"
    return f"{what} cleared: {', '.join(ecus)}"


async def give_back(dialogue: Dialogue, ecu: str, did: int, mask: bytes = b"") -> None:
    """Return an output to its ECU: by 2F 00, else by the end of the session. `WireError`."""
    request = requests.control_output(did, OutputControl.RETURN_TO_ECU, mask=mask)
    try:
        await dialogue.ask(ecu, request)
    except NegativeResponseError:
        # Not in this session, say: the ECU has it back with its default session.
        await dialogue.ask(ecu, requests.session_control(Session.DEFAULT))


async def restore(dialogue: Dialogue, ecu: str, *, output: int | None, routine: int | None) -> None:
    """Bring an ECU back where a gateway was cut off within a job. Raises `WireError`."""
    await dialogue.ask(ecu, requests.session_control(Session.EXTENDED))
    if output is not None:
        await give_back(dialogue, ecu, output)
    if routine is not None:
        await _stop(dialogue, ecu, routine)
    await dialogue.ask(ecu, requests.session_control(Session.DEFAULT))


@asynccontextmanager
async def _extended_session(dialogue: Dialogue, ecu: str) -> AsyncIterator[None]:
    """10 03, and 10 01 however it ends; an ECU that is gone ends the session by itself (S3)."""
    await dialogue.ask(ecu, requests.session_control(Session.EXTENDED))
    try:
        yield
    except BaseException:
        with suppress(WireError):  # noted in the dialogue; what came before it is what is told
            await dialogue.ask(ecu, requests.session_control(Session.DEFAULT))
        raise
    await dialogue.ask(ecu, requests.session_control(Session.DEFAULT))


async def _follow(action: Routine, dialogue: Dialogue, watch: Watch) -> bytes:
    ecu, rid = action.ecu, action.routine_identifier
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + action.run_s
    while True:
        await asyncio.sleep(_LOOK_S)
        watch.look()
        answer = await dialogue.ask(ecu, _control(RoutineControl.REQUEST_RESULTS, rid))
        record = _record(answer, RoutineControl.REQUEST_RESULTS, rid)
        if record[:1] != bytes([RoutineState.RUNNING]):
            return record
        if loop.time() >= ends_s:
            raise JobEndError(JobEnd.ABORTED, f"it still ran after {action.run_s:g} s: stopped")


async def _hold(action: OutputHold, dialogue: Dialogue, watch: Watch) -> None:
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + action.hold_s
    told_s = loop.time()
    while (now_s := loop.time()) < ends_s:
        watch.look()
        if now_s - told_s >= _KEEP_ALIVE_S:
            await dialogue.keep_alive(action.ecu)
            told_s = now_s
        await asyncio.sleep(min(_LOOK_S, ends_s - now_s))


async def _stop(dialogue: Dialogue, ecu: str, rid: int) -> None:
    with suppress(WireError):  # it does not run, or cannot be stopped: the session's end ends it
        await dialogue.ask(ecu, _control(RoutineControl.STOP, rid))


def _control(control: RoutineControl, rid: int) -> bytes:
    return bytes([ServiceId.ROUTINE_CONTROL, control]) + rid.to_bytes(2)


def _record(answer: bytes, control: RoutineControl, rid: int) -> bytes:
    head = bytes([ServiceId.ROUTINE_CONTROL + 0x40, control]) + rid.to_bytes(2)
    if not answer.startswith(head):
        raise MalformedResponseError(f"71: expected {head.hex(' ')}, got {answer[:16].hex(' ')}")
    return answer[len(head) :]


def _said(rid: int, record: bytes) -> str:
    """A status record in words; `JobEndError` if it says that the routine failed."""
    shown = record.hex(" ").upper() or "no status record"
    if not record or record[0] == RoutineState.FINISHED:
        return f"routine {rid:04X} finished: {shown}"
    if record[0] == RoutineState.ABORTED:
        raise JobEndError(JobEnd.ABORTED, f"the ECU ended routine {rid:04X} itself: {shown}")
    raise JobEndError(JobEnd.FAILED, f"routine {rid:04X} says status {record[0]:02X}: {shown}")
