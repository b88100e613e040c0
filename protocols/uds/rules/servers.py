"""Every kind of server that this project has, put together from its services' rows."""

from collections.abc import Iterable, Mapping
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import (
    CommunicationControl,
    DataIdentifier,
    DtcReport,
    DtcSetting,
    ResetType,
    RoutineControl,
    RoutineId,
    ServiceId,
    Session,
)
from protocols.uds.rules.data import READ_DATA, data_services
from protocols.uds.rules.model import (
    EXTENDED,
    NON_DEFAULT,
    PROGRAMMING,
    Access,
    DataRules,
    ServerRules,
    ServiceRule,
    SubFunctionRule,
)
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
_COMMUNICATION: Final = ServiceRule(
    sessions=NON_DEFAULT,
    sub_functions=dict.fromkeys(CommunicationControl, SubFunctionRule(min_length=3, max_length=3)),
)
#: A DTCSettingControlOptionRecord may follow; it is not evaluated.
_DTC_SETTING: Final = ServiceRule(
    sessions=NON_DEFAULT, sub_functions=dict.fromkeys(DtcSetting, SubFunctionRule(max_length=None))
)
_ROUTINE: Final = ServiceRule(
    sub_functions={RoutineControl.START: SubFunctionRule(min_length=4, max_length=None)}
)
_TESTER_PRESENT: Final = ServiceRule(sub_functions={0x00: SubFunctionRule()}, shared=True)
_READ_DTC: Final = ServiceRule(
    shared=True,
    sub_functions={
        DtcReport.NUMBER_BY_STATUS_MASK: SubFunctionRule(min_length=3, max_length=3),
        DtcReport.BY_STATUS_MASK: SubFunctionRule(min_length=3, max_length=3),
        DtcReport.SNAPSHOT_IDENTIFICATION: SubFunctionRule(),
        DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER: SubFunctionRule(min_length=6, max_length=6),
        DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER: SubFunctionRule(min_length=6, max_length=6),
        DtcReport.SUPPORTED_DTCS: SubFunctionRule(),
    },
)


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
    ServiceId.CLEAR_DIAGNOSTIC_INFORMATION: ServiceRule(min_length=4, max_length=4),
    ServiceId.READ_DTC_INFORMATION: _READ_DTC,
    ServiceId.COMMUNICATION_CONTROL: _COMMUNICATION,
    ServiceId.ROUTINE_CONTROL: _ROUTINE,
    ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
    ServiceId.CONTROL_DTC_SETTING: _DTC_SETTING,
}

_PRECONDITIONS: Final = Access(sessions=NON_DEFAULT)
_DIGEST: Final = Access(functional=False)
_SELF_TEST: Final = Access(sessions=EXTENDED, functional=False)


def _secured(sessions: frozenset[Session], level: int) -> Access:
    return Access(sessions=sessions, secured=True, level=level, functional=False)


_NO_MORE_DATA: Final = DataRules()


def two_slot_application(
    *,
    security_level: int = 1,
    more_levels: tuple[int, ...] = (),
    edition: UdsEdition = UdsEdition.E2020,
    data: DataRules = _NO_MORE_DATA,
) -> ServerRules:
    """An application that programs its other slot itself, in the extended session."""
    secured = _secured(EXTENDED, security_level)
    writable = {DataIdentifier.PROGRAMMING_FINGERPRINT: secured} | dict(data.writable)
    return ServerRules(
        name="two-slot application",
        services={
            **_APPLICATION_SERVICES,
            **data_services(data, writable.values()),
            **_programming_services(EXTENDED, security_level, more_levels),
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
        edition=edition,
    )


def single_slot_application(
    *,
    security_level: int = 1,
    more_levels: tuple[int, ...] = (),
    edition: UdsEdition = UdsEdition.E2020,
    data: DataRules = _NO_MORE_DATA,
) -> ServerRules:
    """An application that is programmed by its boot loader: 10 02, from the extended session."""
    entry = SubFunctionRule(sessions=EXTENDED, functional=False)
    return ServerRules(
        name="single-slot application",
        services={
            **_APPLICATION_SERVICES,
            **data_services(data, data.writable.values()),
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
        edition=edition,
        programming_restarts=True,
    )


def bootloader(*, security_level: int = 1, edition: UdsEdition = UdsEdition.E2020) -> ServerRules:
    """A boot loader: programs in the programming session, and answers what ends a sequence."""
    secured = _secured(PROGRAMMING, security_level)
    return ServerRules(
        name="boot loader",
        services={
            **_programming_services(PROGRAMMING, security_level),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(
                SubFunctionRule(functional=False)
            ),
            ServiceId.ECU_RESET: _RESET,
            ServiceId.READ_DATA_BY_IDENTIFIER: READ_DATA,
            ServiceId.COMMUNICATION_CONTROL: _COMMUNICATION,
            ServiceId.ROUTINE_CONTROL: _ROUTINE,
            ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
            ServiceId.CONTROL_DTC_SETTING: _DTC_SETTING,
        },
        routines={
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.ERASE_MEMORY: secured,
            RoutineId.CHECK_MEMORY: secured,
            RoutineId.CHECK_DEPENDENCIES: secured,
        },
        writable={DataIdentifier.PROGRAMMING_FINGERPRINT: secured},
        edition=edition,
        default_restarts=True,
    )


#: Every kind of server that this project has, for tests and drawings.
SERVERS: Final = (two_slot_application(), single_slot_application(), bootloader())
