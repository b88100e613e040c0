"""The log of can-utils' candump (`candump -L`): a line for each frame, stamps in microseconds.

(1780300800.123456) comfort 7A0#0322F190CCCCCCCC R
"""

import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from protocols.pcapng import CanError, error_data
from recording.formats import MAX_CHANNELS, LogFormat, checked, frame_header, lines
from recording.records import CanErrorFrame, CanFrame, Channel, LogError, Record

_ERROR: Final = 0x2000_0000
#: Real controllers' drivers set it for every error on the bus, and readers look for it.
_BUS_ERROR: Final = 0x80
_BRS, _ESI = 1, 2
#: Length of a network interface's name in Linux, and what of ours it takes.
_NAME: Final = 15
_LINE: Final = re.compile(
    r"\((?P<seconds>\d{1,10})\.(?P<fraction>\d{1,9})\) +(?P<channel>\S{1,64}) +"
    r"(?P<id>[0-9A-Fa-f]{8}|[0-9A-Fa-f]{3})"
    r"(?:##(?P<flags>[0-9A-Fa-f])(?P<fd>[0-9A-Fa-f]*)"
    r"|#(?:(?P<remote>R)(?P<length>[0-8]?)|(?P<data>[0-9A-Fa-f.]*))(?:_[9A-Fa-f])?)"
    r"(?: +(?P<direction>[RT]))?"
)


class _Writer:
    def __init__(self, file: BinaryIO, channels: Sequence[Channel], start_ns: int) -> None:
        del start_ns  # every line has its own date
        self._file = file
        self._names = [interface_name(channel.name) for channel in channels]
        self.size = 0

    def write(self, records: Sequence[Record]) -> None:
        text = "".join(
            _line(record, self._names[record.channel])
            for record in records
            if isinstance(record, CanFrame | CanErrorFrame)
        )
        self.size += self._file.write(text.encode())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


def interface_name(name: str) -> str:
    """A wire's name as an interface of Linux could have it."""
    return re.sub(r"[^!-~]", "_", name)[:_NAME] or "can"


def _line(record: CanFrame | CanErrorFrame, name: str) -> str:
    # The first moment that the format knows, not before the record's.
    micros = record.at_ns // 1000
    head = f"({micros // 1_000_000}.{micros % 1_000_000:06}) {name} "
    if isinstance(record, CanErrorFrame):
        return f"{head}{_ERROR | _BUS_ERROR | record.kind:08X}#{error_data(record.kind).hex()}\n"
    header = record.header
    head += f"{header.identifier:08X}#" if header.extended else f"{header.identifier:03X}#"
    if record.remote is not None:
        return f"{head}R{record.remote or ''}\n"
    if header.fd:
        flags = _BRS * header.bit_rate_switch | _ESI * record.error_state_indicator
        return f"{head}#{flags:X}{record.data.hex().upper()}\n"
    return f"{head}{record.data.hex().upper()}\n"


def _read(file: BinaryIO, channels: list[Channel]) -> Iterator[Record]:
    known: dict[str, int] = {channel.name: number for number, channel in enumerate(channels)}
    for place, text in lines(file):
        found = _LINE.fullmatch(text)
        if found is None:
            raise LogError(f"{place}: no frame as candump -L writes it: {text[:60]!r}")
        name = found["channel"]
        if name not in known:
            if len(known) >= MAX_CHANNELS:
                raise LogError(f"{place}: more than {MAX_CHANNELS} interfaces")
            known[name] = len(channels)
            channels.append(Channel(name=name))
        at_ns = int(found["seconds"]) * 1_000_000_000 + int(found["fraction"].ljust(9, "0"))
        yield _record(found, place, at_ns, known[name])


def _record(found: re.Match[str], place: str, at_ns: int, channel: int) -> Record:
    identifier, extended = int(found["id"], 16), len(found["id"]) == 8
    if extended and identifier & _ERROR:
        unheard = identifier & CanError.NO_ACKNOWLEDGEMENT
        kind = CanError.NO_ACKNOWLEDGEMENT if unheard else CanError.PROTOCOL_VIOLATION
        return CanErrorFrame(at_ns, channel, kind)
    flags = 0 if found["flags"] is None else int(found["flags"], 16)
    header = frame_header(
        identifier,
        extended=extended,
        fd=found["flags"] is not None,
        bit_rate_switch=bool(flags & _BRS),
    )
    digits = (found["fd"] or found["data"] or "").replace(".", "")
    if len(digits) % 2:
        raise LogError(f"{place}: half a data byte at the end")
    data = bytes.fromhex(digits)
    checked(header, data, place)
    remote = int(found["length"] or 0) if found["remote"] else None
    return CanFrame(
        at_ns, channel, header, data, found["direction"] != "T", bool(flags & _ESI), remote
    )


FORMAT: Final = LogFormat(
    name="candump",
    endings=(".log", ".candump"),
    begins=(b"(",),
    resolution_ns=1000,
    write=_Writer,
    read=_read,
)
