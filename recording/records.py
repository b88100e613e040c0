"""What a log holds, whatever its format: stamped frames on numbered channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias, overload

from protocols.can import FrameHeader
from protocols.pcapng import CanError

EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class LogError(Exception):
    """A log that cannot be written or read; the message names file, and line or place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One wire of a log. Channels are numbered from 0; formats that count from 1 say so."""

    name: str
    ethernet: bool = False
    #: bit/s, 0 where it is not known.
    bit_rate: int = 0


# Tuples and no dataclasses: one is made for every frame of a wire that may run at 100 times
# real time, and a frozen dataclass costs three times as much to make.


class CanFrame(NamedTuple):
    """A data frame, or a remote one."""

    #: Last bit, in ns since 1970.
    at_ns: int
    channel: int
    header: FrameHeader
    data: bytes
    #: False: the program that logged has sent it.
    received: bool = True
    error_state_indicator: bool = False
    #: Data length that a remote frame asks for; None: a data frame.
    remote: int | None = None


class CanRun(Sequence[CanFrame]):
    """Data frames of one sender that followed each other, received; made one by one when asked for.

    A format that knows it may write all of them at once.
    """

    __slots__ = ("channel", "header", "payloads", "stamps_ns")

    def __init__(
        self,
        stamps_ns: Sequence[int],
        channel: int,
        header: FrameHeader,
        payloads: Sequence[bytes],
    ) -> None:
        """`stamps_ns`, in order, are the last bits in ns since 1970."""
        self.stamps_ns = stamps_ns
        self.channel = channel
        self.header = header
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @overload
    def __getitem__(self, index: int) -> CanFrame: ...
    @overload
    def __getitem__(self, index: slice) -> "CanRun": ...
    def __getitem__(self, index: int | slice) -> "CanFrame | CanRun":
        if isinstance(index, slice):
            stamps_ns, payloads = self.stamps_ns[index], self.payloads[index]
            return CanRun(stamps_ns, self.channel, self.header, payloads)
        return CanFrame(self.stamps_ns[index], self.channel, self.header, self.payloads[index])


class CanErrorFrame(NamedTuple):
    at_ns: int
    channel: int
    kind: CanError = CanError.PROTOCOL_VIOLATION


class EthernetFrame(NamedTuple):
    """From the target address on, without the frame check sequence."""

    at_ns: int
    channel: int
    data: bytes
    received: bool = True


Record: TypeAlias = CanFrame | CanErrorFrame | EthernetFrame


def since_epoch_ns(date: datetime) -> int:
    """A date that knows its time zone, as ns since 1970."""
    return (date - EPOCH) // timedelta(microseconds=1) * 1000


def date_of(at_ns: int) -> datetime:
    """The date in UTC, to the microsecond; `LogError` for one that no calendar has."""
    try:
        return EPOCH + timedelta(microseconds=at_ns // 1000)
    except OverflowError as error:
        raise LogError(f"no date is {at_ns} ns after 1970") from error
