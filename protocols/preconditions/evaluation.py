"""What an expression is worth: three values, and every comparison with what it was judged on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Final

from protocols.preconditions.syntax import (
    AllOf,
    AnyOf,
    Comparison,
    Expression,
    Negation,
    Operator,
    PreconditionError,
    comparisons,
)

#: Ways to write a unit that an ASCII database cannot.
_UNITS: Final = {"°C": "degC"}


class Verdict(Enum):
    MET = "met"
    NOT_MET = "not_met"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDefinition:
    """What is known of a signal whatever its value."""

    name: str
    #: The message that carries it; empty for one that is computed.
    message: str = ""
    unit: str = ""
    #: Names of values, in physical units.
    labels: Mapping[str, float] = field(default_factory=dict)
    #: Physical range; what lies outside is not available.
    minimum: float = -math.inf
    maximum: float = math.inf
    #: Physical values that stand for "signal not available" or "error".
    not_available: frozenset[float] = frozenset()
    #: How old a value may be, seconds.
    max_age_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The newest value of a signal."""

    definition: SignalDefinition
    #: Physical; None if none was ever received.
    value: float | None = None
    #: Seconds since it was received; None if never.
    age_s: float | None = None
    #: The wire it came from, or what it was computed from.
    source: str = ""

    def problem(self, within_s: float | None = None) -> str:
        """Why the value cannot be relied upon; empty if it can."""
        limit_s = self.definition.max_age_s if within_s is None else within_s
        if self.value is None or self.age_s is None:
            return "never received"
        if self.age_s > limit_s:
            return f"{_seconds(self.age_s)} old, at most {_seconds(limit_s)}"
        if any(_same(self.value, one) for one in self.definition.not_available):
            return "not available"
        if not self.definition.minimum <= self.value <= self.definition.maximum:
            return f"{self.value:g} is out of range"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison with what it was judged on."""

    #: As it was written.
    condition: str
    verdict: Verdict
    signal: str
    message: str = ""
    source: str = ""
    #: Physical; None if none was ever received.
    value: float | None = None
    #: For people: `12.4 km/h`, `D`; empty without a value.
    shown: str = ""
    age_s: float | None = None
    #: Why the value cannot be relied upon; empty if it can.
    problem: str = ""

    @property
    def words(self) -> str:
        """`Speed == 0: is 12.4 km/h (VEH_Motion, comfort, 0.02 s old)`."""
        where = [one for one in (self.message, self.source) if one]
        if self.age_s is not None and not self.problem:
            where.append(f"{_seconds(self.age_s)} old")
        said = f"is {self.shown}" if self.shown and not self.problem else self.problem
        return f"{self.condition}: {said}" + (f" ({', '.join(where)})" if where else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    verdict: Verdict
    #: Every comparison, in the order in which they stand.
    findings: tuple[Finding, ...]
    #: Those that keep the expression from being met; empty if it is.
    unmet: tuple[Finding, ...]

    @property
    def met(self) -> bool:
        return self.verdict is Verdict.MET


def check(expression: Expression, signals: Mapping[str, SignalDefinition]) -> None:
    """Compare an expression with the signals there are.

    `signals` holds each under its name and, if a message carries it, under `message.name`.
    `PreconditionError` names the character: an unknown signal, label or unit, an order of labels.
    """
    for one in comparisons(expression):
        definition = signals.get(one.signal)
        if definition is None:
            near = get_close_matches(one.signal, signals, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PreconditionError(one.position, f"no signal {one.signal!r}{hint}")
        _check_literal(one, definition)


def _check_literal(one: Comparison, definition: SignalDefinition) -> None:
    if isinstance(one.literal, str):
        if one.literal not in definition.labels:
            known = ", ".join(sorted(definition.labels)) or "numbers only"
            raise PreconditionError(
                one.position, f"{one.signal} has no value {one.literal!r}; known: {known}"
            )
        if one.operator not in {Operator.EQUAL, Operator.NOT_EQUAL}:
            raise PreconditionError(
                one.position, f"{one.signal}: a named value is compared with '==' or '!='"
            )
        if _is_not_available(definition.labels[one.literal], definition):
            raise PreconditionError(
                one.position, f"{one.signal} {one.literal!r} says that there is no value"
            )
        return
    if one.unit and _UNITS.get(one.unit, one.unit) != definition.unit:
        own = f"is in {definition.unit}" if definition.unit else "has no unit"
        raise PreconditionError(one.position, f"{one.signal} {own}, not in {one.unit}")


def evaluate(expression: Expression, read: Callable[[str], Reading | None]) -> Evaluation:
    """What the expression is worth now.

    `read` answers with a signal's newest value by the name that was written, None for a signal
    that there is not (it is unknown, too). Every comparison is judged, whatever the others say.
    """
    found = {id(one): _judge(one, read(one.signal)) for one in comparisons(expression)}
    verdict = _worth(expression, found)
    blamed = _blame(expression, found, wanted=Verdict.MET)
    return Evaluation(verdict=verdict, findings=tuple(found.values()), unmet=tuple(blamed))


def _judge(one: Comparison, reading: Reading | None) -> Finding:
    if reading is None:
        return Finding(
            condition=one.text,
            verdict=Verdict.UNKNOWN,
            signal=one.signal,
            problem="no such signal in this vehicle",
        )
    definition = reading.definition
    problem = reading.problem(one.within_s)
    literal = definition.labels.get(one.literal) if isinstance(one.literal, str) else one.literal
    if not problem and literal is None:
        problem = f"has no value {one.literal!r}"
    if problem or literal is None or reading.value is None:
        verdict = Verdict.UNKNOWN
    else:
        verdict = Verdict.MET if _holds(reading.value, one.operator, literal) else Verdict.NOT_MET
    return Finding(
        condition=one.text,
        verdict=verdict,
        signal=definition.name,
        message=definition.message,
        source=reading.source,
        value=reading.value,
        shown=_shown(reading),
        age_s=reading.age_s,
        problem=problem,
    )


def _holds(value: float, operator: Operator, literal: float) -> bool:
    same = _same(value, literal)
    match operator:
        case Operator.EQUAL:
            return same
        case Operator.NOT_EQUAL:
            return not same
        case Operator.LESS:
            return value < literal and not same
        case Operator.LESS_OR_EQUAL:
            return value < literal or same
        case Operator.GREATER:
            return value > literal and not same
        case Operator.GREATER_OR_EQUAL:
            return value > literal or same


def _same(value: float, literal: float) -> bool:
    """A scaled value is a product of binary fractions: 0.1 * 3 counts as 0.3."""
    return math.isclose(value, literal, rel_tol=1e-9, abs_tol=1e-9)


def _is_not_available(value: float, definition: SignalDefinition) -> bool:
    return any(_same(value, one) for one in definition.not_available)


def _worth(expression: Expression, found: Mapping[int, Finding]) -> Verdict:
    """Kleene's three values: what is unknown matters only where the rest does not decide."""
    match expression:
        case Comparison():
            return found[id(expression)].verdict
        case Negation(part):
            return _NEGATED[_worth(part, found)]
        case AllOf(parts):
            return _first_of(
                (Verdict.NOT_MET, Verdict.UNKNOWN), parts, found, otherwise=Verdict.MET
            )
        case AnyOf(parts):
            return _first_of(
                (Verdict.MET, Verdict.UNKNOWN), parts, found, otherwise=Verdict.NOT_MET
            )


