"""An ECU for test benches, in no vehicle, whose boot loader copies a second slot over the first."""

from ecu_sim.ecus import CanAddress, Constant, EcuType, LiveValue, Output, Plant
from ecu_sim.memory import FlashGeometry

ECU = EcuType(
    name="bench_overwrite",
    in_vehicle=False,
    hardware_identifier="BCH-OVW",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7C3, response_id=0x7CB),),
    logical_address=0x10C3,
    boot_profile="overwrite",
    single_slot=True,
    staging_area=True,
    application_base=0x0002_0000,
    slot=FlashGeometry(
        size=0x1_0000, sector_size=0x1000, page_size=0x80, erase_s=0.02, program_s=0.0005
    ),
    hash_bytes_per_s=2_000_000,
    max_block_length=1026,
    boot_s=0.2,
    dtcs={0x9A5313: "Bench monitor of the copied application"},
    live_values={
        0x01F1: LiveValue(
            name="Cabin temperature", source=Plant("cabin_temperature_c"), unit="°C", scale=0.1
        ),
    },
    inputs={0: Constant(22.0)},
    outputs={0: Output(name="Bench output", maximum=100.0)},
)
