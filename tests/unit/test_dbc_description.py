"""The vehicle's description: read strictly, and its numbers made readable."""

from pathlib import Path

import pytest

from dbc import Scaling, describe_vehicle
from dbc.vehicle import DescriptionError

_OURS = Path(__file__).parents[2] / "dbc" / "vehicle.toml"


@pytest.mark.parametrize(
    ("scaling", "record", "text"),
    [
        (Scaling(scale=0.1, unit="°C"), "010A", "26.6 °C"),
        (Scaling(scale=0.1, unit="°C"), "FFF6", "-1.0 °C"),
        (Scaling(unit="rpm", signed=False), "FFFF", "65535 rpm"),
        (Scaling(scale=0.25), "03", "0.8"),
        (Scaling(scale=2.0, unit="%"), "0A", "20 %"),
    ],
)
def test_a_record_reads_as_a_physical_value(scaling: Scaling, record: str, text: str) -> None:
    assert scaling.physical(bytes.fromhex(record)) == text


@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        ('wire = "comfort"', 'wire = "attic"', "ecus.ccu.wire"),
        ("slot_size", "slot_sise", "slot_sise"),
        ("scale = 0.1", "scale = 0", "ecus.ccu.scalings"),
        ("tester_address = ", "tester_adress = ", "tester_address"),
        ("[routines]", "[routines", "line 5"),
    ],
)
def test_a_description_with_a_mistake_is_refused_by_its_name(
    tmp_path: Path, ours: str, theirs: str, named: str
) -> None:
    own = tmp_path / "vehicle.toml"
    own.write_text(_OURS.read_text(encoding="utf-8").replace(ours, theirs), encoding="utf-8")
    with pytest.raises(DescriptionError, match=named):
        describe_vehicle(own)
