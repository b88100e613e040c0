"""What the bytes of a message are: fields in the order in which they go over the wire.

Numbers are big endian. A message is a tuple of fields; `Repeat` and `Switch` hold messages.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Bytes that are always the same: service identifiers, sub-functions, identifiers."""

    name: str
    value: int
    length: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """physical = raw * scale, or one of `texts`; in a `Packed` byte it begins at bit `bit`."""

    name: str
    bits: int = 8
    bit: int = 0
    signed: bool = False
    scale: float = 1.0
    unit: str = ""
    #: Raw value -> what it says; others are reserved.
    texts: Mapping[int, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthKey:
    """A number, or four bits of a byte, that says how many bytes `Sized` fields behind it have."""

    name: str
    bit: int = 0
    bits: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Numbers that share a byte, or more of them; bit 0 is the last one on the wire."""

    name: str
    parts: tuple[Number | LengthKey, ...]
    length: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A number of as many bytes as the `LengthKey` named `key` says."""

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """ASCII; `length` bytes, or to the end of the message."""

    name: str
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedText:
    """ASCII behind its own length, which takes `length_bits`."""

    name: str
    length_bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Bytes without a meaning of their own; `length` of them, or `least` and up to the end."""

    name: str
    length: int | None = None
    least: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleCode:
    """Three bytes: one of the ECU's diagnostic trouble codes."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """The same fields again and again: to the end, or as often as one byte before them says."""

    name: str
    items: "tuple[Field, ...]"
    counted: bool = False
    #: Of a list to the end: how many there are at most; 1 makes it an option.
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    fields: "tuple[Field, ...]"
    #: The last key of a case that stands for several; `None`: only its own.
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A key, and behind it what the key says."""

    name: str
    key_bits: int
    cases: Mapping[int, Case] = field(default_factory=dict, hash=False)


Field = (
    Constant
    | Number
    | LengthKey
    | Packed
    | Sized
    | Text
    | CountedText
    | Raw
    | TroubleCode
    | Repeat
    | Switch
)
Fields = tuple[Field, ...]


def length(one: Field) -> int | None:
    """In bytes; `None` where the message itself decides."""
    match one:
        case Constant() | Text() | Raw() | Packed():
            return one.length
        case Number() | LengthKey():
            return one.bits // 8
        case TroubleCode():
            return 3
        case Sized() | CountedText() | Repeat() | Switch():
            return None


def total_length(fields: Iterable[Field]) -> int | None:
    lengths = [length(one) for one in fields]
    return None if None in lengths else sum(one for one in lengths if one is not None)


def constant_prefix(fields: Fields) -> bytes:
    """The bytes that every such message begins with."""
    prefix = b""
    for one in fields:
        if not isinstance(one, Constant):
            break
        prefix += one.value.to_bytes(one.length)
    return prefix


def short_name(text: str) -> str:
    """A name as ODX allows it: letters, digits, underscores."""
    words = "".join(char if char.isascii() and char.isalnum() else " " for char in text).split()
    return "_".join(words)
