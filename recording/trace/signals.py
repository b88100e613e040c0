"""Signals of databases: frames as named values with their units."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cantools
from cantools.database.can import Database, Message
from cantools.database.errors import Error as DatabaseError

from recording.records import CanFrame, LogError

#: Digits of a value: more than any sensor has, fewer than a double's last, wrong ones.
_DIGITS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalValue:
    name: str
    #: Physical value, or the name of a state.
    value: float | str
    unit: str

    @property
    def text(self) -> str:
        shown = self.value if isinstance(self.value, str) else f"{self.value:.{_DIGITS}g}"
        unit = "°C" if self.unit == "degC" else self.unit
        return f"{shown} {unit}".rstrip()


class SignalNames:
    """The messages of one wire, from one or more databases; later ones win."""

    def __init__(self, databases: Iterable[Database]) -> None:
        self._messages: dict[tuple[int, bool], Message] = {
            (message.frame_id, message.is_extended_frame): message
            for database in databases
            for message in database.messages
        }

    def name(self, frame: CanFrame) -> str:
        """The message's name; empty if it is in no database."""
        found = self._find(frame)
        return "" if found is None else str(found.name)

    def values(self, frame: CanFrame) -> tuple[SignalValue, ...] | None:
        """Its signals in the order of the database; None if it is not described or too short."""
        message = self._find(frame)
        if message is None or len(frame.data) < message.length:
            return None
        try:
            decoded = message.decode(frame.data, allow_excess=True)
        except (DatabaseError, ValueError, KeyError):
            return None  # a multiplexer that no row of the database has
        if not isinstance(decoded, dict):
            return None  # a container
        return tuple(
            SignalValue(
                name=signal.name, value=_plain(decoded[signal.name]), unit=str(signal.unit or "")
            )
            for signal in message.signals
            if signal.name in decoded
        )

    def _find(self, frame: CanFrame) -> Message | None:
        return self._messages.get((frame.header.identifier, frame.header.extended))


def _plain(value: Any) -> float | str:  # noqa: ANN401 numbers or cantools' named values
    if isinstance(value, int | float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def load_database(path: Path) -> Database:
    """A DBC, ARXML, KCD or SYM file; `LogError` names it and says what is wrong."""
    try:
        database = cantools.database.load_file(path, strict=False)
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from error
    except (DatabaseError, ValueError, KeyError, TypeError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        raise LogError(f"{path}: no signal database: {line}") from error
    if not isinstance(database, Database):
        raise LogError(f"{path}: not a database of CAN messages")
    return database
