"""The socketcand protocol: a CAN bus for many clients over TCP, in ASCII.

socketcand's documentation (doc/protocol.md of the project) and its raw mode define it: a client is
greeted, opens a bus, and is in BCM mode, where it subscribes to identifiers and has frames sent in
cycles; in raw mode it hears every frame. CAN FD frames are those of socketcand's raw mode
(`fdsend`, `fdframe`). Elements are `< word ... >`; identifiers have 3 hexadecimal digits, or 8 if
they are extended ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocols.can.bits import FrameError, check
from protocols.can.frame import FrameHeader

#: Longest element in bytes: as socketcand's own buffer.
MAX_ELEMENT: Final = 4000
#: Flags of an FD frame (linux/can.h).
_BRS: Final = 0x01
#: Longest cycle or throttle in seconds that is believed.
_LONGEST_S: Final = 24 * 3600

HI: Final = b"< hi >"
OK: Final = b"< ok >"
ECHO: Final = b"< echo >"


class SocketcandError(Exception):
    """Bytes that are no elements; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Open:
    """Client's first command."""

    bus: str


@dataclass(frozen=True, slots=True)
class SetMode:
    """`raw` or `bcm`; what a mode had set up ends with it."""

    mode: str


@dataclass(frozen=True, slots=True)
class Echo:
    """Answered by itself."""


@dataclass(frozen=True, slots=True)
class Send:
    header: FrameHeader
    data: bytes


@dataclass(frozen=True, slots=True)
class Add:
    """Send now and then in cycles (0 s: once)."""

    every_s: float
    header: FrameHeader
    data: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """Other content for a frame that is sent in cycles."""

    header: FrameHeader
    data: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """End a cycle."""

    header: FrameHeader


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Hear an identifier, at most once in `every_s`; with `mask`, only changes of these bits."""

    every_s: float
    header: FrameHeader
    mask: bytes | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    header: FrameHeader


@dataclass(frozen=True, slots=True)
class Malformed:
    """A command that is none, or that this server does not have; told to the client."""

    reason: str


Command = Open | SetMode | Echo | Send | Add | Update | Delete | Subscribe | Unsubscribe | Malformed


class SocketcandDecoder:
    """Bytes as they come -> commands; holds one unfinished element at most."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> list[Command]:
        """The commands that are complete now; `SocketcandError` ends the connection."""
        self._buffer += data
        commands: list[Command] = []
        while (rest := self._buffer.lstrip()) and rest.startswith(b"<"):
            end = rest.find(b">", 0, MAX_ELEMENT)
            if end < 0:
                if len(rest) >= MAX_ELEMENT:
                    raise SocketcandError(f"an element of more than {MAX_ELEMENT} bytes")
                self._buffer = rest
                return commands
            commands.append(decode(rest[1:end]))
            self._buffer = rest[end + 1 :]
        if rest:
            raise SocketcandError(f"{rest[:16]!r}: an element begins with <")
        self._buffer = b""
        return commands


def decode(element: bytes) -> Command:
    """One element without its brackets."""
    try:
        word, *fields = element.decode("ascii").split()
    except ValueError:
        return Malformed("not an element")
    known = _COMMANDS.get(word)
    if known is None:
        return Malformed("unknown command")
    try:
        return known(fields)
    except (ValueError, IndexError, FrameError, OverflowError) as error:
        return Malformed(f"syntax error in {word}: {error}")


def _open(fields: list[str]) -> Open:
    (bus,) = fields
    return Open(bus)


def _mode(mode: str) -> Callable[[list[str]], SetMode]:
    def take(fields: list[str]) -> SetMode:
        _none_left(fields)
        return SetMode(mode)

    return take


def _echo(fields: list[str]) -> Echo:
    _none_left(fields)
    return Echo()


def _send(fields: list[str]) -> Send:
    return Send(*_frame(fields))


