"""The gateway's data budget: bytes of a campaign, a day and a month, over restarts too.

Counted is what calls put on their connections, tries that failed included; TCP, IP and TLS below
them are not (some 5 % more). The count on disk runs ahead of the true one, so a gateway that is
killed never forgets a byte.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)

#: Bytes by which the count on disk runs ahead.
_AHEAD: Final = 256 * 1024
#: Campaigns whose bytes are remembered.
_MOST_CAMPAIGNS: Final = 32
#: A file that is longer than this is none of ours.
_MOST_BYTES: Final = 64 * 1024


class DataSpentError(Exception):
    """The budget does not allow it; the message says which, how much, and until when."""


class DayOrMonthSpentError(DataSpentError):
    """It will be allowed again when the day or month is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLimits:
    """Bytes, both ways together; None: as many as come."""

    campaign: int | None = None
    day: int | None = None
    month: int | None = None


UNLIMITED: Final = DataLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUsed:
    """Bytes to the cloud and from it."""

    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.received

    def __add__(self, other: "DataUsed") -> "DataUsed":
        return DataUsed(sent=self.sent + other.sent, received=self.received + other.received)


class DataBudget:
    """Counts bytes and says when there are none left.

    Only files are held back (`admit`): check-ins and reports are small, and are how the cloud
    learns that the budget is spent.
    """

    def __init__(self, path: Path, limits: DataLimits, *, now_us: Callable[[], int]) -> None:
        self._path = path
        self._limits = limits
        self._now_us = now_us
        #: What is counted for, beside day and month: a campaign's name, or nothing.
        self.campaign = ""
        self._used = _read(path)
        #: Bytes that may still come before the count on disk has to move on.
        self._ahead = 0
        self._complained = False

    def charge(self, *, sent: int = 0, received: int = 0) -> None:
        """Count bytes that have gone or come."""
        used = DataUsed(sent=sent, received=received)
        for name in self._names():
            self._used[name] = self._used.get(name, DataUsed()) + used
        self._ahead -= used.total
        if self._ahead < 0:
            self._write(_AHEAD)

    def used(self, campaign: str) -> DataUsed:
        """What a campaign has used so far."""
        return self._used.get(f"campaign {campaign}", DataUsed())

    def admit(self, coming: int) -> None:
        """Return if a file of which `coming` bytes are missing may come (on) now.

        `DataSpentError` if the campaign's budget has no room for all of them,
        `DayOrMonthSpentError` if the day's or the month's is used up: what there is left of these
        may be used, for a file goes on where it broke off.
        """
        day, month, *_ = self._names()
        spent = self._used.get(f"campaign {self.campaign}", DataUsed()).total
        if self._limits.campaign is not None and spent + coming > self._limits.campaign:
            raise DataSpentError(
                f"data budget of {self.campaign or 'no campaign'}: {spent} of"
                f" {self._limits.campaign} bytes are used, and {coming} more were to come"
            )
        for name, limit in ((day, self._limits.day), (month, self._limits.month)):
            used = self._used.get(name, DataUsed()).total
            if limit is not None and used >= limit:
                raise DayOrMonthSpentError(
                    f"data budget of {name}: {used} of {limit} bytes are used; it goes on with"
                    f" the next {name.split()[0]}"
                )

    def close(self) -> None:
        """Have the true count on disk."""
        self._write(0)

    def _names(self) -> tuple[str, ...]:
        date = datetime.fromtimestamp(self._now_us() / 1e6, UTC)
        names = (f"day {date:%Y-%m-%d}", f"month {date:%Y-%m}")
        return (*names, f"campaign {self.campaign}") if self.campaign else names

    def _write(self, ahead: int) -> None:
        names = self._names()
        campaigns = [name for name in self._used if name.startswith("campaign ")]
        kept = {*names, *campaigns[-_MOST_CAMPAIGNS:]}
        self._used = {name: used for name, used in self._used.items() if name in kept}
        # What may come before the next write is counted as received: nobody knows which way.
        counted = {
            name: replace(used, received=used.received + (ahead if name in names else 0))
            for name, used in self._used.items()
        }
        content = {name: [used.sent, used.received] for name, used in counted.items()}
        part = self._path.with_suffix(".part")
        try:
            with part.open("w", encoding="ascii") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            # Counted on in memory: a full disk must not keep the vehicle from its reports.
            if not self._complained:
                _LOG.error("data_budget_not_kept path=%s cause=%s", self._path, error)
            self._complained = True
        self._ahead = ahead


def _read(path: Path) -> dict[str, DataUsed]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    used = decode(content)
    if used is None:
        _LOG.error("data_budget_damaged path=%s: counting begins anew", path)
        return {}
    return used


def decode(content: bytes) -> dict[str, DataUsed] | None:
    """What a file of counts says; None if it is damaged."""
    if len(content) > _MOST_BYTES:
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    used = {}
    for name, counts in found.items():
        match counts:
            case [int(sent), int(received)] if sent >= 0 and received >= 0:
                used[name] = DataUsed(sent=sent, received=received)
            case _:
                return None
    return used
