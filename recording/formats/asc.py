"""Vector's ASC: text, a line for each frame, seconds since the date in its head.

The date has milliseconds and no time zone (it is UTC here); stamps have nine decimals, where
CANoe writes six by default and readers take any number of them. Channels count from 1; a comment
in the head names them.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, Final

from protocols.can.bits import DATA_LENGTH_CODES
from recording.formats import LogFormat, checked, frame_header, lines, numbered
from recording.records import (
    CanErrorFrame,
    CanFrame,
    Channel,
    LogError,
    Record,
    date_of,
    since_epoch_ns,
)

_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
# Names in English, whatever the machine's language.
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = tuple("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())  # noqa: SIM905 twelve words
_LENGTHS: Final = {code: length for length, code in DATA_LENGTH_CODES.items()}
#: Flags of a CAN FD event: EDL, BRS, ESI.
_EDL, _BRS, _ESI = 1 << 12, 1 << 13, 1 << 14
#: Duration, length, and after the flags CRC and bit timings, which nobody knows here.
_FD_TAIL: Final = "        0    0 {flags:8X}        0        0        0        0        0"

_CHANNEL: Final = re.compile(r"// channel (\d{1,3}) is (\S{1,64})", re.ASCII)
_DATE: Final = re.compile(
    r"(?:date|begin triggerblock) +(?:[A-Za-z]{2,3} +)?(?P<month>[A-Za-z]{3}) +(?P<day>\d{1,2}) +"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2}):(?P<second>\d{2})(?:\.(?P<fraction>\d{1,6}))?"
    r"(?: +(?P<half>am|pm))? +(?P<year>\d{4})",
    re.IGNORECASE | re.ASCII,
)
_BASE: Final = re.compile(
    r"base +(?P<base>hex|dec)(?: +timestamps +(?P<stamps>absolute|relative))?",
    re.IGNORECASE | re.ASCII,
)
_EVENT: Final = re.compile(r"(\d{1,10})\.(\d{1,9}) +(.*)", re.ASCII)
_ERROR: Final = re.compile(r"(?:CANFD +)?(\d{1,5}) +(?:(?:Rx|Tx) +)?ErrorFrame\b.*", re.IGNORECASE)
_CLASSIC: Final = re.compile(
    r"(?P<channel>\d{1,5}) +(?P<id>[0-9A-Fa-f]{1,10})(?P<extended>x?) +(?P<direction>Rx|Tx|TxRq) +"
    r"(?:r(?: +(?P<remote>[0-9A-Fa-f]{1,2}))?"
    r"|d +(?P<dlc>[0-9A-Fa-f]{1,2})(?P<data>(?: +[0-9A-Fa-f]{1,3})*))"
    r"(?P<rest>(?: .*)?)",
    re.ASCII,
)
_FD: Final = re.compile(
    r"CANFD +(?P<channel>\d{1,5}) +(?P<direction>Rx|Tx|TxRq) +"
    r"(?P<id>[0-9A-Fa-f]{1,10})(?P<extended>x?) +"
    r"(?:(?P<name>[A-Za-z_]\S*) +)?(?P<brs>[01]) +(?P<esi>[01]) +(?P<dlc>[0-9A-Fa-f]{1,2}) +"
    r"(?P<length>\d{1,2})(?P<rest>(?: .*)?)",
    re.ASCII,
)


class _Writer:
    def __init__(self, file: BinaryIO, channels: Sequence[Channel], start_ns: int) -> None:
        self._file = file
        self._start_ns = start_ns // _MS * _MS
        self.size = 0
        date = _date_text(date_of(self._start_ns))
        self._put(
            f"date {date}\nbase hex  timestamps absolute\nno internal events logged\n"
            "// version 13.0.0\n"
        )
        for number, channel in enumerate(channels, start=1):
            if not channel.ethernet:
                name = re.sub(r"[^!-~]", "_", channel.name)[:64] or "-"
                self._put(f"// channel {number} is {name}\n")
        self._put(f"Begin Triggerblock {date}\n   0.000000000 Start of measurement\n")

    def write(self, records: Sequence[Record]) -> None:
        start_ns = self._start_ns
        parts = []
        for record in records:
            seconds, ns = divmod(record.at_ns - start_ns, _NS_PER_S)
            if isinstance(record, CanFrame):
                parts.append(f"{seconds:4}.{ns:09} {_event(record)}\n")
            elif isinstance(record, CanErrorFrame):
                parts.append(f"{seconds:4}.{ns:09} {record.channel + 1}  ErrorFrame\n")
        self._put("".join(parts))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._put("End TriggerBlock\n")
        self._file.flush()

    def _put(self, text: str) -> None:
        self.size += self._file.write(text.encode())


def _date_text(date: datetime) -> str:
    day, month = _DAYS[date.weekday()], _MONTHS[date.month - 1]
    return f"{day} {month} {date.day:02} {date:%H:%M:%S}.{date.microsecond // 1000:03} {date.year}"


def _event(frame: CanFrame) -> str:
    header, data = frame.header, frame.data
    identifier = f"{header.identifier:X}{'x' if header.extended else ''}"
    channel, direction = frame.channel + 1, "Rx" if frame.received else "Tx"
    if not header.fd:
        if frame.remote is not None:
            return f"{channel}  {identifier:<15} {direction:<4} r {frame.remote:x}"
        return f"{channel}  {identifier:<15} {direction:<4} d {len(data):x} {data.hex(' ').upper()}"
    brs, esi = int(header.bit_rate_switch), int(frame.error_state_indicator)
    tail = _FD_TAIL.format(flags=_EDL | _BRS * brs | _ESI * esi)
    return (
        f"CANFD {channel:>3} {direction:<4} {identifier:>8}  {'':>32} {brs} {esi}"
        f" {DATA_LENGTH_CODES[len(data)]:x} {len(data):>2} {data.hex(' ').upper()} {tail}"
    )


class _Head:
    """What the head of a file, and what came before a line, say of it."""

    def __init__(self) -> None:
        self.start_ns = 0
        self.base = 16
        self.relative = False
        self.now_ns = 0

    def take(self, place: str, text: str, channels: list[Channel]) -> bool:
        """Whether the line belongs to the head."""
        if found := _DATE.fullmatch(text):
            self.start_ns = _date(found, place)
        elif found := _BASE.fullmatch(text):
            self.base = 16 if found["base"].lower() == "hex" else 10
            self.relative = (found["stamps"] or "").lower() == "relative"
        elif found := _CHANNEL.fullmatch(text):
            number = numbered(channels, int(found[1]), place)
            channels[number] = Channel(name=found[2])
        else:
            return False
        return True

    def stamp(self, seconds: str, fraction: str) -> int:
        at_ns = int(seconds) * _NS_PER_S + int(fraction.ljust(9, "0"))
        self.now_ns = self.now_ns + at_ns if self.relative else at_ns
        return self.start_ns + self.now_ns


def _date(found: re.Match[str], place: str) -> int:
    try:
        month = [name.lower() for name in _MONTHS].index(found["month"].lower()) + 1
        hour = int(found["hour"])
        if found["half"]:
            hour = hour % 12 + 12 * (found["half"].lower() == "pm")
        date = datetime(
            int(found["year"]),
            month,
            int(found["day"]),
            hour,
            int(found["minute"]),
            int(found["second"]),
            int((found["fraction"] or "0").ljust(6, "0")),
            tzinfo=UTC,
        )
    except ValueError as error:
        raise LogError(f"{place}: no date: {found[0][:60]!r}") from error
    return since_epoch_ns(date)


def _read(file: BinaryIO, channels: list[Channel]) -> Iterator[Record]:
    head = _Head()
    for place, text in lines(file):
        if head.take(place, text, channels):
            continue
        event = _EVENT.fullmatch(text)
        if event is None:
            continue  # comments, and the ends of trigger blocks
        at_ns, rest = head.stamp(event[1], event[2]), event[3]
        if found := _ERROR.fullmatch(rest):
            yield CanErrorFrame(at_ns, numbered(channels, int(found[1]), place))
        elif found := _CLASSIC.fullmatch(rest):
            yield _classic(found, place, at_ns, head.base, channels)
        elif found := _FD.fullmatch(rest):
            yield _fast(found, place, at_ns, head.base, channels)
        elif rest.startswith("CANFD") or re.match(r"\d+ +[0-9A-Fa-f]+x? +[RT]x ", rest):
            raise LogError(f"{place}: a CAN event that cannot be read: {text[:60]!r}")
        # What remains are other events: statistics, other buses, markers.


def _identifier(found: re.Match[str], base: int, place: str) -> int:
    try:
        return int(found["id"], base)
    except ValueError as error:
        raise LogError(f"{place}: identifier {found['id']!r} is not to base {base}") from error


def _bytes(words: list[str], base: int, place: str) -> bytes:
    try:
        return bytes(int(word, base) for word in words)
    except ValueError as error:
        raise LogError(f"{place}: no data bytes: {' '.join(words)[:60]!r}") from error


def _length(text: str, place: str) -> int:
    # The DLC is hexadecimal to either base.
    if (length := _LENGTHS.get(int(text, 16))) is None:
        raise LogError(f"{place}: no DLC is {text!r}")
    return length


def _classic(
    found: re.Match[str], place: str, at_ns: int, base: int, channels: list[Channel]
) -> CanFrame:
    channel = numbered(channels, int(found["channel"]), place)
    header = frame_header(_identifier(found, base, place), extended=bool(found["extended"]))
    received = found["direction"] == "Rx"
    if found["dlc"] is None:
        checked(header, b"", place)
        remote = min(8, _length(found["remote"] or "0", place))
        return CanFrame(at_ns, channel, header, b"", received, remote=remote)
    length = min(8, _length(found["dlc"], place))
    words = found["data"].split()[:length]
    if len(words) != length:
        raise LogError(f"{place}: {len(words)} of {length} data bytes")
    data = _bytes(words, base, place)
    checked(header, data, place)
    return CanFrame(at_ns, channel, header, data, received)


def _fast(
    found: re.Match[str], place: str, at_ns: int, base: int, channels: list[Channel]
) -> CanFrame:
    channel = numbered(channels, int(found["channel"]), place)
    identifier, length = _identifier(found, base, place), int(found["length"])
    words = found["rest"].split()
    flags = _flags(words[length + 2 :])
    fd = flags is None or bool(flags & _EDL)
    header = frame_header(
        identifier,
        extended=bool(found["extended"]),
        fd=fd,
        bit_rate_switch=fd and found["brs"] == "1",
    )
    if len(words) < length:
        raise LogError(f"{place}: {len(words)} of {length} data bytes")
    data = _bytes(words[:length], base, place)
    checked(header, data, place)
    return CanFrame(at_ns, channel, header, data, found["direction"] == "Rx", found["esi"] == "1")


def _flags(tail: list[str]) -> int | None:
    """What says whether an event on an FD channel is an FD frame; None where it is left out."""
    try:
        return int(tail[0], 16) if tail else None
    except ValueError:
        return None


FORMAT: Final = LogFormat(
    name="ASC",
    endings=(".asc",),
    begins=(b"date ", b"base ", b"//"),
    resolution_ns=1,
    write=_Writer,
    read=_read,
)
