"""Rear climate zone on 100BASE-T1, reached over DoIP."""

from ecu_sim.ecus import (
    OUTPUT_TRAITS,
    Constant,
    ControlledOutput,
    EcuType,
    LiveValue,
    Output,
    OutputRecord,
    Plant,
    Sweep,
)
from ecu_sim.memory import FlashGeometry
from protocols.uds.data_formats import ZLIB, ZLIB_AES_CTR
from protocols.uds.enums import RoutineId
from protocols.uds.rules import (
    EXTENDED,
    Access,
    DataRules,
    DynamicRules,
    MemoryRegion,
    PeriodicRules,
    Storage,
)

_OPEN = Access(sessions=EXTENDED, functional=False)
_PROGRAMMER = Access(sessions=EXTENDED, secured=True, level=1, functional=False)

ECU = EcuType(
    name="rear",
    hardware_identifier="RCZ-1",
    wire="rear",
    logical_address=0x1031,
    boot_profile="mcuboot_ab",
    single_slot=False,
    application_base=0x0080_0000,
    slot=FlashGeometry(
        size=0x80_0000, sector_size=0x1_0000, page_size=0x400, erase_s=0.06, program_s=0.0004
    ),
    hash_bytes_per_s=20_000_000,
    max_block_length=65535,
    data_formats={0x10: ZLIB, 0x11: ZLIB_AES_CTR},
    boot_s=0.8,
    data=DataRules(
        outputs={0x01B1: _OPEN},
        scaling=True,
        periodic=PeriodicRules(
            sessions=EXTENDED,
            identifiers={0xF231: 0x0131},
            max_record=255,
            # Ethernet has no single frames.
            unsegmented=False,
        ),
        dynamic=DynamicRules(),
        memory=(
            MemoryRegion(
                storage=Storage.APPLICATION,
                start=0x0080_0000,
                size=0x80_0000,
                read=_PROGRAMMER,
                upload=_PROGRAMMER,
            ),
            MemoryRegion(storage=Storage.KEYS, start=0x1FFF_0000, size=0x100),
        ),
    ),
    output_records={
        0x01B1: OutputRecord(
            name="Rear actuators",
            outputs=(
                ControlledOutput(channel=0, name="Rear blower", unit="", scale=0.01, maximum=1.0),
                ControlledOutput(channel=1, name="Rear blend", unit="", scale=0.01, maximum=1.0),
            ),
        ),
    },
    sweeps={
        RoutineId.OUTPUT_SWEEP: Sweep(
            name="Rear blend flap sweep",
            channel=1,
            first=0.0,
            last=1.0,
            measured=Plant("rear_blend"),
            unit="",
            scale=0.01,
        ),
    },
    dtcs={
        0x9A3000: "Rear zone temperature control deviation",
        0x9A3F64: "Output command out of range",
    },
    output_monitor=0x9A3F64,
    dtc_traits={0x9A3F64: OUTPUT_TRAITS},
    live_values={
        0x0131: LiveValue(
            name="Rear zone temperature", source=Plant("rear_c"), unit="°C", scale=0.1
        ),
    },
    inputs={
        0: Plant("rear_c"),
        # No CAN reaches this ECU: its set temperature in degC is its own.
        1: Constant(22.0),
        2: Plant("cabin_temperature_c"),
    },
    outputs={
        0: Output(name="Rear blower", actuator="rear_blower"),
        1: Output(name="Rear blend", actuator="rear_blend", holds=True),
    },
)
