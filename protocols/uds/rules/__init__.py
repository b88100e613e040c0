"""What a diagnostic server answers to what, as tables (ISO 14229-1, server response behaviour).

A server is described by a `ServerRules`: the services it has, each with its sessions, lengths,
security, addressing and sub-functions; its routines; the data identifiers that may be written.
Rows and the general decision are in `model`, whole servers in `servers`.
"""

from protocols.uds.rules.access import (
    ALL_SESSIONS,
    EVERY_CONTROL,
    EXTENDED,
    NON_DEFAULT,
    PROGRAMMING,
    Access,
    RoutineRule,
)
from protocols.uds.rules.data import data_services, region_of
from protocols.uds.rules.dtcs import communication_control, dtc_reports, dtc_services
from protocols.uds.rules.model import (
    SILENT_IF_FUNCTIONAL,
    DataRules,
    DtcRules,
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
    staging_area_application,
    two_slot_application,
)
from protocols.uds.rules.special import (
    EventRules,
    FileRules,
    LinkRules,
    SecuredDataRules,
    SpecialRules,
    TimingRules,
)
from protocols.uds.rules.special_rows import file_operations

__all__ = [
    "ALL_SESSIONS",
    "EVERY_CONTROL",
    "EXTENDED",
    "NON_DEFAULT",
    "PROGRAMMING",
    "SERVERS",
    "SILENT_IF_FUNCTIONAL",
    "Access",
    "DataRules",
    "DtcRules",
    "DynamicRules",
    "EventRules",
    "FileRules",
    "LinkRules",
    "MemoryRegion",
    "PeriodicRules",
    "RoutineRule",
    "SecuredDataRules",
    "ServerRules",
    "ServiceRule",
    "SpecialRules",
    "Storage",
    "SubFunctionRule",
    "TimingRules",
    "bootloader",
    "check",
    "check_access",
    "communication_control",
    "data_services",
    "dtc_reports",
    "dtc_services",
    "file_operations",
    "region_of",
    "single_slot_application",
    "staging_area_application",
    "suppresses_positive",
    "two_slot_application",
]
