"""What stands in an ECU's data flash is read, or refused with a `MemoryFaultError`.

The sum over a record does not help against one that another version of the ECU wrote.
"""

from contextlib import suppress
from typing import Final

from ecu_sim.boot.conventional import SlotRecord
from ecu_sim.boot.two_slots import BootRecord
from ecu_sim.memory import Flash, FlashGeometry, TwoCopyRecord
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
    for record in (BootRecord, SlotRecord):
        with suppress(MemoryFaultError):
            decoded = record.decode(data)
            again = record.decode(decoded.encode())
            if again != decoded or (isinstance(decoded, BootRecord) and decoded.slot > 1):
                raise AssertionError(f"{decoded} does not survive")
    stored = _record()
    finish(stored.write(data))
    if stored.read() != data:
        raise AssertionError("what was written is not what is read")
    with suppress(MemoryFaultError):
        Nvm(stored)


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
    ),
    max_length=256,
)
