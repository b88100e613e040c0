"""When which periodic data identifier is to be sent (service 2A)."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class _Entry:
    source: int
    start: float
    period_s: float
    sent: int = 0

    @property
    def due(self) -> float:
        """The n-th message is due at start + n periods: no drift, however late we are called."""
        return self.start + (self.sent + 1) * self.period_s


class Schedule:
    """Identifiers with their own period each, the first message one period after its request."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    def __contains__(self, did: int) -> bool:
        return did in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def identifiers(self) -> frozenset[int]:
        return frozenset(self._entries)

    def start(self, did: int, *, source: int, period_s: float, now: float) -> None:
        """Begin; one that is sent already begins anew with this period."""
        self._entries[did] = _Entry(source=source, start=now, period_s=period_s)

    def stop(self, dids: Iterable[int]) -> None:
        for did in dids:
            self._entries.pop(did, None)

    def clear(self) -> None:
        self._entries.clear()

    def next_deadline(self) -> float | None:
        if not self._entries:
            return None  # asked with every block of a download
        return min(entry.due for entry in self._entries.values())

    def take_due(self, now: float) -> list[tuple[int, int]]:
        """Identifier and tester of each message that is due, in the order of requests."""
        due = [(did, entry) for did, entry in self._entries.items() if entry.due <= now]
        for _, entry in due:
            entry.sent += 1
        return [(did, entry.source) for did, entry in due]
