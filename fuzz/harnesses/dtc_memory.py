"""A trouble code memory takes back what it wrote, or refuses with a `DtcMemoryError`."""

from typing import Final

from ecu_sim.diagnostics.dtc import DtcDefinition, DtcMemory, DtcMemoryError
from fuzz import Harness

_CODE: Final = 0x9A0100


def _memory() -> DtcMemory:
    return DtcMemory((DtcDefinition(code=_CODE),), capture=lambda: {0x0101: b"\x01\x02"})


def prove(data: bytes) -> None:
    memory = _memory()
    try:
        memory.restore(data)
    except DtcMemoryError:
        if memory.status(_CODE) != _memory().status(_CODE):
            raise AssertionError("refused and yet taken") from None
        return
    again = _memory()
    again.restore(memory.to_bytes())
    if again.to_bytes() != memory.to_bytes():
        raise AssertionError("what it wrote is not what it takes")


def _failed() -> bytes:
    memory = _memory()
    memory.report(_CODE, failed=True)
    return memory.to_bytes()


HARNESS: Final = Harness(prove=prove, seeds=(_memory().to_bytes(), _failed(), b"\x01"))
