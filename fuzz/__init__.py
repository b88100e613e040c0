"""Coverage-guided fuzzing of every decoder: any bytes give a value or our own error.

A harness is a module of `fuzz/harnesses` that offers `HARNESS` and says first what it proves. It
knows nothing of the fuzzer: `python -m fuzz` runs it under atheris, and the test suite replays its
seeds and the inputs of `fuzz/corpus`, which once broke something.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from protocols.plugins import members

#: Inputs that broke something once, one folder per harness.
CORPUS: Final = Path(__file__).with_name("corpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    #: Returns if the invariant holds for these bytes; any exception is a finding.
    prove: Callable[[bytes], object]
    #: Well-formed inputs to begin with.
    seeds: tuple[bytes, ...] = ()
    #: Longest input that is worth trying, in bytes.
    max_length: int = 512

    def regressions(self, name: str) -> Iterator[Path]:
        folder = CORPUS / name
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.is_file())


@cache
def every_harness() -> dict[str, Harness]:
    """Every harness by module name."""
    found: dict[str, Harness] = {}
    for name, member in members("fuzz.harnesses", "HARNESS").items():
        if not isinstance(member, Harness):
            raise TypeError(f"fuzz.harnesses.{name}.HARNESS is no Harness")
        found[name] = member
    return found


class Draw:
    """Takes a harness's choices from the front of its bytes; an empty draw gives zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether bytes are left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        found = self.take(1)
        return found[0] if found else 0

    def take(self, size: int) -> bytes:
        """`size` bytes, or what is left."""
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def chunk(self) -> bytes:
        """A length byte and so many bytes."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        return self.take(len(self._data))
