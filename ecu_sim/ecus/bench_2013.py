"""An ECU for test benches that speaks UDS as of 2013, in no vehicle.

It has what that edition alone has: a mirror memory, the emissions reports 12 and 13, access to
timing parameters (83), and timer events (86 02). Its trouble codes are emissions-related
ones. It takes long messages in blocks of eight frames, 2 ms apart, and fills frames up with 0x55.
"""

from ecu_sim.ecus import CanAddress, Constant, DtcTraits, EcuType, LiveValue, Output, Plant
from ecu_sim.memory import FlashGeometry
from protocols.editions import Editions, UdsEdition
from protocols.isotp import IsoTpParameters
from protocols.uds.dtc import FunctionalGroup, Severity
from protocols.uds.enums import ServiceId
from protocols.uds.rules import (
    DtcRules,
    EventRules,
    SecuredDataRules,
    SpecialRules,
    TimingRules,
)

ECU = EcuType(
    name="bench_2013",
    in_vehicle=False,
    hardware_identifier="BCH-2013",
    wire="comfort",
    can_addresses=(CanAddress(request_id=0x7C1, response_id=0x7C9),),
    logical_address=0x10C1,
    boot_profile="conventional",
    single_slot=True,
    application_base=0x0010_0000,
    slot=FlashGeometry(
        size=0x1_0000, sector_size=0x1000, page_size=0x80, erase_s=0.02, program_s=0.0005
    ),
    hash_bytes_per_s=2_000_000,
    max_block_length=1026,
    boot_s=0.2,
    editions=Editions(uds=UdsEdition.E2013),
    isotp=IsoTpParameters(block_size=8, st_min=0x02, padding=0x55),
    special=SpecialRules(
        timing=TimingRules(),
        events=EventRules(),
        secured_data=SecuredDataRules(services=frozenset({ServiceId.READ_DATA_BY_IDENTIFIER})),
    ),
    dtcs={
        0x9A5013: "Bench circuit open",
        0x9A5111: "Bench circuit short to ground",
    },
    dtc_traits={
        0x9A5013: DtcTraits(
            severity=Severity.CHECK_AT_NEXT_HALT, indicator=True, group=FunctionalGroup.EMISSIONS
        ),
        0x9A5111: DtcTraits(
            confirm_cycles=2, group=FunctionalGroup.EMISSIONS, failed_step=32, passed_step=64
        ),
    },
    dtc_rules=DtcRules(memories=(0x10,), mirror=True, emissions=True, permanent_severity=True),
    live_values={
        0x01D1: LiveValue(
            name="Cabin temperature", source=Plant("cabin_temperature_c"), unit="°C", scale=0.1
        ),
    },
    inputs={0: Constant(22.0)},
    outputs={0: Output(name="Bench output")},
)
