"""Electric compressor on the thermal CAN FD."""

from ecu_sim.ecus import (
    BUS_OFF_TRAITS,
    OUTPUT_TRAITS,
    BusOff,
    Calibration,
    CanAddress,
    ControlledOutput,
    CyclicMessage,
    DtcTraits,
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
from protocols.uds.data_formats import ZLIB, ZLIB_AES_CTR
from protocols.uds.dtc import FunctionalGroup, Severity
from protocols.uds.enums import RoutineId
from protocols.uds.rules import (
    EVERY_CONTROL,
    EXTENDED,
    Access,
    DataRules,
    DynamicRules,
    MemoryRegion,
    PeriodicRules,
    RoutineRule,
    Storage,
)

_PROGRAMMING_LEVEL = 1
_ENGINEERING_LEVEL = 3
_OPEN = Access(sessions=EXTENDED, functional=False)
_PROGRAMMER = Access(sessions=EXTENDED, secured=True, level=_PROGRAMMING_LEVEL, functional=False)
_ENGINEER = Access(sessions=EXTENDED, secured=True, level=_ENGINEERING_LEVEL, functional=False)

ECU = EcuType(
    name="ecomp",
    hardware_identifier="ECP-3",
    wire="thermal",
    can_addresses=(
        CanAddress(request_id=0x7B0, response_id=0x7B8, periodic_id=0x6B8),
        # ISO 15765-2 normal fixed addressing: tester F1 to ECU 20 and back.
        CanAddress(
            request_id=0x18DA20F1,
            response_id=0x18DAF120,
            extended=True,
            periodic_id=0x18DCF120,
        ),
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
    data_formats={0x10: ZLIB, 0x11: ZLIB_AES_CTR},
    boot_s=0.4,
    security_level=_PROGRAMMING_LEVEL,
    # UN R100: above 60 V DC it is high voltage.
    preconditions="HighVoltage < 60 V",
    more_levels=(_ENGINEERING_LEVEL,),
    data=DataRules(
        max_identifiers=16,
        writable={0x0221: _ENGINEER},
        # High voltage: only an engineer turns the compressor.
        outputs={0x01A1: _ENGINEER},
        scaling=True,
        periodic=PeriodicRules(
            sessions=EXTENDED,
            identifiers={0xF221: 0x0121, 0xF222: 0x0122},
            # One CAN FD frame of 64 bytes holds the identifier and this.
            max_record=63,
        ),
        dynamic=DynamicRules(by_address=_OPEN),
        memory=(
            MemoryRegion(
                storage=Storage.APPLICATION,
                start=0x0010_0000,
                size=0x10_0000,
                read=_PROGRAMMER,
                upload=_PROGRAMMER,
            ),
            MemoryRegion(storage=Storage.KEYS, start=0x1FFF_0000, size=0x100),
            MemoryRegion(storage=Storage.RAM, start=0x2000_0000, size=0x1_0000, read=_OPEN),
        ),
    ),
    calibrations={
        0x0221: Calibration(
            name="Evaporator temperature sensor offset",
            channel=0,
            unit="°C",
            scale=0.1,
            minimum=-5.0,
            maximum=5.0,
        ),
    },
    output_records={
        0x01A1: OutputRecord(
            name="Compressor drive",
            outputs=(
                ControlledOutput(
                    channel=0, name="Compressor speed", unit="rpm", scale=50.0, maximum=8000.0
                ),
            ),
        ),
    },
    sweeps={
        RoutineId.OUTPUT_SWEEP: Sweep(
            name="Compressor run-up",
            channel=0,
            first=0.0,
            last=4000.0,
            step_s=1.0,
            measured=Plant("compressor_rpm"),
            unit="rpm",
            # High voltage: only an engineer turns the compressor.
            access=RoutineRule(
                sessions=EXTENDED,
                secured=True,
                level=_ENGINEERING_LEVEL,
                functional=False,
                controls=EVERY_CONTROL,
            ),
        ),
    },
    dtcs={
        0x9A2062: "Evaporator temperature control deviation",
        0x9A214B: "Compressor over-temperature",
        0x9A2F64: "Output command out of range",
        0xD14A88: "Thermal CAN bus off",
        0xD14B87: "No communication with climate control",
    },
    wire_monitors={
        0xD14A88: WireMonitor(source=BusOff()),
        # Five periods, then four results in a row.
        0xD14B87: WireMonitor(source=Silence("vehicle", "VEH_Climate"), above=1.0),
    },
    output_monitor=0x9A2F64,
    dtc_traits={
        0x9A2F64: OUTPUT_TRAITS,
        0x9A2062: DtcTraits(severity=Severity.CHECK_AT_NEXT_HALT),
        0x9A214B: DtcTraits(
            severity=Severity.CHECK_IMMEDIATELY, indicator=True, group=FunctionalGroup.SAFETY
        ),
        0xD14A88: BUS_OFF_TRAITS,
        0xD14B87: DtcTraits(failed_step=32, passed_step=64),
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
    outputs={0: Output(name="Compressor speed", actuator="compressor_rpm", maximum=8000.0)},
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
