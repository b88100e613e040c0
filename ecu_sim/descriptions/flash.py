"""What can be programmed into the ECU: FLASH with its ECU-MEM (`.odx-f`).

Each data block names its area. A tool binds the image (the bytes from the area's first address on)
when it programs; or the package brings it, with what it says of itself, its checksum and signature.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from xml.etree.ElementTree import Element

from ecu_sim.descriptions.layers import base_variant_id
from ecu_sim.descriptions.odx import XSI_TYPE, child, named
from ecu_sim.descriptions.operations import name_of, operations
from ecu_sim.ecus import EcuType
from protocols.firmware import FirmwareError
from protocols.firmware.containers import cmac, declared, mcuboot
from protocols.firmware.formats import Image, formats
from protocols.uds import DataIdentifier, ServiceId

_SESSION = "program_application"
_IDENT = "hardware_identifier"
APPLICATION: Final = "application"
_CRC32: Final = "CRC-32"
#: Boot profile -> what keeps a wrong image of the application from running.
_METHODS: Final = {
    "mcuboot_ab": "Ed25519",
    "mcuboot_swap": "Ed25519",
    "overwrite": "Ed25519",
    "conventional": _CRC32,
    "she_cmac": "AES-128-CMAC",
    "update_agent": "SHA-512",
}


class FlashImageError(Exception):
    """An image that is not for its area; the message names both."""


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
    #: `_METHODS`
    method: str
    #: Empty: a tool binds it.
    image: bytes = b""

    @property
    def end(self) -> int:
        """The last address of the image, or of the area."""
        return self.start + (len(self.image) or self.size) - 1


def _areas(ecu: EcuType, images: Mapping[str, Image]) -> tuple[_Area, ...]:
    """In the order in which they are programmed; `FlashImageError`."""
    found = {area.name: area for area in _empty(ecu)}
    for name, image in images.items():
        area = found.get(name)
        if area is None:
            raise FlashImageError(f"{ecu.name} has no area {name!r}; there are: {', '.join(found)}")
        _check(ecu, area, image)
        found[name] = replace(area, image=image.data)
    return tuple(found.values())


def _check(ecu: EcuType, area: _Area, image: Image) -> None:
    size = len(image.data)
    # A format without addresses has zero.
    if image.address not in {0, area.start}:
        raise FlashImageError(
            f"{ecu.name}: the image of {area.name} is for 0x{image.address:08X}, the area begins"
            f" at 0x{area.start:08X}"
        )
    if not 0 < size <= area.size:
        raise FlashImageError(
            f"{ecu.name}: the image of {area.name} has {size} bytes, the area {area.size}"
        )
    try:
        said = declared(image.data)
    except FirmwareError as error:
        raise FlashImageError(f"{ecu.name}: the image of {area.name}: {error}") from error
    if said is not None and said.hardware_id != ecu.hardware_identifier:
        raise FlashImageError(
            f"{ecu.name}: the image of {area.name} is for {said.hardware_id}, the ECU is"
            f" {ecu.hardware_identifier}"
        )


def _empty(ecu: EcuType) -> tuple[_Area, ...]:
    loader, sector = ecu.secondary_loader, ecu.slot.sector_size
    slots = "one slot" if ecu.single_slot else f"{ecu.slots} slots behind one address range"
    if ecu.staging_area:
        slots = "one slot and a staging area behind one address range"
    found = [
        _Area(
            name=APPLICATION,
            kind="CODE",
            start=ecu.application_base,
            size=ecu.slot.size,
            sector=sector,
            title=f"Application, {slots}",
            method=_METHODS[ecu.boot_profile],
        ),
        *(
            _Area(
                name=one.name,
                kind="DATA",
                start=one.start,
                size=one.size,
                sector=sector,
                method=_CRC32,
            )
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
            method=_CRC32,
        )
        found.insert(0, area)
    return tuple(found)


def flash_files(ecu: EcuType, images: Mapping[str, Image]) -> dict[str, bytes]:
    """The files of the images that the package brings, Intel HEX; `FlashImageError`."""
    written = formats()["intel_hex"]
    return {
        _file_name(ecu, area): written.encode(Image(address=area.start, data=area.image))
        for area in _areas(ecu, images)
        if area.image
    }


def _file_name(ecu: EcuType, area: _Area) -> str:
    return f"{ecu.name}_{area.name}.{'hex' if area.image else 'bin'}"


def flash(ecu: EcuType, images: Mapping[str, Image]) -> Element:
    """FLASH: one ECU-MEM, and the connector that ties it to the diagnostic layers.

    `images` are those that the package brings, by their areas; `FlashImageError`.
    """
    name = f"{ecu.name}_flash"
    root = Element("FLASH", {"ID": f"{name}.flash"})
    named(root, name, f"{ecu.hardware_identifier}: flash")
    memory = child(child(root, "ECU-MEMS"), "ECU-MEM", ID=f"{name}.memory")
    named(memory, f"{ecu.name}_memory")
    content = child(memory, "MEM")
    areas = _areas(ecu, images)
    _session(ecu, name, child(content, "SESSIONS"), areas)
    blocks, data = child(content, "DATABLOCKS"), child(content, "FLASHDATAS")
    physical = named(child(memory, "PHYS-MEM", ID=f"{name}.physical"), "memory")
    segments = child(physical, "PHYS-SEGMENTS")
    for number, area in enumerate(areas):
        _datablock(name, number, area, blocks)
        _image(ecu, name, area, data)
        _physical(name, area, segments)
    root.append(_connector(ecu, name))
    return root


def _session(ecu: EcuType, name: str, sessions: Element, areas: Iterable[_Area]) -> None:
    session = named(child(sessions, "SESSION", ID=f"{name}.session"), _SESSION)
    expected = child(child(session, "EXPECTED-IDENTS"), "EXPECTED-IDENT", ID=f"{name}.ident")
    named(expected, _IDENT)
    values = child(expected, "IDENT-VALUES")
    child(values, "IDENT-VALUE", ecu.hardware_identifier, TYPE="A_ASCIISTRING")
    areas = tuple(areas)
    if bound := [area for area in areas if area.image]:
        checksums = child(session, "CHECKSUMS")
        for area in bound:
            _checksum(name, area, checksums)
    references = child(session, "DATABLOCK-REFS")
    for area in areas:
        child(references, "DATABLOCK-REF", ID_REF=f"{name}.block.{area.name}")


def _checksum(name: str, area: _Area, checksums: Element) -> None:
    """Over the image as it is transferred: the option record of the routine that checks it."""
    made = named(child(checksums, "CHECKSUM", ID=f"{name}.checksum.{area.name}"), area.name)
    child(made, "SOURCE-START-ADDRESS", f"{area.start:08X}")
    child(made, "CHECKSUM-ALG", _CRC32)
    child(made, "SOURCE-END-ADDRESS", f"{area.end:08X}")
    child(made, "CHECKSUM-RESULT", zlib.crc32(area.image), TYPE="A_UINT32")


def _datablock(name: str, number: int, area: _Area, blocks: Element) -> None:
    block = child(blocks, "DATABLOCK", ID=f"{name}.block.{area.name}", TYPE=area.kind)
    named(block, area.name, area.title)
    child(block, "LOGICAL-BLOCK-INDEX", f"{number:02X}")
    child(block, "FLASHDATA-REF", ID_REF=f"{name}.data.{area.name}")
    segments = child(block, "SEGMENTS")
    segment = named(child(segments, "SEGMENT", ID=f"{name}.segment.{area.name}"), area.name)
    child(segment, "SOURCE-START-ADDRESS", f"{area.start:08X}")
    child(segment, "SOURCE-END-ADDRESS", f"{area.end:08X}")
    _own_idents(name, area, block)
    _securities(area, block)


def _own_idents(name: str, area: _Area, block: Element) -> None:
    """What the image says of itself, as 22 reads it once it runs."""
    said = declared(area.image)
    if said is None:
        return
    idents = child(block, "OWN-IDENTS")
    for ident, value in (
        ("software_number", said.software_number),
        ("software_version", said.software_version),
        ("supplier_version", said.supplier_version),
        (_IDENT, said.hardware_id),
    ):
        made = child(idents, "OWN-IDENT", ID=f"{name}.own_ident.{area.name}.{ident}")
        child(named(made, ident), "IDENT-VALUE", value, TYPE="A_ASCIISTRING")


def _securities(area: _Area, block: Element) -> None:
    """How the ECU knows the image, and of one that is here, by what."""
    security = child(child(block, "SECURITYS"), "SECURITY")
    child(security, "SECURITY-METHOD", area.method, TYPE="A_ASCIISTRING")
    if mcuboot.CONTAINER.recognizes(area.image):
        image = mcuboot.decode(area.image)
        signature = image.tlvs.get(mcuboot.Tlv.ED25519)
        if signature is not None:
            child(security, "FW-SIGNATURE", signature.hex().upper(), TYPE="A_BYTEFIELD")
        child(security, "FW-CHECKSUM", image.digest.hex().upper(), TYPE="A_BYTEFIELD")
        return
    if cmac.CONTAINER.recognizes(area.image):
        update = cmac.decode(area.image).update
        child(security, "FW-SIGNATURE", update.hex().upper(), TYPE="A_BYTEFIELD")
    if area.image:
        child(security, "FW-CHECKSUM", f"{zlib.crc32(area.image):08X}", TYPE="A_BYTEFIELD")


def _image(ecu: EcuType, name: str, area: _Area, images: Element) -> None:
    data = child(images, "FLASHDATA", ID=f"{name}.data.{area.name}")
    data.set(XSI_TYPE, "EXTERN-FLASHDATA")
    named(data, f"{area.name}_image", "Image, from the first address of its area on")
    child(data, "SIZE-LENGTH", 4)
    child(data, "ADDRESS-LENGTH", 4)
    child(data, "DATAFORMAT", SELECTION="INTEL-HEX" if area.image else "BINARY")
    late = "false" if area.image else "true"
    child(data, "DATAFILE", _file_name(ecu, area), LATEBOUND_DATAFILE=late)


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
