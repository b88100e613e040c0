"""The supply of a memory: each operation asks it whether it may run to its end."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class PowerLossError(Exception):
    """The supply failed at a memory operation. Whoever runs the ECU ends everything volatile."""


class Cut(Enum):
    """Where in an operation the power goes."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


class PowerSupply(Protocol):
    def draw(self) -> Cut | None:
        """Called once per operation (one page or one sector): None lets it finish."""
        ...


@dataclass(slots=True, kw_only=True)
class PowerBudget:
    """Power for `operations` whole operations; the next one is cut, and no later one begins."""

    operations: int
    cut: Cut = Cut.BEFORE
    #: Operations seen so far, the cut one included.
    drawn: int = 0

    def draw(self) -> Cut | None:
        self.drawn += 1
        if self.drawn <= self.operations:
            return None
        return self.cut if self.drawn == self.operations + 1 else Cut.BEFORE
