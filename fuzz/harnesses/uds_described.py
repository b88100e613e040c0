"""No requests make an ECU made from a PDX raise, answer too much, or write while it is locked."""

from random import Random
from typing import Final

from ecu_sim.described.device import DescribedDevice, chip_of
from ecu_sim.described.rules import rules_of
from ecu_sim.diagnostics import Respond, Restart
from ecu_sim.diagnostics.security import KeyScheme
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from ecu_sim.memory import Flash, FlashGeometry, Nvm, TwoCopyRecord
from fuzz import Draw, Harness
from tests.support.diagnostics import Served
from tests.support.foreign_ecu import FLASH_AT, LEVEL, LOADER_AT, foreign_ecu, foreign_key

_ECU: Final = foreign_ecu()
_LONGEST_ANSWER: Final = 4095
_PAUSES_S: Final = (0.0, 0.05, 0.9, 6.0)
_DATA: Final = FlashGeometry(
    size=0x8000, sector_size=0x4000, page_size=0x10, erase_s=0, program_s=0
)


def prove(data: bytes) -> None:
    draw = Draw(data)
    flags = draw.byte()
    chips = {one.name: chip_of(_ECU, one) for one in _ECU.memory if not one.ram}
    cells = {name: bytearray(b"\xff" * chip.size) for name, chip in chips.items()}
    record = Flash(bytearray(b"\xff" * _DATA.size), _DATA)
    device = DescribedDevice(
        _ECU,
        flash={name: Flash(cells[name], chip) for name, chip in chips.items()},
        nvm=Nvm(TwoCopyRecord(record, address=0, copy_size=0x4000)),
        random_bytes=Random(1).randbytes,  # noqa: S311 the same at each run
    )
    served = Served(
        UdsServer(
            device,
            rules_of(_ECU),
            timing=ServerTiming(),
            now=100.0,
            max_response=_LONGEST_ANSWER,
            scheme=KeyScheme(expected=foreign_key, seed_length=_ECU.seed_length),
            stock_answer=device.stock_answer,
        )
    )
    served.ask("1003")
    served.ask("1002")
    if flags & 1:
        seed = bytes.fromhex(served.ask(bytes((0x27, LEVEL))))[2:]
        served.ask(bytes((0x27, LEVEL + 1)) + foreign_key(LEVEL, seed))
    while draw:
        head = draw.byte()
        events = served.tell(draw.chunk(), functional=bool(head & 2))
        events += [event for _, event in served.run(_PAUSES_S[head >> 6])]
        for event in events:
            match event:
                case Respond(payload=payload) if not 0 < len(payload) <= _LONGEST_ANSWER:
                    raise AssertionError(f"an answer of {len(payload)} bytes")
                case Restart():
                    return
    if not flags & 1 and any(one.strip(b"\xff") for one in cells.values()):
        raise AssertionError("written without a key")


def _requests(*requests: str, flags: int = 1) -> bytes:
    encoded = [bytes.fromhex(request) for request in requests]
    return bytes((flags,)) + b"".join(b"\x80" + bytes((len(one),)) + one for one in encoded)


_LOADER: Final = (f"34 00 44 {LOADER_AT:08X} 00000004", "36 01 01020304", "37", "31 01 03 02")
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _requests(
            *_LOADER,
            f"31 01 03 01 {FLASH_AT:08X} 00001000",
            f"34 00 44 {FLASH_AT:08X} 00000010",
            f"36 01 {'AA' * 16}",
            "37",
            "31 01 03 04 12345678",
            "31 01 03 05",
            "2E F1 84 010203040506070809",
            "11 01",
        ),
        _requests("22 F1 90", "22 F1 84", "19 02 FF", "14 FF FF FF", "2F A0 01 03 5A", flags=0),
        _requests(*_LOADER, f"31 01 03 01 44 {FLASH_AT:08X} 00001000", "31 01 03 01 00", flags=1),
        _requests(f"31 01 03 01 {FLASH_AT:08X} 00001000", "31 01 03 01", flags=0),
    ),
)
