import asyncio
from pathlib import Path

import pytest
import udsoncan
from doipclient.client import DoIPClient
from doipclient.connectors import DoIPClientUDSConnector
from udsoncan.client import Client
from udsoncan.configs import default_client_config

import clock
import firmware
from ecu_sim.__main__ import main
from ecu_sim.app import EcuServer, ServeOptions
from ecu_sim.describe import describe
from ecu_sim.vehicle import VehicleError, VehicleOptions
from tests.support.ecu import DIAGNOSTICS_MASTER, IMAGE_PUBLIC_KEY, VIN
from tests.support.vehicle import small_images


def options(directory: Path, *ecus: str, **ports: int) -> ServeOptions:
    return ServeOptions(
        vehicle=VehicleOptions(
            vin=VIN,
            state_directory=directory,
            ecus=ecus,
            image_public_keys=(IMAGE_PUBLIC_KEY,),
            diagnostics_master=DIAGNOSTICS_MASTER,
        ),
        ports=ports,
        factory_images={ecu: image for ecu, image in small_images().items() if ecu in ecus},
    )


class Text(udsoncan.DidCodec):
    def decode(self, string_ascii: bytes) -> str:
        return string_ascii.decode()

    def __len__(self) -> int:
        raise udsoncan.DidCodec.ReadAllRemainingData


def read_identification(port: int) -> dict[int, str]:
    """Every text DID, by doipclient's connector under udsoncan's client, in a thread's own time."""
    doip = DoIPClient(  # type: ignore[no-untyped-call] # the library ships no annotations
        "127.0.0.1", 0x1031, tcp_port=port, udp_port=port, client_logical_address=0x0E80
    )
    connector = DoIPClientUDSConnector(doip, close_connection=True)  # type: ignore[no-untyped-call] # the same
    config = default_client_config.copy()
    config["data_identifiers"] = {"default": Text}
    with Client(connector, config=config) as client:
        return {
            did: client.read_data_by_identifier_first(did)
            for did in (0xF188, 0xF189, 0xF18C, 0xF190, 0xF191, 0xF195)
        }


def test_doipclients_connector_reads_the_rear_zone_over_a_real_socket(tmp_path: Path) -> None:
    async def drive() -> tuple[dict[int, str], str]:
        async with EcuServer(options(tmp_path, "rear")) as server:
            port = int(server.endpoints["rear"].rpartition(":")[2])
            found = await asyncio.to_thread(read_identification, port)
            return found, server.vehicle.identities()[0].serial

    found, serial = clock.run(drive(), virtual=False)
    assert found[0xF189] == "1.0.0"
    assert found[0xF18C] == serial
    assert found[0xF190] == VIN
    assert found[0xF191] == "RCZ-1"
    assert all(found.values())


def test_every_wire_has_an_endpoint_by_its_own_scheme(tmp_path: Path) -> None:
    async def drive() -> dict[str, str]:
        async with EcuServer(options(tmp_path, "ccu", "rear")) as server:
            return dict(server.endpoints)

    endpoints = clock.run(drive(), virtual=False)
    assert endpoints["comfort"].startswith("can://bridge/127.0.0.1:")
    assert endpoints["comfort"].endswith("/comfort")
    assert endpoints["rear"].startswith("doip://127.0.0.1:")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def drive() -> None:
        async with EcuServer(options(tmp_path / "a", "blower")) as first:
            port = int(first.endpoints["comfort"].split(":")[2].split("/")[0])
            with pytest.raises(VehicleError, match=f"wire comfort: 127.0.0.1:{port}"):
                async with EcuServer(options(tmp_path / "b", "blower", comfort=port)):
                    raise AssertionError("the port was free")

    clock.run(drive(), virtual=False)


def test_the_command_prints_the_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe"]) == 0
    assert capsys.readouterr().out == describe()


def test_the_command_names_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = firmware.KEYS
    arguments = [
        "serve",
        f"--state={tmp_path}",
        f"--vin={VIN}",
        f"--image-key={keys / 'image-signing.dev-only.pub.pem'}",
        f"--diagnostics-master={keys / 'diagnostics-master.dev-only.hex'}",
        "--factory-image=ccu",
    ]
    assert main(arguments) == 1
    assert "--factory-image 'ccu' is not ECU=FILE" in capsys.readouterr().err


def test_one_memory_belongs_to_one_process_until_it_ends(tmp_path: Path) -> None:
    async def drive() -> None:
        async with EcuServer(options(tmp_path, "rear")):
            with pytest.raises(VehicleError, match="other ECUs run on this memory"):
                EcuServer(options(tmp_path, "rear"))
        async with EcuServer(options(tmp_path, "rear")):
            pass

    clock.run(drive(), virtual=False)
