"""Electric compressor on the thermal CAN FD."""

from ecu_sim.ecus import (
    CanAddress,
    CyclicMessage,
    EcuType,
    LiveValue,
    Output,
    OutputOf,
    Plant,
    Signal,
)
from ecu_sim.memory import FlashGeometry

ECU = EcuType(
    name="ecomp",
    hardware_identifier="ECP-3",
    wire="thermal",
    can_addresses=(
        CanAddress(request_id=0x7B0, response_id=0x7B8),
        # ISO 15765-2 normal fixed addressing: tester F1 to ECU 20 and back.
        CanAddress(request_id=0x18DA20F1, response_id=0x18DAF120, extended=True),
    ),
    logical_address=0x1020,
    boot_profile="mcuboot_ab",
    single_slot=False,
    application_base=0x0010_0000,
    slot=FlashGeometry(
        size=0x10_0000, sector_size=0x4000, page_size=0x200, erase_s=0.03, program_s=0.0009
    ),
    hash_bytes_per_s=4_000_000,
    max_block_length=65535,
    boot_s=0.4,
    dtcs={
        0x9A2062: "Evaporator temperature control deviation",
        0x9A214B: "Compressor over-temperature",
    },
    live_values={
        0x0121: LiveValue(name="Compressor speed", source=OutputOf(0), unit="rpm", signed=False),
        0x0122: LiveValue(
            name="Evaporator temperature", source=Plant("evaporator_c"), unit="°C", scale=0.1
        ),
    },
    inputs={
        0: Plant("evaporator_c"),
        1: Plant("ambient_c"),
        2: Signal("vehicle", "VEH_Climate", "CoolingRequest", 0.0),
        3: Signal("vehicle", "VEH_Power", "HighVoltage", 0.0),
    },
    outputs={0: Output(name="Compressor speed", actuator="compressor_rpm")},
    cyclic=(
        CyclicMessage(
            database="hvac_thermal",
            message="ECP_Status",
            signals={
                "CompressorSpeed": OutputOf(0),
                "EvaporatorTemperature": Plant("evaporator_c"),
            },
        ),
    ),
)
