"""An ECU that is not ours: a PDX written by hand, with other routines, levels and a loader in RAM.

How to use it: `foreign_pdx()` gives the package, `FOREIGN_OPTIONS` the TOML beside it;
`foreign_node(port)` puts the ECU on a CAN port (`await node.booted()` after `power_on`), and
`ServeOptions`/`canota ecus serve --pdx FILE --ecu-options FILE` serves it. What a tester's own
sequence needs to know, as files only:

* CAN 500 k, requests on 7B1, responses on 7B9, 11 bits.
* 10 03, then 10 02 (extended before programming; no restart in between).
* 27 11 gives a seed of four bytes; 27 12 takes the key of `foreign_key` (`FOREIGN_KEY_SOURCE` is
  the same function as the text of a Python file: level and seed in, key out).
* Download the secondary boot loader, any bytes, to 4000_0000 (RAM, up to 4 KiB): 34 00 44, 36, 37;
  31 01 0302 starts it. Before that every erase and download of flash is refused (NRC 22).
* 31 01 0301, address u32, size u32: erase. Flash: 00A0_0000, 64 KiB, sectors of 4 KiB, and
  00B0_0000, 8 KiB. Download, then 31 01 0304 and the CRC-32 of the data: status 00, or 01.
* 31 01 0305: dependencies. 2E F184: fingerprint of 9 bytes (level 11). 11 01: restart.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from random import Random
from typing import Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from ecu_sim.described import DescribedEcu
from ecu_sim.described.device import chip_of
from ecu_sim.described.node import DescribedNode, KeyHook, complement
from ecu_sim.described.options import applied, read_options
from ecu_sim.described.pdx import read_pdx
from ecu_sim.descriptions import comparams
from ecu_sim.descriptions.odx import XSI_TYPE, child, named
from ecu_sim.ecus import CanAddress, EcuType, ecu_type
from ecu_sim.memory import Flash, FlashGeometry, Nvm, TwoCopyRecord
from protocols.can import CanPort

REQUEST_ID: Final = 0x7B1
RESPONSE_ID: Final = 0x7B9
LEVEL: Final = 0x11
LOADER_AT: Final = 0x4000_0000
FLASH_AT: Final = 0x00A0_0000

FOREIGN_OPTIONS: Final = """
seed_length = 4
max_block_length = 514

