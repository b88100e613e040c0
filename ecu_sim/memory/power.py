"""The supply of a memory: each operation asks it whether it may run to its end."""

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

_ERASED: Final = b"\xff"
_PROGRAMMED: Final = b"\x00"


class PowerLossError(Exception):
    """The supply failed at a memory operation. Whoever runs the ECU ends everything volatile."""


class Cut(Enum):
    """Where in an operation the power goes."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


class Torn(Enum):
    """How the cells look in which an operation was under way."""

    PREFIX = "the first cells are done, the others as they were"
    #: Each bit on its way reads as one or the other.
    HALFWAY = "the first cells are done, in the others half of the bits, at random"
    #: NOR flash programs every cell of a sector before it erases it, for an even wear.
    DRAINED = "the first cells of a sector to be erased are programmed, none is erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tear:
    """What a torn operation leaves; by default its first half is done."""

    how: Torn = Torn.PREFIX
    #: Share of the cells that are done, 0.0 to 1.0.
    done: float = 0.5
    #: Repeats the random bits.
    seed: int = 0

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if self.how is Torn.HALFWAY else ""
        return f"torn {self.how.name.lower()} {self.done:.0%}{seed}"

    def programmed(self, before: bytes, after: bytes) -> bytes:
        """Cells that had `before` and were to have `after`, which clears bits only."""
        done = int(len(after) * self.done)
        if self.how is not Torn.HALFWAY:
            return after[:done] + before[done:]
        return after[:done] + _or(after[done:], _and(before[done:], self._noise(len(after) - done)))

    def erased(self, before: bytes) -> bytes:
        """A sector that held `before`."""
        done, size = int(len(before) * self.done), len(before)
        match self.how:
            case Torn.PREFIX:
                return _ERASED * done + before[done:]
            case Torn.HALFWAY:
                return _ERASED * done + _or(before[done:], self._noise(size - done))
            case Torn.DRAINED:
                return _PROGRAMMED * done + before[done:]

    def _noise(self, size: int) -> bytes:
        return hashlib.shake_128(self.seed.to_bytes(8, "little", signed=True)).digest(size)


class PowerSupply(Protocol):
    def draw(self) -> Cut | Tear | None:
        """Called once per operation (one page or one sector): None lets it finish.

        A `Tear` is a torn one; `Cut.TORN` leaves what `Tear()` says.
        """
        ...


@dataclass(slots=True, kw_only=True)
class PowerBudget:
    """Power for `operations` whole operations; the next one is cut, and no later one begins."""

    operations: int
    cut: Cut | Tear = Cut.BEFORE
    #: Operations seen so far, the cut one included.
    drawn: int = 0

    def draw(self) -> Cut | Tear | None:
        self.drawn += 1
        if self.drawn <= self.operations:
            return None
        return self.cut if self.drawn == self.operations + 1 else Cut.BEFORE


def _and(one: bytes, two: bytes) -> bytes:
    both = int.from_bytes(one, "little") & int.from_bytes(two, "little")
    return both.to_bytes(len(one), "little")


def _or(one: bytes, two: bytes) -> bytes:
    both = int.from_bytes(one, "little") | int.from_bytes(two, "little")
    return both.to_bytes(len(one), "little")
