"""VBF, ODX-F and ELF: what others write is read, what others cannot mean is refused."""

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from binascii import crc_hqx
from pathlib import Path

import bincopy
import pytest
import vbf_parser
from elftools.elf.elffile import ELFFile
from odxtools.database import Database
from vbftool import options
from vbftool.vbf import Vbf, VbfVersion

from protocols.firmware.formats import Content, FormatError, Image, formats

DATA = bytes(range(256)) * 5
IMAGE = Image(address=0x0804_0000, data=DATA)


def content(name: str, file: bytes) -> Content:
    return formats()[name].content(file)


def refusal(name: str, file: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        content(name, file)
    return str(caught.value)


def vbf_block(address: int, data: bytes) -> bytes:
    head = address.to_bytes(4) + len(data).to_bytes(4)
    return head + data + crc_hqx(data, 0xFFFF).to_bytes(2)


def vbf(*blocks: bytes, header: str = "") -> bytes:
    body = b"".join(blocks)
    text = f"vbf_version = 2.6;\nheader {{\n{header} file_checksum = 0x{zlib.crc32(body):08X};\n}}"
    return text.encode() + body


def test_what_vbftool_writes_is_read() -> None:
    written = Vbf(VbfVersion.VERSION_2_5, IMAGE.address, len(DATA), DATA)
    written.add_option(options.Description(["Brakes; with } in the text", "second line"]))
    written.add_option(options.SwPartNumber("12345678"))
    written.add_option(options.Erase([(IMAGE.address, len(DATA))]))
    written.add_option(options.Call(0x0804_0100))
    file = io.BytesIO()
    written.dump(file)
    found = content("vbf", file.getvalue())
    assert found.segments == (IMAGE,)
    assert found.entry == 0x0804_0100
    assert found.about["sw_part_number"] == "12345678"
    assert found.about["description"] == "Brakes; with } in the text second line"


def test_what_is_written_as_vbf_is_read_by_vbf_parser() -> None:
    file = io.BytesIO(formats()["vbf"].encode(IMAGE))
    tokens = vbf_parser.lex_vbf_header(vbf_parser.extract_header_body(file))
    header = vbf_parser.parse_vbf_tokens(tokens)
    assert header["erase"] == [[f"0x{IMAGE.address:08X}", f"0x{len(DATA):08X}"]]
    body = file.read()
    assert header["file_checksum"] == zlib.crc32(body)
    assert body == vbf_block(IMAGE.address, DATA)


def test_blocks_of_a_vbf_that_touch_are_one_range() -> None:
    file = vbf(vbf_block(0x2000, b"cd"), vbf_block(0x1000, b"ab"), vbf_block(0x2002, b"ef"))
    found = content("vbf", file).segments
    assert [(one.address, one.data) for one in found] == [(0x1000, b"ab"), (0x2000, b"cdef")]


def test_a_compressed_vbf_keeps_its_blocks_and_is_no_plain_image() -> None:
    blocks = (vbf_block(0x1000, b"ab"), vbf_block(0x1002, b"cd"))
    file = vbf(*blocks, header="data_format_identifier = 0x10;")
    found = content("vbf", file)
    assert (found.data_format, len(found.segments)) == (0x10, 2)
    with pytest.raises(FormatError, match=r"compressed or encrypted \(data format 10\)"):
        formats()["vbf"].decode(file)


BLOCK = vbf_block(0x1000, b"ab")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (vbf(BLOCK[:-1] + b"\x00"), "block 1: CRC-16 is"),
        (vbf(BLOCK[:5]), "block 1: cut off in its address and length"),
        (vbf(BLOCK, BLOCK[:-4]), "block 2: cut off, it says 2 bytes"),
        (vbf(BLOCK, BLOCK), "0x00001000 is already written"),
        (vbf(vbf_block(0xFFFF_FFFF, b"ab")), "runs past 32 bits"),
        (vbf(vbf_block(0, b"")), "block 1: empty"),
        (vbf(BLOCK) + vbf_block(0x2000, b"ab"), "line 3: file_checksum is"),
        (vbf(), "line 4: no blocks behind the header"),
        (b"vbf_version = 2.6;\nheader {\n}" + BLOCK, "line 3: file_checksum is missing"),
        (b"vbf_version = 2.6;\nbody {", "line 2: header expected, not 'body'"),
        (b"vbf_version = 2.6;\nheader {\nx 1;}", "line 3: 'x': = expected"),
        (b"vbf_version = 2.6;\nheader {\nx = 1\ny = 2;}", "line 4: 'x': ; is missing"),
        (b"vbf_version = 2.6;\nheader {\nx = 1;\nx = 2;}", "line 4: 'x' for the second time"),
        (b'vbf_version = 2.6;\nheader { x = "', "line 2: text or a comment that does not end"),
        (b"vbf_version = 2.6;\nheader { /* ", "line 2: "),
        (b"vbf_version = 2.6;\nheader {" + b" " * (1 << 18), "the header does not end"),
        (vbf(BLOCK, header="call = what;\n"), "line 3: call: a number expected"),
        (b"vbf_version = 2.6", "the header does not end"),
    ],
)
def test_a_broken_vbf_is_refused_by_its_place(file: bytes, said: str) -> None:
    assert said in refusal("vbf", file)


