"""What can go wrong with an ECU, as values: frames, messages, answers, memory cells and boots.

A *fault* is a frozen dataclass of one of the modules `wire`, `dialogue`, `cells` and `boot`; its
row in `table` gives it a name and a text form. `EcuFaults` is where the faults of one ECU begin and
end, and what the ECU's parts ask on their way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol  # Any: what a reading gives is for its own field


class FaultError(Exception):
    """A fault that cannot be; the message names ECU, fault and what is allowed."""


class Layer(Enum):
    """Where a fault acts."""

    FRAMES = "CAN frames"
    ISO_TP = "ISO-TP"
    SERVER = "diagnostic server"
    MEMORY = "flash memory"
    BOOT = "boot"


class Fault(Protocol):
    """A frozen dataclass; the type of each field is `Annotated` with a `Given`."""

    @property
    def layer(self) -> Layer: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How one kind of value is written: text -> value and back."""

    #: For what stands in the forms of the table: `TIME`.
    word: str
    #: What is expected, for messages.
    expected: str
    #: `ValueError` for any other text.
    read: Callable[[str], object]
    write: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class Given:
    """Beside the type of a fault's field: how the value is written, and what it means."""

    reading: Reading
    meaning: str


class Hits:
    """How often a fault that has begun has done something; `first` is called at the first time."""

    __slots__ = ("_first", "count")

    def __init__(self, first: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._first = first

    def add(self, times: int = 1) -> None:
        before, self.count = self.count, self.count + times
        if not before and times:
            self._first()


#: Ends what has begun; may be called again.
End = Callable[[], None]


class Target(Protocol):
    """The ECU, as far as its faults go."""

    def reset_by_fault(self) -> None:
        """A reset that nobody asked for."""

    def lose_power(self, off_s: float) -> None:
        """The supply is gone at once, and back after `off_s` seconds."""

    def hang_up(self) -> None:
        """Every connection of a tester ends (DoIP)."""
