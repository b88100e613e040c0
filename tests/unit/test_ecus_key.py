"""`canota ecus key`: the key that an ECU takes, for testers that take one by hand."""

from pathlib import Path

import pytest

from canota.bench import running_vehicle
from canota.cli.exits import Exit
from canota.testing import Setup, VirtualClock
from canota.testing.vehicle import bench_vehicle
from firmware import dev_keys
from protocols.uds.security_access import compute_key, derive_key
from tests.support.cli import canota

SEED = bytes(range(16))


def test_the_ecu_opens_with_the_key_that_is_printed(tmp_path: Path) -> None:
    setup = Setup(ecus=("blower",))
    with VirtualClock() as clock:
        ecu = bench_vehicle(clock, clock.enter(running_vehicle(setup.options(tmp_path)))).ecu(
            "blower"
        )
        ecu.enter(0x03)
        serial = ecu.read(0xF18C).decode("ascii")
        ecu.enter(0x02)
        seed = ecu.request("27 01").hex(" ")
        printed = canota("ecus", "key", serial, seed)
        assert printed.code == Exit.OK
        assert ecu.ask(f"27 02 {printed.out}") == bytes.fromhex("67 02")


def test_the_level_is_part_of_the_key() -> None:
    secret = derive_key(dev_keys().diagnostics_master, "CCU-2-1", 3)
    expected = compute_key(secret, level=3, ecu_id="CCU-2-1", seed=SEED)
    for given in (SEED.hex(), f"67 03 {SEED.hex(' ')}"):
        printed = canota("ecus", "key", "CCU-2-1", given, "--level", "3")
        assert bytes.fromhex(printed.out) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "nonsense: hex digits expected"),
        (("00 01",), "a seed has 16 bytes, not 2"),
        ((SEED.hex(), "--level", "2"), "--level 2: the level of a seed is odd"),
    ],
)
def test_what_is_no_seed_is_told_so(arguments: tuple[str, ...], said: str) -> None:
    ended = canota("ecus", "key", "CCU-2-1", *arguments)
    assert ended.code == Exit.USAGE
    assert said in ended.err