def _fd_send(fields: list[str]) -> Send:
    flags = _number(fields[1], 16, 0xFF)
    header = _header(fields[0], fd=True, bit_rate_switch=bool(flags & _BRS))
    return Send(header, _data(header, fields[2:]))


def _add(fields: list[str]) -> Add:
    return Add(_time(fields), *_frame(fields[2:]))


def _update(fields: list[str]) -> Update:
    return Update(*_frame(fields))


def _delete(fields: list[str]) -> Delete:
    (identifier,) = fields
    return Delete(_header(identifier))


def _subscribe(fields: list[str]) -> Subscribe:
    _none_left(fields[3:])
    return Subscribe(_time(fields), _header(fields[2]))


def _filter(fields: list[str]) -> Subscribe:
    header, mask = _frame(fields[2:])
    return Subscribe(_time(fields), header, mask)


def _unsubscribe(fields: list[str]) -> Unsubscribe:
    (identifier,) = fields
    return Unsubscribe(_header(identifier))


_COMMANDS: Final[dict[str, Callable[[list[str]], Command]]] = {
    "open": _open,
    "rawmode": _mode("raw"),
    "bcmmode": _mode("bcm"),
    "echo": _echo,
    "send": _send,
    "fdsend": _fd_send,
    "add": _add,
    "update": _update,
    "delete": _delete,
    "subscribe": _subscribe,
    "filter": _filter,
    "unsubscribe": _unsubscribe,
}


def _none_left(fields: list[str]) -> None:
    if fields:
        raise ValueError(f"{fields[0]!r} is too much")


def _number(text: str, base: int, limit: int) -> int:
    """Digits alone: no sign, no underscore, no prefix."""
    if not text.isalnum() or len(text) > 20:
        raise ValueError(f"{text[:20]!r} is no number")
    value = int(text, base)
    if value > limit:
        raise ValueError(f"{text} is too much")
    return value


def _time(fields: list[str]) -> float:
    return _number(fields[0], 10, _LONGEST_S) + _number(fields[1], 10, 1_000_000_000) / 1e6


def _header(text: str, *, fd: bool = False, bit_rate_switch: bool = False) -> FrameHeader:
    header = FrameHeader(
        _number(text, 16, 0x1FFF_FFFF), len(text) == 8, fd=fd, bit_rate_switch=bit_rate_switch
    )
    check(header, b"")
    return header


def _frame(fields: list[str]) -> tuple[FrameHeader, bytes]:
    header = _header(fields[0])
    return header, _data(header, fields[1:])


def _data(header: FrameHeader, fields: list[str]) -> bytes:
    """Length, and so many bytes."""
    length = _number(fields[0], 10, 64)
    data = bytes(_number(text, 16, 0xFF) for text in fields[1:])
    if len(data) != length:
        raise ValueError(f"{len(data)} data bytes, {length} announced")
    check(header, data)
    return data


def frame(header: FrameHeader, data: bytes, at_s: float, *, spaced: bool = False) -> bytes:
    """A frame that was heard at `at_s` seconds since 1970; BCM mode has spaces between bytes."""
    content = (data.hex(" ") if spaced else data.hex()).upper()
    if header.fd:
        flags = _BRS * header.bit_rate_switch
        text = f"< fdframe {_digits(header)} {flags:02X} {at_s:.6f} {content} >"
    else:
        text = f"< frame {_digits(header)} {at_s:.6f} {content} >"
    return text.encode()


def error_frame(classes: int, at_s: float) -> bytes:
    """An error frame, by the classes of its identifier (`error_frames.ErrorClass`)."""
    return f"< error {classes:03X} {at_s:.6f} >".encode()


def refusal(reason: str) -> bytes:
    """An error of the protocol, in words that keep the brackets whole."""
    words = reason.replace("<", "(").replace(">", ")")[:200]
    return f"< error {words} >".encode("ascii", "replace")


def _digits(header: FrameHeader) -> str:
    return f"{header.identifier:08X}" if header.extended else f"{header.identifier:03X}"
