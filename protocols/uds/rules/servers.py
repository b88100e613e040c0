"""Every kind of server that this project has, put together from its services' rows."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import (
    DataIdentifier,
    ResetType,
    RoutineId,
    ServiceId,
    Session,
)
from protocols.uds.routine_status import ALL_CONDITIONS, SUPPLY_CONDITIONS
from protocols.uds.rules.access import (
    EXTENDED,
    NON_DEFAULT,
    PROGRAMMING,
    Access,
    RoutineRule,
)
from protocols.uds.rules.data import READ_DATA, data_services
from protocols.uds.rules.dtcs import DTC_SETTING, communication_control, dtc_services
from protocols.uds.rules.model import (
    DataRules,
    DtcRules,
    ServerRules,
    ServiceRule,
    SubFunctionRule,
)
from protocols.uds.rules.special import SpecialRules
from protocols.uds.rules.special_rows import special_services
from protocols.uds.security_access import KEY_LENGTH


def _session_control(programming: SubFunctionRule | None) -> ServiceRule:
    sub_functions: dict[int, SubFunctionRule] = {
        Session.DEFAULT: SubFunctionRule(),
        Session.EXTENDED: SubFunctionRule(),
    }
    if programming is not None:
        sub_functions[Session.PROGRAMMING] = programming
    return ServiceRule(sub_functions=sub_functions)


def _security_access(levels: Iterable[int], sessions: frozenset[Session]) -> ServiceRule:
    key = SubFunctionRule(min_length=2 + KEY_LENGTH, max_length=2 + KEY_LENGTH)
    sub_functions: dict[int, SubFunctionRule] = {}
    for level in levels:
        sub_functions |= {level: SubFunctionRule(), level + 1: key}
    return ServiceRule(sessions=sessions, functional=False, sub_functions=sub_functions)


_RESET: Final = ServiceRule(sub_functions=dict.fromkeys(ResetType, SubFunctionRule()))


def _routine_control(routines: Mapping[int, RoutineRule]) -> ServiceRule:
    """31, with every sub-function that one of the routines has."""
    controls = {control for routine in routines.values() for control in routine.controls}
    rows: dict[int, SubFunctionRule] = {
        one: SubFunctionRule(min_length=4, max_length=None) for one in sorted(controls)
    }
    return ServiceRule(sub_functions=rows)


_TESTER_PRESENT: Final = ServiceRule(sub_functions={0x00: SubFunctionRule()}, shared=True)


def _programming_services(
    sessions: frozenset[Session], level: int, more_levels: Iterable[int] = ()
) -> dict[int, ServiceRule]:
    """What reprograms an ECU: unlock, fingerprint, download."""
    return {
        ServiceId.SECURITY_ACCESS: _security_access((level, *more_levels), sessions),
        ServiceId.WRITE_DATA_BY_IDENTIFIER: ServiceRule(
            sessions=sessions, functional=False, min_length=4
        ),
        ServiceId.REQUEST_DOWNLOAD: ServiceRule(
            sessions=sessions,
            secured=True,
            level=level,
            functional=False,
            min_length=5,
            max_length=11,
        ),
        # The parameter record is optional: a block without data is the download's to refuse.
        ServiceId.TRANSFER_DATA: ServiceRule(
            sessions=sessions, secured=True, functional=False, min_length=2
        ),
        ServiceId.REQUEST_TRANSFER_EXIT: ServiceRule(
            sessions=sessions, secured=True, functional=False, max_length=1
        ),
    }


_APPLICATION_SERVICES: Final[Mapping[int, ServiceRule]] = {
    ServiceId.ECU_RESET: _RESET,
    ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
}

#: 10 02 in an application, which gives way to its boot loader.
_ENTRY: Final = SubFunctionRule(sessions=EXTENDED, functional=False)
_PRECONDITIONS: Final = RoutineRule(sessions=NON_DEFAULT)
_DIGEST: Final = RoutineRule(functional=False)
_SELF_TEST: Final = RoutineRule(sessions=EXTENDED, functional=False)


def _secured(sessions: frozenset[Session], level: int) -> RoutineRule:
    return RoutineRule(sessions=sessions, secured=True, level=level, functional=False)


_NO_MORE_DATA: Final = DataRules()
_NOTHING_SPECIAL: Final = SpecialRules()
_ONE_MEMORY: Final = DtcRules()
_NO_MORE_ROUTINES: Final[Mapping[int, RoutineRule]] = MappingProxyType({})


def two_slot_application(
    *,
    security_level: int = 1,
    more_levels: tuple[int, ...] = (),
    edition: UdsEdition = UdsEdition.E2020,
    data: DataRules = _NO_MORE_DATA,
    dtcs: DtcRules = _ONE_MEMORY,
    nodes: frozenset[int] = frozenset(),
    special: SpecialRules = _NOTHING_SPECIAL,
    more_routines: Mapping[int, RoutineRule] = _NO_MORE_ROUTINES,
) -> ServerRules:
    """An application that programs its other slot itself, in the extended session."""
    secured = _secured(EXTENDED, security_level)
    writable: dict[int, Access] = {DataIdentifier.PROGRAMMING_FINGERPRINT: secured}
    writable |= data.writable
    routines: dict[int, RoutineRule] = {
        RoutineId.CHECK_PRECONDITIONS: _PRECONDITIONS,
        RoutineId.SLOT_DIGEST: _DIGEST,
        RoutineId.SELF_TEST: _SELF_TEST,
        # The slot that does not run is filled while the car is in use.
        RoutineId.ERASE_MEMORY: replace(secured, conditions=SUPPLY_CONDITIONS),
        RoutineId.CHECK_MEMORY: secured,
        RoutineId.CHECK_DEPENDENCIES: secured,
        RoutineId.ACTIVATE: replace(secured, conditions=ALL_CONDITIONS),
        RoutineId.CONFIRM: secured,
        RoutineId.REVERT: secured,
        **more_routines,
    }
    return ServerRules(
        name="two-slot application",
        services={
            **_APPLICATION_SERVICES,
            ServiceId.ROUTINE_CONTROL: _routine_control(routines),
            **dtc_services(dtcs, edition),
            ServiceId.COMMUNICATION_CONTROL: communication_control(nodes),
            **data_services(data, writable.values()),
            **_programming_services(EXTENDED, security_level, more_levels),
            **special_services(special, edition),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(None),
        },
        routines=routines,
        writable=writable,
        data=data,
        dtcs=dtcs,
        nodes=nodes,
        special=special,
        edition=edition,
    )


def single_slot_application(
    *,
    security_level: int = 1,
    more_levels: tuple[int, ...] = (),
    edition: UdsEdition = UdsEdition.E2020,
    data: DataRules = _NO_MORE_DATA,
    dtcs: DtcRules = _ONE_MEMORY,
    nodes: frozenset[int] = frozenset(),
    special: SpecialRules = _NOTHING_SPECIAL,
    more_routines: Mapping[int, RoutineRule] = _NO_MORE_ROUTINES,
) -> ServerRules:
    """An application that is programmed by its boot loader: 10 02, from the extended session."""
    routines: dict[int, RoutineRule] = {
        RoutineId.CHECK_PRECONDITIONS: _PRECONDITIONS,
        RoutineId.SLOT_DIGEST: _DIGEST,
        RoutineId.SELF_TEST: _SELF_TEST,
        **more_routines,
    }
    return ServerRules(
        name="single-slot application",
        services={
            **_APPLICATION_SERVICES,
            ServiceId.ROUTINE_CONTROL: _routine_control(routines),
            **dtc_services(dtcs, edition),
            ServiceId.COMMUNICATION_CONTROL: communication_control(nodes),
            **data_services(data, data.writable.values()),
            **special_services(special, edition),
            ServiceId.SECURITY_ACCESS: _security_access((security_level, *more_levels), EXTENDED),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(_ENTRY),
        },
        routines=routines,
        writable=data.writable,
        data=data,
        dtcs=dtcs,
        nodes=nodes,
        special=special,
        edition=edition,
        programming_restarts=True,
    )


def staging_area_application(application: ServerRules) -> ServerRules:
    """One that programs a staging area as a two-slot application its other slot.

    For the slot itself it gives way to its boot loader, as a single-slot application does.
    """
    services = {
        **application.services,
        ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(_ENTRY),
    }
    return replace(
        application,
        name="staging-area application",
        services=services,
        programming_restarts=True,
    )


def bootloader(
    *,
    security_level: int = 1,
    edition: UdsEdition = UdsEdition.E2020,
    secondary: bool = False,
    special: SpecialRules = _NOTHING_SPECIAL,
) -> ServerRules:
    """A boot loader: programs in the programming session, and answers what ends a sequence.

    `secondary`: a part of it comes into RAM first, and is started by a routine.
    """
    secured = _secured(PROGRAMMING, security_level)
    routines: dict[int, RoutineRule] = {
        RoutineId.SLOT_DIGEST: _DIGEST,
        RoutineId.ERASE_MEMORY: replace(secured, conditions=ALL_CONDITIONS),
        RoutineId.CHECK_MEMORY: secured,
        RoutineId.CHECK_DEPENDENCIES: secured,
    }
    if secondary:
        routines[RoutineId.START_SECONDARY_LOADER] = secured
    return ServerRules(
        name="boot loader",
        services={
            **special_services(special, edition),
            **_programming_services(PROGRAMMING, security_level),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(
                SubFunctionRule(functional=False)
            ),
            ServiceId.ECU_RESET: _RESET,
            ServiceId.READ_DATA_BY_IDENTIFIER: READ_DATA,
            ServiceId.COMMUNICATION_CONTROL: communication_control(),
            ServiceId.ROUTINE_CONTROL: _routine_control(routines),
            ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
            ServiceId.CONTROL_DTC_SETTING: DTC_SETTING,
        },
        routines=routines,
        writable={DataIdentifier.PROGRAMMING_FINGERPRINT: secured},
        special=special,
        edition=edition,
        default_restarts=True,
    )


#: Every kind of server that this project has, for tests and drawings.
SERVERS: Final = (
    two_slot_application(),
    single_slot_application(),
    staging_area_application(two_slot_application()),
    bootloader(),
)
