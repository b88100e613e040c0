"""Air distribution on the comfort CAN: one slot, a staging area, an agent that copies."""

from ecu_sim.ecus import (
    BUS_OFF_TRAITS,
    OUTPUT_TRAITS,
    BusOff,
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
from protocols.uds.dtc import Severity
from protocols.uds.enums import RoutineId
from protocols.uds.rules import EXTENDED, Access, DataRules

#: A flap goes from end to end in four seconds.
_SWEEP = Sweep(
    name="Defrost flap sweep",
    channel=0,
    first=0.0,
    last=1.0,
    step_s=0.4,
    settle_s=4.0,
    measured=Plant("defrost_travel"),
    unit="",
    scale=0.01,
)

ECU = EcuType(
    name="flap",
    hardware_identifier="FLP-1",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7A2, response_id=0x7AA),),
    logical_address=0x1012,
    boot_profile="update_agent",
    single_slot=True,
    staging_area=True,
    application_base=0x0002_0000,
    slot=FlashGeometry(
        size=0x2_0000, sector_size=0x1000, page_size=0x80, erase_s=0.04, program_s=0.0012
    ),
    hash_bytes_per_s=600_000,
    max_block_length=514,
    boot_s=0.25,
    data=DataRules(
        max_identifiers=8,
        outputs={0x01C1: Access(sessions=EXTENDED, functional=False)},
        scaling=True,
    ),
    output_records={
        0x01C1: OutputRecord(
            name="Flap levers",
            outputs=(
                ControlledOutput(channel=0, name="Defrost lever", unit="", scale=0.01, maximum=1.0),
                ControlledOutput(channel=1, name="Face lever", unit="", scale=0.01, maximum=1.0),
                ControlledOutput(channel=2, name="Foot lever", unit="", scale=0.01, maximum=1.0),
            ),
        ),
    },
    sweeps={RoutineId.OUTPUT_SWEEP: _SWEEP},
    self_test=(_SWEEP,),
    dtcs={
        0x9A4016: "Flap supply voltage below threshold",
        0x9A4177: "Defrost flap position not reached",
        0x9A4277: "Face flap position not reached",
        0x9A4377: "Foot flap position not reached",
        0x9A4F64: "Output command out of range",
        0xD14C87: "No communication with climate control unit",
        0xD14D88: "Comfort CAN bus off",
    },
    wire_monitors={
        0xD14D88: WireMonitor(source=BusOff()),
    },
    output_monitor=0x9A4F64,
    dtc_traits={
        0x9A4F64: OUTPUT_TRAITS,
        # Without it the windscreen stays as it is.
        0x9A4177: DtcTraits(severity=Severity.CHECK_AT_NEXT_HALT, functional_unit=0x04),
        0xD14D88: BUS_OFF_TRAITS,
    },
    live_values={
        0x0141: LiveValue(
            name="Defrost flap opening",
            source=Plant("defrost_opening_percent"),
            unit="%",
            scale=0.5,
            length=1,
            signed=False,
        ),
        0x0142: LiveValue(
            name="Face flap opening",
            source=Plant("face_opening_percent"),
            unit="%",
            scale=0.5,
            length=1,
            signed=False,
        ),
        0x0143: LiveValue(
            name="Foot flap opening",
            source=Plant("foot_opening_percent"),
            unit="%",
            scale=0.5,
            length=1,
            signed=False,
        ),
        0x0144: LiveValue(
            name="Windscreen temperature", source=Plant("windscreen_c"), unit="°C", scale=0.1
        ),
        0x0145: LiveValue(name="Head temperature", source=Plant("head_c"), unit="°C", scale=0.1),
        0x0146: LiveValue(name="Feet temperature", source=Plant("feet_c"), unit="°C", scale=0.1),
    },
    inputs={
        0: Signal("hvac_comfort", "CCU_Distribution", "DefrostRequest", 0.0),
        1: Signal("hvac_comfort", "CCU_Distribution", "FaceRequest", 0.0),
        2: Signal("hvac_comfort", "CCU_Distribution", "FootRequest", 0.0),
        3: Signal("vehicle", "VEH_Power", "BatteryVoltage", 13.5),
        4: Silence("hvac_comfort", "CCU_Distribution"),
        5: Plant("defrost_travel"),
        6: Plant("face_travel"),
        7: Plant("foot_travel"),
    },
    outputs={
        0: Output(name="Defrost lever", actuator="defrost_lever", holds=True),
        1: Output(name="Face lever", actuator="face_lever", holds=True),
        2: Output(name="Foot lever", actuator="foot_lever", holds=True),
    },
    cyclic=(
        CyclicMessage(
            database="hvac_comfort",
            message="Flap_Status",
            signals={
                "DefrostOpening": Plant("defrost_opening_percent"),
                "FaceOpening": Plant("face_opening_percent"),
                "FootOpening": Plant("foot_opening_percent"),
            },
        ),
    ),
)
