"""No requests around files, events, timing and secured messages make a server raise or say much.

A request inside a secured message gets the right signature: what a fuzzer cannot guess is behind
it.
"""

from contextlib import suppress
from typing import Final

from ecu_sim.diagnostics import Respond
from ecu_sim.file_store import FileStore
from ecu_sim.memory import Flash, FlashGeometry, Nvm, TwoCopyRecord
from fuzz import Draw, Harness
from protocols.editions import UdsEdition
from protocols.uds import Refusal, ServiceId
from protocols.uds.rules import (
    EventRules,
    FileRules,
    SecuredDataRules,
    SpecialRules,
    TimingRules,
    two_slot_application,
)
from protocols.uds.secured_data import Administrative, Keys, SecuredMessage
from tests.support.diagnostics import Bench, BenchDevice

_PAUSES_S: Final = (0.0, 0.05, 0.5, 6.0)
_LONGEST_ANSWER: Final = 256
#: A protected answer is longer by its head and its signature.
_PROTECTION: Final = 40
_FILES: Final = FileRules(capacity=400, files=3)
_GEOMETRY: Final = FlashGeometry(
    size=0x2000, sector_size=0x800, page_size=0x10, erase_s=0, program_s=0
)
#: The bench device's key of a level that it does not know.
_KEYS: Final = Keys.derive(bytes(16))
_RULES: Final = (
    two_slot_application(
        special=SpecialRules(
            files=_FILES,
            events=EventRules(),
            secured_data=SecuredDataRules(services=frozenset(ServiceId)),
        )
    ),
    two_slot_application(
        special=SpecialRules(files=_FILES, events=EventRules(), timing=TimingRules()),
        edition=UdsEdition.E2013,
    ),
)


def prove(data: bytes) -> None:
    draw = Draw(data)
    flags = draw.byte()
    cells = bytearray(b"\xff" * _GEOMETRY.size)
    record = TwoCopyRecord(Flash(cells, _GEOMETRY), address=0, copy_size=0x1000)
    bench = Bench(_RULES[flags & 1], BenchDevice(files=FileStore(_FILES, Nvm(record))))
    bench.ask("1003")
    if flags & 2:
        bench.unlock()
    counter = 0
    while draw:
        head = draw.byte()
        request = draw.chunk()
        if head & 1:
            counter += 1
            bits = Administrative(head & 0x50) | Administrative.REQUEST | Administrative.SIGNED
            message = SecuredMessage(administrative=bits, counter=counter, inner=request)
            request = message.encode(_KEYS)
        with suppress(Refusal):
            SecuredMessage.decode(request, _KEYS)
        events = bench.tell(request, functional=bool(head & 2))
        events += [event for _, event in bench.run(_PAUSES_S[head >> 2 & 3])]
        for event in events:
            if isinstance(event, Respond):
                room = _LONGEST_ANSWER + (_PROTECTION if head & 1 else 0)
                if not 0 < len(event.payload) <= room:
                    raise AssertionError(f"an answer of {len(event.payload)} bytes")
        bench.device.data[0xF188] = bytes((head,))  # what an event may be about


def _requests(*requests: str, flags: int = 2, head: int = 4) -> bytes:
    encoded = [bytes.fromhex(request) for request in requests]
    return bytes((flags,)) + b"".join(bytes((head, len(one))) + one for one in encoded)


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _requests("38 01 00 01 41 00 01 04 04", "36 01 01 02 03 04", "37", "38 05 00 01 2F"),
        _requests("38 04 00 01 41 00", "36 01", "37", "38 02 00 01 41", "38 06 00 01 41 00 01 04"),
        _requests("86 03 02 F1 88 22 F1 88", "86 05 02", "3E 00", "86 04 02", "86 00 02"),
        _requests("86 07 02 F1 88 01 00 00 00 05 00 20 00 22 F1 90", "86 05 02", "3E 80"),
        _requests("83 01", "83 04 00 32 01 F4", "83 02", "83 03", flags=3),
        _requests("22 F1 90", "2E F1 5A 01", "10 01", "11 01", "36 01", head=0x55),
    ),
)