_NEGATED: Final[Mapping[Verdict, Verdict]] = {
    Verdict.MET: Verdict.NOT_MET,
    Verdict.NOT_MET: Verdict.MET,
    Verdict.UNKNOWN: Verdict.UNKNOWN,
}


def _first_of(
    order: tuple[Verdict, ...],
    parts: tuple[Expression, ...],
    found: Mapping[int, Finding],
    *,
    otherwise: Verdict,
) -> Verdict:
    verdicts = {_worth(part, found) for part in parts}
    return next((one for one in order if one in verdicts), otherwise)


def _blame(
    expression: Expression, found: Mapping[int, Finding], *, wanted: Verdict
) -> list[Finding]:
    """The comparisons that would have to be otherwise for the expression to be as `wanted`."""
    if _worth(expression, found) is wanted:
        return []
    match expression:
        case Comparison():
            return [found[id(expression)]]
        case Negation(part):
            return _blame(part, found, wanted=_NEGATED[wanted])
        case AllOf(parts) | AnyOf(parts):
            return [one for part in parts for one in _blame(part, found, wanted=wanted)]


def _shown(reading: Reading) -> str:
    if reading.value is None:
        return ""
    for label, value in reading.definition.labels.items():
        if _same(reading.value, value):
            return label
    return f"{round(reading.value, 6):g} {reading.definition.unit}".rstrip()


def _seconds(value: float) -> str:
    return f"{value:.3g} s"
