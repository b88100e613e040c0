import json
from pathlib import Path

import pytest

from ecu_sim.descriptions import pdx, summary
from ecu_sim.descriptions.operations import operations
from ecu_sim.ecus import all_ecu_names, ecu_type
from tests.support.cli import canota


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_describe_writes_the_package(tmp_path: Path, ecu: str) -> None:
    file = tmp_path / "ecu.pdx"
    ended = canota("ecus", "describe", ecu, "--pdx", str(file))
    assert ended.code == 0
    assert file.read_bytes() == pdx(ecu_type(ecu))
    assert ended.out == f"{file}: {file.stat().st_size} bytes\n"


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_describe_prints_all_that_json_can_say(ecu: str) -> None:
    said = canota("ecus", "describe", ecu, "--json").json
    assert said == json.loads(json.dumps(summary(ecu_type(ecu))))
    assert [one["name"] for one in said["operations"]] == [
        one.name for one in operations(ecu_type(ecu))
    ]


def test_json_says_what_the_bytes_of_a_record_mean() -> None:
    said = canota("ecus", "describe", "ccu", "--json").json
    named = {one["name"]: one for one in said["operations"]}
    reading = named["ReadDataByIdentifier_Cabin_temperature"]
    assert reading["response"][2] == {
        "kind": "Number",
        "name": "value",
        "bits": 16,
        "signed": True,
        "scale": 0.1,
        "unit": "°C",
    }


def test_json_says_what_a_tester_has_to_set() -> None:
    said = canota("ecus", "describe", "ecomp", "--json").json
    assert [one["periodic_id"] for one in said["can_addresses"]] == [0x6B8, 0x18DCF120]
    assert said["isotp"]["padding"] == 0xCC
    assert said["isotp"]["n_bs_s"] == 1.0
    (lost,) = (
        one
        for one in canota("ecus", "describe", "ccu", "--json").json["dtcs"]
        if one["code"] == 0xD14087
    )
    assert (lost["failed_step"], lost["passed_step"], lost["aging_cycles"]) == (32, 64, 40)
    assert canota("ecus", "describe", "rear", "--json").json["isotp"] == {}


def test_both_at_once_keep_the_json_clean(tmp_path: Path) -> None:
    ended = canota("ecus", "describe", "ccu", "--json", "--pdx", str(tmp_path / "ccu.pdx"))
    assert ended.json["ecu"] == "ccu"
    assert (tmp_path / "ccu.pdx").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("seat", "--json"), 3, "no ECU type 'seat'; there are: "),
        (("ccu",), 2, "--pdx FILE or --json is needed"),
        (("ccu", "--pdx", "/proc/nowhere/ccu.pdx"), 1, "/proc/nowhere/ccu.pdx"),
    ],
)
def test_what_cannot_be_described_is_one_line(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = canota("ecus", "describe", *arguments)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.count("\n") == 1
