"""What can be programmed into the ECU: FLASH with its ECU-MEM (`.odx-f`).

The file holds no firmware: each data block names its area, and a tool binds the image (the bytes
from the area's first address on) when it programs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ecu_sim.descriptions.layers import base_variant_id
from ecu_sim.descriptions.odx import XSI_TYPE, child, named
from ecu_sim.descriptions.operations import name_of, operations
from ecu_sim.ecus import EcuType
from protocols.uds import DataIdentifier, ServiceId

_SESSION = "program_application"
_IDENT = "hardware_identifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Area:
    """A range of addresses that takes an image."""

    name: str
    #: ODX: BOOT, CODE or DATA.
    kind: str
    start: int
    size: int
    #: Bytes that are erased at a time; 0 for RAM.
    sector: int
    title: str = ""


def _areas(ecu: EcuType) -> tuple[_Area, ...]:
    """In the order in which they are programmed."""
    loader, sector = ecu.secondary_loader, ecu.slot.sector_size
    slots = "one slot" if ecu.single_slot else f"{ecu.slots} slots behind one address range"
    found = [
        _Area(
            name="application",
            kind="CODE",
            start=ecu.application_base,
            size=ecu.slot.size,
            sector=sector,
            title=f"Application, {slots}",
        ),
        *(
            _Area(name=one.name, kind="DATA", start=one.start, size=one.size, sector=sector)
            for one in ecu.blocks
        ),
    ]
    if loader is not None:
        area = _Area(
            name="secondary_loader",
            kind="BOOT",
            start=loader.start,
            size=loader.size,
            sector=0,
            title="Secondary boot loader, in RAM",
        )
        found.insert(0, area)
    return tuple(found)


def flash(ecu: EcuType) -> Element:
    """FLASH: one ECU-MEM, and the connector that ties it to the diagnostic layers."""
    name = f"{ecu.name}_flash"
    root = Element("FLASH", {"ID": f"{name}.flash"})
    named(root, name, f"{ecu.hardware_identifier}: flash")
    memory = child(child(root, "ECU-MEMS"), "ECU-MEM", ID=f"{name}.memory")
    named(memory, f"{ecu.name}_memory")
    content = child(memory, "MEM")
    areas = _areas(ecu)
    _session(ecu, name, child(content, "SESSIONS"), areas)
    blocks, images = child(content, "DATABLOCKS"), child(content, "FLASHDATAS")
    physical = named(child(memory, "PHYS-MEM", ID=f"{name}.physical"), "memory")
    segments = child(physical, "PHYS-SEGMENTS")
    for number, area in enumerate(areas):
        _datablock(name, number, area, blocks)
        _image(ecu, name, area, images)
        _physical(name, area, segments)
    root.append(_connector(ecu, name))
    return root


def _session(ecu: EcuType, name: str, sessions: Element, areas: Iterable[_Area]) -> None:
    session = named(child(sessions, "SESSION", ID=f"{name}.session"), _SESSION)
    expected = child(child(session, "EXPECTED-IDENTS"), "EXPECTED-IDENT", ID=f"{name}.ident")
    named(expected, _IDENT)
    values = child(expected, "IDENT-VALUES")
    child(values, "IDENT-VALUE", ecu.hardware_identifier, TYPE="A_ASCIISTRING")
    references = child(session, "DATABLOCK-REFS")
    for area in areas:
        child(references, "DATABLOCK-REF", ID_REF=f"{name}.block.{area.name}")


def _datablock(name: str, number: int, area: _Area, blocks: Element) -> None:
    block = child(blocks, "DATABLOCK", ID=f"{name}.block.{area.name}", TYPE=area.kind)
    named(block, area.name, area.title)
    child(block, "LOGICAL-BLOCK-INDEX", f"{number:02X}")
    child(block, "FLASHDATA-REF", ID_REF=f"{name}.data.{area.name}")
    segments = child(block, "SEGMENTS")
    segment = named(child(segments, "SEGMENT", ID=f"{name}.segment.{area.name}"), area.name)
    child(segment, "SOURCE-START-ADDRESS", f"{area.start:08X}")
    child(segment, "SOURCE-END-ADDRESS", f"{area.start + area.size - 1:08X}")


def _image(ecu: EcuType, name: str, area: _Area, images: Element) -> None:
    data = child(images, "FLASHDATA", ID=f"{name}.data.{area.name}")
    data.set(XSI_TYPE, "EXTERN-FLASHDATA")
    named(data, f"{area.name}_image", "Image, from the first address of its area on")
    child(data, "SIZE-LENGTH", 4)
    child(data, "ADDRESS-LENGTH", 4)
    child(data, "DATAFORMAT", SELECTION="BINARY")
    child(data, "DATAFILE", f"{ecu.name}_{area.name}.bin", LATEBOUND_DATAFILE="true")


def _physical(name: str, area: _Area, segments: Element) -> None:
    segment = child(segments, "PHYS-SEGMENT", ID=f"{name}.area.{area.name}")
    segment.set(XSI_TYPE, "ADDRDEF-PHYS-SEGMENT")
    named(segment, area.name, area.title)
    if area.sector:
        child(segment, "FILLBYTE", "FF")
        child(segment, "BLOCK-SIZE", area.sector)
    child(segment, "START-ADDRESS", f"{area.start:08X}")
    child(segment, "END-ADDRESS", f"{area.start + area.size - 1:08X}")


def _connector(ecu: EcuType, name: str) -> Element:
    connectors = Element("ECU-MEM-CONNECTORS")
    connector = child(connectors, "ECU-MEM-CONNECTOR", ID=f"{name}.connector")
    named(connector, f"{ecu.name}_connector")
    described = child(child(connector, "SESSION-DESCS"), "SESSION-DESC", DIRECTION="DOWNLOAD")
    named(described, _SESSION, "Program the application")
    child(described, "SESSION-SNREF", SHORT_NAME=_SESSION)
    hardware = DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER
    service = ServiceId.READ_DATA_BY_IDENTIFIER
    reading = name_of(operations(ecu), service, identifier=hardware)
    identified = child(child(connector, "IDENT-DESCS"), "IDENT-DESC")
    child(identified, "DIAG-COMM-SNREF", SHORT_NAME=reading)
    child(identified, "IDENT-IF-SNREF", SHORT_NAME=_IDENT)
    child(identified, "OUT-PARAM-IF-SNREF", SHORT_NAME="text")
    child(connector, "ECU-MEM-REF", ID_REF=f"{name}.memory")
    child(
        child(connector, "LAYER-REFS"),
        "LAYER-REF",
        ID_REF=base_variant_id(ecu),
        DOCREF=f"{ecu.name}_layers",
        DOCTYPE="CONTAINER",
    )
    return connectors
