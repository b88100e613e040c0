"""What a diagnostic server answers to what, as tables (ISO 14229-1, server response behaviour).

A server is described by a `ServerRules`: the services it has, each with its sessions, lengths,
security, addressing and sub-functions; its routines; the data identifiers that may be written.
`check` walks the general part of the decision in the standard's order and gives the first
objection; what only the service itself can know (a wrong counter, a range) comes after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from protocols.uds.enums import (
    SUPPRESS_POSITIVE_RESPONSE,
    CommunicationControl,
    DataIdentifier,
    DtcReport,
    DtcSetting,
    Nrc,
    ResetType,
    RoutineControl,
    RoutineId,
    ServiceId,
    Session,
)
from protocols.uds.security_access import KEY_LENGTH

ALL_SESSIONS: Final = frozenset(Session)
NON_DEFAULT: Final = frozenset({Session.PROGRAMMING, Session.EXTENDED})
EXTENDED: Final = frozenset({Session.EXTENDED})
PROGRAMMING: Final = frozenset({Session.PROGRAMMING})

#: A request to a functional address is not answered with these: others may have the service.
SILENT_IF_FUNCTIONAL: Final = frozenset(
    {
        Nrc.SERVICE_NOT_SUPPORTED,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may use something, and when."""

    sessions: frozenset[Session] = ALL_SESSIONS
    #: Only after security access by the same tester.
    secured: bool = False
    #: Also when asked on a functional address.
    functional: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFunctionRule(Access):
    #: Length of the whole request in bytes; `max_length` `None`: as long as the transport allows.
    min_length: int = 2
    max_length: int | None = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRule(Access):
    min_length: int = 1
    max_length: int | None = None
    #: Sub-function (without its suppress bit) -> rule; empty: the service has none.
    sub_functions: Mapping[int, SubFunctionRule] = field(default_factory=dict)
    #: Another tester may use it while one holds a non-default session; all else is busy (21).
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRules:
    name: str
    services: Mapping[int, ServiceRule]
    routines: Mapping[int, Access]
    #: Data identifiers that may be written.
    writable: Mapping[int, Access]
    #: 10 02 is answered 78 and goes on in the boot loader, which sends the 50 02.
    programming_restarts: bool = False
    #: The end of a programming session (10 01 or S3) restarts the ECU: this is a boot loader.
    default_restarts: bool = False


def check(
    rules: ServerRules, request: bytes, *, session: Session, unlocked: bool, functional: bool
) -> Nrc | None:
    """The first general objection to a request, `None` if there is none.

    Order of ISO 14229-1: service, session, security, shortest length, sub-function, its session,
    its security, length.
    """
    rule = rules.services.get(request[0]) if request else None
    if rule is None or (functional and not rule.functional):
        return Nrc.SERVICE_NOT_SUPPORTED
    if session not in rule.sessions:
        return Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION
    if rule.secured and not unlocked:
        return Nrc.SECURITY_ACCESS_DENIED
    limits: ServiceRule | SubFunctionRule = rule
    if rule.sub_functions:
        if len(request) < 2:
            return Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
        sub_function = rule.sub_functions.get(request[1] & ~SUPPRESS_POSITIVE_RESPONSE)
        if sub_function is None or (functional and not sub_function.functional):
            return Nrc.SUB_FUNCTION_NOT_SUPPORTED
        if session not in sub_function.sessions:
            return Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION
        if sub_function.secured and not unlocked:
            return Nrc.SECURITY_ACCESS_DENIED
        limits = sub_function
    too_long = limits.max_length is not None and len(request) > limits.max_length
    if len(request) < limits.min_length or too_long:
        return Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
    return None


def check_access(
    access: Access | None, *, session: Session, unlocked: bool, functional: bool
) -> Nrc | None:
    """The same for a routine or a data identifier (`None`: the server has no such)."""
    if access is None or session not in access.sessions or (functional and not access.functional):
        return Nrc.REQUEST_OUT_OF_RANGE
    if access.secured and not unlocked:
        return Nrc.SECURITY_ACCESS_DENIED
    return None


def suppresses_positive(rules: ServerRules, request: bytes) -> bool:
    """Whether the request asks for no positive response (only sub-functions can)."""
    rule = rules.services.get(request[0])
    if rule is None or not rule.sub_functions or len(request) < 2:
        return False
    return bool(request[1] & SUPPRESS_POSITIVE_RESPONSE)


def _session_control(programming: SubFunctionRule | None) -> ServiceRule:
    sub_functions: dict[int, SubFunctionRule] = {
        Session.DEFAULT: SubFunctionRule(),
        Session.EXTENDED: SubFunctionRule(),
    }
    if programming is not None:
        sub_functions[Session.PROGRAMMING] = programming
    return ServiceRule(sub_functions=sub_functions)


