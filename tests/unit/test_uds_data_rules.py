"""Every row on data and memory of every ECU type, as its own server answers it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from ecu_sim.ecus import EcuType, ecu_names, ecu_type
from ecu_sim.outputs import Outputs
from ecu_sim.scaling import UNITS, Scalings, real
from ecu_sim.server_rules import programs, server_rules
from protocols.uds import Nrc, ServiceId, Session
from protocols.uds.rules import Access, Storage, check, region_of
from tests.support.data import BenchChannels, BenchMemory
from tests.support.diagnostics import Bench, BenchDevice

ECUS = [ecu_type(name) for name in ecu_names()]


@dataclass(frozen=True)
class Row:
    """One identifier or region, the request that reaches it, and who may."""

    ecu: EcuType
    service: ServiceId
    what: str
    request: bytes
    access: Access | None

    def __str__(self) -> str:
        return f"{self.ecu.name}-{self.service:02X}-{self.what}"


def _rows() -> Iterator[Row]:
    for ecu in ECUS:
        data = ecu.data
        for service, rows, tail in (
            (ServiceId.READ_DATA_BY_IDENTIFIER, data.readable, b""),
            (ServiceId.WRITE_DATA_BY_IDENTIFIER, data.writable, b"\x00\x01"),
            (ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER, data.outputs, b"\x00"),
        ):
            for did, row in rows.items():
                yield Row(ecu, service, f"{did:04X}", _did(service, did) + tail, row)
        for region in data.memory:
            at = b"\x14" + region.start.to_bytes(4) + b"\x01"
            for service, head, tail, access in (
                (ServiceId.READ_MEMORY_BY_ADDRESS, b"\x23", b"", region.read),
                (ServiceId.WRITE_MEMORY_BY_ADDRESS, b"\x3d", b"\x00", region.write),
                (ServiceId.REQUEST_UPLOAD, b"\x35\x00", b"", region.upload),
            ):
                yield Row(ecu, service, region.storage.name, head + at + tail, access)


def _did(service_id: int, did: int) -> bytes:
    return bytes([service_id]) + did.to_bytes(2)


def _bench(ecu: EcuType) -> Bench:
    channels = BenchChannels(dict.fromkeys(ecu.outputs, 0.0))
    device = BenchDevice(memory_access=BenchMemory(), input_output=Outputs(ecu, channels.channels))
    device.data |= dict.fromkeys(ecu.data_identifiers, b"\x00\x01")
    device.data |= dict.fromkeys(ecu.engineering_identifiers, b"\x00\x01")
    return Bench(server_rules(ecu, application=True), device)


def _expected(row: Row, session: Session, level: int, *, functional: bool) -> Nrc | None:
    service = server_rules(row.ecu, application=True).services.get(row.service)
    if service is None or (functional and not service.functional):
        return Nrc.SERVICE_NOT_SUPPORTED
    if session not in service.sessions:
        return Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION
    access = row.access
    if access is None or session not in access.sessions or (functional and not access.functional):
        return Nrc.REQUEST_OUT_OF_RANGE
    if access.secured and level != access.level:
        return Nrc.SECURITY_ACCESS_DENIED
    return None


def _cases() -> Iterator[tuple[Row, Session, int]]:
    """Each row in each session, and in the extended one at each level that the ECU has."""
    for row in _rows():
        yield row, Session.DEFAULT, 0
        for level in (0, row.ecu.security_level, *row.ecu.more_levels):
            yield row, Session.EXTENDED, level


@pytest.mark.parametrize("functional", [False, True], ids=["physical", "functional"])
@pytest.mark.parametrize(("row", "session", "level"), list(_cases()), ids=str)
def test_every_identifier_and_region_is_as_open_as_its_row_says(
    row: Row,
    session: Session,
    level: int,
    functional: bool,  # noqa: FBT001 a column of the table
) -> None:
    bench = _bench(row.ecu)
    if session != Session.DEFAULT:
        bench.ask(bytes([0x10, session]))
    if level:
        bench.unlock(level)
    answer = bytes.fromhex(bench.ask(row.request, functional=functional))
    nrc = _expected(row, session, level, functional=functional)
    silent = {
        Nrc.SERVICE_NOT_SUPPORTED,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
    if nrc is None:
        assert answer[0] == row.service + 0x40
    elif functional and nrc in silent:
        assert answer == b""
    else:
        assert answer == bytes([0x7F, row.service, nrc])


def test_the_walk_meets_rows_of_every_service_that_depends_on_them() -> None:
    assert {row.service for row in _rows()} == {0x22, 0x2E, 0x2F, 0x23, 0x3D, 0x35}


# What the tables must say whatever else changes in them.


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_keys_and_the_boot_loader_have_no_door(ecu: EcuType) -> None:
    for region in ecu.data.memory:
        if region.storage is Storage.KEYS:
            assert (region.read, region.write, region.upload) == (None, None, None)
    loader = programs(ecu)["boot loader"]
    for service_id in (0x23, 0x24, 0x2A, 0x2C, 0x2F, 0x35, 0x3D):
        assert service_id not in loader.services


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_the_image_is_read_only_by_who_may_write_it(ecu: EcuType) -> None:
    for region in ecu.data.memory:
        if region.storage is Storage.APPLICATION:
            assert region.write is None
            for access in (region.read, region.upload):
                assert access is None or (access.secured and access.level == ecu.security_level)
            assert (region.start, region.size) == (ecu.application_base, ecu.slot.size)


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_regions_do_not_overlap(ecu: EcuType) -> None:
    regions = sorted(ecu.data.memory, key=lambda region: region.start)
    for lower, upper in pairwise(regions):
        assert lower.start + lower.size <= upper.start
        assert region_of(regions, upper.start - 1, 2) is None


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_what_an_ecu_type_names_it_also_has(ecu: EcuType) -> None:
    data, known = ecu.data, ecu.data_identifiers | ecu.engineering_identifiers
    assert data.outputs.keys() == ecu.output_records.keys()
    assert data.writable.keys() == ecu.calibrations.keys()
    assert data.readable.keys() <= known.keys()
    for record in ecu.output_records.values():
        assert {one.channel for one in record.outputs} <= ecu.outputs.keys()
    for calibration in ecu.calibrations.values():
        assert calibration.channel in ecu.inputs
        assert calibration.minimum <= 0 <= calibration.maximum
    if any(region.storage is Storage.CALIBRATION for region in data.memory):
        assert ecu.calibrations
    if data.periodic is not None:
        fixed = data.periodic.identifiers
        assert all(0xF200 <= did <= 0xF2FF for did in fixed)
        assert set(fixed.values()) <= known.keys()
        assert data.periodic.unsegmented == bool(ecu.can_addresses)
        for address in ecu.can_addresses:
            assert address.periodic_id is not None


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_every_fixed_periodic_record_fits_its_message(ecu: EcuType) -> None:
    periodic = ecu.data.periodic
    for did in () if periodic is None else periodic.identifiers.values():
        live, record = ecu.live_values.get(did), ecu.output_records.get(did)
        length = live.length if live is not None else len(record.outputs) if record else 99
        assert periodic is not None
        assert length <= periodic.max_record


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_every_identifier_has_scaling_that_its_bytes_hold(ecu: EcuType) -> None:
    scalings = Scalings(ecu)
    fixed = ecu.data_identifiers | {
        did: name for did, name in ecu.engineering_identifiers.items() if did < 0xF200
    }
    for did in fixed:
        assert scalings.scaling_data(did, 17)
    assert {live.unit for live in ecu.live_values.values()} <= UNITS.keys()


@pytest.mark.parametrize(
    ("value", "coded"),
    [
        (0.75, "e04b"),
        (30, "1003"),
        (0.1, "f001"),
        (1.0, "0001"),
        (50.0, "1005"),
        (-0.5, "fffb"),
        (2047, "07ff"),
        (-2048, "0800"),
        (20470, "17ff"),
        (0.0, "0000"),
        (1e9, "7064"),
        (1e-8, "8001"),
    ],
)
def test_a_constant_is_an_exponent_and_a_mantissa(value: float, coded: str) -> None:
    assert real(value).hex() == coded


@pytest.mark.parametrize("value", [2049, 0.12345, 1e-9, 1e12, float("inf"), float("nan")])
def test_a_constant_that_has_no_exact_form_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="exact"):
        real(value)


@pytest.mark.parametrize("ecu", ECUS, ids=lambda ecu: ecu.name)
def test_an_open_level_of_another_kind_opens_no_download(ecu: EcuType) -> None:
    rules = server_rules(ecu, application=ecu.stages)
    request = bytes.fromhex("34004400001000000000ff")
    for level in ecu.more_levels:
        session = Session.EXTENDED if ecu.stages else Session.PROGRAMMING
        nrc = check(rules, request, session=session, unlocked=level, functional=False)
        assert nrc == Nrc.SECURITY_ACCESS_DENIED
