"""Any package in place of a PDX gives an ECU, or is a `DescriptionError`.

The first byte chooses: a file as it is, or the parts of a well-formed package with bytes of one
part exchanged, which a fuzzer would not find through the compression.
"""

import io
import zipfile
from contextlib import suppress
from functools import cache
from typing import Final

from ecu_sim.described import DescriptionError
from ecu_sim.described.pdx import read_pdx
from fuzz import Draw, Harness
from tests.support.foreign_ecu import foreign_pdx


@cache
def _parts() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(foreign_pdx())) as package:
        return {name: package.read(name) for name in package.namelist()}


def prove(data: bytes) -> None:
    draw = Draw(data)
    chosen = draw.byte()
    content = draw.rest() if not chosen else _exchanged(draw, chosen)
    with suppress(DescriptionError):
        read_pdx(content, name="ecu.pdx")


def _exchanged(draw: Draw, chosen: int) -> bytes:
    parts = dict(_parts())
    name = list(parts)[chosen % len(parts)]
    text = bytearray(parts[name])
    while draw:
        place = int.from_bytes(draw.take(2)) % (len(text) + 1)
        removed, written = draw.byte(), draw.chunk()
        text[place : place + removed] = written
    parts[name] = bytes(text)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        for name, part in parts.items():
            package.writestr(name, part)
    return archive.getvalue()


def _place(part: str, old: bytes, new: bytes) -> bytes:
    """The input that exchanges these bytes."""
    number, at = list(_parts()).index(part), _parts()[part].index(old)
    chosen = number + len(_parts())
    return bytes((chosen,)) + at.to_bytes(2) + bytes((len(old), len(new))) + new


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"\0" + foreign_pdx(),
        bytes((len(_parts()),)),
        _place("brakes.odx-d", b"<BASE-VARIANTS>", b"<!DOCTYPE a><BASE-VARIANTS>"),
        _place("brakes.odx-f", b"<START-ADDRESS>", b"<START-ADDRESS>-"),
    ),
    max_length=512,
)
