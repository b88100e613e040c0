"""ECUs made from a PDX: a foreign one, and our own against themselves."""

import asyncio
import io
import zipfile
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clock import run
from ecu_sim.bus.can import CanWire
from ecu_sim.described import DescribedEcu, DescriptionError, Role
from ecu_sim.described.node import DescribedNode, complement
from ecu_sim.described.options import applied, read_options
from ecu_sim.described.pdx import read_pdx
from ecu_sim.descriptions import pdx
from ecu_sim.ecus import ecu_type
from protocols.can import FrameHeader
from tests.support.ecu import RawTester
from tests.support.flashing import bench
from tests.support.foreign_ecu import (
    FLASH_AT,
    FOREIGN_KEY_SOURCE,
    LOADER_AT,
    REQUEST_ID,
    RESPONSE_ID,
    foreign_ecu,
    foreign_key,
    foreign_pdx,
    node_of,
)
from tests.support.programming import expect, transfer

IMAGE = bytes(range(256)) * 40 + b"end"


def on_wire(
    ecu: DescribedEcu,
    main: Callable[[RawTester, DescribedNode], Awaitable[None]],
    *,
    key: Callable[[int, bytes], bytes] = foreign_key,
) -> None:
    async def whole() -> None:
        wire = CanWire("bench", bit_rate=500_000, loop=asyncio.get_running_loop())
        node = node_of(ecu, wire.port("ecu"), key=key)
        tester = RawTester.can(wire.port("tester"), ecu.request_id, ecu.response_id)
        node.power_on()
        await node.booted()
        await main(tester, node)
        tester.close()
        node.power_off()
        wire.close()

    run(whole(), virtual=True)


async def open_up(tester: RawTester) -> None:
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    await expect(tester, "10 02", "50 02 00 32 01 f4")
    seed = (await tester.ask(bytes.fromhex("27 11")))[2:]
    await expect(tester, bytes.fromhex("27 12") + foreign_key(0x11, seed), "67 12")


async def start_loader(tester: RawTester) -> None:
    await transfer(tester, LOADER_AT, b"loader" * 50)
    await expect(tester, "31 01 03 02", "71 01 03 02 00")


def erase_of(address: int, size: int) -> bytes:
    return bytes.fromhex("31 01 03 01") + address.to_bytes(4) + size.to_bytes(4)


def test_a_foreign_ecu_is_flashed_by_its_own_sequence() -> None:
    async def main(tester: RawTester, node: DescribedNode) -> None:
        await open_up(tester)
        await start_loader(tester)
        await expect(tester, bytes.fromhex("2E F1 84") + b"canota 01", "6e f1 84")
        await expect(tester, erase_of(FLASH_AT, len(IMAGE)), "71 01 03 01 00")
        await transfer(tester, FLASH_AT, IMAGE)
        crc = zlib.crc32(IMAGE).to_bytes(4)
        await expect(tester, bytes.fromhex("31 01 03 04") + crc, "71 01 03 04 00")
        await expect(tester, "31 01 03 05", "71 01 03 05 00")
        await expect(tester, "11 01", "51 01")
        await node.booted()
        assert node.flash["program"].read(0, len(IMAGE)) == IMAGE
        assert await tester.ask(bytes.fromhex("22 F1 84")) == b"\x62\xf1\x84canota 01"

    on_wire(foreign_ecu(), main)


def test_flash_is_shut_until_the_loader_runs() -> None:
    async def main(tester: RawTester, _node: DescribedNode) -> None:
        await open_up(tester)
        await expect(tester, erase_of(FLASH_AT, 0x1000), "7f 31 22")
        await expect(tester, "34 00 44 00A00000 00001000", "7f 34 22")
        await expect(tester, "31 01 03 02", "7f 31 22")
        await start_loader(tester)
        await expect(tester, erase_of(FLASH_AT, 0x1000), "71 01 03 01 00")

    on_wire(foreign_ecu(), main)


