"""Bytes of a socketcand client give commands, in whatever pieces they come, or one error."""

from typing import Final

from fuzz import Harness
from protocols.can.socketcand import (
    Command,
    Malformed,
    Send,
    SocketcandDecoder,
    SocketcandError,
    decode,
    frame,
)


def _received(pieces: list[bytes]) -> list[Command] | None:
    decoder = SocketcandDecoder()
    try:
        return [command for piece in pieces for command in decoder.receive(piece)]
    except SocketcandError:
        return None


def prove(data: bytes) -> None:
    whole = _received([data])
    if whole != _received([data[at : at + 1] for at in range(len(data))]):
        raise AssertionError("the pieces in which bytes come make a difference")
    for command in whole or ():
        if isinstance(command, Send):
            _survives(command)


def _survives(command: Send) -> None:
    """What is told of a frame says the same as the command that sent it."""
    told = frame(command.header, command.data, 1.0)[2:-2].split(b" ")
    if bytes.fromhex(told[-1].decode()) != command.data:
        raise AssertionError(f"{command} is told as {told}")
    word, identifier, *rest = frame(command.header, command.data, 1.0, spaced=True)[2:-2].split()
    fd = word == b"fdframe"
    flags, content = (rest[:1], rest[2:]) if fd else ([], rest[1:])
    again = b" ".join(
        (b"fdsend" if fd else b"send", identifier, *flags, b"%d" % len(content), *content)
    )
    found = decode(again)
    if isinstance(found, Malformed) or found != command:
        raise AssertionError(f"{command} does not survive: {again!r}")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"< open comfort >< rawmode >< echo >",
        b"< send 7A0 8 2 10 3 0 0 0 0 0 >< send 18DA10F1 0 >",
        b"< fdsend 7B0 1 12 2 10 3 0 0 0 0 0 0 0 0 0 >",
        b"< bcmmode >< add 0 20000 123 4 42 42 42 42 >< update 123 1 0 >< delete 123 >",
        b"< subscribe 0 0 123 >< filter 1 500000 123 8 FF 00 F8 0 0 0 0 0 >< unsubscribe 123 >",
    ),
    max_length=400,
)
