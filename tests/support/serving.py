"""ECUs on loopback sockets in real time, and what a foreign tester must know to program them."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import clock
from dbc import describe_vehicle
from ecu_sim.app import EcuServer, ServeOptions
from ecu_sim.vehicle import VehicleOptions
from firmware import dev_keys
from protocols.uds.security_access import compute_key, derive_key
from recording import Channel
from recording.recorder import Recorder
from tests.support.ecu import DIAGNOSTICS_MASTER, IMAGE_PUBLIC_KEY, VIN
from tests.support.vehicle import small_images

T = TypeVar("T")


@asynccontextmanager
async def served(
    directory: Path, *ecus: str, record: Callable[[Sequence[Channel], int], Recorder] | None = None
) -> AsyncIterator[EcuServer]:
    """These ECUs with their small images, each wire on a free port."""
    options = ServeOptions(
        vehicle=VehicleOptions(
            vin=VIN,
            state_directory=directory,
            ecus=ecus,
            image_public_keys=(IMAGE_PUBLIC_KEY,),
            diagnostics_master=DIAGNOSTICS_MASTER,
            boot_mac_master=dev_keys().boot_mac_master,
        ),
        factory_images={ecu: image for ecu, image in small_images().items() if ecu in ecus},
        record=record,
    )
    async with EcuServer(options) as server:
        yield server


def against(directory: Path, ecu: str, tester: Callable[[str], T]) -> T:
    """Run a blocking tester in a thread; it gets the URI of the ECU's wire."""

    async def main() -> T:
        async with served(directory, ecu) as server:
            return await asyncio.to_thread(
                tester, server.endpoints[describe_vehicle().ecus[ecu].wire]
            )

    return clock.run(main(), virtual=False)


def channel(uri: str) -> str:
    """python-can's name of the wire behind a bridge's URI."""
    return uri.replace("can://bridge/", "tcp://")


def key_for(ecu: str, serial: str, seed: bytes) -> bytes:
    level = describe_vehicle().ecus[ecu].security_level
    key = derive_key(DIAGNOSTICS_MASTER, serial, level)
    return compute_key(key, level=level, ecu_id=serial, seed=seed)


def area(ecu: str, image: bytes) -> bytes:
    """Option record of the erase routine: the place that `image` takes, 32 bits each."""
    base = describe_vehicle().ecus[ecu].application_base
    return bytes([0x44]) + base.to_bytes(4) + len(image).to_bytes(4)


def checksum(image: bytes) -> bytes:
    """Option record of the check routine of a `conventional` ECU."""
    return zlib.crc32(image).to_bytes(4)
