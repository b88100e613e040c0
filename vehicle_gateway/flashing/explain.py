"""What a sequence would do, request by request, without an ECU."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dbc import EcuDescription, RoutineIdentifiers
from protocols.uds import requests
from protocols.uds.enums import SUPPRESS_POSITIVE_RESPONSE, ServiceId
from vehicle_gateway.flashing.bound import Bound, BoundCalculator, WireTime, block_size
from vehicle_gateway.flashing.load import Load, Part, Values
from vehicle_gateway.flashing.sequence import (
    ACTIVATE,
    CONFIRM,
    PROGRAM,
    SELF_TEST,
    STAGE,
    Check,
    Download,
    EachBlock,
    EnterSession,
    Erase,
    ReadData,
    Request,
    Require,
    Reset,
    RunRoutine,
    Sequence,
    Step,
    Stop,
    Unlock,
    Wait,
    Whom,
    WriteData,
)
from vehicle_gateway.flashing.template import Template, TemplateError

#: Longest 36 that is reckoned with where nobody has told one.
_USUAL_BLOCK: Final = 4095


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request, or a run of them."""

    phase: str
    step: str
    #: `ecu` or `all`.
    to: str
    #: Hexadecimal, shortened.
    request: str
    note: str = ""
    #: Seconds by the computed bound; 0 where it is not computed.
    bound_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """`TemplateError` where a value does not fit its place, as carrying it out would say."""

    sequence: Sequence
    load: Load
    ecu: EcuDescription
    routines: RoutineIdentifiers
    wire: WireTime
    today: datetime

    def lines(self) -> Iterator[Line]:
        """All phases that programming goes through, `finally` at the end of each.

        That of an ECU with a staging area whose application runs.
        """
        skipped = PROGRAM if self.sequence.staging_area else ""
        for name in (STAGE, PROGRAM, ACTIVATE, SELF_TEST, CONFIRM):
            if name == skipped:
                continue
            phase = self.sequence.phase(name)
            yield from self._lines(name, phase.steps, self._only_part())
            yield from self._lines(name, phase.finally_, None)

    def _only_part(self) -> Part | None:
        return self.load.parts[0] if len(self.load.parts) == 1 else None

    def _lines(self, phase: str, steps: Iterable[Step], part: Part | None) -> Iterator[Line]:
        for step in steps:
            match step.action:
                case EachBlock(inner):
                    for each in self.load.parts:
                        yield from self._lines(phase, inner, each)
                case Download(loader):
                    wanted = self.load.loader if loader else (part,)
                    for one in wanted:
                        if one is not None:
                            yield self._download(phase, step, one, loader=loader)
                case _:
                    request, note = self._request(step, part)
                    yield Line(
                        phase=phase, step=step.name, to=step.to.value, request=request, note=note
                    )

    def _request(self, step: Step, part: Part | None) -> tuple[str, str]:
        block = "" if part is None or len(self.load.parts) == 1 else f"block {part.name}"
        match step.action:
            case EnterSession(session):
                quiet = SUPPRESS_POSITIVE_RESPONSE if step.quiet else 0
                session_control = ServiceId.DIAGNOSTIC_SESSION_CONTROL
                return _hex(bytes([session_control, session | quiet])), ""
            case Unlock(level):
                level = self.ecu.security_level if level is None else level
                return f"27 {level:02X}, 27 {level + 1:02X}", "seed and key"
            case Erase(routine, option) | Check(routine, option) | RunRoutine(routine, option):
                rid = routine.number(self.routines)
                record = self._filled(option, part)
                request = requests.start_routine(rid, record, suppress=step.quiet)
                return _hex(request), block
            case WriteData(did, record):
                return _hex(requests.write_data(did, self._filled(record, part))), block
            case ReadData(name):
                return _hex(requests.read_data(self.sequence.identification[name])), name
            case Request(request):
                return _hex(self._filled(request, part)), block
            case Reset(kind):
                return _hex(bytes([ServiceId.ECU_RESET, kind])), "and wait until it answers"
            case Wait(seconds):
                return "", f"wait {seconds:g} s"
            case Stop(condition, wanted):
                return "", f"done here {'if' if wanted else 'unless'} {_words(condition.value)}"
            case Require(condition):
                return "", f"fails unless {_words(condition.value)}"
            case _:
                raise AssertionError(f"{step.action!r} is no single request")

    def _download(self, phase: str, step: Step, part: Part, *, loader: bool) -> Line:
        memory = self.sequence.memory
        try:
            announced = requests.request_download(
                part.address,
                len(part.data),
                data_format=self.load.loader_format if loader else memory.data_format,
                address_bytes=memory.address_bytes,
                size_bytes=memory.size_bytes,
            )
        except OverflowError:
            raise TemplateError(
                f"{part.name}: {len(part.data)} bytes at 0x{part.address:X} do not fit the memory"
                " format"
            ) from None
        bound, blocks = self._bound(part)
        return Line(
            phase=phase,
            step=step.name,
            to=Whom.ECU.value,
            request=f"{_hex(announced)}, {blocks} x 36, 37",
            note=f"{part.name}: {len(part.data)} bytes",
            bound_s=bound.total_s,
        )

    def _bound(self, part: Part) -> tuple[Bound, int]:
        size = block_size(self.ecu.max_block_length or _USUAL_BLOCK, self.ecu.page_size)
        calculator = BoundCalculator(self.wire, self.ecu, address=part.address & 0xFFFF_FFFF)
        blocks = range(0, len(part.data), size)
        for number, at in enumerate(blocks):
            block = part.data[at : at + size]
            calculator.add(requests.transfer_data((number + 1) % 256, block))
        return calculator.result(), len(blocks)

    def _filled(self, template: Template, part: Part | None) -> bytes:
        return template.fill(
            Values(sequence=self.sequence, load=self.load, today=self.today, part=part)
        )


def _hex(request: bytes) -> str:
    shown = request[:24].hex(" ").upper()
    return shown if len(request) <= 24 else f"{shown} ... ({len(request)} bytes)"


def _words(name: str) -> str:
    return name.replace("_", " ")
