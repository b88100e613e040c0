"""Carries one phase of a sequence out on one ECU."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final

from protocols.uds import RoutineControl, ServiceId, Session, requests, responses
from protocols.uds.data_formats import DataFormat
from protocols.uds.enums import SUPPRESS_POSITIVE_RESPONSE
from vehicle_gateway.flashing.encoding import Encoded, encoded, plain
from vehicle_gateway.flashing.load import Load, Part, Values
from vehicle_gateway.flashing.sequence import (
    PROGRAM,
    Check,
    Condition,
    Download,
    EachBlock,
    EnterSession,
    Erase,
    Phase,
    ReadData,
    Request,
    Require,
    Reset,
    Routine,
    RunRoutine,
    Status,
    Step,
    Stop,
    Unlock,
    Wait,
    Whom,
    WriteData,
)
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.template import EMPTY, Template, TemplateError
from vehicle_gateway.flashing.tester_present import session_kept_open
from vehicle_gateway.flashing.transfer import Download as Transfer
from vehicle_gateway.flashing.transfer import Plan
from vehicle_gateway.update import Progress, ProgressSink, TransferFigures, UpdateError
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.tester import FunctionalTester, NegativeResponseError

#: Phase -> the step in which its ECU is waited for.
_WAITING: Final = {
    "stage": "staging",
    "program": "programming",
    "activate": "activating",
    "self_test": "self-test",
    "confirm": "confirming",
    "revert": "reverting",
}
#: A routine that runs on is given up after so many seconds.
_RUNNING_S: Final = 600.0

#: Longest 36 to reckon with until the ECU has said its own: the most that most take on CAN.
_USUAL_BLOCK: Final = 4095

#: Told which step begins to ask something; returns at once and never raises.
StepSink = Callable[[Step], None]


class RoutineFailedError(UpdateError):
    """A routine that erases or checks ran to its end, and its status says that it failed."""


@dataclass(slots=True)
class _Underway:
    """Where a phase is."""

    part: Part | None
    #: Bytes of that part that are there already.
    offset: int
    #: Bytes of the parts before it.
    before: int = 0


@dataclass(slots=True)
class _Account:
    transfer_s: float = 0.0
    bound_s: float = 0.0
    #: Loop time at which the ECU stopped doing its work, and the seconds until it did again.
    out_since_s: float | None = None
    out_of_use_s: float = 0.0
    identified: dict[str, str] = field(default_factory=dict)


class Performance:
    """One phase on one ECU; `run` raises `UpdateError` and nothing else."""

    def __init__(
        self,
        site: Site,
        load: Load,
        *,
        progress: ProgressSink,
        on_step: StepSink = lambda _step: None,
        offset: int = 0,
    ) -> None:
        """The first `offset` bytes of the only part are in the ECU already."""
        self._site = site
        self._sequence = site.sequence
        self._load = load
        self._progress = progress
        self._on_step = on_step
        self._offset = offset
        self._dialogue = site.dialogue()
        self._everyone: FunctionalTester | None = None
        #: What went to all, so that one that missed it can be told again.
        self._session_of_all = Session.DEFAULT.value
        self._planning: tuple[Transfer, asyncio.Task[Plan]] | None = None
        self._account = _Account()
        self._phase_name = ""

    @property
    def identified(self) -> dict[str, str]:
        """What the phase has read, by name."""
        return self._account.identified

    async def run(self, name: str) -> TransferFigures:
        """All steps of the phase, then its `finally` whatever became of them."""
        phase = self._sequence.phase(name)
        if not phase.steps:
            return TransferFigures()
        self._phase_name = name
        await self._dialogue.wait_for(_WAITING[name])
        async with self._session_kept_open(phase):
            try:
                await self._attempt(phase)
            except BaseException:
                # What went wrong first is what has to be told.
                with suppress(UpdateError):
                    await self._end(phase)
                raise
            await self._end(phase)
        account = self._account
        return TransferFigures(
            transfer_s=account.transfer_s,
            bound_s=account.bound_s,
            out_of_use_s=account.out_of_use_s,
        )

    @asynccontextmanager
    async def _session_kept_open(self, phase: Phase) -> AsyncIterator[None]:
        tell = {Whom.ALL: self._tell_all, Whom.ECU: self._dialogue.tester.tell}
        if phase.tester_present is None:
            yield
            return
        period_s = self._sequence.patience.tester_present_s
        try:
            async with session_kept_open(tell[phase.tester_present], period_s=period_s):
                yield
        except WireError as error:
            raise self._failed("keeping the session open", str(error)) from error

    async def _tell_all(self, request: bytes) -> None:
        await self._functional().tell(request)

    async def _attempt(self, phase: Phase) -> None:
        parts = self._load.parts
        whole = _Underway(parts[0] if len(parts) == 1 else None, self._offset)
        try:
            await self._steps(phase.steps, whole)
        except RoutineFailedError:
            if not self._offset:
                raise
            # What was there from before the interruption is not what it was taken for.
            await self._steps(phase.steps, replace(whole, offset=0))
        finally:
            if self._planning is not None:
                self._planning[1].cancel()

    async def _end(self, phase: Phase) -> None:
        """Every step, whatever becomes of each: an ECU left silent would be worse than an error."""
        failed: UpdateError | None = None
        for step in phase.finally_:
            try:
                await self._step(step, _Underway(None, 0))
            except UpdateError as error:
                failed = error
        if failed is not None:
            raise failed

    async def _steps(self, steps: Sequence[Step], at: _Underway) -> bool:
        """Whether the phase goes on."""
        for step in steps:
            if not await self._step(step, at):
                return False
        return True

    async def _step(self, step: Step, at: _Underway) -> bool:
        match step.action:
            case Stop(condition, wanted):
                return await self._holds(condition) is not wanted
            case Require(condition, text):
                if not await self._holds(condition):
                    raise self._failed(step.name, text)
            case EachBlock(steps):
                return await self._each_block(steps, at)
            case action:
                self._on_step(step)
                try:
                    await self._act(step, action, at)
                except TemplateError as error:
                    raise self._failed(step.name, str(error)) from error
        return True

    async def _each_block(self, steps: Sequence[Step], at: _Underway) -> bool:
        before = 0
        for part in self._load.parts:
            offset = at.offset if part is at.part else 0
            if not await self._steps(steps, _Underway(part, offset, before)):
                return False
            before += len(part.data)
        return True

    async def _act(self, step: Step, action: object, at: _Underway) -> None:
        match action:
            case EnterSession(session):
                await self._enter(step, session)
            case Unlock(level):
                level = self._site.ecu.security_level if level is None else level
                await self._dialogue.unlock(step.name, level)
            case RunRoutine(routine, option):
                await self._routine(step, routine, self._filled(option, at))
            case Erase(routine, option):
                await self._erase(step, routine, option, at)
            case Check(routine, option):
                self._note(step.name, done=at.before + _size(at))
                await self._routine(step, routine, self._filled(option, at), critical=True)
            case WriteData(did, record):
                await self._ask(step, requests.write_data(did, self._filled(record, at)))
            case ReadData(name):
                await self._identify(step, name)
            case Request(request, answer):
                await self._request(step, self._filled(request, at), self._filled(answer, at))
            case Download(loader=True):
                for part in self._load.loader:
                    await self._download(step, _Underway(part, 0))
            case Download():
                await self._download(step, at)
            case Reset(kind):
                await self._reset(step, kind)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case _:
                raise AssertionError(f"{action!r} is decided by _step")

    def _filled(self, template: Template, at: _Underway) -> bytes:
        if template is EMPTY:
            return b""
        loop_time = asyncio.get_running_loop().time()
        return template.fill(
            Values(
                sequence=self._sequence,
                load=self._load,
                today=self._site.start_date + timedelta(seconds=loop_time),
                part=at.part,
                offset=at.offset,
            )
        )

    # Asking

    async def _ask(self, step: Step, request: bytes) -> dict[str, bytes]:
        """Positive answers by ECU: of the one that is programmed, or of all that said something."""
        if step.to is Whom.ALL:
            return await self._ask_all(step, request)
        if step.quiet:
            await self._tell(step, request)
            return {}
        try:
            return {self._site.ecu.name: await self._dialogue.ask(step.name, request)}
        except UpdateError as error:
            refusal = error.__cause__
            if isinstance(refusal, NegativeResponseError) and refusal.code in step.accept:
                return {}
            raise

    async def _tell(self, step: Step, request: bytes) -> None:
        try:
            await self._dialogue.tester.tell(request)
        except WireError as error:
            raise self._failed(step.name, str(error)) from error

    async def _ask_all(self, step: Step, request: bytes) -> dict[str, bytes]:
        """Whoever refuses stops it: a wire half silent is not safe to program."""
        agreed: dict[str, bytes] = {}
        try:
            answers = await self._functional().request(request)
        except WireError as error:
            raise self._failed(step.name, str(error)) from error
        for ecu, answer in answers.items():
            if not isinstance(answer, NegativeResponseError):
                agreed[ecu] = answer
            elif answer.code not in step.accept:
                cause = str(answer).removeprefix(f"{ecu}: ")
                raise UpdateError(ecu=ecu, step=step.name, cause=cause) from answer
        own = self._site.ecu.name
        if (
            step.must_answer is not None
            and own not in answers
            and await self._holds(step.must_answer)
        ):
            # It did not hear this, or not the session before it.
            await self._dialogue.ask(step.name, _session_control(self._session_of_all))
            agreed[own] = await self._dialogue.ask(step.name, request)
        return agreed

    def _functional(self) -> FunctionalTester:
        if self._everyone is None:
            self._everyone = self._site.functional()
        return self._everyone

    async def _enter(self, step: Step, session: int) -> None:
        if step.to is Whom.ALL:
            self._session_of_all = session
        elif session == Session.PROGRAMMING and self._phase_name == PROGRAM:
            self._out_of_use()
        answers = await self._ask(step, _session_control(session, quiet=step.quiet))
        if (answer := answers.get(self._site.ecu.name)) is not None:
            self._dialogue.take_timing(answer)

    async def _request(self, step: Step, request: bytes, expected: bytes) -> None:
        if not request:
            raise self._failed(step.name, "an empty request")
        for ecu, answer in (await self._ask(step, request)).items():
            if not answer.startswith(expected):
                cause = f"answered {answer[:16].hex(' ')}, not {expected.hex(' ')}"
                raise UpdateError(ecu=ecu, step=step.name, cause=cause)

    async def _identify(self, step: Step, name: str) -> None:
        did = self._sequence.identification[name]
        if name == "serial_number":
            self.identified[name] = await self._dialogue.serial()
        elif step.accept:
            self.identified[name] = await self._dialogue.read_if_known(step.name, did)
        else:
            self.identified[name] = await self._dialogue.read_text(step.name, did)

    async def _holds(self, condition: Condition) -> bool:
        match condition:
            case Condition.APPLICATION_RUNS:
                return await self._site.application_runs(self._dialogue)
            case Condition.NEW_IMAGE_RUNS:
                wanted = self._load.new_sha256
            case Condition.OLD_IMAGE_RUNS:
                wanted = self._load.old_sha256
        return await self._site.runs(self._dialogue, wanted, self._load.nonce)

    # Routines

    async def _routine(
        self, step: Step, routine: Routine, option: bytes, *, critical: bool = False
    ) -> None:
        rid = routine.number(self._site.routines)
        request = requests.start_routine(rid, option, suppress=step.quiet)
        for ecu, answer in (await self._ask(step, request)).items():
            status = self._dialogue.decoded(step.name, responses.decode_routine, answer, rid)
            if ecu == self._site.ecu.name and status[:1] and status[0] in routine.running:
                status = await self._result(step, routine, rid)
            if (cause := _complaint(routine, rid, status)) is not None:
                kind = RoutineFailedError if critical else UpdateError
                raise kind(ecu=ecu, step=step.name, cause=cause)

    async def _result(self, step: Step, routine: Routine, rid: int) -> bytes:
        """31 03 until the routine has come to its end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _RUNNING_S
        request = bytes([ServiceId.ROUTINE_CONTROL, RoutineControl.REQUEST_RESULTS])
        request += rid.to_bytes(2)
        while loop.time() < deadline:
            await asyncio.sleep(routine.poll_s)
            status = (await self._dialogue.ask(step.name, request))[4:]
            if not status or status[0] not in routine.running:
                return status
        raise self._failed(step.name, f"routine {rid:04X} still runs after {_RUNNING_S:g} s")

    async def _erase(self, step: Step, routine: Routine, option: Template, at: _Underway) -> None:
        if at.part is not None:
            size = len(at.part.data) - at.offset
            sectors = -(-size // self._site.ecu.sector_size)
            self._note(step.name, done=at.before, remaining_s=sectors * self._site.ecu.erase_s)
            if self._sequence.memory.encode and self._site.cipher is not None:
                await self._dialogue.serial()  # known before the ECU has its hands full
            # The ECU erases for seconds: time enough to slice the image and compute the bound.
            transfer = self._transfer("transferring", at.part, at)
            planning = asyncio.create_task(
                transfer.plan(self._site.ecu.max_block_length or _USUAL_BLOCK)
            )
            self._planning = (transfer, planning)
        await self._routine(step, routine, self._filled(option, at), critical=True)
        if self._planning is not None:
            await self._planning[1]

    # Downloads

    async def _loader_as_it_is(self, data: bytes) -> Sequence[Encoded]:
        """A loader comes before anything that could decode it otherwise."""
        return [plain(data, identifier=self._load.loader_format)]

    async def _encodings(self, data: bytes) -> Sequence[Encoded]:
        """The ways in which the ECU takes this data."""
        memory, offered = self._sequence.memory, self._site.ecu.data_formats
        if not memory.encode or not offered:
            return [plain(data, identifier=memory.data_format)]
        cipher = self._site.cipher
        serial = "" if cipher is None else await self._dialogue.serial()
        try:
            formats = {identifier: DataFormat.parse(name) for identifier, name in offered.items()}
        except ValueError as error:
            raise self._failed("planning the download", str(error)) from error
        work = partial(encoded, data, formats, cipher=cipher, serial=serial)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def _transfer(self, name: str, part: Part, at: _Underway) -> Transfer:
        whole = self._load.size

        def note(progress: Progress) -> None:
            if part in self._load.loader:
                self._progress(progress)
                return
            rest = progress.bytes_total - progress.bytes_done
            left = whole - at.before - progress.bytes_done
            scale = left / rest if rest else 1.0
            self._progress(
                replace(
                    progress,
                    bytes_done=at.before + progress.bytes_done,
                    bytes_total=whole,
                    remaining_s=progress.remaining_s * scale,
                    verified=progress.verified if len(self._load.parts) == 1 else 0,
                )
            )

        return Transfer(
            self._dialogue,
            part.data,
            address=part.address,
            offset=at.offset,
            wire=self._site.wire_time(),
            progress=note,
            memory=self._sequence.memory,
            encodings=self._loader_as_it_is if part in self._load.loader else self._encodings,
            pace=self._site.pace,
            step=name,
        )

    async def _download(self, step: Step, at: _Underway) -> None:
        if at.part is None:
            raise self._failed(
                step.name, f"{len(self._load.parts)} blocks, and the step is not in each_block"
            )
        planned, self._planning = self._planning, None
        if planned is not None:
            transfer, plan = planned[0], await planned[1]
        else:
            transfer = self._transfer(step.name, at.part, at)
            plan = await transfer.plan(self._site.ecu.max_block_length or _USUAL_BLOCK)
        try:
            figures = await transfer.run(plan)
        except OverflowError as error:
            raise self._failed(
                step.name,
                f"{len(at.part.data)} bytes at 0x{at.part.address:X} do not fit the memory format",
            ) from error
        self._account.transfer_s += figures.transfer_s
        self._account.bound_s += figures.bound_s

    # The rest

    async def _reset(self, step: Step, kind: int) -> None:
        self._note(step.name, done=self._load.size)
        self._out_of_use()
        await self._dialogue.reset(step.name, kind)
        account = self._account
        if account.out_since_s is not None:
            account.out_of_use_s += asyncio.get_running_loop().time() - account.out_since_s
            account.out_since_s = None

    def _out_of_use(self) -> None:
        if self._account.out_since_s is None:
            self._account.out_since_s = asyncio.get_running_loop().time()

    def _note(self, step: str, *, done: int, remaining_s: float = 0.0) -> None:
        self._progress(
            Progress(
                ecu=self._site.ecu.name,
                step=step,
                bytes_done=done,
                bytes_total=self._load.size,
                remaining_s=remaining_s,
            )
        )

    def _failed(self, step: str, cause: str) -> UpdateError:
        return UpdateError(ecu=self._site.ecu.name, step=step, cause=cause)


def _size(at: _Underway) -> int:
    return 0 if at.part is None else len(at.part.data)


def _session_control(session: int, *, quiet: bool = False) -> bytes:
    sub_function = session | (SUPPRESS_POSITIVE_RESPONSE if quiet else 0)
    return bytes([ServiceId.DIAGNOSTIC_SESSION_CONTROL, sub_function])


def _complaint(routine: Routine, rid: int, status: bytes) -> str | None:
    """What a status record says against the routine's success."""
    if routine.status is Status.ANY or not status or status[0] == 0:
        return None
    if routine.reasons and status[2:]:
        told = ", ".join(routine.reasons.get(code, f"{code:02X}") for code in status[2:])
        return f"not met: {told}"
    return f"routine {rid:04X}: {routine.texts.get(status[0], f'status {status[0]:02X}')}"
