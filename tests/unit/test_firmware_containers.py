"""The containers as boot loaders read them; imgtool, which signs real images, is the oracle."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import imgtool.image
import imgtool.keys
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

import firmware
from dbc import describe_vehicle
from firmware.applications import APPLICATIONS, RELEASES, VERSIONS
from protocols.firmware.containers import ContainerError, Declared, crc32, declared, mcuboot, sha512
from protocols.firmware.containers.mcuboot import SignatureError, key_hash, verify
from protocols.firmware.formats import detect
from tests.support.climate import flashed_bytes
from tests.support.images import (
    ENTRIES,
    PAYLOAD,
    SIGNING_KEY,
    crc32_image,
    key_file,
    sha512_image,
    signed_image,
)

SECURE = [name for name, entry in APPLICATIONS.items() if entry.container == "mcuboot"]
PINNED = {key_hash(SIGNING_KEY.public_key()): SIGNING_KEY.public_key()}


def check(image: bytes, keys: dict[bytes, Ed25519PublicKey] | None = None) -> None:
    verify(mcuboot.decode(image), PINNED if keys is None else keys)


def area(magic: int, *entries: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in entries)
    return struct.pack("<HH", magic, 4 + len(body)) + body


def header(**changes: int) -> bytes:
    """A header for `PAYLOAD` and the default areas of `assemble`, with fields changed."""
    fields = {"magic": mcuboot.MAGIC, "load": 0, "header_size": 32, "protected_size": 12,
              "size": len(PAYLOAD), "flags": 0, "major": 1, "minor": 0, "revision": 0,
              "build": 0, "pad": 0} | changes  # fmt: skip
    return struct.pack("<IIHHIIBBHII", *fields.values())


COUNTER = (0x50, bytes(4))


def assemble(
    head: bytes, protected: bytes | None = None, unprotected: bytes | None = None
) -> bytes:
    """An unsigned image from parts, with a right digest unless the area is given."""
    signed = head + PAYLOAD + (area(0x6908, COUNTER) if protected is None else protected)
    digest = hashlib.sha256(signed).digest()
    return signed + (area(0x6907, (0x10, digest)) if unprotected is None else unprotected)


def test_an_image_signed_by_imgtool_is_read_and_verified(tmp_path: Path) -> None:
    image = mcuboot.decode(signed_image(tmp_path))
    verify(image, PINNED)
    assert (image.version, image.security_counter, image.payload) == ("2.3.4", 7, PAYLOAD)
    assert image.hardware_id == ENTRIES["0x00A0"]
    assert image.software_number == ENTRIES["0x00A1"]
    assert image.supplier_version == ENTRIES["0x00A2"]


def test_imgtool_and_the_parser_agree_on_digest_and_version(tmp_path: Path) -> None:
    data = signed_image(tmp_path)
    key = imgtool.keys.load(str(key_file(tmp_path)))
    result, version, digest, _ = imgtool.image.Image.verify(str(tmp_path / "image.bin"), key)
    ours = mcuboot.decode(data)
    assert result is imgtool.image.VerifyResult.OK
    assert digest == ours.digest
    assert tuple(version)[:3] == (2, 3, 4)


def test_every_single_bit_flip_of_a_signed_image_is_refused(tmp_path: Path) -> None:
    good = signed_image(tmp_path)
    for position in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(ContainerError):
            check(bytes(flipped))


def test_every_truncation_of_a_signed_image_is_refused(tmp_path: Path) -> None:
    good = signed_image(tmp_path)
    for length in range(len(good)):
        with pytest.raises(ContainerError):
            check(good[:length])


def test_erased_flash_behind_an_image_is_no_part_of_it(tmp_path: Path) -> None:
    good = signed_image(tmp_path)
    check(good + b"\xff" * 100)
    assert mcuboot.decode(good + b"\xff" * 100) == mcuboot.decode(good)


def test_anything_else_behind_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="behind its end"):
        check(signed_image(tmp_path) + b"\xff\xff\x00")


def test_an_image_of_another_key_is_refused(tmp_path: Path) -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(SignatureError, match="unknown key"):
        check(signed_image(tmp_path, key=stranger))


def test_a_stranger_who_names_our_key_is_refused(tmp_path: Path) -> None:
    """The key hash lies outside the digest: only the signature itself counts."""
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    theirs, ours = key_hash(stranger.public_key()), key_hash(SIGNING_KEY.public_key())
    with pytest.raises(SignatureError, match="signature is wrong"):
        check(signed_image(tmp_path, key=stranger).replace(theirs, ours))


def test_an_unsigned_image_is_read_but_not_verified(tmp_path: Path) -> None:
    image = mcuboot.decode(signed_image(tmp_path, key=None))
    assert not image.signed
    with pytest.raises(SignatureError, match="not signed"):
        verify(image, PINNED)


def test_an_image_without_security_counter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="SEC_CNT"):
        check(signed_image(tmp_path, security_counter=None))


def test_an_image_of_someone_else_declares_empty_identity(tmp_path: Path) -> None:
    image = mcuboot.decode(signed_image(tmp_path, entries={}))
    assert (image.hardware_id, image.software_number, image.supplier_version) == ("", "", "")


REFUSED = [
    ("too short", b"\x00" * 31, "31 bytes are less than 32"),
    ("magic", assemble(header(magic=0x96F3B83C)), "magic"),
    ("header inside itself", assemble(header(header_size=31)), "hdr_size: 31"),
    ("payload past the end", assemble(header(size=1 << 31)), "image_size"),
    ("header past the end", assemble(header(header_size=0xFFFF)), "image_size"),
    ("protected size too small", assemble(header(protected_size=8)), "protect_tlv_size: 8"),
    ("no protected area", assemble(header(protected_size=0), b""), "SEC_CNT"),
    ("protected magic", assemble(header(), area(0x6907, COUNTER)), "protected area: magic"),
    ("counter of 8 bytes", assemble(header(protected_size=16), area(0x6908, (0x50, bytes(8)))),
     "SEC_CNT"),
    ("protected entry twice",
     assemble(header(protected_size=20), area(0x6908, COUNTER, COUNTER)), "0x0050 twice"),
    ("entry past its area",
     assemble(header(), struct.pack("<HHHH", 0x6908, 12, 0x50, 5) + bytes(4)), "runs past"),
    ("cut entry header",
     assemble(header(protected_size=14), struct.pack("<HH", 0x6908, 14) + bytes((0x50, 0, 4, 0)) +
              bytes(6)), "cut entry"),
    ("area smaller than its header",
     assemble(header(), None, struct.pack("<HH", 0x6907, 3)), "do not fit"),
    ("area past the end", assemble(header(), None, struct.pack("<HH", 0x6907, 5)), "do not fit"),
    ("unprotected magic", assemble(header(), None, area(0x6908)), "unprotected area: magic"),
    ("no digest", assemble(header(), None, area(0x6907)), "no digest"),
    ("wrong digest", assemble(header(), None, area(0x6907, (0x10, bytes(32)))), "SHA256"),
    ("unprotected entry not listed",
     assemble(header(), None, area(0x6907, (0x10, bytes(32)), (0x30, b""))), "0x0030"),
    ("counter outside the digest",
     assemble(header(), None, area(0x6907, (0x10, bytes(32)), COUNTER)), "0x0050 is not allowed"),
    ("digest twice",
     assemble(header(), None, area(0x6907, (0x10, bytes(32)), (0x10, bytes(32)))), "twice"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("image", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_malformed_image_is_refused_by_its_field(image: bytes, words: str) -> None:
    with pytest.raises(ContainerError, match=words):
        mcuboot.decode(image)


def test_the_parts_above_make_a_good_image_when_nothing_is_changed() -> None:
    assert mcuboot.decode(assemble(header())).payload == PAYLOAD


UNSIGNED = {
    "crc32": (crc32, crc32_image, "BLW-1"),
    "sha512": (sha512, sha512_image, "FLP-1"),
}


@pytest.mark.parametrize(("container", "make", "hardware_id"), UNSIGNED.values(), ids=UNSIGNED)
def test_an_unsigned_image_is_read_back(
    container: ModuleType, make: Callable[[], bytes], hardware_id: str
) -> None:
    image = container.decode(make() + b"\xff" * 7)
    assert (image.version, image.hardware_id, image.payload) == ("2.3.4", hardware_id, PAYLOAD)
    assert container.encode(image) == make()


@pytest.mark.parametrize(("container", "make", "hardware_id"), UNSIGNED.values(), ids=UNSIGNED)
def test_every_single_bit_flip_and_truncation_of_an_unsigned_image_is_refused(
    container: ModuleType, make: Callable[[], bytes], hardware_id: str
) -> None:
    good = make()
    assert container.decode(good).hardware_id == hardware_id
    damaged = [good[:length] for length in range(len(good))]
    for position in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    for image in damaged:
        with pytest.raises(ContainerError):
            container.decode(image)


def test_whoever_alters_an_unsigned_image_can_make_it_valid_again() -> None:
    """What `conventional` and `update_agent` ECUs do not promise: a sum is no signature."""
    assert crc32.decode(crc32_image(payload=b"altered")).payload == b"altered"
    assert sha512.decode(sha512_image(payload=b"altered")).payload == b"altered"


def test_an_inner_image_that_is_wrong_is_named_although_the_digest_is_right() -> None:
    inner = bytearray(crc32_image())
    inner[-1] ^= 1
    head = b"S512" + len(inner).to_bytes(4, "little")
    with pytest.raises(ContainerError, match="CRC32: image has"):
        sha512.decode(head + hashlib.sha512(head + inner).digest() + inner)


@pytest.mark.parametrize(
    ("hardware_id", "version", "words"),
    [
        ("MORE-THAN-12-CHARACTERS", (1, 0, 0, 0), "hardware id"),
        ("BLÖ-1", (1, 0, 0, 0), "hardware id"),
        ("BLW-1", (256, 0, 0, 0), "CRC32 container"),
    ],
)
def test_fields_that_do_not_fit_a_crc32_header_are_refused(
    hardware_id: str, version: tuple[int, int, int, int], words: str
) -> None:
    image = crc32.Crc32Image(
        hardware_id=hardware_id,
        software_number="",
        supplier_version="",
        version_numbers=version,
        payload=b"",
    )
    with pytest.raises(ContainerError, match=words):
        crc32.encode(image)


def test_images_declare_what_they_are(tmp_path: Path) -> None:
    expected = Declared(
        container="mcuboot",
        hardware_id="CCU-2",
        software_number="CCU2-APP-01",
        software_version="2.3.4",
        supplier_version="S26.06",
        signed=True,
        payload_size=len(PAYLOAD),
    )
    assert declared(signed_image(tmp_path)) == expected
    conventional = declared(crc32_image())
    assert conventional is not None
    assert (conventional.container, conventional.signed) == ("crc32", False)


def test_bytes_in_no_known_container_declare_nothing() -> None:
    assert declared(b"any other bytes") is None


def test_a_damaged_image_does_not_pass_for_an_unknown_one() -> None:
    with pytest.raises(ContainerError):
        declared(crc32_image()[:-1])


@pytest.mark.parametrize("ecu", APPLICATIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_built_images_say_what_the_tables_say(ecu: str, version: str) -> None:
    path = firmware.image_path(ecu, version)
    described = describe_vehicle().ecus[ecu]
    file = path.read_bytes()
    image = detect(path.name, file).decode(file)
    assert image.address == described.application_base
    assert len(image.data) <= described.slot_size
    stated = declared(image.data)
    assert stated is not None
    assert stated.hardware_id == described.hardware_id
    assert stated.software_number == APPLICATIONS[ecu].software_number
    assert stated.software_version == version
    assert stated.supplier_version == RELEASES[version].supplier_version
    assert stated.signed is (stated.container in {"mcuboot", "cmac"})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ecu", SECURE)
def test_the_built_images_are_signed_with_the_development_key(ecu: str, version: str) -> None:
    key = development_key()
    check(flashed_bytes(ecu, version), {key_hash(key): key})


def development_key() -> Ed25519PublicKey:
    key = load_der_public_key(firmware.dev_keys().image_public_key)
    assert isinstance(key, Ed25519PublicKey)
    return key
