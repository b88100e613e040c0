"""What can go wrong once in an update, where exactly, and how it is written."""

from dataclasses import dataclass
from enum import Enum

from ecu_sim.memory import Cut


class Kind(Enum):
    """What the fault hits."""

    GATEWAY = "gateway"
    FLASH = "flash"
    MESSAGE = "message"
    CLOUD = "cloud"
    RESET = "reset"


class Write(Enum):
    """Where in a write of the journal the gateway is cut."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


class Message(Enum):
    """What happens to one message between gateway and ECU."""

    REQUEST_LOST = "request-lost"
    REQUEST_DOUBLED = "request-doubled"
    REQUEST_REORDERED = "request-reordered"
    REQUEST_CORRUPTED = "request-corrupted"
    ANSWER_LOST = "answer-lost"
    ANSWER_DOUBLED = "answer-doubled"
    ANSWER_REORDERED = "answer-reordered"
    ANSWER_CORRUPTED = "answer-corrupted"

    @property
    def is_answer(self) -> bool:
        return self.value.startswith("answer")


class Outage(Enum):
    """What happens to one call of the cloud."""

    REQUEST_LOST = "request-lost"
    ANSWER_LOST = "answer-lost"
    AWAY = "away"


class Reset(Enum):
    """How an ECU begins anew between `commit` and its own confirm."""

    POWER = "power"
    SOFTWARE = "software"
    WATCHDOG = "watchdog"


How = Write | Cut | Message | Outage | Reset

_HOWS: dict[Kind, type[Enum]] = {
    Kind.GATEWAY: Write,
    Kind.FLASH: Cut,
    Kind.MESSAGE: Message,
    Kind.CLOUD: Outage,
    Kind.RESET: Reset,
}
#: Where a fault is not of one ECU or one method.
ALL = "all"


class FaultIdError(Exception):
    """A fault that is written wrong; the message says how it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault at one point of an update."""

    kind: Kind
    #: The ECU, the cloud's method, or `ALL`.
    place: str
    #: The how many-th write, operation, exchange or call at this place, from 1; for a reset, the
    #: journal entry after which it comes.
    number: int
    how: How

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.place}:{self.number}:{self.how.value}"

    @property
    def stratum(self) -> tuple[str, str, str]:
        return self.kind.value, self.place, self.how.value


def parse(text: str) -> Fault:
    """The fault of `kind:place:number:how`; `FaultIdError` if there is none."""
    try:
        kind_word, place, number, how_word = text.split(":")
        kind = Kind(kind_word)
        how = _HOWS[kind](how_word)
        return Fault(kind=kind, place=place, number=int(number), how=how)  # type: ignore[arg-type]  # of `How`, by the table
    except ValueError as error:
        kinds = "; ".join(
            f"{kind.value}: {', '.join(how.value for how in hows)}" for kind, hows in _HOWS.items()
        )
        raise FaultIdError(f"{text!r} is no KIND:PLACE:NUMBER:HOW ({kinds})") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """How many points an update without a fault has, as a recording run counts them."""

    #: Kinds of the journal's entries, in their order.
    entries: tuple[str, ...]
    #: ECU -> flash operations, of program and data flash together.
    operations: dict[str, int]
    #: ECU or wire -> exchanges, and those of them that were answered.
    exchanges: dict[str, int]
    answered: dict[str, tuple[int, ...]]
    #: Method -> calls.
    calls: dict[str, int]
    #: ECU -> entries (from 1) from `commit` up to its own `confirmed`.
    unconfirmed: dict[str, tuple[int, ...]]


def every_fault(points: Points) -> list[Fault]:
    """One fault at every point, in a fixed order."""
    found = [
        Fault(kind=Kind.GATEWAY, place=ALL, number=number, how=how)
        for number in range(1, len(points.entries) + 1)
        for how in Write
    ]
    found += [
        Fault(kind=Kind.FLASH, place=ecu, number=number, how=how)
        for ecu, count in points.operations.items()
        for number in range(1, count + 1)
        for how in Cut
    ]
    found += [
        Fault(kind=Kind.MESSAGE, place=place, number=number, how=how)
        for place, count in points.exchanges.items()
        for how in Message
        for number in (points.answered[place] if how.is_answer else range(1, count + 1))
    ]
    found += [
        Fault(kind=Kind.CLOUD, place=method, number=number, how=how)
        for method, count in points.calls.items()
        for number in range(1, count + 1)
        for how in Outage
    ]
    found += [
        Fault(kind=Kind.RESET, place=ecu, number=number, how=how)
        for ecu, numbers in points.unconfirmed.items()
        for number in numbers
        for how in Reset
    ]
    common = set.intersection(*(set(numbers) for numbers in points.unconfirmed.values()))
    found += [
        Fault(kind=Kind.RESET, place=ALL, number=number, how=how)
        for number in sorted(common)
        for how in Reset
    ]
    return found