[data]
F190 = "FOREIGN0000000017"
F18C = "hex:46 4F 52 2D 31"
"""

FOREIGN_KEY_SOURCE: Final = '''
def key(level, seed):
    """The complement of the seed, turned by the level."""
    number = int.from_bytes(seed, "big") ^ 0xFFFFFFFF
    turn = level % 32
    turned = (number << turn | number >> 32 - turn) & 0xFFFFFFFF
    return turned.to_bytes(4, "big")
'''


def foreign_key(level: int, seed: bytes) -> bytes:
    """What the ECU expects; `FOREIGN_KEY_SOURCE` in words."""
    number = int.from_bytes(seed) ^ 0xFFFF_FFFF
    turn = level % 32
    return ((number << turn | number >> 32 - turn) & 0xFFFF_FFFF).to_bytes(4)


#: Name -> constant start of the request, variable rest, response after it, required states.
_SERVICES: Final[tuple[tuple[str, str, int | None, int | str, tuple[str, ...]], ...]] = (
    ("Session_default", "1001", 0, 4, ()),
    ("Session_extended", "1003", 0, 4, ()),
    ("Session_programming", "1002", 0, 4, ("extended", "programming")),
    ("Reset_hard", "1101", 0, 0, ()),
    ("Tester_present", "3E00", 0, 0, ()),
    ("Seed_11", "2711", 0, 4, ("extended", "programming")),
    ("Key_12", "2712", 4, 0, ("extended", "programming")),
    ("Read_VIN", "22F190", 0, 17, ()),
    ("Read_serial", "22F18C", 0, 5, ()),
    ("Read_part_number", "22F187", 0, "464F522D39393939", ()),
    ("Read_fingerprint", "22F184", 0, 9, ()),
    ("Write_fingerprint", "2EF184", 9, 0, ("programming", "unlocked_11")),
    ("Erase_flash", "31010301", 8, 1, ("programming", "unlocked_11")),
    ("Start_SBL", "31010302", 0, 1, ("programming", "unlocked_11")),
    ("Check_memory_crc", "31010304", 4, 1, ("programming", "unlocked_11")),
    ("Check_programming_dependencies", "31010305", 0, 1, ("programming",)),
    ("Request_download", "34", 10, 3, ("programming", "unlocked_11")),
    ("Transfer_data", "36", None, 1, ("programming", "unlocked_11")),
    ("Transfer_exit", "37", 0, 0, ("programming", "unlocked_11")),
    ("Read_DTC_by_mask", "1902", 1, 1, ()),
    ("Read_supported_DTC", "190A", 0, 1, ()),
    ("Clear_DTC", "14", 3, 0, ()),
    ("Lamp_control", "2FA00103", 1, "5A", ()),
)
_STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "session": ("default", "extended", "programming"),
    "security": ("locked", "unlocked_11"),
}
_MOVES: Final[Mapping[str, tuple[str, ...]]] = {
    "Session_default": ("default",),
    "Session_extended": ("extended",),
    "Session_programming": ("programming",),
    "Key_12": ("unlocked_11",),
}


@cache
def foreign_pdx() -> bytes:
    """The package, as a tool of somebody else might have written it."""
    documents = {
        **comparams.documents(_like()),
        "brakes.odx-d": _layers(),
        "brakes.odx-f": _flash(),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for name, element in documents.items():
            root = Element("ODX", {"MODEL-VERSION": "2.2.0"})
            root.append(element)
            written.writestr(name, ET.tostring(root))
    return archive.getvalue()


def foreign_ecu() -> DescribedEcu:
    """Read from the package, completed by the options."""
    ecu = read_pdx(foreign_pdx(), name="brakes.pdx")
    return applied(ecu, read_options(FOREIGN_OPTIONS, name="brakes.toml"))


def node_of(ecu: DescribedEcu, port: CanPort, *, key: KeyHook = complement) -> DescribedNode:
    """A described ECU with new memory, on a CAN port; off."""
    chips = {one.name: chip_of(ecu, one) for one in ecu.memory if not one.ram}
    flash = {name: Flash(bytearray(b"\xff" * chip.size), chip) for name, chip in chips.items()}
    chip = FlashGeometry(size=0x8000, sector_size=0x4000, page_size=0x10, erase_s=0, program_s=0)
    cells = bytearray(b"\xff" * chip.size)
    nvm = Nvm(TwoCopyRecord(Flash(cells, chip), address=0, copy_size=0x4000))
    draws = Random(7).randbytes  # noqa: S311 a seeded run must repeat
    return DescribedNode(ecu, port, flash=flash, nvm=nvm, random_bytes=draws, key=key)


def foreign_node(port: CanPort) -> DescribedNode:
    return node_of(foreign_ecu(), port, key=foreign_key)


def _like() -> EcuType:
    """One of ours with its addresses."""
    address = CanAddress(request_id=REQUEST_ID, response_id=RESPONSE_ID)
    return replace(ecu_type("bench"), name="brakes", can_addresses=(address,))


def _layers() -> Element:
    root = named(Element("DIAG-LAYER-CONTAINER", {"ID": "brakes.container"}), "brakes_layers")
    protocol = child(child(root, "PROTOCOLS"), "PROTOCOL", ID="brakes.protocol")
    named(protocol, "UDS_on_CAN")
    comparams.refer_to_stack(protocol, comparams.stack_of(_like()))
    layer = child(child(root, "BASE-VARIANTS"), "BASE-VARIANT", ID="brakes.base")
    named(layer, "brakes")
    layer.append(_dictionary())
    comms, requests, responses = (
        child(layer, tag) for tag in ("DIAG-COMMS", "REQUESTS", "POS-RESPONSES")
    )
    for name, start, rest, answer, states in _SERVICES:
        _comm(comms, name, states)
        request = named(child(requests, "REQUEST", ID=f"brakes.rq.{name}"), f"RQ_{name}")
        _params(request, bytes.fromhex(start), rest)
        response = named(child(responses, "POS-RESPONSE", ID=f"brakes.pr.{name}"), f"PR_{name}")
        head = bytes.fromhex(start)
        head = bytes([head[0] + 0x40]) + head[1 : {0x2F: 3}.get(head[0], 4)]
        if isinstance(answer, str):
            _params(response, head + bytes.fromhex(answer), 0)
        else:
            _params(response, head, answer)
    layer.append(_charts())
    layer.append(comparams.comparam_refs(_like()))
    parent = child(child(layer, "PARENT-REFS"), "PARENT-REF", ID_REF="brakes.protocol")
    parent.set(XSI_TYPE, "PROTOCOL-REF")
    return root


def _comm(comms: Element, name: str, states: tuple[str, ...]) -> None:
    service = named(child(comms, "DIAG-SERVICE", ID=f"brakes.service.{name}"), name)
    if states:
        refs = child(service, "PRE-CONDITION-STATE-REFS")
        for state in states:
            child(refs, "PRE-CONDITION-STATE-REF", ID_REF=f"brakes.state.{state}")
    if name in _MOVES:
        refs = child(service, "STATE-TRANSITION-REFS")
        for target in _MOVES[name]:
            child(refs, "STATE-TRANSITION-REF", ID_REF=f"brakes.to.{target}")
    child(service, "REQUEST-REF", ID_REF=f"brakes.rq.{name}")
    child(child(service, "POS-RESPONSE-REFS"), "POS-RESPONSE-REF", ID_REF=f"brakes.pr.{name}")


def _params(message: Element, constant: bytes, rest: int | None) -> None:
    params = child(message, "PARAMS")
    for position, byte in enumerate(constant):
        param = child(params, "PARAM")
        param.set(XSI_TYPE, "CODED-CONST")
        named(param, f"constant_{position}")
        child(param, "BYTE-POSITION", position)
        child(param, "CODED-VALUE", byte)
        _coded(param, 8)
    if rest != 0:
        param = child(params, "PARAM")
        param.set(XSI_TYPE, "VALUE")
        named(param, "rest")
        child(param, "BYTE-POSITION", len(constant))
        child(param, "DOP-REF", ID_REF=f"brakes.bytes.{rest}")


def _coded(parent: Element, bits: int) -> None:
    coded = child(parent, "DIAG-CODED-TYPE", BASE_DATA_TYPE="A_UINT32")
    coded.set(XSI_TYPE, "STANDARD-LENGTH-TYPE")
    child(coded, "BIT-LENGTH", bits)


def _dictionary() -> Element:
    spec = Element("DIAG-DATA-DICTIONARY-SPEC")
    codes = named(child(child(spec, "DTC-DOPS"), "DTC-DOP", ID="brakes.dtcs"), "dtcs")
    _coded(codes, 24)
    child(codes, "PHYSICAL-TYPE", BASE_DATA_TYPE="A_UINT32")
    child(child(codes, "COMPU-METHOD"), "CATEGORY", "IDENTICAL")
    dtc = named(child(child(codes, "DTCS"), "DTC", ID="brakes.dtc.1"), "wheel_speed")
    child(dtc, "TROUBLE-CODE", 0x403100)
    child(dtc, "TEXT", "Wheel speed sensor")
    objects = child(spec, "DATA-OBJECT-PROPS")
    sizes = {size for _, _, rest, answer, _ in _SERVICES for size in (rest, answer)}
    for size in sorted(sizes - {0}, key=str):
        if isinstance(size, str):
            continue
        dop = named(child(objects, "DATA-OBJECT-PROP", ID=f"brakes.bytes.{size}"), f"bytes_{size}")
        child(child(dop, "COMPU-METHOD"), "CATEGORY", "IDENTICAL")
        coded = child(dop, "DIAG-CODED-TYPE", BASE_DATA_TYPE="A_BYTEFIELD")
        if size is None:
            coded.set(XSI_TYPE, "MIN-MAX-LENGTH-TYPE")
            coded.set("TERMINATION", "END-OF-PDU")
            child(coded, "MIN-LENGTH", 0)
        else:
            coded.set(XSI_TYPE, "STANDARD-LENGTH-TYPE")
            child(coded, "BIT-LENGTH", 8 * size)
        child(dop, "PHYSICAL-TYPE", BASE_DATA_TYPE="A_BYTEFIELD")
    return spec


def _charts() -> Element:
    charts = Element("STATE-CHARTS")
    for chart, states in _STATES.items():
        made = named(child(charts, "STATE-CHART", ID=f"brakes.chart.{chart}"), chart)
        child(made, "SEMANTIC", chart.upper())
        moves = child(made, "STATE-TRANSITIONS")
        for state in states:
            move = child(moves, "STATE-TRANSITION", ID=f"brakes.to.{state}")
            named(move, f"to_{state}")
            child(move, "SOURCE-SNREF", SHORT_NAME=states[0])
            child(move, "TARGET-SNREF", SHORT_NAME=state)
        child(made, "START-STATE-SNREF", SHORT_NAME=states[0])
        listed = child(made, "STATES")
        for state in states:
            named(child(listed, "STATE", ID=f"brakes.state.{state}"), state)
    return charts


#: Name, first address, bytes, bytes erased at a time.
_AREAS: Final = (
    ("loader", LOADER_AT, 0x1000, 0),
    ("program", FLASH_AT, 0x1_0000, 0x1000),
    ("data", 0x00B0_0000, 0x2000, 0x1000),
)


def _flash() -> Element:
    root = named(Element("FLASH", {"ID": "brakes.flash"}), "brakes_flash")
    memory = child(child(root, "ECU-MEMS"), "ECU-MEM", ID="brakes.memory")
    named(memory, "brakes_memory")
    content = child(memory, "MEM")
    session = named(
        child(child(content, "SESSIONS"), "SESSION", ID="brakes.session"), "programming"
    )
    references = child(session, "DATABLOCK-REFS")
    blocks = child(content, "DATABLOCKS")
    images = child(content, "FLASHDATAS")
    physical = named(child(memory, "PHYS-MEM", ID="brakes.physical"), "memory")
    segments = child(physical, "PHYS-SEGMENTS")
    for number, (name, start, size, sector) in enumerate(_AREAS):
        child(references, "DATABLOCK-REF", ID_REF=f"brakes.block.{name}")
        block = child(blocks, "DATABLOCK", ID=f"brakes.block.{name}", TYPE="CODE")
        named(block, name)
        child(block, "LOGICAL-BLOCK-INDEX", f"{number:02X}")
        child(block, "FLASHDATA-REF", ID_REF=f"brakes.image.{name}")
        image = child(images, "FLASHDATA", ID=f"brakes.image.{name}")
        image.set(XSI_TYPE, "EXTERN-FLASHDATA")
        named(image, f"{name}_image")
        child(image, "DATAFORMAT", SELECTION="BINARY")
        child(image, "DATAFILE", f"{name}.bin", LATEBOUND_DATAFILE="true")
        segment = child(segments, "PHYS-SEGMENT", ID=f"brakes.segment.{name}")
        segment.set(XSI_TYPE, "ADDRDEF-PHYS-SEGMENT")
        named(segment, name)
        if sector:
            child(segment, "FILLBYTE", "FF")
            child(segment, "BLOCK-SIZE", sector)
        child(segment, "START-ADDRESS", f"{start:08X}")
        child(segment, "END-ADDRESS", f"{start + size - 1:08X}")
    return root
