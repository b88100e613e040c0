"""Electric (PTC) heater on the thermal CAN FD, with symmetric secure boot."""

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
    OutputRecord,
    Plant,
    Signal,
    Silence,
    Sweep,
    WireMonitor,
)
from ecu_sim.memory import FlashGeometry
from protocols.uds.data_formats import ZLIB
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
    name="ptc",
    hardware_identifier="PTC-1",
    wire="thermal",
    can_addresses=(CanAddress(request_id=0x7B1, response_id=0x7B9, periodic_id=0x6B9),),
    logical_address=0x1021,
    boot_profile="she_cmac",
    single_slot=False,
    application_base=0x0008_0000,
    slot=FlashGeometry(
        size=0x4_0000, sector_size=0x2000, page_size=0x100, erase_s=0.025, program_s=0.0007
    ),
    # AES in hardware.
    hash_bytes_per_s=8_000_000,
    max_block_length=4095,
    data_formats={0x10: ZLIB},
    # UN R100: above 60 V DC it is high voltage.
    preconditions="HighVoltage < 60 V",
    boot_s=0.3,
    security_level=_PROGRAMMING_LEVEL,
    more_levels=(_ENGINEERING_LEVEL,),
    data=DataRules(
        max_identifiers=16,
        writable={0x0251: _ENGINEER},
        # High voltage: only an engineer heats by hand.
        outputs={0x01D1: _ENGINEER},
        scaling=True,
        periodic=PeriodicRules(
            sessions=EXTENDED,
            identifiers={0xF251: 0x0151, 0xF252: 0x0152, 0xF253: 0x0153},
            # One CAN FD frame of 64 bytes holds the identifier and this.
            max_record=63,
        ),
        dynamic=DynamicRules(by_address=_OPEN),
        memory=(
            MemoryRegion(
                storage=Storage.APPLICATION,
                start=0x0008_0000,
                size=0x4_0000,
                read=_PROGRAMMER,
                upload=_PROGRAMMER,
            ),
            MemoryRegion(storage=Storage.KEYS, start=0x1FFF_0000, size=0x100),
            MemoryRegion(storage=Storage.RAM, start=0x2000_0000, size=0x1_0000, read=_OPEN),
        ),
    ),
    calibrations={
        0x0251: Calibration(
            name="Air temperature sensor offset",
            channel=0,
            unit="°C",
            scale=0.1,
            minimum=-5.0,
            maximum=5.0,
        ),
    },
    output_records={
        0x01D1: OutputRecord(
            name="Heater drive",
            outputs=(
                ControlledOutput(
                    channel=0, name="Heater power", unit="W", scale=25.0, maximum=6000.0
                ),
            ),
        ),
    },
    sweeps={
        RoutineId.OUTPUT_SWEEP: Sweep(
            name="Heater steps",
            channel=0,
            first=0.0,
            last=2000.0,
            step_s=1.0,
            measured=Plant("heater_power_w"),
            unit="W",
            # High voltage: only an engineer heats by hand.
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
        0x9A504B: "Heater element over-temperature",
        0x9A511C: "High voltage out of range",
        0x9A5F64: "Output command out of range",
        0xD14C88: "Thermal CAN bus off",
        0xD14D87: "No communication with climate control",
    },
    wire_monitors={
        0xD14C88: WireMonitor(source=BusOff()),
        # Five periods, then four results in a row.
        0xD14D87: WireMonitor(source=Silence("vehicle", "VEH_Climate"), above=1.0),
    },
    output_monitor=0x9A5F64,
    dtc_traits={
        0x9A5F64: OUTPUT_TRAITS,
        0x9A504B: DtcTraits(
            severity=Severity.CHECK_IMMEDIATELY, indicator=True, group=FunctionalGroup.SAFETY
        ),
        0x9A511C: DtcTraits(severity=Severity.CHECK_AT_NEXT_HALT),
        0xD14C88: BUS_OFF_TRAITS,
        0xD14D87: DtcTraits(failed_step=32, passed_step=64),
    },
    live_values={
        0x0151: LiveValue(
            name="Heater power", source=Plant("heater_power_w"), unit="W", signed=False
        ),
        0x0152: LiveValue(
            name="Element temperature", source=Plant("heater_element_c"), unit="°C", scale=0.1
        ),
        0x0153: LiveValue(
            name="Heated air temperature", source=Plant("heated_air_c"), unit="°C", scale=0.1
        ),
    },
    inputs={
        0: Plant("heated_air_c"),
        1: Plant("heater_element_c"),
        2: Plant("ambient_c"),
        3: Signal("vehicle", "VEH_Climate", "HeatingRequest", 0.0),
        4: Signal("vehicle", "VEH_Power", "HighVoltage", 0.0),
    },
    outputs={0: Output(name="Heater power", actuator="heater_w", maximum=6000.0)},
    cyclic=(
        CyclicMessage(
            database="hvac_thermal",
            message="PTC_Status",
            signals={
                "HeaterPower": Plant("heater_power_w"),
                "ElementTemperature": Plant("heater_element_c"),
                "AirTemperature": Plant("heated_air_c"),
            },
        ),
    ),
)
