"""The language's grammar and its parser.

    expression  = conjunction { "or" conjunction }
    conjunction = term { "and" term }
    term        = "not" term | "(" expression ")" | comparison
    comparison  = signal [ operator literal ] [ "within" number ( "s" | "ms" ) ]
    signal      = name | message "." name
    operator    = "==" | "!=" | "<" | "<=" | ">" | ">="
    literal     = number [ unit ] | label

`and` binds closer than `or`, `not` closer than both. A signal alone is met while it is not 0. A
label is one of the signal's named values (`P`, `On`); a unit has to be the signal's own. `within`
says how old the value may be in place of the signal's own limit. Words are case sensitive. White
space separates and means nothing else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

#: Characters of an expression, levels of brackets and `not`, comparisons in it.
MAX_LENGTH: Final = 1000
MAX_DEPTH: Final = 16
MAX_COMPARISONS: Final = 32
#: Seconds that `within` may allow at most.
MAX_WITHIN_S: Final = 3600.0

_TOKEN: Final = re.compile(
    r"(?P<number>-?[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<word>[A-Za-z_°%][A-Za-z0-9_°%/]*)"
    r"|(?P<operator>==|!=|<=|>=|<|>)"
    r"|(?P<bracket>[().])"
)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS: Final = frozenset({"and", "or", "not", "within"})
_AGE_UNITS: Final = {"s": 1.0, "ms": 0.001}


class PreconditionError(Exception):
    """An expression that cannot be used; says at which character (from 1) and why."""

    def __init__(self, position: int, cause: str) -> None:
        super().__init__(f"character {position}: {cause}")
        self.position = position
        self.cause = cause


class Operator(Enum):
    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    #: Name, or message and name with a point between.
    signal: str
    operator: Operator
    #: A number, or a label of the signal's.
    literal: float | str
    #: Of a number; empty if none was written.
    unit: str = ""
    #: How old the value may be, seconds; None: as the signal's definition says.
    within_s: float | None = None
    #: As it was written, and where it begins (from 1); no part of what it means.
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Negation:
    part: "Expression"


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple["Expression", ...]


Expression = Comparison | Negation | AllOf | AnyOf


def parse(text: str) -> Expression:
    """The expression that the text is; `PreconditionError` names the character and the cause."""
    if len(text) > MAX_LENGTH:
        raise PreconditionError(
            MAX_LENGTH + 1, f"{len(text)} characters, at most {MAX_LENGTH} are allowed"
        )
    return _Parser(text).whole()


def comparisons(expression: Expression) -> Iterator[Comparison]:
    """Every comparison, in the order in which they stand."""
    match expression:
        case Comparison():
            yield expression
        case Negation(part):
            yield from comparisons(part)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from comparisons(part)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def _tokens(text: str) -> list[_Token]:
    found = []
    at = _end_of_space(text, 0)
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            hint = "; write '==' to compare" if text[at] == "=" else ""
            raise PreconditionError(at + 1, f"{text[at]!r} has no meaning here{hint}")
        found.append(_Token(str(match.lastgroup), match.group(), match.start(), match.end()))
        at = _end_of_space(text, match.end())
    found.append(_Token("end", "", len(text), len(text)))
    return found


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._comparisons = 0

    def whole(self) -> Expression:
        expression = self._any_of(depth=0)
        if self._next.kind != "end":
            raise self._unexpected("'and', 'or' or the end")
        return expression

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _unexpected(self, wanted: str) -> PreconditionError:
        token = self._next
        found = "the end" if token.kind == "end" else repr(token.text)
        return PreconditionError(token.start + 1, f"{wanted} expected, found {found}")

    def _any_of(self, *, depth: int) -> Expression:
        parts = [self._all_of(depth=depth)]
        while self._next.text == "or":
            self._take()
            parts.append(self._all_of(depth=depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self, *, depth: int) -> Expression:
        parts = [self._term(depth=depth)]
        while self._next.text == "and":
            self._take()
            parts.append(self._term(depth=depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _term(self, *, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise PreconditionError(self._next.start + 1, f"nested deeper than {MAX_DEPTH} levels")
        if self._next.text == "not":
            self._take()
            return Negation(self._term(depth=depth + 1))
        if self._next.text != "(":
            return self._comparison()
        opened = self._take()
        expression = self._any_of(depth=depth + 1)
        if self._next.text != ")":
            raise self._unexpected(f"')' for the '(' at character {opened.start + 1}")
        self._take()
        return expression

    def _comparison(self) -> Comparison:
        start = self._next.start
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise PreconditionError(start + 1, f"more than {MAX_COMPARISONS} comparisons")
        signal = self._signal()
        operator, literal, unit = Operator.NOT_EQUAL, 0.0, ""
        value: float | str = literal
        if self._next.kind == "operator":
            operator = Operator(self._take().text)
            value, unit = self._literal()
        within_s = self._within()
        return Comparison(
            signal=signal,
            operator=operator,
            literal=value,
            unit=unit,
            within_s=within_s,
            text=self._text[start : self._tokens[self._at - 1].end],
            position=start + 1,
        )

    def _signal(self) -> str:
        name = self._name("the name of a signal")
        if self._next.text != ".":
            return name
        self._take()
        return f"{name}.{self._name('the name of a signal behind its message')}"

    def _name(self, wanted: str) -> str:
        token = self._next
        if token.kind != "word" or token.text in _KEYWORDS or not _NAME.fullmatch(token.text):
            raise self._unexpected(wanted)
        return self._take().text

    def _literal(self) -> tuple[float | str, str]:
        if self._next.kind == "number":
            number = float(self._take().text)
            word = self._next
            if word.kind == "word" and word.text not in _KEYWORDS:
                return number, self._take().text
            return number, ""
        return self._name("a number or the name of a value"), ""

    def _within(self) -> float | None:
        if self._next.text != "within":
            return None
        self._take()
        if self._next.kind != "number":
            raise self._unexpected("a number of seconds behind 'within'")
        number = self._take()
        if self._next.text not in _AGE_UNITS:
            raise self._unexpected("'s' or 'ms'")
        within_s = float(number.text) * _AGE_UNITS[self._take().text]
        if not 0 < within_s <= MAX_WITHIN_S:
            raise PreconditionError(
                number.start + 1, f"'within' takes more than 0 and up to {MAX_WITHIN_S:.0f} s"
            )
        return within_s
