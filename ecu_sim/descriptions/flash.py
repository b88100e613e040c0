"""What can be programmed into the ECU: FLASH with its ECU-MEM (`.odx-f`).

The file holds no firmware: the data block names the application area, and a tool binds the image
(the bytes from the area's first address on) when it programs.
"""

from xml.etree.ElementTree import Element

from ecu_sim.descriptions.layers import base_variant_id
from ecu_sim.descriptions.odx import XSI_TYPE, child, named
from ecu_sim.descriptions.operations import operations
from ecu_sim.ecus import EcuType
from protocols.uds import DataIdentifier, ServiceId

_SESSION = "program_application"
_IDENT = "hardware_identifier"


def flash(ecu: EcuType) -> Element:
    """FLASH: one ECU-MEM, and the connector that ties it to the diagnostic layers."""
    name = f"{ecu.name}_flash"
    root = named(
        Element("FLASH", {"ID": f"{name}.flash"}), name, f"{ecu.hardware_identifier}: flash"
    )
    memory = child(child(root, "ECU-MEMS"), "ECU-MEM", ID=f"{name}.memory")
    named(memory, f"{ecu.name}_memory")
    content = child(memory, "MEM")
    _sessions(ecu, name, child(content, "SESSIONS"))
    _datablocks(ecu, name, child(content, "DATABLOCKS"))
    data = child(child(content, "FLASHDATAS"), "FLASHDATA", ID=f"{name}.data")
    data.set(XSI_TYPE, "EXTERN-FLASHDATA")
    named(data, "application_image", "Image, from the area's first address on")
    child(data, "SIZE-LENGTH", 4)
    child(data, "ADDRESS-LENGTH", 4)
    child(data, "DATAFORMAT", SELECTION="BINARY")
    child(data, "DATAFILE", f"{ecu.name}.bin", LATEBOUND_DATAFILE="true")
    _physical_memory(ecu, name, memory)
    root.append(_connector(ecu, name))
    return root


def _sessions(ecu: EcuType, name: str, sessions: Element) -> None:
    session = named(child(sessions, "SESSION", ID=f"{name}.session"), _SESSION)
    expected = child(child(session, "EXPECTED-IDENTS"), "EXPECTED-IDENT", ID=f"{name}.ident")
    named(expected, _IDENT)
    values = child(expected, "IDENT-VALUES")
    child(values, "IDENT-VALUE", ecu.hardware_identifier, TYPE="A_ASCIISTRING")
    child(child(session, "DATABLOCK-REFS"), "DATABLOCK-REF", ID_REF=f"{name}.block")


def _datablocks(ecu: EcuType, name: str, blocks: Element) -> None:
    block = named(child(blocks, "DATABLOCK", ID=f"{name}.block", TYPE="CODE"), "application")
    child(block, "LOGICAL-BLOCK-INDEX", "00")
    child(block, "FLASHDATA-REF", ID_REF=f"{name}.data")
    segment = child(child(block, "SEGMENTS"), "SEGMENT", ID=f"{name}.segment")
    named(segment, "application_area")
    child(segment, "SOURCE-START-ADDRESS", f"{ecu.application_base:08X}")
    child(segment, "SOURCE-END-ADDRESS", f"{ecu.application_base + ecu.slot.size - 1:08X}")


def _physical_memory(ecu: EcuType, name: str, memory: Element) -> None:
    physical = named(child(memory, "PHYS-MEM", ID=f"{name}.physical"), "flash")
    segment = child(child(physical, "PHYS-SEGMENTS"), "PHYS-SEGMENT", ID=f"{name}.area")
    segment.set(XSI_TYPE, "ADDRDEF-PHYS-SEGMENT")
    slots = "one slot" if ecu.single_slot else f"{ecu.slots} slots behind one address range"
    named(segment, "application_area", f"Application area, {slots}")
    child(segment, "FILLBYTE", "FF")
    child(segment, "BLOCK-SIZE", ecu.slot.sector_size)
    child(segment, "START-ADDRESS", f"{ecu.application_base:08X}")
    child(segment, "END-ADDRESS", f"{ecu.application_base + ecu.slot.size - 1:08X}")


def _connector(ecu: EcuType, name: str) -> Element:
    connectors = Element("ECU-MEM-CONNECTORS")
    connector = child(connectors, "ECU-MEM-CONNECTOR", ID=f"{name}.connector")
    named(connector, f"{ecu.name}_connector")
    described = child(child(connector, "SESSION-DESCS"), "SESSION-DESC", DIRECTION="DOWNLOAD")
    named(described, _SESSION, "Program the application")
    child(described, "SESSION-SNREF", SHORT_NAME=_SESSION)
    reading = next(
        one.name
        for one in operations(ecu)
        if one.service == ServiceId.READ_DATA_BY_IDENTIFIER
        and one.identifier == DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER
    )
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
