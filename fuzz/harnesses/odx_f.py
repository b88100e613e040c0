"""Any document or package in place of ODX-F gives contents within bounds, or an error."""

import io
import zipfile
from typing import Final

from fuzz import Harness
from protocols.firmware.formats import MAX_SPAN, FormatError, Image, detect
from protocols.firmware.formats.odx_f import FORMAT


def prove(data: bytes) -> None:
    FORMAT.recognizes(data)
    try:
        detect("image.odx-f", data)
        content = FORMAT.content(data)
    except FormatError:
        return
    if sum(len(one.data) for one in content.segments) > MAX_SPAN:
        raise AssertionError("more than there may be")
    for one in content.segments:
        if len(one.data) <= 4096 and FORMAT.decode(FORMAT.encode(one)) != one:
            raise AssertionError(f"{one} does not survive")


def _package() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a.odx-f", _DOCUMENT)
        written.writestr("a.bin", b"abcd")
    return archive.getvalue()


_DOCUMENT: Final = b"""<ODX xmlns:x="http://www.w3.org/2001/XMLSchema-instance"><FLASH><MEM>
<DATABLOCKS><DATABLOCK ID="b"><SHORT-NAME>b</SHORT-NAME><FLASHDATA-REF ID-REF="d"/>
<FILTERS><FILTER><FILTER-START>10</FILTER-START><FILTER-SIZE>3</FILTER-SIZE></FILTER></FILTERS>
<SEGMENTS><SEGMENT><SOURCE-START-ADDRESS>10</SOURCE-START-ADDRESS>
<UNCOMPRESSED-SIZE>4</UNCOMPRESSED-SIZE></SEGMENT></SEGMENTS>
<TARGET-ADDR-OFFSET><NEGATIVE-OFFSET>8</NEGATIVE-OFFSET></TARGET-ADDR-OFFSET></DATABLOCK>
</DATABLOCKS><FLASHDATAS><FLASHDATA ID="d" x:type="EXTERN-FLASHDATA">
<DATAFORMAT SELECTION="BINARY"/><DATAFILE>a.bin</DATAFILE></FLASHDATA></FLASHDATAS>
</MEM></FLASH></ODX>"""
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        FORMAT.encode(Image(address=0x0804_0000, data=bytes(range(40)))),
        _DOCUMENT.replace(b"EXTERN", b"INTERN").replace(
            b"<DATAFILE>a.bin</DATAFILE>", b"<DATA>00 11 22 33</DATA>"
        ),
        _package(),
    ),
    max_length=4096,
)
