"""Records of requests as a sequence file writes them: bytes with places to be filled in.

`44 {address} {size}` is a byte and two numbers as long as the sequence's memory format says;
`{size:3}` has three bytes, `{crc32:4le}` has the least one first; `'CANOTA'` is text in ASCII.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LONGEST: Final = 4096
_TOKEN: Final = re.compile(
    r"(?P<digits>(?:[0-9A-Fa-f]{2})+)"
    r"|\{(?P<name>[a-z][a-z0-9_]*)(?::(?P<width>[1-9][0-9]{0,2})(?P<little>le)?)?\}"
    r"|'(?P<text>[\x20-\x26\x28-\x7e]*)'"
)


class TemplateError(ValueError):
    """A template that cannot be read, or a value that does not fit its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A value and in how many bytes it goes where the template does not say."""

    value: int
    width: int


#: What a place may be filled with.
Filling = Number | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    name: str
    #: Bytes; 0: as long as the value is by itself.
    width: int = 0
    little_endian: bool = False

    def fill(self, value: Filling) -> bytes:
        if isinstance(value, bytes):
            return self._bytes(value)
        width = self.width or value.width
        try:
            return value.value.to_bytes(width, "little" if self.little_endian else "big")
        except OverflowError:
            raise TemplateError(
                f"{self.name} = 0x{value.value:X} does not fit {width} bytes"
            ) from None

    def _bytes(self, value: bytes) -> bytes:
        if self.width and len(value) != self.width:
            raise TemplateError(f"{self.name} has {len(value)} bytes, not {self.width}")
        return value[::-1] if self.little_endian else value


@dataclass(frozen=True, slots=True)
class Template:
    """A record in parts, and the text that it was written as."""

    text: str
    parts: tuple[bytes | Place, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Place))

    def fill(self, values: Mapping[str, Filling]) -> bytes:
        """The record; `TemplateError` names a value that is not known or does not fit."""
        return b"".join(
            part if isinstance(part, bytes) else part.fill(_known(values, part.name))
            for part in self.parts
        )

    def shown(self) -> str:
        """The record for people, its places by name."""
        return " ".join(
            part.hex(" ").upper() if isinstance(part, bytes) else f"{{{part.name}}}"
            for part in self.parts
        )


EMPTY: Final = Template("")


def parse(text: str) -> Template:
    """`TemplateError` says what cannot be read."""
    if len(text) > _LONGEST:
        raise TemplateError(f"longer than {_LONGEST} characters")
    parts: list[bytes | Place] = []
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            raise TemplateError(
                f"{text[at : at + 12]!r}: pairs of hex digits, {{name}} or 'text' expected"
            )
        parts.append(_part(found))
        at = found.end()
    return Template(text, tuple(parts))


def _part(found: re.Match[str]) -> bytes | Place:
    if (digits := found["digits"]) is not None:
        return bytes.fromhex(digits)
    if (written := found["text"]) is not None:
        return written.encode("ascii")
    return Place(
        name=found["name"],
        width=int(found["width"] or 0),
        little_endian=found["little"] is not None,
    )


def _known(values: Mapping[str, Filling], name: str) -> Filling:
    try:
        return values[name]
    except KeyError:
        raise TemplateError(f"{{{name}}} has no value in this step") from None
