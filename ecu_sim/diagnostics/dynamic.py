"""Dynamically defined data identifiers (service 2C). In RAM: a reset forgets them all."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdentifierPart:
    """`size` bytes of another identifier's record, from byte `position` (1 is the first)."""

    did: int
    position: int
    size: int


@dataclass(frozen=True, slots=True)
class MemoryPart:
    address: int
    size: int


Part = IdentifierPart | MemoryPart


class DynamicIdentifiers:
    """What each defined identifier's record is put together from."""

    def __init__(self) -> None:
        self._defined: dict[int, tuple[Part, ...]] = {}

    def __len__(self) -> int:
        return len(self._defined)

    def parts(self, did: int) -> tuple[Part, ...]:
        """Its parts in order; empty if the identifier is not defined."""
        return self._defined.get(did, ())

    def add(self, did: int, parts: Sequence[Part]) -> None:
        """Define, or append to what a request before has defined."""
        self._defined[did] = (*self.parts(did), *parts)

    def clear(self, did: int) -> None:
        self._defined.pop(did, None)

    def clear_all(self) -> None:
        self._defined.clear()
