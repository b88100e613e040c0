"""What goes wrong on a CAN wire, as a value, and what its nodes and onlookers are told of it."""

import random
from dataclasses import dataclass, field
from enum import Enum, auto

from ecu_sim.bus.errors import WireError
from protocols.can.error_frames import ErrorClass


class Fate(Enum):
    """What becomes of one try to send one frame."""

    HEARD = auto()
    #: The sender knows nothing, the receivers have it not (their mailboxes were full).
    LOST = auto()
    #: A bit reaches the receivers wrong: their CRC check fails, nobody acknowledges, all say so.
    CORRUPTED = auto()
    #: Nobody is there to acknowledge.
    UNACKNOWLEDGED = auto()


class ErrorState(Enum):
    ACTIVE = "error active"
    PASSIVE = "error passive"
    BUS_OFF = "bus-off"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCounters:
    """TEC, REC and what follows from them."""

    transmit: int = 0
    receive: int = 0
    state: ErrorState = ErrorState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFrame:
    """An error frame has ended on the wire."""

    #: Who was sending, and what became of the frame.
    node: str
    fate: Fate
    identifier: int
    #: Loop time in seconds at the end of the error delimiter.
    at_s: float

    @property
    def classes(self) -> ErrorClass:
        """What the driver of an onlooker's controller says of it."""
        if self.fate is Fate.UNACKNOWLEDGED:
            return ErrorClass.NO_ACKNOWLEDGEMENT
        return ErrorClass.PROTOCOL | ErrorClass.BUS_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFaults:
    """A plan of faults. Tries to send are numbered from 0 since the plan began to hold."""

    #: Share of the tries that end so, drawn from `rng`.
    loss: float = 0.0
    corruption: float = 0.0
    rng: random.Random | None = None
    #: The same by number, a try again counted too.
    lost: frozenset[int] = field(default_factory=frozenset)
    corrupted: frozenset[int] = field(default_factory=frozenset)
    #: Whose frames the plan is about, and whose tries it counts; None: everybody's.
    senders: frozenset[str] | None = None
    #: Whether a frame that no other node listens on the wire to acknowledge is an error.
    acknowledgement: bool = False
    #: Nodes that only look on: they acknowledge nothing and send no error flags.
    listen_only: frozenset[str] = frozenset({"capture"})
    #: Whether a node that is bus-off begins to recover by itself.
    recovery: bool = True

    def __post_init__(self) -> None:
        """Refuse shares that are none, and shares of what nobody draws."""
        if self.loss < 0 or self.corruption < 0 or self.loss + self.corruption > 1:
            raise WireError(f"shares of loss {self.loss} and corruption {self.corruption}")
        if (self.loss or self.corruption) and self.rng is None:
            raise WireError("loss and corruption by share need an rng")

    def concerns(self, node: str) -> bool:
        return self.senders is None or node in self.senders

    def fate(self, number: int) -> Fate:
        """What becomes of the try of that number; draws once per call where there are shares."""
        if number in self.corrupted:
            return Fate.CORRUPTED
        if number in self.lost:
            return Fate.LOST
        if self.rng is None:
            return Fate.HEARD
        drawn = self.rng.random()
        if drawn < self.loss:
            return Fate.LOST
        return Fate.CORRUPTED if drawn < self.loss + self.corruption else Fate.HEARD
