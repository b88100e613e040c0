"""ODX-F (ISO 22901-1): the flash data of an ODX document, alone or in a PDX.

Data stand in the document itself (INTERN-FLASHDATA) or beside it in the PDX (EXTERN-FLASHDATA), as
Intel HEX, S-record or plain bytes; plain bytes go where their block's segments say. Where there
are sessions, the blocks of the first one are taken.
"""

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET
from xml.parsers import expat

from protocols.firmware.formats import (
    MAX_SPAN,
    Chunk,
    Content,
    FormatError,
    Image,
    contiguous,
    formats,
)

_ADDRESS_SPACE: Final = 0x1_0000_0000
_ZIP: Final = b"PK\x03\x04"
_MAX_BYTES: Final = 64 << 20
_MAX_DATA: Final = 3 * MAX_SPAN
_MAX_FILES: Final = 512
_MAX_DEPTH: Final = 64
_MAX_BLOCKS: Final = 4096
#: Seen this far into a document: what kind of ODX it is.
_HEAD: Final = 4096
_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
#: DATAFORMAT SELECTION -> the format that reads it.
_TEXTS: Final = {"INTEL-HEX": "intel_hex", "MOTOROLA-S": "s_record"}
#: What the zip reader and its decompressors raise on a broken archive.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    IndexError,
    struct.error,
)


class OdxF:
    name = "ODX-F"
    suffixes = (".odx-f", ".pdx")
    carries_address = True
    in_lines = False

    def recognizes(self, data: bytes) -> bool:
        """Whether it is an archive, or XML that has the FLASH category of ODX near its start."""
        if data.startswith(_ZIP):
            return True
        head = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n")
        return head.startswith(b"<") and b"<ODX" in head and b"<FLASH" in head

    def content(self, data: bytes) -> Content:
        if not data.strip():
            raise FormatError("the file is empty")
        if data.startswith(_ZIP):
            return _package(data)
        return _content([_document(data, "")], {})

    def decode(self, data: bytes) -> Image:
        return self.content(data).joined()

    def encode(self, image: Image) -> bytes:
        """A document with one session and one block, its bytes inside as Intel HEX."""
        if image.end > _ADDRESS_SPACE:
            raise FormatError(f"address 0x{image.end - 1:X} does not fit 32 bits")
        data = formats()["intel_hex"].encode(image).decode("ascii")
        return _DOCUMENT.format(data=data).encode("ascii")