# ODX-F


def block(
    data: str,
    *,
    selection: str = "BINARY",
    kind: str = "INTERN",
    segments: str = "",
    more: str = "",
) -> str:
    return (
        '<ODX xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><FLASH ID="f"><ECU-MEMS>'
        '<ECU-MEM ID="e"><MEM><DATABLOCKS><DATABLOCK ID="b" TYPE="CODE"><SHORT-NAME>code'
        f'</SHORT-NAME><FLASHDATA-REF ID-REF="d"/><SEGMENTS>{segments}</SEGMENTS>{more}'
        f'</DATABLOCK></DATABLOCKS><FLASHDATAS><FLASHDATA ID="d" xsi:type="{kind}-FLASHDATA">'
        f'<DATAFORMAT SELECTION="{selection}"/>{data}</FLASHDATA></FLASHDATAS></MEM></ECU-MEM>'
        "</ECU-MEMS></FLASH></ODX>"
    )


def segment(start: str, size: int) -> str:
    return (
        f"<SEGMENT><SOURCE-START-ADDRESS>{start}</SOURCE-START-ADDRESS>"
        f"<UNCOMPRESSED-SIZE>{size}</UNCOMPRESSED-SIZE></SEGMENT>"
    )


def package(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in files.items():
            written.writestr(name.replace("_", "."), data)
    return archive.getvalue()


def test_what_is_written_as_odx_f_is_read_by_odxtools() -> None:
    from xml.etree import ElementTree as ET  # noqa: PLC0415 the reader's input

    database = Database()
    root = ET.fromstring(formats()["odx_f"].encode(IMAGE))  # noqa: S314 written here
    database.add_odx_xml_tree(root)
    database.refresh()
    (memory,) = database.flashs[0].ecu_mems
    (data,) = memory.mem.flashdatas
    assert isinstance(data.dataset, bincopy.BinFile)
    assert data.dataset.minimum_address == IMAGE.address
    assert bytes(data.blob) == DATA


def test_plain_bytes_go_where_their_segments_say() -> None:
    text = block("<DATA>00 11\n22 33</DATA>", segments=segment("1000", 3) + segment("2000", 1))
    found = content("odx_f", text.encode()).segments
    assert [(one.address, one.data.hex()) for one in found] == [(0x1000, "001122"), (0x2000, "33")]


def test_offset_and_filters_of_a_block_are_kept() -> None:
    more = (
        "<FILTERS><FILTER><FILTER-START>1001</FILTER-START><FILTER-END>1002</FILTER-END></FILTER>"
        "</FILTERS><TARGET-ADDR-OFFSET><POSITIVE-OFFSET>8000000</POSITIVE-OFFSET>"
        "</TARGET-ADDR-OFFSET>"
    )
    text = block("<DATA>00112233</DATA>", segments=segment("1000", 4), more=more)
    assert content("odx_f", text.encode()).segments == (
        Image(address=0x800_1001, data=b"\x11\x22"),
    )


def test_a_package_holds_its_data_in_files_beside_the_document() -> None:
    text = block(
        "<DATAFILE>code.s19</DATAFILE>", kind="EXTERN", selection="MOTOROLA-S", segments=""
    )
    code = formats()["s_record"].encode(IMAGE)
    found = content("odx_f", package(**{"flash.odx-f": text.encode(), "code.s19": code}))
    assert found.segments == (IMAGE,)
    assert found.about == {"blocks": "code"}


def test_only_the_blocks_of_the_first_session_are_taken() -> None:
    text = block("<DATA>00</DATA>", segments=segment("1000", 1)).replace(
        "<MEM>",
        '<MEM><SESSIONS><SESSION ID="s"><SHORT-NAME>s</SHORT-NAME><DATABLOCK-REFS>'
        '<DATABLOCK-REF ID-REF="other"/></DATABLOCK-REFS></SESSION></SESSIONS>',
    )
    assert "session s: no data block 'other'" in refusal("odx_f", text.encode())


BOMB = package(**{"flash.odx-f": b" " * (200 << 20)})


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"<ODX><FLASH>", "no element found"),
        (b"<ODX>\n<FLASH></ODX>", "line 2: mismatched tag"),
        (b'<!DOCTYPE x [<!ENTITY a "a">]><ODX><FLASH>&a;</FLASH></ODX>', "document type"),
        (b"<ODX><FLASH>" + b"<a>" * 99, "nested more than 64"),
        (b"<XDO><FLASH/></XDO>", "not ODX: its root is 'XDO'"),
        (b"<ODX><FLASH/></ODX>", "no flash data"),
        (b"PK\x03\x04 no", "not a PDX"),
        (package(readme=b"x"), "no .odx-f document in it"),
        (BOMB, "more than"),
        (block("<DATA>0</DATA>", segments=segment("0", 1)).encode(), "hexadecimal digits"),
        (block("<DATA>00</DATA>").encode(), "block code: plain bytes, and no segment says"),
        (block("<DATA>00</DATA>", segments=segment("0", 2)).encode(), "2 bytes at 0x00000000, 1"),
        (block("<DATA>0000</DATA>", segments=segment("0", 1)).encode(), "1 bytes more than"),
        (block("<DATA>00</DATA>", segments=segment("zz", 1)).encode(), "SOURCE-START-ADDRESS: a"),
        (block("<DATA>:00</DATA>", selection="INTEL-HEX").encode(), "block code: line 1: not an"),
        (block("<DATA/>", selection="USER-DEFINED").encode(), "'USER-DEFINED' is not read"),
        (
            block("<DATAFILE>a.bin</DATAFILE>", kind="EXTERN").encode(),
            "its data file 'a.bin' is not in the PDX",
        ),
        (
            block("<ENCRYPT-COMPRESS-METHOD>10</ENCRYPT-COMPRESS-METHOD><DATA>00</DATA>").encode(),
            "compressed or encrypted (10)",
        ),
    ],
)
def test_a_broken_odx_f_is_refused_by_its_place(file: bytes, said: str) -> None:
    assert said in refusal("odx_f", file)


