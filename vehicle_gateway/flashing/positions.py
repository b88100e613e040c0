"""On which line of a TOML file each key stands, which the parser of the standard library forgets.

The text has been parsed before, so nothing here looks for errors.
"""

import re
from collections.abc import Iterator
from typing import Final

#: Keys and list positions from the outside in.
Path = tuple[str | int, ...]

_KEY: Final = re.compile(r"""\s*(?:([A-Za-z0-9_-]+)|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)')\s*""")
_BLANK: Final = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_DEEPEST: Final = 32


def lines_of(text: str) -> dict[Path, int]:
    """Path -> line, counted from 1."""
    return dict(_Scanner(text).statements())


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a key, or of what it would stand in."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        #: Array of tables -> how many there are so far.
        self._counts: dict[Path, int] = {}

    def statements(self) -> Iterator[tuple[Path, int]]:
        table: Path = ()
        while self._skip():
            line = self._line
            if self._text.startswith("[[", self._at):
                self._move(2)
                path = self._resolved(self._keys())
                self._move(2)
                number = self._counts.get(path, 0)
                self._counts[path] = number + 1
                table = (*path, number)
                yield path, line
                yield table, line
            elif self._text[self._at] == "[":
                self._move(1)
                table = self._resolved(self._keys())
                self._move(1)
                yield table, line
            else:
                yield from self._pair(table, 0)

    def _pair(self, table: Path, depth: int) -> Iterator[tuple[Path, int]]:
        line = self._line
        path = (*table, *self._keys())
        self._move(1)  # =
        yield path, line
        yield from self._value(path, depth)

    def _value(self, path: Path, depth: int) -> Iterator[tuple[Path, int]]:
        self._skip()
        opens = self._text[self._at : self._at + 1]
        if opens == "[" and depth < _DEEPEST:
            self._move(1)
            number = 0
            while self._skip() and self._text[self._at] != "]":
                yield (*path, number), self._line
                yield from self._value((*path, number), depth + 1)
                number += 1
            self._move(1)
        elif opens == "{" and depth < _DEEPEST:
            self._move(1)
            while self._skip() and self._text[self._at] != "}":
                yield from self._pair(path, depth + 1)
            self._move(1)
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            # One character at least, so that whatever the text is there is an end.
            self._move(max(1, len(found[0]) if found else 1))

    def _resolved(self, keys: Path) -> Path:
        """A header's path: keys that name an array of tables mean its last one."""
        path: Path = ()
        for number, key in enumerate(keys):
            path = (*path, key)
            if number < len(keys) - 1 and path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _keys(self) -> Path:
        keys: list[str] = []
        while (found := _KEY.match(self._text, self._at)) is not None:
            keys.append(next(one for one in found.groups() if one is not None))
            self._move(len(found[0]))
            if not self._text.startswith(".", self._at):
                break
            self._move(1)
        return tuple(keys)

    def _skip(self) -> bool:
        """Pass over blanks, commas and comments; whether something follows."""
        found = _BLANK.match(self._text, self._at)
        self._move(len(found[0]) if found else 0)
        return self._at < len(self._text)

    def _move(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count
