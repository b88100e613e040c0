"""Rows of the services that few ECUs have (38 83 84 86 87), from what an ECU offers."""

from collections.abc import Iterable
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import EventType, FileOperation, LinkControl, ServiceId, TimingAccess
from protocols.uds.rules.access import Access
from protocols.uds.rules.model import ServiceRule, SubFunctionRule
from protocols.uds.rules.special import SpecialRules

#: 86: bit 6 of eventType.
STORE_EVENT: Final = 0x40

_EVENT_LENGTHS: Final[dict[EventType, tuple[int, int | None]]] = {
    EventType.STOP: (3, 3),
    # Event type, window and record, then a request of one byte at least.
    EventType.ON_DTC_STATUS_CHANGE: (5, None),
    EventType.ON_CHANGE_OF_DATA_IDENTIFIER: (6, None),
    EventType.ON_COMPARISON_OF_VALUES: (14, None),
    EventType.REPORT_ACTIVATED: (3, 3),
    EventType.START: (3, 3),
    EventType.CLEAR: (3, 3),
}
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
        rows = _EVENT_LENGTHS.items()
        storable = (row for row in rows if row[0] != EventType.REPORT_ACTIVATED)
        stored = ((number | STORE_EVENT, limits) for number, limits in storable)
        services[ServiceId.RESPONSE_ON_EVENT] = _service(
            special.events, _ranges(rows) | _ranges(stored)
        )
    if special.files is not None:
        services |= _file_services(special.files.operations.values())
    if special.timing is not None and edition == UdsEdition.E2013:
        services[ServiceId.ACCESS_TIMING_PARAMETER] = _service(
            special.timing, _lengths(_TIMING_LENGTHS.items())
        )
    if special.secured_data is not None and edition >= UdsEdition.E2020:
        rules = special.secured_data
        services[ServiceId.SECURED_DATA_TRANSMISSION] = ServiceRule(
            sessions=rules.sessions,
            secured=rules.secured,
            level=rules.level,
            functional=rules.functional,
            min_length=1 + SECURED_HEAD,
        )
    return services


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
