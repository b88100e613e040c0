"""Operators' commands against a real cloud on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from canota.cli.exits import Exit
from cloud.app import CloudOptions, CloudThread
from dbc.vehicle import describe_vehicle
from firmware import image_path
from tests.support.cli import Ended, canota

VIN = "WCANHVAC000000001"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = CloudOptions(state_directory=tmp_path_factory.mktemp("cloud"))
    with CloudThread(options) as cloud:
        yield cloud.target


def identities() -> str:
    return json.dumps(
        [
            {
                "ecu": ecu.name,
                "hardware_id": ecu.hardware_id,
                "serial_number": f"{VIN}-{ecu.name}",
                "public_key": _public_key(ecu.logical_address),
                "wire": ecu.wire,
                "single_slot": ecu.single_slot,
                "application_base": ecu.application_base,
                "slot_size": ecu.slot_size,
            }
            for ecu in describe_vehicle().ecus.values()
        ]
    )


def _public_key(number: int) -> str:
    key = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def publish(target: str, release: str, *sources: str) -> Ended:
    return canota(
        "release", "publish", release, *sources, "--version", "2.0.0", "--cloud", target, "--json"
    )


def test_an_operators_walk_up_to_a_running_campaign(target: str) -> None:
    registered = canota("vehicle", "register", VIN, "-", "--cloud", target, stdin=identities())
    assert (registered.code, registered.err) == (Exit.OK, "")

    ccu, blower = image_path("ccu", "2.0.0"), image_path("blower", "2.0.0")
    published = publish(target, "hvac-2.0.0", f"CCU-2={ccu}", str(blower))
    assert published.code == Exit.OK
    assert {image["hardware_id"] for image in published.json["images"]} == {"CCU-2", "BLW-1"}

    assert (
        canota("campaign", "create", "walk", VIN, "--release", "hvac-2.0.0", "--cloud", target).code
        == 0
    )
    dry = canota("campaign", "dry-run", "walk", "--cloud", target, "--json")
    assert dry.json[0]["vin"] == VIN
    assert (dry.json[0]["verdict"], dry.code) == ("refused", Exit.REFUSED)

    listed = canota("vehicle", "list", "--cloud", target, "--json").json
    assert [vehicle["vin"] for vehicle in listed] == [VIN]
    shown = canota("vehicle", "show", VIN, "--cloud", target)
    assert "blower" in shown.out
    assert VIN in canota("vehicle", "list", "--cloud", target).out
    assert "hvac-2.0.0" in canota("release", "list", "--cloud", target).out
    assert "ccu-2.0.0.hex" in canota("release", "inspect", "hvac-2.0.0", "--cloud", target).out
    assert "draft" in canota("campaign", "list", "--cloud", target).out

    started = canota("campaign", "start", "walk", "--cloud", target, "--json")
    assert started.code == Exit.OK
    status = canota("campaign", "status", "walk", "--watch", "--cloud", target, "--json")
    assert status.code == Exit.FAILED
    assert status.json["assignments"][0]["outcome"] == "refused"
    again = canota("campaign", "start", "walk", "--cloud", target)
    assert again.code == Exit.REFUSED


def test_a_campaign_is_cancelled_and_the_answer_is_clear(target: str) -> None:
    create = ("campaign", "create", "stop", VIN, "--release", "hvac-2.0.0", "--cloud", target)
    assert canota(*create).code == Exit.OK
    for _ in range(2):
        cancelled = canota("campaign", "cancel", "stop", "--cloud", target, "--json")
        assert cancelled.code == Exit.OK
        assert cancelled.json["state"] == "finished"
        assert cancelled.json["assignments"][0]["withdrawal"] == "accepted"
    shown = canota("campaign", "status", "stop", "--cloud", target)
    assert "cancelled by an operator" in " ".join(shown.out.split())
    late = canota("campaign", "cancel", "walk", "--cloud", target)
    assert late.code == Exit.REFUSED
    assert "campaigns/walk: has finished" in late.err


def test_a_refused_campaign_has_a_report_in_every_format(target: str, tmp_path: Path) -> None:
    for name in ("html", "json", "csv"):
        path = tmp_path / f"report.{name}"
        arguments = ("report", "export", "walk", "--format", name, "-o", str(path))
        assert canota(*arguments, "--cloud", target).code == Exit.OK
        assert VIN.encode() in path.read_bytes()
    said = canota("report", "export", "walk", "--format", "json", "-o", "-", "--cloud", target)
    assert said.json["vehicles"][0]["outcome"] == "refused"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("vehicle", "show", "WCANHVAC000000009"), Exit.NOT_FOUND, "WCANHVAC000000009"),
        (("release", "inspect", "nothing"), Exit.NOT_FOUND, "releases/nothing"),
        (("campaign", "status", "nothing"), Exit.NOT_FOUND, "campaigns/nothing"),
        (("campaign", "dry-run", "Not An Id"), Exit.REFUSED, "name"),
        (("diag", "dtc", VIN), Exit.NOT_FOUND, VIN),
        (("report", "export", "nothing"), Exit.NOT_FOUND, "campaigns/nothing"),
    ],
)
def test_an_error_is_one_line_that_names_its_subject(
    target: str, arguments: tuple[str, ...], code: Exit, said: str
) -> None:
    ended = canota(*arguments, "--cloud", target)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_a_folder_of_firmware_is_published_as_its_headers_say(target: str, tmp_path: Path) -> None:
    for ecu in ("ccu", "blower"):
        path = image_path(ecu, "1.0.0")
        (tmp_path / path.name).write_bytes(path.read_bytes())
    ended = publish(target, "from-folder", str(tmp_path))
    assert ended.code == Exit.OK
    assert {image["hardware_id"] for image in ended.json["images"]} == {"CCU-2", "BLW-1"}


def test_a_list_of_firmware_is_published_with_its_addresses(target: str, tmp_path: Path) -> None:
    (tmp_path / "blower.bin").write_bytes(b"\x01" * 64)
    listed = tmp_path / "release.toml"
    listed.write_text(
        '[[images]]\nhardware_id = "BLW-1"\nfile = "blower.bin"\naddress = 0x1_0000\n'
    )
    ended = publish(target, "from-list", str(listed))
    assert ended.code == Exit.OK
    assert ended.json["images"][0]["address"] == 0x1_0000


def test_a_broken_file_stores_nothing(target: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.hex"
    path.write_text(":0100000001FE\n:0100010002FC\n:00000001FF\n:00")
    ended = publish(target, "broken", f"CCU-2={path}")
    assert ended.code == Exit.REFUSED
    assert f"{path}:" in ended.err
    assert canota("release", "inspect", "broken", "--cloud", target).code == Exit.NOT_FOUND


def test_the_clouds_address_comes_from_the_environment(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANOTA_CLOUD", target)
    assert canota("release", "list", "--json").code == Exit.OK
