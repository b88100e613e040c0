"""An ECU for test benches, in no vehicle: what none of the vehicle's ECUs has.

Its program memory has two blocks beside the application, programmed by a secondary boot loader
that comes into RAM first; it has files, response on event, link control and secured data.
"""

from ecu_sim.ecus import (
    Calibration,
    CanAddress,
    Constant,
    DtcTraits,
    EcuType,
    LiveValue,
    LogicalBlock,
    Output,
    OutputOf,
    Plant,
    SecondaryLoader,
    Sweep,
)
from ecu_sim.memory import FlashGeometry
from protocols.uds.data_formats import ZLIB, ZLIB_AES_CTR
from protocols.uds.dtc import FunctionalGroup
from protocols.uds.enums import RoutineId, ServiceId
from protocols.uds.rules import (
    EXTENDED,
    Access,
    DataRules,
    DtcRules,
    EventRules,
    FileRules,
    LinkRules,
    SecuredDataRules,
    SpecialRules,
    TimingRules,
)

ECU = EcuType(
    name="bench",
    in_vehicle=False,
    hardware_identifier="BCH-1",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7C0, response_id=0x7C8),),
    logical_address=0x10C5,
    boot_profile="conventional",
    single_slot=True,
    application_base=0x0010_0000,
    slot=FlashGeometry(
        size=0x1_0000, sector_size=0x1000, page_size=0x80, erase_s=0.02, program_s=0.0005
    ),
    blocks=(
        LogicalBlock(name="characteristics", start=0x0020_0000, size=0x4000),
        LogicalBlock(name="language", start=0x0020_8000, size=0x2000),
    ),
    secondary_loader=SecondaryLoader(start=0x2000_0000, size=0x2000),
    hash_bytes_per_s=2_000_000,
    max_block_length=1026,
    data_formats={0x10: ZLIB, 0x11: ZLIB_AES_CTR},
    boot_s=0.2,
    data=DataRules(writable={0x02C1: Access(sessions=EXTENDED, functional=False)}),
    special=SpecialRules(
        link=LinkRules(specific=frozenset({800_000})),
        events=EventRules(),
        files=FileRules(),
        timing=TimingRules(),
        secured_data=SecuredDataRules(
            services=frozenset(
                {
                    ServiceId.READ_DATA_BY_IDENTIFIER,
                    ServiceId.WRITE_DATA_BY_IDENTIFIER,
                    ServiceId.ROUTINE_CONTROL,
                }
            )
        ),
    ),
    sweeps={
        RoutineId.OUTPUT_SWEEP: Sweep(
            name="Bench output sweep",
            channel=0,
            first=100.0,
            last=0.0,
            steps=4,
            step_s=0.25,
            measured=OutputOf(0),
            unit="",
        ),
    },
    dtcs={0x9A4000: "Bench monitor"},
    dtc_traits={0x9A4000: DtcTraits(group=FunctionalGroup.EMISSIONS, readiness_group=0x01)},
    dtc_rules=DtcRules(emissions=True),
    live_values={
        0x01C1: LiveValue(
            name="Cabin temperature", source=Plant("cabin_temperature_c"), unit="°C", scale=0.1
        ),
    },
    calibrations={
        0x02C1: Calibration(
            name="Set temperature offset",
            channel=0,
            unit="°C",
            scale=0.1,
            minimum=-10.0,
            maximum=10.0,
        ),
    },
    inputs={0: Constant(22.0)},
    outputs={0: Output(name="Bench output", maximum=100.0)},
)