def _package(data: bytes) -> Content:
    """Documents and data files of a PDX."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {one.filename: _member(archive, one) for one in _listed(archive)}
    except FormatError:
        raise
    except _BROKEN as error:
        raise FormatError(f"not a PDX: {error}") from error
    documents = [
        _document(content, f"{name}: ")
        for name, content in files.items()
        if name.lower().endswith(".odx-f")
    ]
    if not documents:
        raise FormatError("no .odx-f document in it: nothing to program")
    return _content(documents, files)


def _listed(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    listed = [one for one in archive.infolist() if not one.filename.endswith("/")]
    if len(listed) > _MAX_FILES:
        raise FormatError(f"{len(listed)} files in it")
    if sum(one.file_size for one in listed) > _MAX_BYTES + _MAX_DATA:
        raise FormatError(f"more than {_MAX_BYTES + _MAX_DATA} bytes in it")
    return listed


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as opened:
        return opened.read(member.file_size + 1)


def _document(text: bytes, place: str) -> ET.Element:
    """The tree of a document; entities and depth are refused before it is built."""
    depth = 0

    def begins(_tag: str, _attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise FormatError(f"{place}elements nested more than {_MAX_DEPTH} deep")

    def ends(_tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_declared: object) -> None:
        raise FormatError(f"{place}a document type declaration is not read")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begins
    parser.EndElementHandler = ends
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)  # noqa: FBT003 expat's isfinal
        root = ET.fromstring(text)  # noqa: S314 no document type, no entities: looked at above
    except (expat.ExpatError, ET.ParseError) as error:
        line = getattr(error, "lineno", None) or error.position[0]  # type: ignore[union-attr]  # one of the two has it
        raise FormatError(f"{place}{error}", line=None if place else line) from error
    except (ValueError, LookupError) as error:
        raise FormatError(f"{place}{error}") from error
    if root.tag != "ODX":
        raise FormatError(f"{place}not ODX: its root is {root.tag[:40]!r}")
    return root


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    end: int


def _content(documents: list[ET.Element], files: Mapping[str, bytes]) -> Content:
    chunks: list[Chunk] = []
    names: list[str] = []
    for memory in (found for root in documents for found in root.iter("MEM")):
        data = {one.get("ID", ""): one for one in memory.iterfind("FLASHDATAS/FLASHDATA")}
        for block in _blocks(memory):
            name = _text(block, "SHORT-NAME") or "?"
            names.append(name)
            chunks.extend(_chunks(block, name, data, files))
            if len(names) > _MAX_BLOCKS:
                raise FormatError(f"more than {_MAX_BLOCKS} data blocks")
            if sum(len(chunk.data) for chunk in chunks) > MAX_SPAN:
                raise FormatError(f"more than {MAX_SPAN} bytes")
    if not chunks:
        raise FormatError("no flash data in it")
    return Content(segments=contiguous(chunks), about={"blocks": ", ".join(names)})


def _blocks(memory: ET.Element) -> Iterator[ET.Element]:
    blocks = {one.get("ID", ""): one for one in memory.iterfind("DATABLOCKS/DATABLOCK")}
    session = memory.find("SESSIONS/SESSION")
    if session is None:
        yield from blocks.values()
        return
    for reference in session.iterfind("DATABLOCK-REFS/DATABLOCK-REF"):
        wanted = reference.get("ID-REF", "")
        if wanted not in blocks:
            raise FormatError(f"session {_text(session, 'SHORT-NAME')}: no data block {wanted!r}")
        yield blocks[wanted]


def _chunks(
    block: ET.Element, name: str, data: Mapping[str, ET.Element], files: Mapping[str, bytes]
) -> Iterable[Chunk]:
    reference = block.find("FLASHDATA-REF")
    wanted = "" if reference is None else reference.get("ID-REF", "")
    if wanted not in data:
        raise FormatError(f"block {name}: no flash data {wanted!r}")
    flash = data[wanted]
    for method in (*flash.iter("ENCRYPT-COMPRESS-METHOD"), *block.iter("ENCRYPT-COMPRESS-METHOD")):
        if (method.text or "").strip(" 0"):
            raise FormatError(f"block {name}: compressed or encrypted ({method.text})")
    offset = _offset(block, name)
    filters = [_filter(one, name) for one in block.iterfind("FILTERS/FILTER")]
    for image in _images(block, flash, name, files):
        for piece in _filtered(image, filters):
            address = piece.address + offset
            if address < 0 or address + len(piece.data) > _ADDRESS_SPACE:
                raise FormatError(f"block {name}: address {address:#x} is not one of 32 bits")
            yield Chunk(address=address, data=piece.data, line=None)


def _images(
    block: ET.Element, flash: ET.Element, name: str, files: Mapping[str, bytes]
) -> tuple[Image, ...]:
    form = flash.find("DATAFORMAT")
    selection = "" if form is None else form.get("SELECTION", "")
    raw = _raw(flash, name, files)
    if selection in _TEXTS:
        try:
            return formats()[_TEXTS[selection]].content(raw).segments
        except FormatError as error:
            raise FormatError(f"block {name}: {error}") from error
    if selection != "BINARY":
        raise FormatError(f"block {name}: data format {selection!r} is not read")
    if flash.get(_TYPE) == "INTERN-FLASHDATA":
        try:
            raw = bytes.fromhex(raw.decode("ascii"))
        except ValueError as error:
            raise FormatError(f"block {name}: hexadecimal digits expected: {error}") from error
    return _placed(block, name, raw)


def _raw(flash: ET.Element, name: str, files: Mapping[str, bytes]) -> bytes:
    if flash.get(_TYPE) == "INTERN-FLASHDATA":
        text = _text(flash, "DATA")
        lines = [line.strip() for line in text.splitlines()]
        return "\n".join(line for line in lines if line).encode("ascii", "replace") + b"\n"
    wanted = _text(flash, "DATAFILE")
    for file, content in files.items():
        if wanted and (file == wanted or file.rpartition("/")[2] == wanted):
            return content
    raise FormatError(f"block {name}: its data file {wanted!r} is not in the PDX")


def _placed(block: ET.Element, name: str, raw: bytes) -> tuple[Image, ...]:
    """Plain bytes, cut up by the block's segments one after the other."""
    images: list[Image] = []
    at = 0
    for segment in block.iterfind("SEGMENTS/SEGMENT"):
        start = _hex(segment, "SOURCE-START-ADDRESS", name)
        if segment.find("UNCOMPRESSED-SIZE") is not None:
            size = _decimal(segment, "UNCOMPRESSED-SIZE", name)
        else:
            size = _hex(segment, "SOURCE-END-ADDRESS", name) - start + 1
        if not 0 < size <= len(raw) - at:
            raise FormatError(f"block {name}: {size} bytes at 0x{start:08X}, {len(raw) - at} left")
        images.append(Image(address=start, data=raw[at : at + size]))
        at += size
    if not images:
        raise FormatError(f"block {name}: plain bytes, and no segment says where they go")
    if at != len(raw):
        raise FormatError(f"block {name}: {len(raw) - at} bytes more than its segments")
    return tuple(images)


