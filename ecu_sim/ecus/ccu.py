"""Climate control unit: the cabin temperature controller on the comfort CAN."""

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
from protocols.uds.dtc import Severity
from protocols.uds.enums import RoutineId
from protocols.uds.rules import (
    EXTENDED,
    Access,
    DataRules,
    DtcRules,
    DynamicRules,
    MemoryRegion,
    PeriodicRules,
    Storage,
)

#: The blower module, as 28 with enhanced address information names it.
_BLOWER_NODE = 0x0001
_PROGRAMMING_LEVEL = 1
_ENGINEERING_LEVEL = 3
_OPEN = Access(sessions=EXTENDED, functional=False)
_PROGRAMMER = Access(sessions=EXTENDED, secured=True, level=_PROGRAMMING_LEVEL, functional=False)
_ENGINEER = Access(sessions=EXTENDED, secured=True, level=_ENGINEERING_LEVEL, functional=False)

ECU = EcuType(
    name="ccu",
    hardware_identifier="CCU-2",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7A0, response_id=0x7A8, periodic_id=0x6A8),),
    logical_address=0x1010,
    boot_profile="mcuboot_ab",
    single_slot=False,
    application_base=0x0804_0000,
    slot=FlashGeometry(
        size=0x8_0000, sector_size=0x2000, page_size=0x100, erase_s=0.02, program_s=0.0008
    ),
    hash_bytes_per_s=2_000_000,
    max_block_length=4095,
    data_formats={0x10: ZLIB, 0x11: ZLIB_AES_CTR},
    boot_s=0.35,
    security_level=_PROGRAMMING_LEVEL,
    more_levels=(_ENGINEERING_LEVEL,),
    data=DataRules(
        max_identifiers=16,
        readable={0x0201: _OPEN, 0x0202: _OPEN},
        writable={0x0201: _ENGINEER, 0x0202: _ENGINEER},
        outputs={0x0181: _OPEN},
        scaling=True,
        periodic=PeriodicRules(
            sessions=EXTENDED,
            identifiers={0xF201: 0x0101, 0xF202: 0x0102, 0xF203: 0x0181},
        ),
        dynamic=DynamicRules(by_address=_OPEN),
        memory=(
            MemoryRegion(
                storage=Storage.APPLICATION,
                start=0x0804_0000,
                size=0x8_0000,
                read=_PROGRAMMER,
                upload=_PROGRAMMER,
            ),
            MemoryRegion(
                storage=Storage.CALIBRATION,
                start=0x0E00_0000,
                size=0x40,
                read=_OPEN,
                write=_ENGINEER,
            ),
            MemoryRegion(storage=Storage.KEYS, start=0x1FFF_0000, size=0x100),
            MemoryRegion(
                storage=Storage.RAM, start=0x2000_0000, size=0x1_0000, read=_OPEN, write=_ENGINEER
            ),
        ),
    ),
    calibrations={
        0x0201: Calibration(
            name="Cabin temperature sensor offset",
            channel=0,
            unit="°C",
            scale=0.1,
            minimum=-5.0,
            maximum=5.0,
        ),
        0x0202: Calibration(
            name="Ambient temperature sensor offset",
            channel=1,
            unit="°C",
            scale=0.1,
            minimum=-5.0,
            maximum=5.0,
        ),
    },
    output_records={
        0x0181: OutputRecord(
            name="Actuators",
            outputs=(
                ControlledOutput(
                    channel=0, name="Blower request", unit="%", scale=1.0, maximum=100.0
                ),
                ControlledOutput(
                    channel=1, name="Temperature blend", unit="", scale=0.01, maximum=1.0
                ),
                ControlledOutput(channel=2, name="Recirculation", unit="", scale=1.0, maximum=1.0),
            ),
        ),
    },
    sweeps={
        RoutineId.OUTPUT_SWEEP: Sweep(
            name="Blend flap sweep",
            channel=1,
            first=0.0,
            last=1.0,
            measured=Plant("blend"),
            unit="",
            scale=0.01,
        ),
    },
    dtcs={
        0x9A0100: "Cabin temperature control deviation",
        0x9A0211: "Blower request not followed",
        0x9A0F64: "Output command out of range",
        0xD14087: "No communication with blower module",
        0xD14188: "Comfort CAN bus off",
    },
    wire_monitors={
        0xD14188: WireMonitor(source=BusOff()),
    },
    output_monitor=0x9A0F64,
    dtc_traits={
        0x9A0F64: OUTPUT_TRAITS,
        0x9A0100: DtcTraits(severity=Severity.CHECK_AT_NEXT_HALT, functional_unit=0x01),
        0x9A0211: DtcTraits(
            severity=Severity.CHECK_AT_NEXT_HALT, functional_unit=0x02, indicator=True
        ),
        # Four results in a row, 0.4 s, on top of what the monitor waits itself.
        0xD14087: DtcTraits(functional_unit=0x10, failed_step=32, passed_step=64),
        0xD14188: BUS_OFF_TRAITS,
    },
    # The workshop's history: it outlives 14 FF FF FF.
    dtc_rules=DtcRules(memories=(0x10,)),
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
        0: Output(name="Blower request", maximum=100.0),
        1: Output(name="Temperature blend", actuator="blend", holds=True),
        2: Output(name="Recirculation", actuator="recirculation", holds=True),
        3: Output(name="Defrost request", maximum=100.0),
        4: Output(name="Face request", maximum=100.0),
        5: Output(name="Foot request", maximum=100.0),
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
            node=_BLOWER_NODE,
            signals={"BlowerRequest": OutputOf(0), "Recirculation": OutputOf(2)},
        ),
        CyclicMessage(
            database="hvac_comfort",
            message="CCU_Distribution",
            signals={
                "DefrostRequest": OutputOf(3),
                "FaceRequest": OutputOf(4),
                "FootRequest": OutputOf(5),
            },
        ),
    ),
)
