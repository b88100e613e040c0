"""ASAM MDF 4 with the standard's channels of CAN bus logging; needs asammdf, an extra.

Stamps are seconds since the file's start as a double: whole nanoseconds for 104 days. asammdf
keeps what is logged in a temporary file; the file itself is written at the end.
"""

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final, cast

import numpy as np

from protocols.can.bits import DATA_LENGTH_CODES
from recording.formats import LogFormat
from recording.records import CanErrorFrame, CanFrame, Channel, LogError, Record, date_of

_NS_PER_S: Final = 1_000_000_000
_VERSION: Final = "4.10"
#: Records that are handed over at once.
_CHUNK: Final = 8192
#: Bytes of one record, stamp included, and of the file's head: bounds without compression.
_RECORD, _HEAD = 96, 32 * 1024

_FIELDS: Final = (
    ("BusChannel", "<u1"),
    ("ID", "<u4"),
    ("IDE", "<u1"),
    ("DLC", "<u1"),
    ("DataLength", "<u1"),
    ("DataBytes", "(64,)u1"),
    ("Dir", "<u1"),
    ("EDL", "<u1"),
    ("BRS", "<u1"),
    ("ESI", "<u1"),
)
_DATA, _ERROR, _REMOTE = "CAN_DataFrame", "CAN_ErrorFrame", "CAN_RemoteFrame"
#: Group of the file -> the type of its records. A remote frame has no data.
_TYPES: Final[Mapping[str, Any]] = {
    group: np.dtype(
        [
            (f"{group}.{name}", kind)
            for name, kind in _FIELDS
            if group != _REMOTE or name not in {"DataBytes", "EDL", "BRS", "ESI"}
        ]
    )
    for group in (_DATA, _ERROR, _REMOTE)
}
_MISSING: Final = "MF4 needs asammdf, which is not installed: pip install 'canota[mf4]'"


class _Writer:
    def __init__(self, file: BinaryIO, channels: Sequence[Channel], start_ns: int) -> None:
        try:
            from asammdf import MDF, Signal, Source  # noqa: PLC0415 an extra, and slow to import
        except ImportError as error:
            raise LogError(_MISSING) from error
        del channels  # numbers are kept, from 1 as the standard's bus channels
        self._file = file
        self._start_ns = start_ns // 1000 * 1000
        self._mdf = MDF(version=_VERSION)
        self._mdf.header.start_time = date_of(self._start_ns)
        source = Source("CAN", "", "", Source.SOURCE_BUS, Source.BUS_TYPE_CAN)
        self._rows: dict[str, list[tuple[float, tuple[Any, ...]]]] = {}
        for group, kind in _TYPES.items():
            self._rows[group] = []
            empty = Signal(
                name=group,
                samples=np.array([], dtype=kind),
                timestamps=np.array([], dtype="<f8"),
                source=source,
            )
            self._mdf.append(empty)
        self._count = 0

    @property
    def size(self) -> int:
        return _HEAD + _RECORD * self._count

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, CanFrame):
                self._add(_DATA if record.remote is None else _REMOTE, record.at_ns, _row(record))
            elif isinstance(record, CanErrorFrame):
                row = (record.channel + 1, 0, 0, 0, 0, bytes(64), 0, 0, 0, 0)
                self._add(_ERROR, record.at_ns, row)

    def flush(self) -> None:
        """Nothing: an MDF file is whole at its end only."""

    def close(self) -> None:
        for group in _TYPES:
            self._hand_over(group)
        self._mdf.save(cast("Any", self._file), compression=2)  # its type of a file is its own
        self._mdf.close()
        self._file.flush()

    def _add(self, group: str, at_ns: int, row: tuple[Any, ...]) -> None:
        self._rows[group].append(((at_ns - self._start_ns) / _NS_PER_S, row))
        self._count += 1
        if len(self._rows[group]) >= _CHUNK:
            self._hand_over(group)

    def _hand_over(self, group: str) -> None:
        rows = self._rows[group]
        if not rows:
            return
        samples = np.zeros(len(rows), dtype=_TYPES[group])
        for number, name in enumerate(_TYPES[group].names):
            column = [row[number] for _, row in rows]
            if name.endswith(".DataBytes"):
                joined = np.frombuffer(b"".join(column), dtype=np.uint8)
                samples[name] = joined.reshape(len(rows), 64)
            else:
                samples[name] = column
        times = np.array([at_s for at_s, _ in rows])
        self._mdf.extend(list(_TYPES).index(group), [(times, None), (samples, None)])
        rows.clear()


def _row(frame: CanFrame) -> tuple[Any, ...]:
    header, data = frame.header, frame.data
    start = (frame.channel + 1, header.identifier, int(header.extended))
    direction = 0 if frame.received else 1
    if frame.remote is not None:
        return (*start, frame.remote, 0, direction)
    code = DATA_LENGTH_CODES[len(data)]
    flags = (int(header.fd), int(header.bit_rate_switch), int(frame.error_state_indicator))
    return (*start, code, len(data), data.ljust(64, b"\0"), direction, *flags)


FORMAT: Final = LogFormat(
    name="MF4",
    endings=(".mf4",),
    begins=(b"mdf ",),
    resolution_ns=1,
    write=_Writer,
)
