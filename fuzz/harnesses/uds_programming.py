"""No requests to an ECU with blocks and a loader in RAM make it raise, or write while locked.

Its memory and boot loader are those of the simulator: routines, downloads and what they check.
"""

from dataclasses import replace
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ecu_sim.boot import BootMemory, ResetReason, Trust
from ecu_sim.boot.conventional import PROFILE
from ecu_sim.device import EcuDevice, Identity, Surroundings
from ecu_sim.diagnostics import Respond, Restart
from ecu_sim.diagnostics.dtc import DtcMemory
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from ecu_sim.ecus import ecu_type
from ecu_sim.memory import Flash, FlashGeometry, Nvm, TwoCopyRecord
from ecu_sim.memory.flash import result_of
from ecu_sim.outputs import OutputChannels
from ecu_sim.server_rules import server_rules
from fuzz import Draw, Harness
from protocols.uds.routine_status import SelfTestStatus
from tests.support.bench import LANGUAGE, LOADER, image, loader_image
from tests.support.diagnostics import Served

_ECU: Final = ecu_type("bench")
_LONGEST_ANSWER: Final = 4095
_SERIAL: Final = "BCH-0001"
_PAUSES_S: Final = (0.0, 0.05, 0.9, 6.0)
_DATA: Final = FlashGeometry(
    size=0x8000, sector_size=0x1000, page_size=0x10, erase_s=0, program_s=0
)
_COPY: Final = 0x1000


def _device() -> tuple[EcuDevice, bytearray]:
    size = _ECU.slot.size + sum(block.size for block in _ECU.blocks)
    cells = bytearray(b"\xff" * size)
    data = Flash(bytearray(b"\xff" * _DATA.size), _DATA)
    memory = BootMemory(
        flash=Flash(cells, replace(_ECU.slot, size=size)),
        slot_size=_ECU.slot.size,
        base=_ECU.application_base,
        record=TwoCopyRecord(data, address=0, copy_size=_COPY),
    )
    boot = PROFILE.open(memory, Trust(hardware_identifier=_ECU.hardware_identifier, public_keys={}))
    result_of(boot.boot(ResetReason.POWER_ON))
    device = EcuDevice(
        _ECU,
        identity=Identity(
            vin="WCANHVAC000000001",
            serial=_SERIAL,
            diagnostics_master=bytes(32),
            signing_key=Ed25519PrivateKey.from_private_bytes(bytes(32)),
        ),
        boot=boot,
        application=None,
        memory=memory,
        nvm=Nvm(TwoCopyRecord(data, address=2 * _COPY, copy_size=_COPY)),
        dtcs=DtcMemory(),
        surroundings=Surroundings(
            value_of=lambda _source: 0.0,
            hindrances=lambda: (),
            random_bytes=Random(1).randbytes,  # noqa: S311 the same at each run
            outputs=OutputChannels(
                value=lambda _channel: 0.0,
                override=lambda _channel, _value: None,
                hindrances=lambda: (),
            ),
            self_test=lambda: SelfTestStatus.PASSED,
            ram=lambda: None,
        ),
    )
    return device, cells


def prove(data: bytes) -> None:
    draw = Draw(data)
    flags = draw.byte()
    device, cells = _device()
    rules = server_rules(_ECU, application=False)
    served = Served(
        UdsServer(device, rules, timing=ServerTiming(), now=100.0, max_response=_LONGEST_ANSWER)
    )
    served.ask("1003")
    served.ask("1002")
    if flags & 1:
        served.unlock_with(device.security_key(1), serial=_SERIAL)
    if flags & 2:
        _start_loader(served)
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
    if not flags & 1 and cells.strip(b"\xff"):
        raise AssertionError("written without a key")


def _start_loader(served: Served) -> None:
    """What a fuzzer does not find: a secondary boot loader with its sum, and started."""
    content = loader_image()
    served.ask(f"34 00 44 {LOADER:08X} {len(content):08X}")
    for number, at in enumerate(range(0, len(content), 1024), 1):
        served.ask(bytes((0x36, number)) + content[at : at + 1024])
    served.ask("37")
    served.ask(f"31 01 03 01 {LOADER:08X}")


def _requests(*requests: str, flags: int) -> bytes:
    encoded = [bytes.fromhex(request) for request in requests]
    return bytes((flags,)) + b"".join(b"\x80" + bytes((len(one),)) + one for one in encoded)


_BLOCK: Final = image(b"language" * 4, software_number="BCH-DATA")
_PROGRAMMED: Final = (
    f"31 01 FF 00 44 {LANGUAGE:08X} 00001000",
    f"34 00 44 {LANGUAGE:08X} {len(_BLOCK):08X}",
    f"36 01 {_BLOCK.hex()}",
    "37",
    f"31 01 02 02 {LANGUAGE:08X} 00000000",
    "31 01 FF 01",
)
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _requests(*_PROGRAMMED, flags=3),
        _requests(*_PROGRAMMED, flags=0),
        _requests(
            f"31 01 FF 00 44 {_ECU.application_base:08X} 00001000",
            f"34 00 44 {_ECU.application_base:08X} 00000080",
            f"36 01 {'00' * 128}",
            "37",
            "31 01 02 02 00000000",
            "31 01 FF 01",
            "2E F1 5A 20260101",
            flags=3,
        ),
        _requests(f"31 01 03 01 {LOADER:08X}", "31 01 02 03", "31 01 02 14", "11 01", flags=1),
        _requests("85 02 9A 40 00", "28 04 03 00 01", "87 01 12", "87 02 0C 35 00", flags=0),
    ),
)
