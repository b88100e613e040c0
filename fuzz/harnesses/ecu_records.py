"""What stands in an ECU's flash is read, or refused with a `MemoryFaultError`, torn or not.

The sum over a record does not help against one that another version of the ECU wrote.
"""

from contextlib import suppress
from typing import Final

from ecu_sim.boot import mcuboot_swap, overwrite
from ecu_sim.boot.conventional import SlotRecord
from ecu_sim.boot.mcuboot_swap import Request, Swap
from ecu_sim.boot.two_slots import BootRecord
from ecu_sim.boot.update_agent import AgentRecord
from ecu_sim.memory import (
    Flash,
    FlashGeometry,
    PowerBudget,
    PowerLossError,
    Tear,
    Torn,
    TwoCopyRecord,
)
from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.flash import finish
from ecu_sim.memory.nvm import Nvm
from fuzz import Harness

_COPY: Final = 0x400
_GEOMETRY: Final = FlashGeometry(
    size=2 * _COPY, sector_size=_COPY, page_size=0x10, erase_s=0, program_s=0
)


def _record() -> TwoCopyRecord:
    flash = Flash(bytearray(b"\xff" * _GEOMETRY.size), _GEOMETRY)
    return TwoCopyRecord(flash, address=0, copy_size=_COPY)


def prove(data: bytes) -> None:
    for record in (
        BootRecord,
        SlotRecord,
        AgentRecord,
        mcuboot_swap.BootRecord,
        overwrite.BootRecord,
    ):
        with suppress(MemoryFaultError):
            decoded = record.decode(data)
            again = record.decode(decoded.encode())
            if again != decoded or (isinstance(decoded, BootRecord) and decoded.slot > 1):
                raise AssertionError(f"{decoded} does not survive")
    request = Request.decode(data)
    if request is not None and Request.decode(request.encode()) != request:
        raise AssertionError(f"{request} does not survive")
    _tear(data)
    stored = _record()
    finish(stored.write(data))
    if stored.read() != data:
        raise AssertionError("what was written is not what is read")
    with suppress(MemoryFaultError):
        Nvm(stored)


def _tear(data: bytes) -> None:
    """A page that is torn keeps the bits of what was to be written, and clears no other."""
    page = data[: _GEOMETRY.page_size].ljust(_GEOMETRY.page_size, b"\xff")
    for how in Torn:
        cells = bytearray(b"\xff" * _GEOMETRY.size)
        power = PowerBudget(operations=1, cut=Tear(how=how, done=0.25))
        flash = Flash(cells, _GEOMETRY, power=power)
        finish(flash.erase(_COPY, _COPY))
        with suppress(PowerLossError):
            finish(flash.program(0, page))
        if any(got & wanted != wanted for got, wanted in zip(cells, page, strict=False)):
            raise AssertionError(f"{how.name}: a bit is cleared that was not to be")
        if flash.wear != [0, 1]:
            raise AssertionError(f"wear {flash.wear}")


def _values() -> bytes:
    record = _record()
    nvm = Nvm(record)
    nvm.write("attempts", b"\x03")
    nvm.write("fingerprint", bytes(16))
    return record.read() or b""


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _values(),
        BootRecord().encode(),
        BootRecord(macs=(bytes(range(16)), b"")).encode(),
        SlotRecord().encode(),
        AgentRecord().encode(),
        mcuboot_swap.BootRecord().encode(),
        overwrite.BootRecord().encode(),
        Request(swap=Swap.BACK, sectors=7, lengths=(1, 2)).encode(),
    ),
    max_length=256,
)
