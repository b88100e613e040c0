"""Any ECU type, of the vehicle or of a bench, made ready to be tested by its name."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import wasmtime

from clock import VirtualLoop
from ecu_sim.ecus import ecu_type
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from protocols.firmware.containers import crc32
from tests.support.bench import blocks, enter_loader, program
from tests.support.ecu import RawTester, application, signed_image
from tests.support.programming import expect
from tests.support.vehicle import built_image, new_vehicle


def image_of(ecu: str) -> bytes:
    """The built image of a vehicle's ECU; for a bench's, an application that just runs."""
    if ecu_type(ecu).in_vehicle:
        return built_image(ecu, "1.0.0")
    return _packed(ecu, application())


_FAILURES: Final = """
(module
  (import "io" "kick" (func $kick))
  (import "io" "report_dtc" (func $report (param i32 i32)))
  (memory (export "memory") 1 1)
  (func (export "init"))
  (func (export "step") (param f64)
    (call $kick) (call $report (i32.const 0) (i32.const 1))))
"""


def failing_image(ecu: str) -> bytes:
    """An application whose monitors find a failure at each step."""
    return _packed(ecu, bytes(wasmtime.wat2wasm(_FAILURES)))


def _packed(ecu: str, module: bytes) -> bytes:
    hardware_id = ecu_type(ecu).hardware_identifier
    if ecu_type(ecu).boot_profile in {"mcuboot_swap", "overwrite"}:
        return signed_image(module, hardware_id=hardware_id)
    return crc32.encode(
        crc32.Crc32Image(
            hardware_id=hardware_id,
            software_number="BCH-SW",
            supplier_version="test",
            version_numbers=(1, 0, 0, 0),
            payload=module,
        )
    )


async def prepare(vehicle: Vehicle, node: EcuNode) -> None:
    """Whatever an application needs besides itself: the other blocks of the memory."""
    if not node.ecu.blocks:
        return
    address = node.ecu.can_addresses[0]
    port = vehicle.can_port(node.ecu.wire, "programmer")
    tester = RawTester.can(port, address.request_id, address.response_id)
    await enter_loader(tester, node)
    for start, data in blocks().items():
        await program(tester, start, data)
    await expect(tester, "31 01 FF 01", "71 01 ff 01 00")
    await expect(tester, "11 01", "51 01")
    await asyncio.sleep(1.0)
    tester.close()


@contextmanager
def running_ecu(state: Path, ecu: str) -> Iterator[tuple[asyncio.Runner, EcuNode]]:
    """One ECU with its application running, on a virtual loop that the test moves."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def start() -> Vehicle:
            vehicle = new_vehicle(state, ecu)
            vehicle.provision(ecu, image_of(ecu))
            await vehicle.start()
            await prepare(vehicle, vehicle.nodes[ecu])
            await vehicle.nodes[ecu].booted()
            return vehicle

        vehicle = runner.run(start())
        try:
            yield runner, vehicle.nodes[ecu]
        finally:
            runner.run(vehicle.stop())
