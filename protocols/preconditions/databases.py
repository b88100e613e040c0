"""What a signal database says of its signals, as definitions for `check` and `evaluate`.

The messages are handed in; what is needed of them stands here as types, so that no library is.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from protocols.preconditions.evaluation import SignalDefinition

#: A cyclic value may be this many cycles old, but never has to be younger than the floor: a loaded
#: wire delays a frame, and a gateway in Python is no real-time system.
MAX_CYCLES: Final = 5
MIN_AGE_S: Final = 0.5
#: Of a message without a cycle time.
DEFAULT_AGE_S: Final = 10.0
#: Names that databases give to "signal not available" and "error".
NOT_AVAILABLE: Final = frozenset({"SNA", "NOTAVAILABLE", "INVALID", "ERROR"})


class Named(Protocol):
    """A named value of a signal."""

    @property
    def name(self) -> str: ...


class SignalEntry(Protocol):
    """One signal of a database, as cantools has it."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str | None: ...
    @property
    def scale(self) -> float: ...
    @property
    def offset(self) -> float: ...
    @property
    def minimum(self) -> float | None: ...
    @property
    def maximum(self) -> float | None: ...
    @property
    def choices(self) -> Mapping[int, str | Named] | None: ...


class MessageEntry(Protocol):
    """One message of a database."""

    @property
    def name(self) -> str: ...
    @property
    def cycle_time(self) -> int | None: ...
    @property
    def signals(self) -> Sequence[SignalEntry]: ...


def definitions(messages: Iterable[MessageEntry]) -> dict[str, SignalDefinition]:
    """Every signal under `message.name`, and under its name where only one message has it."""
    found = {
        f"{message.name}.{signal.name}": definition(message, signal)
        for message in messages
        for signal in message.signals
    }
    names = Counter(one.name for one in found.values())
    alone = {one.name: one for one in found.values() if names[one.name] == 1}
    return {**alone, **found}


def definition(message: MessageEntry, signal: SignalEntry) -> SignalDefinition:
    """One signal; its named values are given in physical units."""
    labels = {
        label if isinstance(label, str) else label.name: raw * signal.scale + signal.offset
        for raw, label in (signal.choices or {}).items()
    }
    cycle_s = (message.cycle_time or 0) / 1000
    return SignalDefinition(
        name=signal.name,
        message=message.name,
        unit=signal.unit or "",
        labels=labels,
        minimum=-math.inf if signal.minimum is None else float(signal.minimum),
        maximum=math.inf if signal.maximum is None else float(signal.maximum),
        not_available=frozenset(
            value
            for label, value in labels.items()
            if label.upper().replace("_", "").replace(" ", "") in NOT_AVAILABLE
        ),
        max_age_s=max(MIN_AGE_S, MAX_CYCLES * cycle_s) if cycle_s else DEFAULT_AGE_S,
    )
