"""The PDX: a zip of ODX documents with an index. The same tables give the same bytes."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from ecu_sim.descriptions import comparams
from ecu_sim.descriptions.flash import flash, flash_files
from ecu_sim.descriptions.layers import container
from ecu_sim.descriptions.odx import child, named
from ecu_sim.ecus import EcuType
from protocols.firmware.formats import Image

_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA: Final = f"{{{_XSI}}}noNamespaceSchemaLocation"
_MODEL_VERSION: Final = "2.2.0"
#: The earliest date that a zip can hold; nothing here depends on the day.
_DATE: Final = (1980, 1, 1, 0, 0, 0)

ET.register_namespace("xsi", _XSI)


_NO_IMAGES: Final[Mapping[str, Image]] = MappingProxyType({})


def pdx(ecu: EcuType, images: Mapping[str, Image] = _NO_IMAGES) -> bytes:
    """The ODX 2.2 package of one ECU type.

    `images` are those that it brings, by the names of their areas; `FlashImageError`.
    """
    documents = {
        **comparams.documents(ecu),
        f"{ecu.name}.odx-d": container(ecu),
        f"{ecu.name}.odx-f": flash(ecu, images),
    }
    data = flash_files(ecu, images)
    files = {"index.xml": _text(_index(ecu, (*documents, *data)))}
    for name, content in documents.items():
        root = Element("ODX", {"MODEL-VERSION": _MODEL_VERSION, _SCHEMA: "odx.xsd"})
        root.append(content)
        files[name] = _text(root)
    return _zipped(files | data)


def _index(ecu: EcuType, names: Iterable[str]) -> Element:
    root = Element("CATALOG", {"F-DTD-VERSION": f"ODX-{_MODEL_VERSION}", _SCHEMA: "odx-cc.xsd"})
    named(root, ecu.name)
    blocks = child(root, "ABLOCKS")
    for name in names:
        stem, _, suffix = name.rpartition(".")
        block = named(child(blocks, "ABLOCK", UPD="NEW"), f"{stem}_{suffix.replace('-', '_')}")
        files = child(block, "FILES")
        kind = "text/x-hex" if suffix == "hex" else f"application/x-asam.odx.{suffix}"
        child(files, "FILE", name, MIME_TYPE=kind)
    return root


def _text(root: Element) -> bytes:
    ET.indent(root, " ")
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()