# ELF


def test_what_a_compiler_writes_is_read(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to link an ELF file with")
    source = tmp_path / "a.c"
    source.write_text(
        'const char text[] __attribute__((section(".fixed"))) = "here I am";\n'
        "int _start(void) { return text[0]; }\n",
        encoding="ascii",
    )
    linked = tmp_path / "a.elf"
    command = [compiler, "-nostdlib", "-static", "-fno-pie", "-no-pie", "-o", str(linked)]
    place = ["-Wl,--section-start=.fixed=0x8040000", "-Wl,--build-id=none"]
    subprocess.run([*command, *place, str(source)], check=True)  # noqa: S603 the compiler found
    found = content("elf", linked.read_bytes())
    where = [one for one in found.segments if one.address <= 0x804_0000 < one.end]
    assert where[0].data[0x804_0000 - where[0].address :].startswith(b"here I am\0")
    assert found.entry is not None


def test_what_is_written_as_elf_is_read_by_pyelftools_and_its_load_address_counts() -> None:
    file = bytearray(formats()["elf"].encode(IMAGE))
    read = ELFFile(io.BytesIO(bytes(file)))
    (loaded,) = read.iter_segments()
    assert (loaded["p_paddr"], loaded.data()) == (IMAGE.address, DATA)
    struct.pack_into("<I", file, 52 + 12, 0x1000)  # p_paddr: p_vaddr stays
    assert content("elf", bytes(file)).segments == (Image(address=0x1000, data=DATA),)


def broken(**fields: int) -> bytes:
    """The file with some 32-bit fields of its program header changed."""
    offsets = {"kind": 0, "offset": 4, "paddr": 12, "filesz": 16}
    file = bytearray(formats()["elf"].encode(IMAGE))
    for name, value in fields.items():
        struct.pack_into("<I", file, 52 + offsets[name], value)
    return bytes(file)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"\x7fELF", "a broken ELF file"),
        (b"\x7fELF" + bytes(60), "a broken ELF file"),
        (broken(kind=2), "nothing to load"),
        (broken(filesz=0), "nothing to load"),
        (broken(filesz=2000), "segment 0: its 2000 bytes at 84 are not in the file"),
        (broken(offset=1 << 31), "are not in the file"),
        (broken(paddr=0xFFFF_FFF0), "runs past 32 bits"),
    ],
)
def test_a_broken_elf_is_refused_by_its_place(file: bytes, said: str) -> None:
    assert said in refusal("elf", file)


def test_many_segments_of_one_place_in_the_file_are_refused() -> None:
    data = b"x" * (1 << 20)
    count = 40
    head = struct.pack(
        "<4s5B7x2H5I6H", *(b"\x7fELF", 1, 1, 1, 0, 0, 2, 40, 1, 0, 52, 0, 0, 52, 32, count, 0, 0, 0)
    )
    start = 52 + 32 * count
    headers = b"".join(
        struct.pack("<8I", 1, start, n << 21, n << 21, len(data), len(data), 5, 1)
        for n in range(count)
    )
    assert "bytes to load" in refusal("elf", head + headers + data)
