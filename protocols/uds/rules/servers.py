"""Every kind of server that this project has, put together from its services' rows."""

from collections.abc import Iterable, Mapping
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import (
    DataIdentifier,
    ResetType,
    RoutineControl,
    RoutineId,
    ServiceId,
    Session,
)
from protocols.uds.rules.access import EXTENDED, NON_DEFAULT, PROGRAMMING, Access
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
_ROUTINE: Final = ServiceRule(
    sub_functions={RoutineControl.START: SubFunctionRule(min_length=4, max_length=None)}
)
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
    ServiceId.ROUTINE_CONTROL: _ROUTINE,
    ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
}

_PRECONDITIONS: Final = Access(sessions=NON_DEFAULT)
_DIGEST: Final = Access(functional=False)
_SELF_TEST: Final = Access(sessions=EXTENDED, functional=False)


def _secured(sessions: frozenset[Session], level: int) -> Access:
    return Access(sessions=sessions, secured=True, level=level, functional=False)


_NO_MORE_DATA: Final = DataRules()
_NOTHING_SPECIAL: Final = SpecialRules()
_ONE_MEMORY: Final = DtcRules()


def two_slot_application(
    *,
    security_level: int = 1,
    more_levels: tuple[int, ...] = (),
    edition: UdsEdition = UdsEdition.E2020,
    data: DataRules = _NO_MORE_DATA,
    dtcs: DtcRules = _ONE_MEMORY,
    nodes: frozenset[int] = frozenset(),
    special: SpecialRules = _NOTHING_SPECIAL,
) -> ServerRules:
    """An application that programs its other slot itself, in the extended session."""
    secured = _secured(EXTENDED, security_level)
    writable = {DataIdentifier.PROGRAMMING_FINGERPRINT: secured} | dict(data.writable)
    return ServerRules(
        name="two-slot application",
        services={
            **_APPLICATION_SERVICES,
            **dtc_services(dtcs, edition),
            ServiceId.COMMUNICATION_CONTROL: communication_control(nodes),
            **data_services(data, writable.values()),
            **_programming_services(EXTENDED, security_level, more_levels),
            **special_services(special, edition),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(None),
        },
        routines={
            RoutineId.CHECK_PRECONDITIONS: _PRECONDITIONS,
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.SELF_TEST: _SELF_TEST,
            RoutineId.ERASE_MEMORY: secured,
            RoutineId.CHECK_MEMORY: secured,
            RoutineId.CHECK_DEPENDENCIES: secured,
            RoutineId.ACTIVATE: secured,
            RoutineId.CONFIRM: secured,
            RoutineId.REVERT: secured,
        },
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
) -> ServerRules:
    """An application that is programmed by its boot loader: 10 02, from the extended session."""
    entry = SubFunctionRule(sessions=EXTENDED, functional=False)
    return ServerRules(
        name="single-slot application",
        services={
            **_APPLICATION_SERVICES,
            **dtc_services(dtcs, edition),
            ServiceId.COMMUNICATION_CONTROL: communication_control(nodes),
            **data_services(data, data.writable.values()),
            **special_services(special, edition),
            ServiceId.SECURITY_ACCESS: _security_access((security_level, *more_levels), EXTENDED),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(entry),
        },
        routines={
            RoutineId.CHECK_PRECONDITIONS: _PRECONDITIONS,
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.SELF_TEST: _SELF_TEST,
        },
        writable=data.writable,
        data=data,
        dtcs=dtcs,
        nodes=nodes,
        special=special,
        edition=edition,
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
    started: dict[int, Access] = {RoutineId.START_SECONDARY_LOADER: secured} if secondary else {}
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
            ServiceId.ROUTINE_CONTROL: _ROUTINE,
            ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
            ServiceId.CONTROL_DTC_SETTING: DTC_SETTING,
        },
        routines={
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.ERASE_MEMORY: secured,
            RoutineId.CHECK_MEMORY: secured,
            RoutineId.CHECK_DEPENDENCIES: secured,
            **started,
        },
        writable={DataIdentifier.PROGRAMMING_FINGERPRINT: secured},
        special=special,
        edition=edition,
        default_restarts=True,
    )


#: Every kind of server that this project has, for tests and drawings.
SERVERS: Final = (two_slot_application(), single_slot_application(), bootloader())