def _security_access(level: int, sessions: frozenset[Session]) -> ServiceRule:
    return ServiceRule(
        sessions=sessions,
        functional=False,
        sub_functions={
            level: SubFunctionRule(),
            level + 1: SubFunctionRule(min_length=2 + KEY_LENGTH, max_length=2 + KEY_LENGTH),
        },
    )


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
_READ_DATA: Final = ServiceRule(min_length=3, shared=True)
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


def _programming_services(sessions: frozenset[Session], level: int) -> dict[int, ServiceRule]:
    """What reprograms an ECU: unlock, fingerprint, download."""
    return {
        ServiceId.SECURITY_ACCESS: _security_access(level, sessions),
        ServiceId.WRITE_DATA_BY_IDENTIFIER: ServiceRule(
            sessions=sessions, functional=False, min_length=4
        ),
        ServiceId.REQUEST_DOWNLOAD: ServiceRule(
            sessions=sessions, secured=True, functional=False, min_length=5, max_length=11
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
    ServiceId.READ_DATA_BY_IDENTIFIER: _READ_DATA,
    ServiceId.COMMUNICATION_CONTROL: _COMMUNICATION,
    ServiceId.ROUTINE_CONTROL: _ROUTINE,
    ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
    ServiceId.CONTROL_DTC_SETTING: _DTC_SETTING,
}

_PRECONDITIONS: Final = Access(sessions=NON_DEFAULT)
_DIGEST: Final = Access(functional=False)
_SELF_TEST: Final = Access(sessions=EXTENDED, functional=False)


def _secured(sessions: frozenset[Session]) -> Access:
    return Access(sessions=sessions, secured=True, functional=False)


def two_slot_application(*, security_level: int = 1) -> ServerRules:
    """An application that programs its other slot itself, in the extended session."""
    return ServerRules(
        name="two-slot application",
        services={
            **_APPLICATION_SERVICES,
            **_programming_services(EXTENDED, security_level),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(None),
        },
        routines={
            RoutineId.CHECK_PRECONDITIONS: _PRECONDITIONS,
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.SELF_TEST: _SELF_TEST,
            RoutineId.ERASE_MEMORY: _secured(EXTENDED),
            RoutineId.CHECK_MEMORY: _secured(EXTENDED),
            RoutineId.CHECK_DEPENDENCIES: _secured(EXTENDED),
            RoutineId.ACTIVATE: _secured(EXTENDED),
            RoutineId.CONFIRM: _secured(EXTENDED),
            RoutineId.REVERT: _secured(EXTENDED),
        },
        writable={DataIdentifier.PROGRAMMING_FINGERPRINT: _secured(EXTENDED)},
    )


def single_slot_application(*, security_level: int = 1) -> ServerRules:
    """An application that is programmed by its boot loader: 10 02, from the extended session."""
    entry = SubFunctionRule(sessions=EXTENDED, functional=False)
    return ServerRules(
        name="single-slot application",
        services={
            **_APPLICATION_SERVICES,
            ServiceId.SECURITY_ACCESS: _security_access(security_level, EXTENDED),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(entry),
        },
        routines={
            RoutineId.CHECK_PRECONDITIONS: _PRECONDITIONS,
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.SELF_TEST: _SELF_TEST,
        },
        writable={},
        programming_restarts=True,
    )


def bootloader(*, security_level: int = 1) -> ServerRules:
    """A boot loader: programs in the programming session, and answers what ends a sequence."""
    return ServerRules(
        name="boot loader",
        services={
            **_programming_services(PROGRAMMING, security_level),
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control(
                SubFunctionRule(functional=False)
            ),
            ServiceId.ECU_RESET: _RESET,
            ServiceId.READ_DATA_BY_IDENTIFIER: _READ_DATA,
            ServiceId.COMMUNICATION_CONTROL: _COMMUNICATION,
            ServiceId.ROUTINE_CONTROL: _ROUTINE,
            ServiceId.TESTER_PRESENT: _TESTER_PRESENT,
            ServiceId.CONTROL_DTC_SETTING: _DTC_SETTING,
        },
        routines={
            RoutineId.SLOT_DIGEST: _DIGEST,
            RoutineId.ERASE_MEMORY: _secured(PROGRAMMING),
            RoutineId.CHECK_MEMORY: _secured(PROGRAMMING),
            RoutineId.CHECK_DEPENDENCIES: _secured(PROGRAMMING),
        },
        writable={DataIdentifier.PROGRAMMING_FINGERPRINT: _secured(PROGRAMMING)},
        default_restarts=True,
    )


#: Every kind of server that this project has, for tests and drawings.
SERVERS: Final = (two_slot_application(), single_slot_application(), bootloader())
