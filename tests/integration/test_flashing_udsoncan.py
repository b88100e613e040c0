"""udsoncan's own client, unchanged, over our wires and a virtual clock."""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import udsoncan
import udsoncan.configs
from udsoncan.client import Client

from clock import VirtualLoop
from dbc import describe_vehicle
from firmware import dev_keys
from protocols.uds.security_access import compute_key, derive_key
from tests.support.flashing import NONCE, Bench, bench, image
from vehicle_gateway.wires.udsoncan_connection import UdsoncanConnection


class Text(udsoncan.DidCodec):
    def decode(self, string_ascii: bytes) -> str:
        return string_ascii.decode()

    def encode(self, string_ascii: str) -> bytes:
        return string_ascii.encode()

    def __len__(self) -> int:
        raise udsoncan.DidCodec.ReadAllRemainingData


CONFIG = udsoncan.configs.default_client_config.copy()
CONFIG["data_identifiers"] = {"default": Text}
CONFIG["p2_timeout"] = 0.2
# An overall limit by the wall clock: not for erasing under many 78.
CONFIG["request_timeout"] = None  # type: ignore[typeddict-item] # the library takes None


@contextmanager
def on_bench(state: Path, *ecus: str) -> Iterator[tuple[asyncio.AbstractEventLoop, Bench]]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        opened: AbstractAsyncContextManager[Bench] = bench(state, *ecus)
        found = runner.run(opened.__aenter__())
        try:
            yield runner.get_loop(), found
        finally:
            runner.run(opened.__aexit__(None, None, None))


def test_udsoncan_reads_the_trouble_codes_of_ccu(tmp_path: Path) -> None:
    with on_bench(tmp_path, "ccu") as (loop, on):
        # Version 1 misses its set temperature, and there is no blower to hear.
        loop.run_until_complete(asyncio.sleep(200))
        connection = UdsoncanConnection(loop, on.testers, "ccu")
        with Client(connection, config=CONFIG) as client:
            response = client.get_dtc_by_status_mask(0xFF)
        assert response is not None
        codes = {dtc.id: dtc.status for dtc in response.service_data.dtcs}
        assert codes.keys() <= describe_vehicle().ecus["ccu"].dtcs.keys()
        assert codes[0xD14087].confirmed


def test_udsoncan_programs_blower(tmp_path: Path) -> None:
    ecu = describe_vehicle().ecus["blower"]
    new = image("blower", "2.0.0")
    with on_bench(tmp_path, "blower") as (loop, on):
        connection = UdsoncanConnection(loop, on.testers, "blower")
        with Client(connection, config=CONFIG) as client:
            serial = client.read_data_by_identifier_first(0xF18C)
            key = derive_key(dev_keys().diagnostics_master, serial, ecu.security_level)
            client.set_config(
                "security_algo",
                lambda level, seed: compute_key(key, level=level, ecu_id=serial, seed=seed),
            )
            client.change_session(3)
            client.change_session(2)
            client.unlock_security_access(ecu.security_level)
            place = udsoncan.MemoryLocation(
                ecu.application_base, len(new), address_format=32, memorysize_format=32
            )
            area = bytes([0x44]) + ecu.application_base.to_bytes(4) + len(new).to_bytes(4)
            client.start_routine(0xFF00, area)
            download = client.request_download(place)
            assert download is not None
            length = download.service_data.max_length
            assert length == ecu.max_block_length
            for number, at in enumerate(range(0, len(new), length - 2), start=1):
                client.transfer_data(number % 256, new[at : at + length - 2])
            client.request_transfer_exit()
            checked = client.start_routine(0x0202, zlib.crc32(new).to_bytes(4))
            assert checked is not None
            assert checked.service_data.routine_status_record == b"\x00"
            client.start_routine(0xFF01)
            client.ecu_reset(1)
        after = loop.run_until_complete(on.updaters["blower"].inventory(NONCE))
        assert after.software_version == "2.0.0"
