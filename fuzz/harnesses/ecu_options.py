"""Any text in place of the options beside a PDX completes an ECU, or is a `DescriptionError`."""

from contextlib import suppress
from typing import Final

from ecu_sim.described import DescriptionError
from ecu_sim.described.options import applied, read_options
from fuzz import Harness
from tests.support.foreign_ecu import FOREIGN_OPTIONS, foreign_ecu

_ECU: Final = foreign_ecu()


def prove(data: bytes) -> None:
    with suppress(DescriptionError):
        applied(_ECU, read_options(data.decode("utf-8", "replace"), name="ecu.toml"))


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        FOREIGN_OPTIONS.encode(),
        b'request_id = 0x7B1\nboot_s = 0.5\nkey = "python:a.py:key"\n[routines]\n0301 = "erase"\n',
        b'[[memory]]\nname = "a"\nstart = 0x1000\nsize = 0x1000\nsector = 0x100\n',
        b"a = " + b"[" * 300,
    ),
    max_length=1024,
)
