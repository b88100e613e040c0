"""Any text in place of a wire's URI gives a target or a `LinkError`."""

from contextlib import suppress
from typing import Final

from fuzz import Harness
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.uri import parse


def prove(data: bytes) -> None:
    with suppress(LinkError):
        parse(data.decode("utf-8", "surrogateescape"))


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"can://bridge/127.0.0.1:50091/comfort",
        b"can://bridge/[::1]:50091/comfort",
        b"can://socketcan/vcan0?fd=true",
        b"can://socketcand/127.0.0.1:29536/comfort",
        b"doip://127.0.0.1:13400",
        b"doip://[fe80::1]",
    ),
    max_length=100,
)
