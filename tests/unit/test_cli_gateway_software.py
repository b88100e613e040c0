"""What `canota gateway` trusts the gateway's own software by."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from canota.cli.exits import CommandError, Exit
from canota.cli.gateway_software import trusted
from firmware import KEYS
from tests.support.cli import canota

VIN = "WCANHVAC000000001"
PUBLISHED = KEYS / "image-signing.dev-only.pub.pem"


@pytest.mark.parametrize("path", [None, PUBLISHED])
def test_the_published_key_is_for_laboratories_alone(path: Path | None) -> None:
    assert len(trusted(path)) == 1
    with pytest.raises(CommandError, match="DEV ONLY"):
        trusted(path, production=True)


def test_a_key_of_its_own_is_for_production_too(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    key = Ed25519PrivateKey.generate().public_key()
    own.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert [*trusted(own, production=True).values()] == [key]


@pytest.mark.parametrize("way", ["boot", "run"])
def test_a_production_gateway_starts_no_software_by_the_published_key(
    way: str, tmp_path: Path
) -> None:
    state = ("--state", str(tmp_path))
    vehicle = (VIN, "--wire", "comfort=can://bridge/127.0.0.1:1/comfort", "--production")
    if way == "boot":
        ended = canota("gateway", "boot", *state, "--", *vehicle)
    else:
        ended = canota("gateway", "run", *state, *vehicle, "--software-slot", "0")
    assert ended.code == Exit.REFUSED
    assert "DEV ONLY" in ended.err
