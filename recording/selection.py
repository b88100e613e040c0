"""Which records of a log are wanted: by identifier, by channel, by time, by direction."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recording.records import CanFrame, Channel, LogError, Record

_STANDARD, _EXTENDED = 0x7FF, 0x1FFF_FFFF
_RANGE: Final = re.compile(
    r"([0-9A-Fa-f]{1,8})(x?)(?:-([0-9A-Fa-f]{1,8})(x?))?", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifierRange:
    """CAN identifiers, both ends included."""

    first: int
    last: int
    extended: bool

    def __contains__(self, frame: CanFrame) -> bool:
        header = frame.header
        return header.extended == self.extended and self.first <= header.identifier <= self.last


def identifiers(text: str) -> tuple[IdentifierRange, ...]:
    """`7A0,700-7FF,18DA10F1`: hexadecimal; extended with eight digits or an `x` behind them."""
    return tuple(map(_range, text.split(",")))


def _range(text: str) -> IdentifierRange:
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise LogError(f"{text!r} is no identifier, as 7A0, 700-7FF or 18DA10F1")
    first, last = found[1], found[3] or found[1]
    extended = len(first) == 8 or len(last) == 8 or bool(found[2] or found[4])
    limit = _EXTENDED if extended else _STANDARD
    if not int(first, 16) <= int(last, 16) <= limit:
        raise LogError(f"{text!r} is no range of identifiers up to {limit:X}")
    return IdentifierRange(first=int(first, 16), last=int(last, 16), extended=extended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked for; nothing said: everything."""

    #: Only these; errors and Ethernet have none and are left out then.
    identifiers: tuple[IdentifierRange, ...] = ()
    without: tuple[IdentifierRange, ...] = ()
    #: Names of channels.
    channels: frozenset[str] = frozenset()
    #: Counted from the log's first record.
    from_ns: int = 0
    until_ns: int | None = None

    def take(self, records: Iterable[Record], channels: Sequence[Channel]) -> Iterator[Record]:
        """The records that are wanted; `channels` may grow meanwhile, as a reader's do.

        A log is read up to its end even if a time is asked for: its order is not promised.
        """
        start_ns: int | None = None
        for record in records:
            start_ns = record.at_ns if start_ns is None else start_ns
            after_ns = record.at_ns - start_ns
            if after_ns < self.from_ns or (self.until_ns is not None and after_ns > self.until_ns):
                continue
            if self.wants(record, channels):
                yield record

    def wants(self, record: Record, channels: Sequence[Channel]) -> bool:
        """Whether it is on a channel and has an identifier that is asked for."""
        if self.channels and channels[record.channel].name not in self.channels:
            return False
        if isinstance(record, CanFrame):
            if self.identifiers and not any(record in one for one in self.identifiers):
                return False
            return not any(record in one for one in self.without)
        return not self.identifiers