@pytest.mark.parametrize(("late_s", "answer"), [(-0.01, b"\x67\x11"), (0.01, b"\x7f\x27")])
@pytest.mark.parametrize("broken_off", [False, True], ids=["answered", "broken off"])
def test_silence_ends_a_session_s3_after_the_last_bit(
    broken_off: bool,  # noqa: FBT001 a column of the table
    late_s: float,
    answer: bytes,
) -> None:
    ecu = foreign_ecu()

    async def main(tester: RawTester, node: DescribedNode) -> None:
        await open_up(tester)
        await asyncio.sleep(ecu.s3_s - 0.01)
        if broken_off:
            first = bytes.fromhex("10 14 2e f1 84 01 02 03")
            tester.port.send(FrameHeader(ecu.request_id), (first,))
            await asyncio.sleep(1.0)  # N_Cr
        else:
            assert (await tester.ask(bytes.fromhex("27 11")))[:2] == b"\x67\x11"
        await asyncio.sleep(ecu.s3_s + late_s)
        assert (await tester.ask(bytes.fromhex("27 11")))[:2] == answer
        assert node.boots == 1

    on_wire(ecu, main)


def test_a_wrong_key_opens_nothing() -> None:
    async def main(tester: RawTester, _node: DescribedNode) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await tester.ask(bytes.fromhex("27 11"))
        await expect(tester, "27 12 00000000", "7f 27 35")
        await expect(tester, "34 00 44 40000000 00000010", "7f 34 33")

    on_wire(foreign_ecu(), main)


def test_a_wrong_checksum_is_told() -> None:
    async def main(tester: RawTester, _node: DescribedNode) -> None:
        await open_up(tester)
        await start_loader(tester)
        await expect(tester, erase_of(FLASH_AT, 0x1000), "71 01 03 01 00")
        await transfer(tester, FLASH_AT, b"\x55" * 0x100)
        await expect(tester, "31 01 03 04 00000000", "71 01 03 04 01")

    on_wire(foreign_ecu(), main)


def test_flash_that_was_not_erased_is_not_programmed() -> None:
    async def main(tester: RawTester, _node: DescribedNode) -> None:
        await open_up(tester)
        await start_loader(tester)
        await expect(tester, erase_of(FLASH_AT, 0x1000), "71 01 03 01 00")
        await transfer(tester, FLASH_AT, b"\x00" * 0x100)
        request = bytes.fromhex("34 00 44") + FLASH_AT.to_bytes(4) + (0x100).to_bytes(4)
        assert (await tester.ask(request))[0] == 0x74
        await expect(tester, b"\x36\x01" + b"\xff" * 0x100, "76 01")
        await expect(tester, "37", "7f 37 72")

    on_wire(foreign_ecu(), main)


def test_what_the_server_cannot_act_on_is_answered_as_described() -> None:
    async def main(tester: RawTester, _node: DescribedNode) -> None:
        await expect(tester, "2F A0 01 03 01", "6f a0 01 5a")
        await expect(tester, "2F A0 02 03 01", "7f 2f 31")
        await expect(tester, "22 F1 87", "62 f1 87 46 4f 52 2d 39 39 39 39")
        await expect(tester, "22 F1 90", "62 f1 90 " + b"FOREIGN0000000017".hex(" "))
        await expect(tester, "22 12 34", "7f 22 31")
        await expect(tester, "19 0A", "59 0a ff 40 31 00 50")

    on_wire(foreign_ecu(), main)


def test_the_default_key_is_the_complement_of_the_seed() -> None:
    assert complement(1, bytes.fromhex("00 FF 5A")) == bytes.fromhex("FF 00 A5")


def test_the_key_as_a_file_is_the_key_as_a_function() -> None:
    space: dict[str, Callable[[int, bytes], bytes]] = {}
    exec(FOREIGN_KEY_SOURCE, space)  # noqa: S102 the text that the docstring promises
    assert space["key"](0x11, b"\x12\x34\x56\x78") == foreign_key(0x11, b"\x12\x34\x56\x78")


#: Identification and live values that hang on no image: the options tell them, the bytes agree.
_READ = ("22 F1 91", "22 F1 90", "22 F1 86", "22 12 34", "22 F1 90 F1 91", "10 03", "22 F1 86")


