"""The two programs of the bench, each a process: ECUs on vcan0 and vcan1, and a gateway.

python -m tests.vcan.programs ecus FOLDER
python -m tests.vcan.programs gateway ECU URI VERSION
"""

import asyncio
import hashlib
import random
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import clock
from canota.cli.serving import log_to_stderr, say
from dbc import describe_vehicle
from ecu_sim.app import ServeOptions, serve
from ecu_sim.vehicle import VehicleOptions
from firmware import dev_keys
from tests.support.ecu import IMAGE_PUBLIC_KEY, application, signed_image
from tests.support.flashing import NONCE, VIN, update
from vehicle_gateway.update import UpdateJob
from vehicle_gateway.wires.uri import UriLinks

INTERFACES: Final = {"comfort": "can://socketcan/vcan0", "thermal": "can://socketcan/vcan1"}
HARDWARE: Final = {"ccu": "CCU-2", "ecomp": "ECP-3"}
#: What fills an image up, in bytes: two long blocks of the ccu and more.
_FILLING: Final = 12_000


@cache
def image(ecu: str, version: int) -> bytes:
    """A small application; from version 2 on with a custom section that no two have in common."""
    payload = application()
    if version > 1:
        filling = random.Random(version).randbytes(_FILLING)  # noqa: S311 the same in both programs
        content = b"\x01x" + filling
        size = len(content)
        # WebAssembly, 5.5.3: a custom section, its size in LEB128.
        payload += b"\x00" + bytes((size & 0x7F | 0x80, size >> 7)) + content
    return signed_image(
        payload, version=(version, 0, 0), hardware_id=HARDWARE[ecu], security_counter=version
    )


def job(ecu: str, version: int) -> UpdateJob:
    new, old = image(ecu, version), image(ecu, version - 1)
    return UpdateJob(
        ecu=ecu,
        image=new,
        address=describe_vehicle().ecus[ecu].application_base,
        image_sha256=hashlib.sha256(new).digest(),
        version=f"{version}.0.0",
        nonce=NONCE,
        before_sha256=hashlib.sha256(old).digest(),
        present=None,
        present_address=describe_vehicle().ecus[ecu].application_base,
    )


async def run_ecus(folder: Path) -> None:
    keys = dev_keys()
    options = ServeOptions(
        vehicle=VehicleOptions(
            vin=VIN,
            state_directory=folder,
            ecus=tuple(HARDWARE),
            image_public_keys=(IMAGE_PUBLIC_KEY,),
            diagnostics_master=keys.diagnostics_master,
            interfaces=INTERFACES,
        ),
        factory_images={ecu: image(ecu, 1) for ecu in HARDWARE},
        edge=False,
    )
    await serve(
        options,
        stopped=asyncio.Event(),
        opened=lambda endpoints: say(" ".join(endpoints.values())),
    )


async def run_gateway(ecu: str, uri: str, version: int) -> None:
    vehicle = describe_vehicle()
    # Images as they are: what was compressed or encrypted would be hard to know again on the wire.
    # And patience: the kernel is through with a block long before an emulated processor's ECU.
    plain = {name: replace(its, data_formats={}, p2_s=5.0) for name, its in vehicle.ecus.items()}
    links = await UriLinks({vehicle.ecus[ecu].wire: uri}).open()
    try:
        found = await update(links, ecu, job(ecu, version), vehicle=replace(vehicle, ecus=plain))
    finally:
        await links.close()
    say(found.software_version)


if __name__ == "__main__":
    log_to_stderr(verbose=False)
    match sys.argv[1:]:
        case "ecus", folder:
            clock.run(run_ecus(Path(folder)), virtual=False)
        case "gateway", ecu, uri, version:
            clock.run(run_gateway(ecu, uri, int(version)), virtual=False)
