"""The rows of a server's tables, and the general part of an answer (ISO 14229-1).

`check` walks the general part of the decision in the standard's order and gives the first
objection; what only the service itself can know (a wrong counter, a range) comes after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from protocols.uds.enums import SUPPRESS_POSITIVE_RESPONSE, Nrc, Session

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
