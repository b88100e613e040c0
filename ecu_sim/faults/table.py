"""Every fault by name: how it is written, what it does and where."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, get_type_hints  # Any: what a reading gives is for its own field

from ecu_sim.faults import Fault, FaultError, Given, Layer, Reading, boots, cells, dialogue, wire

_LONGEST: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One value of a fault, as it is written."""

    #: In the text form; `field` in Python.
    name: str
    field: str
    reading: Reading
    meaning: str
    #: As text; None: it has to be given.
    default: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One row: `NAME[=VALUE][@PLACE][,PARAMETER=VALUE...]`."""

    name: str
    fault: Callable[..., Fault]
    layer: Layer
    summary: str
    #: Fields that stand behind `=` and `@`; "": none does.
    value: str
    place: str
    parameters: tuple[Parameter, ...]
    example: str

    @property
    def form(self) -> str:
        """As the reference writes it."""
        text = self.name
        for sign, field in (("=", self.value), ("@", self.place)):
            if field:
                one = self._parameter(field)
                written = f"{sign}{one.reading.word}"
                text += written if one.default is None else f"[{written}]"
        rest = [one for one in self.parameters if one.field not in (self.value, self.place)]
        return text + "".join(f"[,{one.name}={one.reading.word}]" for one in rest)

    def _parameter(self, field: str) -> Parameter:
        return next(one for one in self.parameters if one.field == field)


def parse_fault(text: str, *, ecu: str = "") -> Fault:
    """A fault of `NAME[=VALUE][@PLACE][,PARAMETER=VALUE...]`; `FaultError` says what is allowed."""
    where = f"{ecu}: {text[:_LONGEST]}" if ecu else text[:_LONGEST]
    if len(text) > _LONGEST:
        raise FaultError(f"{where}: longer than {_LONGEST} characters")
    head, *rest = text.strip().split(",")
    head, at, place = head.partition("@")
    name, equals, value = head.partition("=")
    kind = KINDS.get(name.strip())
    if kind is None:
        raise FaultError(f"{where}: no fault {name.strip()!r}; there are {', '.join(KINDS)}")
    written: list[tuple[str, str]] = []
    for sign, field, content in ((equals, kind.value, value), (at, kind.place, place)):
        if sign and not field:
            raise FaultError(f"{where}: nothing is expected behind {sign}: {kind.form}")
        if sign:
            written.append((field, content))
    names = {one.name: one.field for one in kind.parameters}
    for piece in rest:
        key, equals, content = piece.partition("=")
        if not equals or key.strip() not in names:
            known = ", ".join(names) or "none"
            raise FaultError(f"{where}: no parameter {piece.strip()!r}; there are: {known}")
        written.append((names[key.strip()], content))
    return _make(kind, written, where)


def parse_ecu_fault(text: str, ecus: Sequence[str]) -> list[tuple[str, Fault]]:
    """ECU and fault of `ECU:FAULT`, or one for each of `ecus` of `*:FAULT`."""
    name, colon, written = text.partition(":")
    if not colon or (name != "*" and name not in ecus):
        raise FaultError(f"{text[:_LONGEST]}: ECU:FAULT expected, ECU one of {', '.join(ecus)}, *")
    return [(ecu, parse_fault(written, ecu=ecu)) for ecu in (ecus if name == "*" else (name,))]


def _make(kind: FaultKind, written: list[tuple[str, str]], where: str) -> Fault:
    values: dict[str, Any] = {}
    by_field = {one.field: one for one in kind.parameters}
    for field, content in written:
        parameter = by_field[field]
        if field in values:
            raise FaultError(f"{where}: {parameter.name} is given twice")
        try:
            values[field] = parameter.reading.read(content.strip())
        except ValueError as error:
            raise FaultError(
                f"{where}: {parameter.name}: {parameter.reading.expected} is expected,"
                f" not {content.strip()!r}"
            ) from error
    for one in kind.parameters:
        if one.default is None and one.field not in values:
            raise FaultError(
                f"{where}: {one.name} is missing: {kind.form}, with {one.reading.expected}"
            )
    return kind.fault(**values)


def kind_of(fault: Fault) -> FaultKind:
    """The row of a fault; `TypeError` for what has none."""
    for kind in KINDS.values():
        if kind.fault is type(fault):
            return kind
    raise TypeError(f"{type(fault).__name__} is not in the table of faults")


def text_of(fault: Fault) -> str:
    """The text that `parse_fault` reads as this fault; what is as usual is left out."""
    kind = kind_of(fault)
    text, rest = kind.name, ""
    for one in kind.parameters:
        written = one.reading.write(getattr(fault, one.field))
        if written == one.default:
            continue
        if one.field == kind.value:
            text += f"={written}"
        elif one.field == kind.place:
            text += f"@{written}"
        else:
            rest += f",{one.name}={written}"
    return text + rest


def summary() -> list[dict[str, object]]:
    """The table for programs: plain values only."""
    return [
        {
            "name": kind.name,
            "form": kind.form,
            "acts_on": kind.layer.value,
            "summary": kind.summary,
            "parameters": [
                {
                    "name": one.name,
                    "expected": one.reading.expected,
                    "meaning": one.meaning,
                    "default": one.default,
                }
                for one in kind.parameters
            ],
            "example": kind.example,
        }
        for kind in KINDS.values()
    ]


def _row(
    name: str, fault: type[Any], example: str, *, value: str = "", place: str = ""
) -> FaultKind:
    return FaultKind(
        name=name,
        fault=fault,
        layer=fault.layer,
        summary=(fault.__doc__ or "").strip(),
        value=value,
        place=place,
        parameters=tuple(_parameters(fault)),
        example=example,
    )


def _parameters(fault: type[Any]) -> Iterator[Parameter]:
    hints = get_type_hints(fault, include_extras=True)
    for field in dataclasses.fields(fault):
        (given,) = hints[field.name].__metadata__
        if not isinstance(given, Given):
            raise TypeError(f"{fault.__name__}.{field.name} is not told how it is written")
        missing = field.default is dataclasses.MISSING
        yield Parameter(
            name=field.name.removesuffix("_s"),
            field=field.name,
            reading=given.reading,
            meaning=given.meaning,
            default=None if missing else given.reading.write(field.default),
        )


KINDS: Final[Mapping[str, FaultKind]] = MappingProxyType(
    {
        row.name: row
        for row in (
            _row("lost-frames", wire.LostFrames, "lost-frames=0.01,seed=7", value="share"),
            _row("late-frames", wire.LateFrames, "late-frames=5ms,jitter=2ms", value="by_s"),
            _row("corrupt-frames", wire.CorruptFrames, "corrupt-frames=0.1", value="share"),
            _row("silent", wire.Silent, "silent"),
            _row("deaf", wire.Deaf, "deaf"),
            _row("babble", wire.Babble, "babble=0x010,every=2ms", value="identifier"),
            _row("lost-cf", wire.LostConsecutiveFrame, "lost-cf=3,direction=rx", value="number"),
            _row("wrong-sequence", wire.WrongSequence, "wrong-sequence=2", value="number"),
            _row("no-flow-control", wire.NoFlowControl, "no-flow-control"),
            _row("flow-overflow", wire.FlowOverflow, "flow-overflow"),
            _row("flow-wait", wire.FlowWait, "flow-wait=3,every=50ms", value="number"),
            _row("late", dialogue.LateAnswer, "late=300ms@0x31", value="by_s", place="at"),
            _row("no-answer", dialogue.NoAnswer, "no-answer@22F190", place="at"),
            _row("stuck-busy", dialogue.StuckBusy, "stuck-busy@31", place="at"),
            _row("stuck-pending", dialogue.StuckPending, "stuck-pending@3101FF00", place="at"),
            _row("nrc", dialogue.NegativeAnswer, "nrc=72@36:5", value="code", place="at"),
            _row("wrong-key", dialogue.WrongKey, "wrong-key"),
            _row(
                "wrong-answer", dialogue.WrongAnswer, "wrong-answer=4@22", value="byte", place="at"
            ),
            _row(
                "short-answer",
                dialogue.ShortAnswer,
                "short-answer=2@22",
                value="length",
                place="at",
            ),
            _row("reset", dialogue.Reset, "reset@36:5", place="at"),
            _row("power-loss", dialogue.PowerLoss, "power-loss@36:5,off=2s", place="at"),
            _row("disconnect", dialogue.Disconnect, "disconnect@36:5", place="at"),
            _row("write-error", cells.WriteError, "write-error@0x8000", place="at"),
            _row("erase-error", cells.EraseError, "erase-error@0x8000", place="at"),
            _row("bad-cell", cells.BadCell, "bad-cell@0x8000,bit=3", place="at"),
            _row("slow-flash", cells.SlowFlash, "slow-flash=4", value="factor"),
            _row("power-cut", cells.PowerCut, "power-cut=120,off=2s", value="operation"),
            _row("slow-boot", boots.SlowBoot, "slow-boot=5s", value="by_s"),
            _row("no-boot", boots.NoBoot, "no-boot"),
            _row("no-application", boots.NoApplication, "no-application"),
            _row("watchdog", boots.Watchdog, "watchdog=2s", value="after_s"),
        )
    }
)
