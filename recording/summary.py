"""What a log holds in numbers: times, channels, identifiers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocols.can import FrameHeader
from recording.records import CanErrorFrame, CanFrame, Channel, EthernetFrame, Record

#: Identifiers of one channel that are counted singly; a bus has hundreds.
MAX_IDENTIFIERS: Final = 4096


@dataclass(slots=True, kw_only=True)
class IdentifierSummary:
    """The frames of one identifier on one channel."""

    frames: int = 0
    first_ns: int = 0
    last_ns: int = 0
    #: Shortest and longest time between two frames.
    least_ns: int = 0
    most_ns: int = 0
    #: Shortest and longest data field in bytes.
    shortest: int = 64
    longest: int = 0

    def add(self, frame: CanFrame) -> None:
        if self.frames:
            gap_ns = frame.at_ns - self.last_ns
            self.least_ns = gap_ns if self.frames == 1 else min(self.least_ns, gap_ns)
            self.most_ns = max(self.most_ns, gap_ns)
        else:
            self.first_ns = frame.at_ns
        self.frames += 1
        self.last_ns = frame.at_ns
        self.shortest = min(self.shortest, len(frame.data))
        self.longest = max(self.longest, len(frame.data))

    @property
    def cycle_ns(self) -> int:
        """Mean time between two frames; 0 for a single one."""
        return (self.last_ns - self.first_ns) // (self.frames - 1) if self.frames > 1 else 0


@dataclass(slots=True, kw_only=True)
class ChannelSummary:
    """One wire of a log."""

    frames: int = 0
    fd_frames: int = 0
    remote_frames: int = 0
    error_frames: int = 0
    ethernet_frames: int = 0
    #: Data bytes of all frames.
    data_bytes: int = 0
    identifiers: dict[FrameHeader, IdentifierSummary] = field(default_factory=dict)
    #: Frames whose identifiers came after the first `MAX_IDENTIFIERS`.
    further_frames: int = 0

    def add(self, record: Record) -> None:
        match record:
            case CanErrorFrame():
                self.error_frames += 1
            case EthernetFrame():
                self.ethernet_frames += 1
                self.data_bytes += len(record.data)
            case CanFrame(header=header):
                self.frames += 1
                self.fd_frames += header.fd
                self.remote_frames += record.remote is not None
                self.data_bytes += len(record.data)
                found = self.identifiers.get(header)
                if found is None:
                    if len(self.identifiers) >= MAX_IDENTIFIERS:
                        self.further_frames += 1
                        return
                    found = self.identifiers[header] = IdentifierSummary()
                found.add(record)


@dataclass(slots=True, kw_only=True)
class Summary:
    """A whole log."""

    records: int = 0
    #: Earliest and latest stamp in ns since 1970.
    first_ns: int = 0
    last_ns: int = 0
    #: Records that are stamped earlier than the one before them.
    out_of_order: int = 0
    #: In the order of the log's channels.
    channels: list[ChannelSummary] = field(default_factory=list)

    @property
    def duration_ns(self) -> int:
        return self.last_ns - self.first_ns


def summary(records: Iterable[Record], channels: Sequence[Channel]) -> Summary:
    """Read all of `records`; `channels` may grow meanwhile, as a reader's do."""
    made = Summary()
    before_ns: int | None = None
    for record in records:
        at_ns = record.at_ns
        if before_ns is None:
            made.first_ns = made.last_ns = before_ns = at_ns
        made.out_of_order += at_ns < before_ns
        made.first_ns = min(made.first_ns, at_ns)
        made.last_ns = max(made.last_ns, at_ns)
        made.records += 1
        before_ns = at_ns
        while len(made.channels) <= record.channel:
            made.channels.append(ChannelSummary())
        made.channels[record.channel].add(record)
    while len(made.channels) < len(channels):
        made.channels.append(ChannelSummary())
    return made
