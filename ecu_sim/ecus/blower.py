"""Blower module on the comfort CAN: one application slot, no secure boot."""

from ecu_sim.ecus import (
    BUS_OFF_TRAITS,
    OUTPUT_TRAITS,
    BusOff,
    CanAddress,
    ControlledOutput,
    CyclicMessage,
    EcuType,
    LiveValue,
    Output,
    OutputOf,
    OutputRecord,
    Plant,
    Signal,
    Silence,
    Sweep,
    WireMonitor,
)
from ecu_sim.memory import FlashGeometry
from protocols.uds.enums import RoutineId
from protocols.uds.rules import EXTENDED, Access, DataRules

ECU = EcuType(
    name="blower",
    hardware_identifier="BLW-1",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7A1, response_id=0x7A9),),
    logical_address=0x1011,
    boot_profile="conventional",
    single_slot=True,
    application_base=0x0001_0000,
    slot=FlashGeometry(
        size=0x2_0000, sector_size=0x1000, page_size=0x80, erase_s=0.05, program_s=0.0015
    ),
    hash_bytes_per_s=500_000,
    max_block_length=258,
    boot_s=0.2,
    data=DataRules(
        max_identifiers=4,
        outputs={0x0191: Access(sessions=EXTENDED, functional=False)},
        scaling=True,
    ),
    output_records={
        0x0191: OutputRecord(
            name="Blower drive",
            outputs=(
                ControlledOutput(channel=0, name="Blower drive", unit="", scale=0.01, maximum=1.0),
            ),
        ),
    },
    sweeps={
        RoutineId.OUTPUT_SWEEP: Sweep(
            name="Blower run-up",
            channel=0,
            first=0.0,
            last=1.0,
            measured=Plant("blower_rpm"),
            unit="rpm",
        ),
    },
    dtcs={
        0x9A1016: "Blower supply voltage below threshold",
        0x9A1177: "Blower speed not reached",
        0x9A1F64: "Output command out of range",
        0xD14587: "No communication with climate control unit",
        0xD14688: "Comfort CAN bus off",
    },
    wire_monitors={
        0xD14688: WireMonitor(source=BusOff()),
    },
    output_monitor=0x9A1F64,
    dtc_traits={0x9A1F64: OUTPUT_TRAITS, 0xD14688: BUS_OFF_TRAITS},
    live_values={
        0x0111: LiveValue(
            name="Blower speed", source=Plant("blower_rpm"), unit="rpm", signed=False
        ),
    },
    inputs={
        0: Signal("hvac_comfort", "CCU_Control", "BlowerRequest", 0.0),
        1: Signal("vehicle", "VEH_Power", "BatteryVoltage", 13.5),
        2: Silence("hvac_comfort", "CCU_Control"),
        3: Plant("blower_rpm"),
    },
    outputs={0: Output(name="Blower drive", actuator="blower_drive")},
    cyclic=(
        CyclicMessage(
            database="hvac_comfort",
            message="Blower_Status",
            signals={
                "BlowerLevel": OutputOf(0, gain=100.0),
                "BlowerRpm": Plant("blower_rpm"),
            },
        ),
    ),
)
