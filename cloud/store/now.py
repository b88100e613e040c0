"""What time it is for the cloud: the port and its two clocks."""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the date in UTC."""
        ...

    def seen(self, moment: datetime) -> None:
        """Take note of a caller's date."""
        ...


class WallClock:
    """The date of the machine; what callers say makes no difference."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 the one place where the cloud reads the machine's clock

    def seen(self, moment: datetime) -> None:
        """Callers do not set the machine's clock."""


class VirtualClock:
    """The newest date that any caller has told: a simulated fleet brings its own time."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def seen(self, moment: datetime) -> None:
        self._now = max(self._now, moment)


def microseconds(moment: datetime) -> int:
    """Return a date as microseconds since 1970 in UTC, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_microseconds(value: int) -> datetime:
    """Return the date of `microseconds`; `OverflowError` outside of the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=value)
