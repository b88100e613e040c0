"""`protocols.firmware.containers.Container`: what every image container promises.

The samples are the built images, so a container that no built image is in fails the first test.
"""

from functools import cache

import pytest

from ecu_sim.ecus import ecu_names, ecu_type
from protocols.firmware.containers import ContainerError, containers, declared
from tests.support.vehicle import built_image

NAMES = list(containers())
VERSIONS = ("1.0.0", "2.0.0")


@cache
def sample(name: str) -> bytes:
    """The shortest built image in a container."""
    inside = [
        image
        for ecu in ecu_names()
        if containers()[name].recognizes(image := built_image(ecu, "2.0.0"))
    ]
    assert inside, f"no built image is in a container {name}"
    return min(inside, key=len)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_says_what_it_is(name: str) -> None:
    image = sample(name)
    found = declared(image)
    assert found == containers()[name].declared(image)
    assert found is not None
    assert found.container == name
    assert found.hardware_id in {ecu_type(ecu).hardware_identifier for ecu in ecu_names()}
    assert found.software_version == "2.0.0"
    assert found.software_number
    assert found.supplier_version
    assert 0 < found.payload_size < len(image)


@pytest.mark.parametrize("name", NAMES)
def test_no_container_recognizes_what_is_not_its_own(name: str) -> None:
    for other in NAMES:
        assert containers()[other].recognizes(sample(name)) is (other == name)
    for foreign in (b"", sample(name)[:1], b"\xff" * 256, b"\x00asm\x01\x00\x00\x00" * 32):
        assert not containers()[name].recognizes(foreign)


@pytest.mark.parametrize("name", NAMES)
def test_erased_flash_behind_an_image_is_no_part_of_it(name: str) -> None:
    image = sample(name)
    assert containers()[name].declared(image + b"\xff" * 1000) == containers()[name].declared(image)


@pytest.mark.parametrize("name", NAMES)
def test_anything_else_behind_an_image_is_refused(name: str) -> None:
    for foreign in (b"\x00", b"\xff\xff\x7f"):
        with pytest.raises(ContainerError):
            containers()[name].declared(sample(name) + foreign)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_cut_off_anywhere_is_refused(name: str) -> None:
    image = sample(name)
    # Every length in the header and in what trails, and a hundred in between.
    lengths = {*range(128), *range(0, len(image), len(image) // 100)}
    lengths |= set(range(len(image.rstrip(b"\xff")) - 256, len(image.rstrip(b"\xff"))))
    for length in sorted(lengths):
        with pytest.raises(ContainerError):
            containers()[name].declared(image[:length])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_one_wrong_bit_in_header_or_payload_is_refused(name: str, bit: int) -> None:
    image = sample(name)
    size = containers()[name].declared(image).payload_size
    for position in {*range(64), *range(0, size, size // 50), size - 1}:
        wrong = bytes((image[position] ^ bit,))
        with pytest.raises(ContainerError):
            containers()[name].declared(image[:position] + wrong + image[position + 1 :])


@pytest.mark.parametrize("ecu", ecu_names())
@pytest.mark.parametrize("version", VERSIONS)
def test_every_built_image_is_in_a_container_that_knows_it(ecu: str, version: str) -> None:
    image = built_image(ecu, version)
    inside = [name for name in NAMES if containers()[name].recognizes(image)]
    assert len(inside) == 1
    assert containers()[inside[0]].declared(image).software_version == version


def test_bytes_in_no_container_declare_nothing() -> None:
    assert declared(b"") is None
    assert declared(bytes(range(256))) is None
