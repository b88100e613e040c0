"""The flash data of the package: how an image is known, and images that the package brings."""

import io
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from odxtools.database import Database
from odxtools.datablock import Datablock
from odxtools.session import Session

from ecu_sim.descriptions import APPLICATION, FlashImageError, pdx
from ecu_sim.ecus import EcuType, all_ecu_names, ecu_names, ecu_type
from firmware import image_path
from protocols.firmware.containers import cmac, crc32, declared, mcuboot
from protocols.firmware.formats import Image, detect
from tests.support.cli import canota
from tests.support.odx import database


def factory_image(ecu: str) -> Image:
    path = image_path(ecu, "2.0.0")
    content = path.read_bytes()
    return detect(path.name, content).decode(content)


def with_images(kind: EcuType, images: Mapping[str, Image]) -> Database:
    found = Database()
    found.add_pdx_file(io.BytesIO(pdx(kind, images)))
    found.refresh()
    return found


@cache
def brought(ecu: str) -> Database:
    """The package with the firmware of the vehicle's ECU."""
    return with_images(ecu_type(ecu), {APPLICATION: factory_image(ecu)})


def session_of(package: Database) -> Session:
    (flash,) = package.flashs
    (memory,) = flash.ecu_mems
    (session,) = memory.mem.sessions
    return session


def block_of(package: Database, area: str = APPLICATION) -> Datablock:
    return session_of(package).datablocks[area]


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_every_block_says_how_its_image_is_known(ecu: str) -> None:
    method = {
        "she_cmac": "AES-128-CMAC",
        "conventional": "CRC-32",
        "update_agent": "SHA-512",
    }
    expected = method.get(ecu_type(ecu).boot_profile, "Ed25519")
    for block in session_of(database(ecu)).datablocks:
        (security,) = block.securities
        assert security.security_method is not None
        assert security.security_method.value == expected
        assert security.fw_checksum is None
        assert block.flashdata is not None


@pytest.mark.parametrize("ecu", ecu_names())
def test_an_image_comes_out_of_the_package_as_it_went_in(ecu: str) -> None:
    kind, image = ecu_type(ecu), factory_image(ecu)
    package = brought(ecu)
    block = block_of(package)
    assert block.flashdata is not None
    assert block.flashdata.blob == image.data
    (segment,) = block.segments
    assert segment.source_start_address == kind.application_base == image.address
    assert segment.source_end_address == image.end - 1


@pytest.mark.parametrize("ecu", ecu_names())
def test_an_image_is_described_by_what_it_says_of_itself(ecu: str) -> None:
    image = factory_image(ecu)
    package = brought(ecu)
    said = declared(image.data)
    assert said is not None
    idents = {one.short_name: one.ident_value.value for one in block_of(package).own_idents}
    assert idents == {
        "software_number": said.software_number,
        "software_version": "2.0.0",
        "supplier_version": said.supplier_version,
        "hardware_identifier": ecu_type(ecu).hardware_identifier,
    }
    (checksum,) = session_of(package).checksums
    assert checksum.checksum_alg == "CRC-32"
    assert checksum.source_end_address is not None
    covered = image.data[: checksum.source_end_address + 1 - checksum.source_start_address]
    assert checksum.checksum_result.value == zlib.crc32(covered)
    assert covered == image.data


@pytest.mark.parametrize("ecu", ecu_names())
def test_signature_and_checksum_are_those_in_the_image(ecu: str) -> None:
    image = factory_image(ecu).data
    package = brought(ecu)
    (security,) = block_of(package).securities
    assert security.fw_checksum is not None
    if ecu_type(ecu).single_slot:
        assert security.fw_signature is None
        assert security.fw_checksum.value == zlib.crc32(image).to_bytes(4)
    elif ecu_type(ecu).boot_profile == "she_cmac":
        assert security.fw_signature is not None
        assert security.fw_signature.value == cmac.decode(image).update
        assert security.fw_checksum.value == zlib.crc32(image).to_bytes(4)
    else:
        signed = mcuboot.decode(image)
        assert security.fw_signature is not None
        assert security.fw_signature.value == signed.tlvs[mcuboot.Tlv.ED25519]
        assert security.fw_checksum.value == signed.digest


def test_blocks_and_loader_of_a_bench_ecu_are_brought_too() -> None:
    kind = ecu_type("bench")
    assert kind.secondary_loader is not None
    contents = {
        name: crc32.encode(
            crc32.Crc32Image(
                hardware_id=kind.hardware_identifier,
                software_number=number,
                supplier_version="S1",
                version_numbers=(1, 2, 3, 0),
                payload=name.encode() * 40,
            )
        )
        for name, number in (
            (APPLICATION, "BCH-SW"),
            ("characteristics", "BCH-CH"),
            ("secondary_loader", "SBL-1"),
        )
    }
    images = {name: Image(address=0, data=content) for name, content in contents.items()}
    package = with_images(kind, images)
    for name, content in contents.items():
        data = block_of(package, name).flashdata
        assert data is not None
        assert data.blob == content
    unbound = block_of(package, "language")
    assert len(unbound.own_idents) == 0
    assert {one.short_name for one in session_of(package).checksums} == set(contents)


@pytest.mark.parametrize(
    ("area", "image", "said"),
    [
        ("cellar", Image(address=0, data=b"x"), "ccu has no area 'cellar'; there are: application"),
        (APPLICATION, Image(address=0, data=b""), "has 0 bytes, the area 524288"),
        (APPLICATION, Image(address=0, data=bytes(0x8_0001)), "has 524289 bytes, the area 524288"),
        (APPLICATION, Image(address=0x1000, data=b"x"), "is for 0x00001000, the area begins at"),
        (APPLICATION, factory_image("rear"), "is for 0x00800000"),
        (
            APPLICATION,
            Image(address=0, data=factory_image("rear").data[:4096]),
            "ccu: the image of application: MCUboot",
        ),
    ],
)
def test_an_image_that_is_not_for_its_area_is_refused(area: str, image: Image, said: str) -> None:
    with pytest.raises(FlashImageError) as refused:
        pdx(ecu_type("ccu"), {area: image})
    assert said in str(refused.value)


def test_an_image_for_other_hardware_is_refused() -> None:
    stranger = Image(address=0, data=factory_image("ecomp").data)
    with pytest.raises(FlashImageError, match="is for ECP-3, the ECU is CCU-2"):
        pdx(ecu_type("ccu"), {APPLICATION: stranger})


@pytest.mark.parametrize("prefix", ["", "application="])
def test_the_command_puts_an_image_into_the_package(tmp_path: Path, prefix: str) -> None:
    file, image = tmp_path / "ccu.pdx", image_path("ccu", "2.0.0")
    ended = canota("ecus", "describe", "ccu", "--pdx", str(file), "--image", f"{prefix}{image}")
    assert ended.code == 0
    assert file.read_bytes() == pdx(ecu_type("ccu"), {APPLICATION: factory_image("ccu")})


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--json", "--image", "a.hex"), 2, "--image goes into the package of --pdx"),
        (("--pdx", "{folder}/a.pdx", "--image", "{folder}/no.hex"), 3, "no such file"),
        (("--pdx", "{folder}/a.pdx", "--image", str(image_path("rear", "2.0.0"))), 5, "is for 0x"),
        (("--pdx", "{folder}/a.pdx", "--image", "cellar=" + __file__), 5, "no area 'cellar'"),
    ],
)
def test_the_command_refuses_an_image_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    given = [one.format(folder=tmp_path) for one in arguments]
    ended = canota("ecus", "describe", "ccu", *given)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "a.pdx").exists()
