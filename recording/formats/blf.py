"""Vector's BLF: objects in zlib containers, nanoseconds since the millisecond in its head.

Layout as python-can and Wireshark read it; there is no published specification. Little-endian.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, Final

from protocols.can import FrameHeader
from protocols.can.bits import DATA_LENGTH_CODES
from protocols.pcapng import CanError
from recording.formats import LogFormat, checked, frame_header, numbered
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
_FILE_SIGNATURE: Final = b"LOGG"
_SIGNATURE: Final = b"LOBJ"
#: Signature, size of the head, application, its version, version of the format, file size, size
#: without compression, objects, objects read, start and end as SYSTEMTIME.
_FILE_HEAD: Final = struct.Struct("<4sL4B4BQQLL8H8H")
_FILE_HEAD_SIZE: Final = 144
_APPLICATION, _FORMAT_VERSION = (0, 0, 0, 0), (2, 6, 8, 1)
#: Signature, size of the head, its version, size with the head, type.
_OBJECT: Final = struct.Struct("<4sHHLL")
#: Flags, client, version, stamp.
_STAMP_1: Final = struct.Struct("<LHHQ")
#: Flags, stamp status, version, stamp, original stamp.
_STAMP_2: Final = struct.Struct("<LBxHQ8x")
#: Method, size without compression.
_CONTAINER: Final = struct.Struct("<H6xL4x")
#: Channel, flags, DLC, identifier, data.
_CLASSIC: Final = struct.Struct("<HBBL8s")
#: Channel, flags, DLC, identifier, frame length, bits, FD flags, valid bytes, data.
_FAST: Final = struct.Struct("<HBBLLBBB5x64s")
#: Channel, DLC, valid bytes, tries, identifier, frame length, flags, two bit rates, two offsets,
#: bits, direction, offset of extensions, CRC; the data follows.
_FAST_64: Final = struct.Struct("<BBBBLLLLLLLHBBL")
#: Channel, length, flags, ECC, position, DLC, frame length, identifier, more flags, data.
_ERROR: Final = struct.Struct("<HHLBBBxLLH2x8s")

_CAN_MESSAGE, _LOG_CONTAINER, _CAN_ERROR, _CAN_MESSAGE_2 = 1, 10, 73, 86
_CAN_FD, _CAN_FD_64 = 100, 101
_STORED, _DEFLATED = 0, 2
_TEN_MICROSECONDS, _NANOSECONDS = 1, 2
_EXTENDED: Final = 0x8000_0000
_TRANSMITTED, _REMOTE = 0x01, 0x80
_EDL, _BRS, _ESI = 0x1, 0x2, 0x4
_REMOTE_64, _EDL_64, _BRS_64, _ESI_64 = 0x10, 0x1000, 0x2000, 0x4000
#: ECC of an error frame as the SJA1000 says it: an acknowledge slot, a CRC sequence.
_ECC: Final = {CanError.NO_ACKNOWLEDGEMENT: 0x19, CanError.PROTOCOL_VIOLATION: 0x08}
#: Bytes of objects in one container: what other writers make.
_CONTAINER_SIZE: Final = 128 * 1024
#: Largest object, packed or not, that is read.
_MAX_OBJECT: Final = 16 * 1024 * 1024
_LENGTHS: Final = {code: length for length, code in DATA_LENGTH_CODES.items()}


class _Writer:
    def __init__(self, file: BinaryIO, channels: Sequence[Channel], start_ns: int) -> None:
        del channels  # only numbers are kept
        self._file = file
        self._start_ns = self._end_ns = start_ns // _MS * _MS
        self._buffer = bytearray()
        self._objects = 0
        self._written = self._unpacked = _FILE_HEAD_SIZE
        self._file.write(self._head())

    @property
    def size(self) -> int:
        # Deflate adds five bytes for each 16 KiB that it cannot shorten, and there are heads.
        return self._written + len(self._buffer) + len(self._buffer) // 1024 + 64

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, CanFrame):
                self._add(record.at_ns, *_object(record))
            elif isinstance(record, CanErrorFrame):
                body = (record.channel + 1, 0, 0, _ECC[record.kind], 0, 0, 0, 0, 0, b"")
                self._add(record.at_ns, _CAN_ERROR, _ERROR.pack(*body))

    def flush(self) -> None:
        if self._buffer:
            self._pack()
        # A reader that comes now finds a file that is whole, and so does one after a crash.
        self._file.seek(0)
        self._file.write(self._head())
        self._file.seek(self._written)
        self._file.flush()

    def close(self) -> None:
        self.flush()

    def _add(self, at_ns: int, kind: int, body: bytes) -> None:
        self._end_ns = at_ns
        head = _OBJECT.size + _STAMP_1.size
        self._buffer += _OBJECT.pack(_SIGNATURE, head, 1, head + len(body), kind)
        self._buffer += _STAMP_1.pack(_NANOSECONDS, 0, 0, max(0, at_ns - self._start_ns))
        self._buffer += body
        self._objects += 1
        if len(self._buffer) >= _CONTAINER_SIZE:
            self._pack()

    def _pack(self) -> None:
        packed = zlib.compress(self._buffer, 6)
        size = _OBJECT.size + _CONTAINER.size + len(packed)
        self._written += self._file.write(
            b"".join(
                (
                    _OBJECT.pack(_SIGNATURE, _OBJECT.size, 1, size, _LOG_CONTAINER),
                    _CONTAINER.pack(_DEFLATED, len(self._buffer)),
                    packed,
                    bytes(size % 4),
                )
            )
        )
        self._unpacked += _OBJECT.size + _CONTAINER.size + len(self._buffer)
        self._buffer.clear()

    def _head(self) -> bytes:
        packed = _FILE_HEAD.pack(
            _FILE_SIGNATURE,
            _FILE_HEAD_SIZE,
            *_APPLICATION,
            *_FORMAT_VERSION,
            self._written,
            self._unpacked,
            self._objects,
            0,
            *_system_time(self._start_ns),
            *_system_time(self._end_ns),
        )
        return packed.ljust(_FILE_HEAD_SIZE, b"\0")


def _object(frame: CanFrame) -> tuple[int, bytes]:
    header, data = frame.header, frame.data
    identifier = header.identifier | (_EXTENDED if header.extended else 0)
    flags = (0 if frame.received else _TRANSMITTED) | (0 if frame.remote is None else _REMOTE)
    if not header.fd:
        length = len(data) if frame.remote is None else frame.remote
        return _CAN_MESSAGE, _CLASSIC.pack(frame.channel + 1, flags, length, identifier, data)
    fd_flags = _EDL | _BRS * header.bit_rate_switch | _ESI * frame.error_state_indicator
    code = DATA_LENGTH_CODES[len(data)]
    head = (frame.channel + 1, flags, code, identifier, 0, 0)
    return _CAN_FD, _FAST.pack(*head, fd_flags, len(data), data)


def _system_time(at_ns: int) -> tuple[int, ...]:
    date = date_of(at_ns)
    day = date.isoweekday() % 7
    clock = (date.hour, date.minute, date.second, date.microsecond // 1000)
    return (date.year, date.month, day, date.day, *clock)


def _read(file: BinaryIO, channels: list[Channel]) -> Iterator[Record]:
    head = file.read(_FILE_HEAD.size)
    if len(head) < _FILE_HEAD.size or head[:4] != _FILE_SIGNATURE:
        raise LogError("does not begin as a BLF file")
    fields = _FILE_HEAD.unpack_from(head)
    if not _FILE_HEAD.size <= fields[1] <= _MAX_OBJECT:
        raise LogError(f"a head of {fields[1]} bytes")
    # Read and not sought: it may be a pipe.
    file.read(fields[1] - len(head))
    objects = _Objects(_start(fields[14:22]), channels)
    at = fields[1]
    while head := file.read(_OBJECT.size):
        place = f"byte {at}"
        if len(head) < _OBJECT.size:
            raise LogError(f"{place}: an object that is cut short")
        signature, _, _, size, kind = _OBJECT.unpack(head)
        if signature != _SIGNATURE:
            raise LogError(f"{place}: no object begins here")
        if not _OBJECT.size <= size <= _MAX_OBJECT:
            raise LogError(f"{place}: an object of {size} bytes")
        body = file.read(size - len(head))
        if len(body) < size - len(head):
            raise LogError(f"{place}: an object that is cut short")
        at += size + len(file.read(size % 4))
        if kind == _LOG_CONTAINER:
            yield from objects.take(_unpacked(body, place), place)
        else:
            yield from objects.take(head + body, place)


def _start(fields: tuple[int, ...]) -> int:
    """The start in ns since 1970 of a SYSTEMTIME; all zeros, and what is no date, count as 1970."""
    year, month, _, day, hour, minute, second, millisecond = fields
    try:
        date = datetime(year, month, day, hour, minute, second, millisecond * 1000, tzinfo=UTC)
    except ValueError:
        return 0
    return since_epoch_ns(date)


def _unpacked(body: bytes, place: str) -> bytes:
    if len(body) < _CONTAINER.size:
        raise LogError(f"{place}: a container that is cut short")
    method, _ = _CONTAINER.unpack_from(body)
    packed = body[_CONTAINER.size :]
    if method == _STORED:
        return packed
    if method != _DEFLATED:
        raise LogError(f"{place}: compression method {method} is not known")
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, _MAX_OBJECT)
    except zlib.error as error:
        raise LogError(f"{place}: a container that cannot be unpacked: {error}") from error
    if unpacker.unconsumed_tail:
        raise LogError(f"{place}: a container of more than {_MAX_OBJECT} bytes")
    return data


class _Objects:
    """Objects out of the contents of containers, which may end in the middle of one."""

    def __init__(self, start_ns: int, channels: list[Channel]) -> None:
        self._start_ns = start_ns
        self._channels = channels
        self._rest = b""

    def take(self, data: bytes, place: str) -> Iterator[Record]:
        data = self._rest + data
        at = 0
        while True:
            # Objects are padded, but not in every version: the next one begins within 8 bytes.
            found = data.find(_SIGNATURE, at, at + 8)
            if found < 0:
                if len(data) - at >= 8:
                    raise LogError(f"{place}: no object where one is due in the container")
                break
            at = found
            if len(data) - at < _OBJECT.size:
                break
            _, head, version, size, kind = _OBJECT.unpack_from(data, at)
            if not _OBJECT.size <= head <= size <= _MAX_OBJECT:
                raise LogError(f"{place}: an object of {size} bytes with a head of {head}")
            if len(data) - at < size:
                break
            record = self._record(kind, version, head, data[at : at + size], place)
            at += size
            if record is not None:
                yield record
        self._rest = data[at:]
        if len(self._rest) > _MAX_OBJECT:
            raise LogError(f"{place}: an object without an end")

    def _record(self, kind: int, version: int, head: int, data: bytes, place: str) -> Record | None:
        layout = _LAYOUTS.get(kind)
        stamp = {1: _STAMP_1, 2: _STAMP_2}.get(version)
        if layout is None or stamp is None:
            return None  # another bus, a marker, statistics
        if len(data) < max(_OBJECT.size + stamp.size, head) or len(data) - head < layout.size:
            raise LogError(f"{place}: an object of type {kind} with {len(data)} bytes")
        flags, _, _, count = stamp.unpack_from(data, _OBJECT.size)
        at_ns = self._start_ns + count * (10_000 if flags == _TEN_MICROSECONDS else 1)
        fields = layout.unpack_from(data, head)
        channel = numbered(self._channels, fields[0], place)
        if kind == _CAN_ERROR:
            unheard = fields[3] == _ECC[CanError.NO_ACKNOWLEDGEMENT]
            error = CanError.NO_ACKNOWLEDGEMENT if unheard else CanError.PROTOCOL_VIOLATION
            return CanErrorFrame(at_ns, channel, error)
        if kind == _CAN_FD_64:
            return _fast_64(fields, data[head + layout.size :], at_ns, channel, place)
        if kind == _CAN_FD:
            return _fast(fields, at_ns, channel, place)
        _, flags, code, identifier, content = fields
        header = _header(identifier)
        length = min(8, code)
        content = b"" if flags & _REMOTE else content[:length]
        checked(header, content, place)
        remote = length if flags & _REMOTE else None
        return CanFrame(at_ns, channel, header, content, not flags & _TRANSMITTED, remote=remote)


_LAYOUTS: Final = {
    _CAN_MESSAGE: _CLASSIC,
    _CAN_MESSAGE_2: _CLASSIC,
    _CAN_ERROR: _ERROR,
    _CAN_FD: _FAST,
    _CAN_FD_64: _FAST_64,
}


def _fast(fields: tuple[int, ...], at_ns: int, channel: int, place: str) -> CanFrame:
    _, flags, code, identifier, _, _, fd_flags, valid, content = fields
    fd = bool(fd_flags & _EDL)
    remote = _remote(bool(flags & _REMOTE), code)
    data = _padded(bytes(content), valid, code, remote)
    header = _header(identifier, fd=fd, switch=bool(fd_flags & _BRS))
    checked(header, data, place)
    esi = bool(fd_flags & _ESI)
    return CanFrame(at_ns, channel, header, data, not flags & _TRANSMITTED, esi, remote)


def _fast_64(
    fields: tuple[int, ...], content: bytes, at_ns: int, channel: int, place: str
) -> CanFrame:
    code, valid, identifier, flags, direction = (fields[number] for number in (1, 2, 4, 6, 12))
    fd = bool(flags & _EDL_64)
    remote = _remote(bool(flags & _REMOTE_64), code)
    data = _padded(content, valid, code, remote)
    header = _header(identifier, fd=fd, switch=bool(flags & _BRS_64))
    checked(header, data, place)
    return CanFrame(at_ns, channel, header, data, not direction, bool(flags & _ESI_64), remote)


def _remote(remote: bool, code: int) -> int | None:  # noqa: FBT001 the flag itself
    return min(8, code) if remote else None


def _padded(content: bytes, valid: int, code: int, remote: int | None) -> bytes:
    """The data bytes; those that the DLC counts and the file leaves out are zero."""
    if remote is not None:
        return b""
    length = _LENGTHS.get(code & 0xF, 0)
    return content[: min(valid, length)].ljust(length, b"\0")


def _header(identifier: int, *, fd: bool = False, switch: bool = False) -> FrameHeader:
    return frame_header(
        identifier & 0x1FFF_FFFF,
        extended=bool(identifier & _EXTENDED),
        fd=fd,
        bit_rate_switch=fd and switch,
    )


FORMAT: Final = LogFormat(
    name="BLF",
    endings=(".blf",),
    begins=(b"logg",),
    resolution_ns=1,
    write=_Writer,
    read=_read,
)
