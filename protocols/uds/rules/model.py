"""The rows of a server's tables, and the general part of an answer (ISO 14229-1).

`check` walks the general part of the decision in the standard's order and gives the first
objection; what only the service itself can know (a wrong counter, a range) comes after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import SUPPRESS_POSITIVE_RESPONSE, Nrc, Session
from protocols.uds.rules.access import Access, RoutineRule
from protocols.uds.rules.special import SpecialRules

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


class Storage(Enum):
    """What lies behind a range of addresses."""

    RAM = "working memory of the application"
    CALIBRATION = "calibration values"
    APPLICATION = "image that runs"
    KEYS = "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRegion:
    """A range of logical addresses; without its `Access` an operation does not exist there."""

    storage: Storage
    start: int
    size: int
    #: 23, and 2C by memory address.
    read: Access | None = None
    #: 3D.
    write: Access | None = None
    #: 35.
    upload: Access | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicRules(Access):
    """2A: which identifiers F2xx there are, and how often and how many are sent."""

    functional: bool = False
    #: F2xx -> the data identifier whose record it sends.
    identifiers: Mapping[int, int]
    #: Periods in seconds.
    slow_s: float = 1.0
    medium_s: float = 0.2
    fast_s: float = 0.05
    #: Identifiers scheduled at a time.
    limit: int = 8
    #: Longest record in bytes; response type 2 is one frame: identifier and record.
    max_record: int = 7
    #: Response message type 2: single frames on an identifier of their own. Type 1 (False): each
    #: record is a response (6A, identifier, record) on the tester's own connection, as Wireshark
    #: and py-uds read it; what Ethernet has, where there are no single frames.
    unsegmented: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicRules(Access):
    """2C. F3xx, and F2xx that is no fixed periodic identifier. All are gone with a reset."""

    functional: bool = False
    #: Who may define by memory address, besides each region's own `read`.
    by_address: Access | None = None
    #: Identifiers defined at a time, and elements of each.
    limit: int = 8
    elements: int = 16
    #: Bytes of one record.
    max_record: int = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRules:
    """Data and memory of one kind of ECU: the services follow from what is there."""

    #: Data identifiers that one 22 may ask for; `None`: as many as fit.
    max_identifiers: int | None = None
    #: Data identifiers that not everyone may read.
    readable: Mapping[int, Access] = field(default_factory=dict)
    #: Data identifiers that may be written besides those that programming needs.
    writable: Mapping[int, Access] = field(default_factory=dict)
    #: Data identifiers whose outputs 2F controls.
    outputs: Mapping[int, Access] = field(default_factory=dict)
    #: 24.
    scaling: bool = False
    periodic: PeriodicRules | None = None
    dynamic: DynamicRules | None = None
    memory: tuple[MemoryRegion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcRules:
    """Trouble code memories of one kind of ECU, besides the primary one."""

    #: memorySelection of each user-defined memory (17-19, and 14 since 2020).
    memories: tuple[int, ...] = ()
    #: Mirror memory: what it keeps outlives 14; readable in the edition of 2013 alone (0F-11).
    mirror: bool = False
    #: The reports that only emissions-related servers have (12, 13, 42, 55, 56).
    emissions: bool = False
    #: 55: a severity stands before each DTC, as in 42 (as udsoncan reads it); without it the record
    #: is that of 02 (as py-uds does).
    permanent_severity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRules:
    name: str
    services: Mapping[int, ServiceRule]
    routines: Mapping[int, RoutineRule]
    #: Data identifiers that may be written.
    writable: Mapping[int, Access]
    data: DataRules = field(default_factory=DataRules)
    dtcs: DtcRules = field(default_factory=DtcRules)
    #: Numbers of the nodes that 28 with enhanced address information may name.
    nodes: frozenset[int] = frozenset()
    special: SpecialRules = field(default_factory=SpecialRules)
    edition: UdsEdition = UdsEdition.E2020
    #: 10 02 is answered 78 and goes on in the boot loader, which sends the 50 02.
    programming_restarts: bool = False
    #: The end of a programming session (10 01 or S3) restarts the ECU: this is a boot loader.
    default_restarts: bool = False


def check(
    rules: ServerRules, request: bytes, *, session: Session, unlocked: int, functional: bool
) -> Nrc | None:
    """The first general objection to a request, `None` if there is none.

    `unlocked` is the security level that is open to the tester, 0 if there is none.

    Order of ISO 14229-1: service, session, security, shortest length, sub-function, its session,
    its security, length.
    """
    rule = rules.services.get(request[0]) if request else None
    if rule is None or (functional and not rule.functional):
        return Nrc.SERVICE_NOT_SUPPORTED
    if session not in rule.sessions:
        return Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION
    if rule.locked(unlocked):
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
        if sub_function.locked(unlocked):
            return Nrc.SECURITY_ACCESS_DENIED
        limits = sub_function
    too_long = limits.max_length is not None and len(request) > limits.max_length
    if len(request) < limits.min_length or too_long:
        return Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
    return None


def check_access(
    access: Access | None, *, session: Session, unlocked: int, functional: bool
) -> Nrc | None:
    """The same for a routine or a data identifier (`None`: the server has no such)."""
    if access is None or session not in access.sessions or (functional and not access.functional):
        return Nrc.REQUEST_OUT_OF_RANGE
    if access.locked(unlocked):
        return Nrc.SECURITY_ACCESS_DENIED
    return None


def suppresses_positive(rules: ServerRules, request: bytes) -> bool:
    """Whether the request asks for no positive response (only sub-functions can)."""
    rule = rules.services.get(request[0])
    if rule is None or not rule.sub_functions or len(request) < 2:
        return False
    return bool(request[1] & SUPPRESS_POSITIVE_RESPONSE)
