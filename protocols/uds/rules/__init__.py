"""What a diagnostic server answers to what, as tables (ISO 14229-1, server response behaviour).

A server is described by a `ServerRules`: the services it has, each with its sessions, lengths,
security, addressing and sub-functions; its routines; the data identifiers that may be written.
Rows and the general decision are in `model`, whole servers in `servers`.
"""

from protocols.uds.rules.data import data_services, region_of
from protocols.uds.rules.model import (
    ALL_SESSIONS,
    EXTENDED,
    NON_DEFAULT,
    PROGRAMMING,
    SILENT_IF_FUNCTIONAL,
    Access,
    DataRules,
    DynamicRules,
    MemoryRegion,
    PeriodicRules,
    ServerRules,
    ServiceRule,
    Storage,
    SubFunctionRule,
    check,
    check_access,
    suppresses_positive,
)
from protocols.uds.rules.servers import (
    SERVERS,
    bootloader,
    single_slot_application,
    two_slot_application,
)

__all__ = [
    "ALL_SESSIONS",
    "EXTENDED",
    "NON_DEFAULT",
    "PROGRAMMING",
    "SERVERS",
    "SILENT_IF_FUNCTIONAL",
    "Access",
    "DataRules",
    "DynamicRules",
    "MemoryRegion",
    "PeriodicRules",
    "ServerRules",
    "ServiceRule",
    "Storage",
    "SubFunctionRule",
    "bootloader",
    "check",
    "check_access",
    "data_services",
    "region_of",
    "single_slot_application",
    "suppresses_positive",
    "two_slot_application",
]
