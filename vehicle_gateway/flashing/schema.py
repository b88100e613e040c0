"""What may stand in a sequence file: readers of single values, and tables of keys with their texts.

A table of keys reads a TOML table and is printed as a page of the documentation.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar  # Any: what TOML holds, until it has been looked at

from vehicle_gateway.flashing.positions import Path, line_of
from vehicle_gateway.flashing.sequence import SequenceError
from vehicle_gateway.flashing.template import Template, TemplateError, parse

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A key of a file."""

    file: str
    lines: Mapping[Path, int] = field(repr=False)
    path: Path = ()

    def of(self, key: str | int) -> "Place":
        return Place(self.file, self.lines, (*self.path, key))

    def refuse(self, cause: str) -> SequenceError:
        line = line_of(dict(self.lines), self.path)
        where = self.file if line is None else f"{self.file}:{line}"
        return SequenceError(f"{where}: {self.name}{cause}")

    @property
    def name(self) -> str:
        text = ""
        for key in self.path:
            text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
        return f"{text}: " if text else ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: how it is read, and what it is called."""

    read: Callable[[Place, object], Any]
    text: str


@dataclass(frozen=True, slots=True)
class Key:
    kind: Kind
    text: str
    #: For people; empty where there is none.
    default: str = ""
    required: bool = False


Keys = Mapping[str, Key]


def read_table(place: Place, content: object, keys: Keys) -> dict[str, Any]:
    """The values of the keys that are there; `SequenceError` for one that is not known."""
    if not isinstance(content, dict):
        raise place.refuse("a table expected")
    for name in content:
        if name not in keys:
            raise place.of(name).refuse(f"not known here; known: {', '.join(keys)}")
    for name, key in keys.items():
        if key.required and name not in content:
            raise place.refuse(f"{name} is missing")
    return {name: keys[name].kind.read(place.of(name), value) for name, value in content.items()}


def whole(low: int, high: int) -> Kind:
    digits = 2 if high <= 0xFF else 4 if high <= 0xFFFF else 8
    shown = (
        f"{low} to {high}" if high < 0x20 else f"{low:#0{digits + 2}X} to {high:#0{digits + 2}X}"
    )
    text = f"number, {shown.replace('0X', '0x')}"

    def read(place: Place, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise place.refuse(f"{value!r} is no {text}")
        return value

    return Kind(read, text)


def _read_text(place: Place, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 256:
        raise place.refuse("text of one line expected")
    return value


def _read_flag(place: Place, value: object) -> bool:
    if not isinstance(value, bool):
        raise place.refuse("true or false expected")
    return value


def seconds(high: float) -> Kind:
    def read(place: Place, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not 0 <= value <= high
        ):
            raise place.refuse(f"seconds, 0 to {high:g}, expected")
        return float(value)

    return Kind(read, f"seconds, 0 to {high:g}")


def choice(options: Mapping[str, T]) -> Kind:
    names = ", ".join(f'"{name}"' for name in options)

    def read(place: Place, value: object) -> T:
        if not isinstance(value, str) or value not in options:
            raise place.refuse(f"{value!r} is none of {names}")
        return options[value]

    return Kind(read, names)


def template(known: Mapping[str, object]) -> Kind:
    """A record; its places are among the known ones."""

    def read(place: Place, value: object) -> Template:
        if not isinstance(value, str):
            raise place.refuse("a record as text expected")
        try:
            found = parse(value)
        except TemplateError as error:
            raise place.refuse(str(error)) from error
        if unknown := sorted(found.names - known.keys()):
            raise place.refuse(f"no place {{{unknown[0]}}}; there are: {', '.join(known)}")
        return found

    return Kind(read, "record")


def each(kind: Kind, *, at_most: int) -> Kind:
    def read(place: Place, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > at_most:
            raise place.refuse(f"a list of at most {at_most} expected")
        return tuple(kind.read(place.of(number), one) for number, one in enumerate(value))

    return Kind(read, f"list of: {kind.text}")


def numbered(kind: Kind, high: int, *, at_most: int = 256) -> Kind:
    """A table whose keys are numbers in hexadecimal."""

    def read(place: Place, value: object) -> dict[int, Any]:
        if not isinstance(value, dict) or len(value) > at_most:
            raise place.refuse(f"a table of at most {at_most} expected")
        found: dict[int, Any] = {}
        for key, one in value.items():
            try:
                number = int(key, 16)
            except ValueError:
                number = -1
            if not 0 <= number <= high:
                raise place.of(key).refuse(f"a key of 00 to {high:X} expected")
            found[number] = kind.read(place.of(key), one)
        return found

    return Kind(read, f"table: hexadecimal number = {kind.text}")


def named(kind: Kind, *, at_most: int = 64) -> Kind:
    """A table whose keys are names."""

    def read(place: Place, value: object) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > at_most:
            raise place.refuse(f"a table of at most {at_most} expected")
        for key in value:
            if not (key.isascii() and key.replace("_", "").isalnum() and len(key) <= 64):
                raise place.refuse(f"{key!r} is no name: letters, digits, underscores")
        return {key: kind.read(place.of(key), one) for key, one in value.items()}

    return Kind(read, f"table: name = {kind.text}")


TEXT: Final = Kind(_read_text, "text")
FLAG: Final = Kind(_read_flag, "true or false")