def test_our_own_ecu_and_the_one_of_its_package_answer_alike(tmp_path: Path) -> None:
    own: list[bytes] = []

    async def ask_own() -> None:
        async with bench(tmp_path, "ccu") as on:
            tester = RawTester.can(on.vehicle.can_port("comfort", "tester"), 0x7A0, 0x7A8)
            own.extend([await tester.ask(bytes.fromhex(one)) for one in _READ])
            tester.close()

    run(ask_own(), virtual=True)
    vin, hardware = own[1][3:].decode(), own[0][3:].decode()
    options = f'[data]\nF190 = "{vin}"\nF191 = "{hardware}"\n'
    ecu = applied(
        read_pdx(pdx(ecu_type("ccu")), name="ccu.pdx"), read_options(options, name="o.toml")
    )
    described: list[bytes] = []

    async def ask(tester: RawTester, _node: DescribedNode) -> None:
        described.extend([await tester.ask(bytes.fromhex(one)) for one in _READ])

    on_wire(ecu, ask)
    assert described == own


def test_an_ecu_of_our_own_package_is_flashed_by_its_sequence() -> None:
    options = read_options("seed_length = 16\npage_size = 128\n", name="o.toml")
    ecu = applied(read_pdx(pdx(ecu_type("bench")), name="bench.pdx"), options)

    async def main(tester: RawTester, node: DescribedNode) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await tester.unlock(lambda seed: complement(1, seed))
        await transfer(tester, 0x2000_0000, b"loader")
        await expect(tester, "31 01 03 01 20000000", "71 01 03 01 00")
        await expect(tester, "31 01 FF 00 44 00100000 00002000", "71 01 ff 00 00")
        await transfer(tester, 0x0010_0000, IMAGE[:0x2000])
        crc = zlib.crc32(IMAGE[:0x2000]).to_bytes(4)
        await expect(tester, bytes.fromhex("31 01 02 02") + crc, "71 01 02 02 00")
        assert node.flash["application"].read(0, 0x2000) == IMAGE[:0x2000]

    on_wire(ecu, main, key=complement)


def test_the_roles_of_routines_can_be_told() -> None:
    options = read_options('[routines]\n0305 = "check"\n', name="o.toml")
    assert applied(foreign_ecu(), options).routines[0x305].role is Role.CHECK
    other = read_options('[routines]\n0999 = "check"\n', name="o.toml")
    with pytest.raises(DescriptionError, match="brakes has no routine 0999"):
        applied(foreign_ecu(), other)


def with_document(text: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("x.odx-d", text)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK", "not a PDX"),
        (with_document(b"<ODX"), "x.odx-d: "),
        (with_document(b'<!DOCTYPE x [<!ENTITY a "aa">]><ODX>&a;</ODX>'), "document type"),
        (with_document("<!DOCTYPE x><ODX/>".encode("utf-16")), "document type"),
        (with_document(b"<a>" * 500 + b"</a>" * 500), "nested more than 128"),
        (with_document(b"<ODX/>"), "x.pdx: "),
        (with_document(b" " * (65 << 20)), "more than 67108864 bytes"),
    ],
)
def test_a_hostile_package_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(DescriptionError, match=message):
        read_pdx(content, name="x.pdx")


def test_an_unknown_variant_names_those_there_are() -> None:
    with pytest.raises(DescriptionError, match="no variant 'abs'; there are: brakes"):
        read_pdx(foreign_pdx(), name="x.pdx", variant="abs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed_length = 0", "o.toml: seed_length: a number of 0x1 to 0xFF expected"),
        ("unheard = 1", "o.toml: unheard: one of request_id"),
        ("[data]\nF190 = 'hex:zz'", "o.toml: data.F190: ASCII, or hex: and bytes expected"),
        ("[data]\nXYZ = 'a'", "o.toml: data.XYZ: four hex digits expected"),
        ("[routines]\n0301 = 'burn'", "o.toml: routines.0301: one of erase"),
        ("[[memory]]\nname = 'a'\nstart = 0", "o.toml: memory.0.size: a value expected"),
        ("= 1", "o.toml: "),
    ],
)
def test_wrong_options_name_file_and_key(text: str, message: str) -> None:
    with pytest.raises(DescriptionError, match=message):
        read_options(text, name="o.toml")


def test_the_identifiers_are_those_of_the_package() -> None:
    ecu = foreign_ecu()
    assert (ecu.request_id, ecu.response_id) == (REQUEST_ID, RESPONSE_ID)
