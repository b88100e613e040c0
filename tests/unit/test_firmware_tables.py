"""The calibration tables; `python -m firmware.build --check` proves the rest of the build."""

import pytest

import firmware
from firmware.applications import APPLICATIONS, VERSIONS
from firmware.tables import TABLES, Axis, Table, c_source
from tests.support.climate import application_module

#: ECU -> least and most bytes of a realistic application.
SIZES = {
    "ccu": (150 * 1024, 200 * 1024),
    "blower": (64 * 1024, 96 * 1024),
    "flap": (32 * 1024, 48 * 1024),
    "ecomp": (300 * 1024, 400 * 1024),
    "ptc": (150 * 1024, 200 * 1024),
    "rear": (1000 * 1024, 1100 * 1024),
}


def test_every_application_has_its_tables_and_its_image() -> None:
    assert set(TABLES) == {(ecu, version) for ecu in APPLICATIONS for version in VERSIONS}
    files = {firmware.image_path(ecu, version) for ecu, version in TABLES}
    assert files == set(firmware.IMAGES.iterdir())


@pytest.mark.parametrize(("ecu", "version"), TABLES)
def test_applications_have_realistic_sizes_made_of_code_and_tables(ecu: str, version: str) -> None:
    least, most = SIZES[ecu]
    module = application_module(ecu, version)
    assert least <= len(module) <= most
    tables = sum(2 * len(list(table.values())) for table in TABLES[ecu, version])
    assert 0.9 < tables / len(module) < 1.0


@pytest.mark.parametrize(("ecu", "version"), TABLES)
def test_the_image_holds_the_tables_of_today(ecu: str, version: str) -> None:
    module = application_module(ecu, version)
    for table in TABLES[ecu, version]:
        values = b"".join(value.to_bytes(2, "little", signed=True) for value in table.values())
        # A row that is all zeros would be found anywhere; the middle of a table is not.
        middle = values[len(values) // 2 : len(values) // 2 + 512]
        assert middle in module


def test_a_source_defines_what_its_header_declares() -> None:
    source = c_source("blower", "2.0.0")
    assert "const struct map2 drive_map" in source
    assert ".x = {0 / 1000.0, 800 / 1000.0, 129}" in source


def test_a_value_that_does_not_fit_16_bits_is_refused() -> None:
    table = Table(
        name="wide", axes=(Axis(start=0, step=1, count=2),), per_unit=1, value=lambda x: x << 15
    )
    with pytest.raises(ValueError, match=r"table wide: 32768 at \(1,\)"):
        list(table.values())


def test_an_unknown_image_is_answered_with_the_known() -> None:
    with pytest.raises(FileNotFoundError, match=r"no firmware image ccu-9\.9\.9; known: blower-1"):
        firmware.image_path("ccu", "9.9.9")


def test_the_development_keys_are_marked_and_readable() -> None:
    keys = firmware.dev_keys()
    assert len(keys.diagnostics_master) == 32
    for path in firmware.KEYS.iterdir():
        assert "dev-only" in path.name
        assert "DEV ONLY" in path.read_text()
