"""Rows of the services that few ECUs have (38 83 84 86 87), from what an ECU offers."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import EventType, FileOperation, LinkControl, ServiceId, TimingAccess
from protocols.uds.rules.access import Access
from protocols.uds.rules.model import ServiceRule, SubFunctionRule
from protocols.uds.rules.special import EventRules, SpecialRules

#: 86: bit 6 of eventType.
STORE_EVENT: Final = 0x40

_EVENT_LENGTHS: Final[dict[EventType, tuple[int, int | None]]] = {
    EventType.STOP: (3, 3),
    # Event type, window and record, then a request of one byte at least.
    EventType.ON_DTC_STATUS_CHANGE: (5, None),
    EventType.ON_TIMER_INTERRUPT: (5, None),
    EventType.ON_CHANGE_OF_DATA_IDENTIFIER: (6, None),
    EventType.ON_COMPARISON_OF_VALUES: (14, None),
    EventType.REPORT_ACTIVATED: (3, 3),
    EventType.START: (3, 3),
    EventType.CLEAR: (3, 3),
    # Report type of 19; nothing to respond to is named.
    EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE: (4, 4),
    # Status mask, report type of 19, record number, and memory selection where that report has one.
    EventType.DTC_RECORD_ON_STATUS_CHANGE: (6, 7),
}
_SINCE_2020: Final = frozenset(
    {EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE, EventType.DTC_RECORD_ON_STATUS_CHANGE}
)
_EVENTS: Final = MappingProxyType(
    {
        UdsEdition.E2013: frozenset(EventType) - _SINCE_2020,
        UdsEdition.E2020: frozenset(EventType) - {EventType.ON_TIMER_INTERRUPT},
    }
)
#: What may carry storageState: 2020 stores what is set up when it is started.
_STORABLE: Final = MappingProxyType(
    {
        UdsEdition.E2013: _EVENTS[UdsEdition.E2013] - {EventType.REPORT_ACTIVATED},
        UdsEdition.E2020: frozenset({EventType.START, EventType.STOP}),
    }
)
_LINK_LENGTHS: Final = {
    LinkControl.VERIFY_FIXED: 3,
    LinkControl.VERIFY_SPECIFIC: 5,
    LinkControl.TRANSITION: 2,
}
_TIMING_LENGTHS: Final = {
    TimingAccess.READ_EXTENDED: 2,
    TimingAccess.SET_DEFAULT: 2,
    TimingAccess.READ_ACTIVE: 2,
    # P2 in ms and P2* in 10 ms, two bytes each.
    TimingAccess.SET_GIVEN: 6,
}
#: 84: administrative parameter, calculation, signature length, counter, inner service.
SECURED_HEAD: Final = 8


def special_services(special: SpecialRules, edition: UdsEdition) -> dict[int, ServiceRule]:
    """The services that `special` makes necessary in this edition."""
    services: dict[int, ServiceRule] = {}
    if special.link is not None:
        services[ServiceId.LINK_CONTROL] = _service(special.link, _lengths(_LINK_LENGTHS.items()))
    if special.events is not None:
        stored = storable_events(special.events, edition)
        rows = [(event, _EVENT_LENGTHS[event]) for event in sorted(_EVENTS[edition])]
        kept = [(event | STORE_EVENT, limits) for event, limits in rows if event in stored]
        services[ServiceId.RESPONSE_ON_EVENT] = _service(
            special.events, _ranges(rows) | _ranges(kept)
        )
    if special.files is not None:
        services |= _file_services(special.files.operations.values())
    if special.timing is not None and edition == UdsEdition.E2013:
        services[ServiceId.ACCESS_TIMING_PARAMETER] = _service(
            special.timing, _lengths(_TIMING_LENGTHS.items())
        )
    if special.secured_data is not None:
        rules = special.secured_data
        services[ServiceId.SECURED_DATA_TRANSMISSION] = ServiceRule(
            sessions=rules.sessions,
            secured=rules.secured,
            level=rules.level,
            functional=rules.functional,
            min_length=1 + SECURED_HEAD,
        )
    return services


def storable_events(rules: EventRules, edition: UdsEdition) -> frozenset[EventType]:
    """The event types that may carry storageState (bit 6)."""
    return _STORABLE[edition] if rules.storable is None else rules.storable


def file_operations(special: SpecialRules, edition: UdsEdition) -> dict[FileOperation, Access]:
    """38's operations: resuming came with the edition of 2020."""
    if special.files is None:
        return {}
    return {
        operation: access
        for operation, access in special.files.operations.items()
        if operation != FileOperation.RESUME or edition >= UdsEdition.E2020
    }


def _service(access: Access, sub_functions: dict[int, SubFunctionRule]) -> ServiceRule:
    return ServiceRule(
        sessions=access.sessions,
        secured=access.secured,
        level=access.level,
        functional=access.functional,
        sub_functions=sub_functions,
    )


def _lengths(rows: Iterable[tuple[int, int]]) -> dict[int, SubFunctionRule]:
    return _ranges((number, (length, length)) for number, length in rows)


def _ranges(rows: Iterable[tuple[int, tuple[int, int | None]]]) -> dict[int, SubFunctionRule]:
    return {
        number: SubFunctionRule(min_length=shortest, max_length=longest)
        for number, (shortest, longest) in rows
    }


def _file_services(operations: Iterable[Access]) -> dict[int, ServiceRule]:
    """Each operation has its own `Access`; a transfer is open wherever one of them is."""
    rows = tuple(operations)
    sessions = rows[0].sessions.union(*(row.sessions for row in rows))
    secured = all(row.secured for row in rows)
    return {
        # Operation, length of the path, and one character of it at least.
        ServiceId.REQUEST_FILE_TRANSFER: ServiceRule(
            sessions=sessions, functional=False, min_length=5
        ),
        ServiceId.TRANSFER_DATA: ServiceRule(
            sessions=sessions, secured=secured, functional=False, min_length=2
        ),
        ServiceId.REQUEST_TRANSFER_EXIT: ServiceRule(
            sessions=sessions, secured=secured, functional=False, max_length=1
        ),
    }