def _filter(element: ET.Element, name: str) -> _Range:
    start = _hex(element, "FILTER-START", name)
    if element.find("FILTER-SIZE") is not None:
        return _Range(start, start + _decimal(element, "FILTER-SIZE", name))
    return _Range(start, _hex(element, "FILTER-END", name) + 1)


def _filtered(image: Image, filters: list[_Range]) -> Iterator[Image]:
    if not filters:
        yield image
    for one in filters:
        start, end = max(one.start, image.address), min(one.end, image.end)
        if start < end:
            yield Image(address=start, data=image.data[start - image.address : end - image.address])


def _offset(block: ET.Element, name: str) -> int:
    element = block.find("TARGET-ADDR-OFFSET")
    if element is None:
        return 0
    if element.find("NEGATIVE-OFFSET") is not None:
        return -_hex(element, "NEGATIVE-OFFSET", name)
    return _hex(element, "POSITIVE-OFFSET", name)


def _text(element: ET.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _hex(element: ET.Element, tag: str, name: str) -> int:
    return _number(element, tag, name, 16)


def _decimal(element: ET.Element, tag: str, name: str) -> int:
    return _number(element, tag, name, 10)


def _number(element: ET.Element, tag: str, name: str, base: int) -> int:
    text = _text(element, tag)
    try:
        number = int(text, base) if len(text) <= 16 else -1
    except ValueError:
        number = -1
    if number < 0:
        raise FormatError(f"block {name}: {tag}: a number expected, not {text[:20]!r}")
    return number


_DOCUMENT: Final = """<?xml version="1.0" encoding="UTF-8"?>
<ODX MODEL-VERSION="2.2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <FLASH ID="flash">
  <SHORT-NAME>flash</SHORT-NAME>
  <ECU-MEMS>
   <ECU-MEM ID="memory">
    <SHORT-NAME>memory</SHORT-NAME>
    <MEM>
     <SESSIONS>
      <SESSION ID="session">
       <SHORT-NAME>session</SHORT-NAME>
       <DATABLOCK-REFS><DATABLOCK-REF ID-REF="block"/></DATABLOCK-REFS>
      </SESSION>
     </SESSIONS>
     <DATABLOCKS>
      <DATABLOCK ID="block" TYPE="CODE">
       <SHORT-NAME>block</SHORT-NAME>
       <FLASHDATA-REF ID-REF="data"/>
      </DATABLOCK>
     </DATABLOCKS>
     <FLASHDATAS>
      <FLASHDATA ID="data" xsi:type="INTERN-FLASHDATA">
       <SHORT-NAME>data</SHORT-NAME>
       <DATAFORMAT SELECTION="INTEL-HEX"/>
       <DATA>
{data}       </DATA>
      </FLASHDATA>
     </FLASHDATAS>
    </MEM>
   </ECU-MEM>
  </ECU-MEMS>
 </FLASH>
</ODX>
"""
FORMAT = OdxF()
