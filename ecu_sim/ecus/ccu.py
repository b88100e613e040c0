"""Climate control unit: the cabin temperature controller on the comfort CAN."""

from ecu_sim.ecus import (
    CanAddress,
    CyclicMessage,
    EcuType,
    LiveValue,
    Output,
    OutputOf,
    Plant,
    Signal,
    Silence,
)
from ecu_sim.memory import FlashGeometry

ECU = EcuType(
    name="ccu",
    hardware_identifier="CCU-2",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7A0, response_id=0x7A8),),
    logical_address=0x1010,
    boot_profile="mcuboot_ab",
    single_slot=False,
    application_base=0x0804_0000,
    slot=FlashGeometry(
        size=0x8_0000, sector_size=0x2000, page_size=0x100, erase_s=0.02, program_s=0.0008
    ),
    hash_bytes_per_s=2_000_000,
    max_block_length=4095,
    boot_s=0.35,
    dtcs={
        0x9A0100: "Cabin temperature control deviation",
        0x9A0211: "Blower request not followed",
        0xD14087: "No communication with blower module",
    },
    live_values={
        0x0101: LiveValue(
            name="Cabin temperature", source=Plant("cabin_temperature_c"), unit="°C", scale=0.1
        ),
        0x0102: LiveValue(
            name="Blower level",
            source=Signal("hvac_comfort", "Blower_Status", "BlowerLevel", 0.0),
            unit="%",
            length=1,
            signed=False,
        ),
    },
    inputs={
        0: Plant("cabin_temperature_c"),
        1: Plant("ambient_c"),
        2: Signal("vehicle", "VEH_Climate", "Setpoint", 22.0),
        3: Plant("evaporator_c"),
        4: Signal("hvac_comfort", "Blower_Status", "BlowerLevel", 0.0),
        5: Plant("sun_w"),
        6: Silence("hvac_comfort", "Blower_Status"),
    },
    outputs={
        0: Output(name="Blower request"),
        1: Output(name="Temperature blend", actuator="blend", holds=True),
        2: Output(name="Recirculation", actuator="recirculation", holds=True),
    },
    cyclic=(
        CyclicMessage(
            database="hvac_comfort",
            message="CCU_Status",
            signals={
                "CabinTemperature": Plant("cabin_temperature_c"),
                "Setpoint": Signal("vehicle", "VEH_Climate", "Setpoint", 22.0),
                "BlendPosition": OutputOf(1, gain=100.0),
                "AmbientTemperature": Plant("ambient_c"),
            },
        ),
        CyclicMessage(
            database="hvac_comfort",
            message="CCU_Control",
            signals={"BlowerRequest": OutputOf(0), "Recirculation": OutputOf(2)},
        ),
    ),
)
