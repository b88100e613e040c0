"""Any file in place of a flash sequence gives a sequence or a `SequenceError`."""

from typing import Final

from fuzz import Harness
from vehicle_gateway.flashing.sequence import SequenceError
from vehicle_gateway.flashing.sequence_file import read_sequence


def prove(data: bytes) -> None:
    try:
        sequence = read_sequence(data.decode("utf-8", "replace"), name="x.toml")
    except SequenceError as error:
        if not str(error).startswith("x.toml"):
            raise AssertionError(f"no file in {error}") from error
        return
    if not any(phase.writes for phase in sequence.phases.values()):
        raise AssertionError("a sequence that programs nothing")


_SMALL: Final = b"""name = "x"
digest_routine = 0x0214
[timing]
p2_s = 0.1
again_after_s = [0, 1.5]
[routines.erase]
id = 0x0301
texts = { 01 = "no" }
[checksum]
kind = "crc"
width = "16"
polynomial = 0x1021
[[blocks]]
name = "a"
address = 0
size = 16
[program]
steps = [
  { step = "a", each_block = [
    { step = "b", erase = "erase", option = "44 {address:3} {size}" },
    { step = "c", download = "image" },
  ] },
  { step = "d", request = "85 82 'x'", to = "all", accept = "any" },
]
"""
HARNESS: Final = Harness(
    prove=prove, seeds=(_SMALL, b"[[a.b]]\nc = [{d='''\n''']\n"), max_length=4096
)
