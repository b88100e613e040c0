"""An ECU for test benches, in no vehicle, whose boot loader swaps its slots by way of a scratch."""

from ecu_sim.ecus import CanAddress, Constant, EcuType, LiveValue, Output, Plant
from ecu_sim.memory import FlashGeometry

ECU = EcuType(
    name="bench_swap",
    in_vehicle=False,
    hardware_identifier="BCH-SWP",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7C2, response_id=0x7CA),),
    logical_address=0x10C2,
    boot_profile="mcuboot_swap",
    single_slot=False,
    application_base=0x0002_0000,
    slot=FlashGeometry(
        size=0x1_0000, sector_size=0x1000, page_size=0x80, erase_s=0.02, program_s=0.0005
    ),
    # A sector to swap through, and two for the marks of a swap of sixteen.
    scratch_size=0x3000,
    hash_bytes_per_s=2_000_000,
    max_block_length=1026,
    boot_s=0.2,
    dtcs={0x9A5213: "Bench monitor of the swapped application"},
    live_values={
        0x01E1: LiveValue(
            name="Cabin temperature", source=Plant("cabin_temperature_c"), unit="°C", scale=0.1
        ),
    },
    inputs={0: Constant(22.0)},
    outputs={0: Output(name="Bench output", maximum=100.0)},
)
