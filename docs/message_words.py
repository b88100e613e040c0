"""Messages in words: what stands in each byte, for the reference pages of the ECUs."""

from collections.abc import Iterable
from typing import Final

from ecu_sim.descriptions.layout import (
    Case,
    Constant,
    CountedText,
    Field,
    LengthKey,
    Number,
    Packed,
    Raw,
    Repeat,
    Sized,
    Switch,
    Text,
    TroubleCode,
)

#: Texts of a number that are told, cases of a switch; more are a list for machines.
_FEW: Final = 8
_FEW_CASES: Final = 6
#: Wider ones name trouble codes, which have a table of their own.
_NARROW: Final = 16
#: Bytes of more parts are told once, elsewhere.
_FEW_BITS: Final = 6


def fields(record: Iterable[Field]) -> str:
    """A record in words: width, name and meaning of each field."""
    return ", ".join(map(_field, record)) or "-"


def _field(one: Field) -> str:
    match one:
        case Constant():
            return f"`{one.value:0{2 * one.length}X}`"
        case Number():
            return _number(one)
        case Packed(parts=parts):
            name = f"{_words(one.name)} u{8 * one.length}"
            return name if len(parts) > _FEW_BITS else f"{name} ({bits(one)})"
        case LengthKey():
            return f"{_words(one.name)} u{one.bits}"
        case Text() | Raw():
            size = f"{one.length} bytes" if one.length is not None else "rest"
            return f"{_words(one.name)}: {'ASCII, ' if isinstance(one, Text) else ''}{size}"
        case CountedText():
            return f"{_words(one.name)}: length and ASCII"
        case Sized():
            return f"{_words(one.name)} of {_words(one.key)} bytes"
        case TroubleCode():
            return "DTC"
        case Repeat():
            count = "number of, then each" if one.counted else "each"
            if one.most == 1:
                count = "perhaps"
            return f"{_words(one.name)} ({count}: {fields(one.items)})"
        case Switch():
            return _switch(one)


def _number(one: Number) -> str:
    kind = f"{'i' if one.signed else 'u'}{one.bits}"
    scale = f" x {one.scale:g}" if one.scale != 1 else ""
    meanings = ""
    if one.texts and len(one.texts) <= _FEW and one.bits <= _NARROW:
        told = (f"{raw:0{one.bits // 4}X} {text}" for raw, text in one.texts.items())
        meanings = f" ({'; '.join(told)})"
    return f"{_words(one.name)} {kind}{scale}{' ' + one.unit if one.unit else ''}{meanings}"


def _switch(one: Switch) -> str:
    """Its cases where they are few; else only that a key comes first."""
    name = f"{_words(one.name)} u{one.key_bits}"
    if len(one.cases) > _FEW_CASES:
        return f"{name} and what it stands for"
    digits = one.key_bits // 4
    told = (_case(f"{key:0{digits}X}", case, digits) for key, case in one.cases.items())
    return f"{name} ({'; '.join(told)})"


def _case(key: str, case: Case, digits: int) -> str:
    keys = key if case.last is None else f"{key} to {case.last:0{digits}X}"
    record = f": {fields(case.fields)}" if case.fields else ""
    return f"{keys} {_words(case.name)}{record}"


def bits(one: Packed) -> str:
    """The parts of bytes that several share, the highest first."""
    return ", ".join(map(_part, sorted(one.parts, key=lambda part: -part.bit)))


def _part(part: Number | LengthKey) -> str:
    place = f"bit {part.bit}" if part.bits == 1 else f"bits {part.bit + part.bits - 1}-{part.bit}"
    meanings = ""
    if isinstance(part, Number) and part.texts and len(part.texts) <= _FEW:
        meanings = " (" + "; ".join(f"{raw} {text}" for raw, text in part.texts.items()) + ")"
    return f"{place} {_words(part.name)}{meanings}"


def _words(name: str) -> str:
    return name.replace("_", " ")
