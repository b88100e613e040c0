"""A vehicle on the virtual loop, with images of the tests' own or the built ones."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import firmware
from ecu_sim.ecus import ecu_names
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle, VehicleOptions
from protocols.firmware.formats import detect
from tests.support.ecu import (
    DIAGNOSTICS_MASTER,
    IMAGE_PUBLIC_KEY,
    VIN,
    RawTester,
    small_image,
)

ADDRESSES = {
    "ccu": (0x7A0, 0x7A8),
    "blower": (0x7A1, 0x7A9),
    "flap": (0x7A2, 0x7AA),
    "ecomp": (0x7B0, 0x7B8),
    "ptc": (0x7B1, 0x7B9),
}


def built_image(ecu: str, version: str) -> bytes:
    path = firmware.image_path(ecu, version)
    content = path.read_bytes()
    return detect(path.name, content).decode(content).data


def small_images() -> dict[str, bytes]:
    """Tiny applications that only kick the watchdog: version 1.0.0 for each ECU."""
    return {ecu: small_image(ecu) for ecu in ecu_names()}


def new_vehicle(directory: Path, *ecus: str) -> Vehicle:
    """A vehicle that trusts the tests' image key and the built images' key."""
    return Vehicle(
        VehicleOptions(
            vin=VIN,
            state_directory=directory,
            ecus=ecus or ecu_names(),
            seed=1,
            image_public_keys=(IMAGE_PUBLIC_KEY, firmware.dev_keys().image_public_key),
            diagnostics_master=DIAGNOSTICS_MASTER,
            boot_mac_master=firmware.dev_keys().boot_mac_master,
        )
    )


@asynccontextmanager
async def running(
    directory: Path, *ecus: str, images: Mapping[str, bytes] | None = None
) -> AsyncIterator[Vehicle]:
    """A started vehicle; blank ECUs get `images`, or the small ones."""
    vehicle = new_vehicle(directory, *ecus)
    try:
        for ecu in vehicle.nodes:
            if not vehicle.is_provisioned(ecu):
                vehicle.provision(ecu, (small_images() | dict(images or {}))[ecu])
        await vehicle.start()
        yield vehicle
    finally:
        await vehicle.stop()


def open_tester(vehicle: Vehicle, ecu: str) -> RawTester:
    node = vehicle.nodes[ecu]
    port = vehicle.can_port(node.ecu.wire, "tester")
    opened = RawTester.canfd if node.ecu.wire == "thermal" else RawTester.can
    return opened(port, *ADDRESSES[ecu])


async def back_in(node: EcuNode, mode: Mode) -> None:
    """Wait for the end of a reset that is under way."""
    await node.booted()
    assert node.mode is mode, node.reason
