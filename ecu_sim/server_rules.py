"""Which rules the diagnostic server of an ECU's program has: the one door to them.

The running server, the descriptions and the reference pages all ask here.
"""

from collections.abc import Mapping

from ecu_sim.ecus import EcuType
from protocols.uds.rules import (
    ServerRules,
    SpecialRules,
    bootloader,
    single_slot_application,
    staging_area_application,
    two_slot_application,
)


def server_rules(ecu: EcuType, *, application: bool) -> ServerRules:
    """Those of the application, or of the boot loader."""
    if not application:
        return bootloader(
            security_level=ecu.security_level,
            edition=ecu.editions.uds,
            secondary=ecu.secondary_loader is not None,
            # A faster link is worth most where much is sent.
            special=SpecialRules(link=ecu.special.link),
        )
    build = two_slot_application if ecu.stages else single_slot_application
    rules = build(
        security_level=ecu.security_level,
        more_levels=ecu.more_levels,
        edition=ecu.editions.uds,
        data=ecu.data,
        dtcs=ecu.dtc_rules,
        nodes=ecu.nodes,
        special=ecu.special,
        more_routines={rid: sweep.access for rid, sweep in ecu.sweeps.items()},
    )
    return staging_area_application(rules) if ecu.staging_area else rules


def programs(ecu: EcuType) -> Mapping[str, ServerRules]:
    """Every program that can answer for this ECU, by its name."""
    return {
        "application": server_rules(ecu, application=True),
        "boot loader": server_rules(ecu, application=False),
    }
