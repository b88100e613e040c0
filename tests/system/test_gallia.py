"""gallia's own client, unchanged, over its own DoIP transport and real TCP."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

import clock
from dbc import describe_vehicle
from tests.support.ecu import VIN, application, signed_image
from tests.support.serving import area, key_for, served

pytest.importorskip("gallia", reason="gallia is not installed (dependency group interop)")

from gallia.services.uds.core import service  # after the check that it is there
from gallia.services.uds.ecu import ECU
from gallia.transports import TargetURI
from gallia.transports.doip import DoIPTransport

pytestmark = pytest.mark.system

#: Status of a trouble code whose test has not run, neither in this cycle nor since the last clear.
NOT_TESTED = 0x50
#: Several blocks' worth behind a good module: a custom section of WebAssembly.
NEW = signed_image(
    application() + b"\x00\xff\xff\x01\x01x" + bytes(0x7FFF - 2),
    version=(2, 0, 0),
    hardware_id="RCZ-1",
    security_counter=2,
)


async def connected(uri: str, *, protocol_version: int = 3, name: str = "rear") -> ECU:
    """gallia's client after its routing activation; that ECU at the other end."""
    address = describe_vehicle().ecus[name].logical_address
    target = TargetURI(
        f"{uri}?src_addr=0x0f00&target_addr={address:#06x}&activation_type=0"
        f"&protocol_version={protocol_version}"
    )
    transport = DoIPTransport(target)
    await transport.connect(timeout=5.0)
    return ECU(transport, timeout=5.0)


def text(answer: service.UDSResponse) -> str:
    assert isinstance(answer, service.ReadDataByIdentifierResponse), answer
    return answer.data_record.decode()


@pytest.mark.parametrize("protocol_version", [2, 3])
def test_gallia_reads_identification_session_and_trouble_codes(
    tmp_path: Path, protocol_version: int
) -> None:
    async def main() -> None:
        async with served(tmp_path, "rear") as server:
            ecu = await connected(server.endpoints["rear"], protocol_version=protocol_version)
            assert text(await ecu.read_vin()) == VIN
            assert await ecu.read_session() == 1
            answer = await ecu.set_session(3)
            assert isinstance(answer, service.DiagnosticSessionControlResponse)
            assert await ecu.read_session() == 3
            codes = await ecu.read_dtc()
            assert isinstance(codes, service.ReportDTCByStatusMaskResponse), codes
            # No monitor of the test's application has come to a result.
            known = describe_vehicle().ecus["rear"].dtcs
            assert codes.dtc_and_status_record == dict.fromkeys(known, NOT_TESTED)
            await ecu.transport.close()

    clock.run(main(), virtual=False)


@pytest.mark.parametrize("name", ["ccu", "ecomp"])
def test_gallia_reads_what_is_behind_the_edge_node(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with served(tmp_path, "ccu", "ecomp") as server:
            ecu = await connected(server.doors["edge node"], name=name)
            assert text(await ecu.read_vin()) == VIN
            number = text(await ecu.read_data_by_identifier(0xF191))
            assert number == describe_vehicle().ecus[name].hardware_id
            answer = await ecu.set_session(3)
            assert isinstance(answer, service.DiagnosticSessionControlResponse)
            assert await ecu.read_session() == 3
            await ecu.transport.close()

    clock.run(main(), virtual=False)


def test_gallia_is_refused_with_the_code_that_the_tables_say(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, "rear") as server:
            ecu = await connected(server.endpoints["rear"])
            unknown = await ecu.read_data_by_identifier(0x1234)
            early = await ecu.security_access_send_key(2, bytes(16))
            locked = await ecu.request_download(0x0801_0000, 256)
            for answer, code in ((unknown, 0x31), (early, 0x7F), (locked, 0x7F)):
                assert isinstance(answer, service.NegativeResponse)
                assert answer.response_code == code
            await ecu.transport.close()

    clock.run(main(), virtual=False)


def test_gallia_programs_the_rear_zone_and_finds_the_new_version(tmp_path: Path) -> None:
    base = describe_vehicle().ecus["rear"].application_base

    async def main() -> None:
        async with served(tmp_path, "rear") as server:
            ecu = await connected(server.endpoints["rear"])
            serial = text(await ecu.read_data_by_identifier(0xF18C))
            await ecu.set_session(3)
            seed = await ecu.security_access_request_seed(1)
            assert isinstance(seed, service.SecurityAccessResponse), seed
            key = key_for("rear", serial, seed.security_seed)
            unlocked = await ecu.security_access_send_key(2, key)
            assert isinstance(unlocked, service.SecurityAccessResponse), unlocked
            erased = await ecu.routine_control_start_routine(0xFF00, area("rear", NEW))
            assert isinstance(erased, service.StartRoutineResponse), erased
            download = await ecu.request_download(
                base, len(NEW), address_and_length_format_identifier=0x44
            )
            assert isinstance(download, service.RequestDownloadResponse), download
            # Raises on a refusal of any block or of the exit.
            await ecu.transmit_data(NEW, min(download.max_number_of_block_length, 0xFFF))
            for routine in (0x0202, 0xFF01, 0x0210):
                done = await ecu.routine_control_start_routine(routine)
                assert isinstance(done, service.StartRoutineResponse), done
                assert done.routine_status_record == b"\x00"
            reset = await ecu.ecu_reset(1)
            assert isinstance(reset, service.ECUResetResponse), reset
            await ecu.transport.close()
            again = await connected_again(server.endpoints["rear"])
            assert text(await again.read_data_by_identifier(0xF189)) == "2.0.0"
            await again.transport.close()

    clock.run(main(), virtual=False)


async def connected_again(uri: str) -> ECU:
    """The same, as soon as the ECU has booted and listens again."""
    async with asyncio.timeout(20.0):
        while True:
            with suppress(ConnectionError, TimeoutError):
                return await connected(uri)
