"""The tables of a described ECU's server, in the rows that every server has."""

from collections.abc import Iterable, Mapping
from typing import Final

from ecu_sim.described import DescribedEcu
from protocols.editions import UdsEdition
from protocols.uds.enums import DtcReport, RoutineControl, ServiceId, Session
from protocols.uds.rules import Access, RoutineRule, ServerRules, ServiceRule, SubFunctionRule
from protocols.uds.rules.dtcs import DTC_SETTING, communication_control, dtc_services
from protocols.uds.rules.model import DataRules, DtcRules

#: Shortest and longest request of the services without sub-functions.
_LENGTHS: Final[Mapping[int, tuple[int, int | None]]] = {
    ServiceId.READ_DATA_BY_IDENTIFIER: (3, None),
    ServiceId.WRITE_DATA_BY_IDENTIFIER: (4, None),
    ServiceId.REQUEST_DOWNLOAD: (5, 11),
    ServiceId.TRANSFER_DATA: (2, None),
    ServiceId.REQUEST_TRANSFER_EXIT: (1, None),
}


def rules_of(ecu: DescribedEcu) -> ServerRules:
    """What the description lets through; requests of stock answers pass to where those are."""
    services = {
        service: ServiceRule(sessions=frozenset(map(Session, ecu.sessions)))
        for service in {request[0] for request in ecu.stock}
    }
    services |= _acted(ecu)
    return ServerRules(
        name=ecu.name,
        services=services,
        routines={rid: _started(routine.access) for rid, routine in ecu.routines.items()},
        writable=_writable(ecu),
        data=DataRules(
            readable={did: one.readable for did, one in ecu.data.items() if one.readable},
            writable=_writable(ecu),
        ),
    )


def _acted(ecu: DescribedEcu) -> dict[int, ServiceRule]:
    rows: dict[int, ServiceRule] = {
        ServiceId.DIAGNOSTIC_SESSION_CONTROL: ServiceRule(
            sessions=_sessions(ecu),
            sub_functions={number: _sub(access) for number, access in ecu.sessions.items()},
        ),
        ServiceId.TESTER_PRESENT: ServiceRule(
            sessions=_sessions(ecu),
            sub_functions={0: SubFunctionRule(sessions=_sessions(ecu))},
            shared=True,
        ),
    }
    if ecu.resets:
        rows[ServiceId.ECU_RESET] = ServiceRule(
            sessions=_sessions(ecu),
            sub_functions={one: SubFunctionRule(sessions=_sessions(ecu)) for one in ecu.resets},
        )
    if ecu.levels:
        rows[ServiceId.SECURITY_ACCESS] = _security(ecu)
    if ecu.data:
        rows[ServiceId.READ_DATA_BY_IDENTIFIER] = ServiceRule(
            sessions=_sessions(ecu), min_length=3, shared=True
        )
    if writable := _writable(ecu):
        rows[ServiceId.WRITE_DATA_BY_IDENTIFIER] = _open_to(ecu, writable.values(), 4)
    if ecu.routines:
        rows[ServiceId.ROUTINE_CONTROL] = ServiceRule(
            sessions=_sessions(ecu),
            sub_functions={
                control: SubFunctionRule(sessions=_sessions(ecu), min_length=4, max_length=None)
                for control in RoutineControl
            },
        )
    for service, access in ecu.services.items():
        rows[service] = _service(ecu, service, access)
    return rows


def _service(ecu: DescribedEcu, service: int, access: Access) -> ServiceRule:
    dtc = dtc_services(DtcRules(), UdsEdition.E2020)
    match service:
        case ServiceId.READ_DTC_INFORMATION:
            known = dtc[service].sub_functions
            return ServiceRule(
                sessions=access.sessions,
                shared=True,
                sub_functions={
                    number: SubFunctionRule(
                        sessions=access.sessions,
                        min_length=known[number].min_length,
                        max_length=known[number].max_length,
                    )
                    for number in sorted(ecu.reports)
                    if number in known
                },
            )
        case ServiceId.CLEAR_DIAGNOSTIC_INFORMATION:
            return ServiceRule(sessions=access.sessions, min_length=4, max_length=4)
        case ServiceId.COMMUNICATION_CONTROL:
            return _widened(communication_control(), access)
        case ServiceId.CONTROL_DTC_SETTING:
            return _widened(DTC_SETTING, access)
        case _:
            shortest, longest = _LENGTHS[service]
            return ServiceRule(
                sessions=access.sessions,
                secured=access.secured,
                level=access.level,
                functional=False,
                min_length=shortest,
                max_length=longest,
            )


def _started(access: Access) -> RoutineRule:
    """A routine is acted on when it is started; its other requests have stock answers."""
    return RoutineRule(
        sessions=access.sessions,
        secured=access.secured,
        level=access.level,
        functional=access.functional,
    )


def _widened(rule: ServiceRule, access: Access) -> ServiceRule:
    return ServiceRule(
        sessions=access.sessions,
        sub_functions={
            number: SubFunctionRule(
                sessions=access.sessions, min_length=one.min_length, max_length=one.max_length
            )
            for number, one in rule.sub_functions.items()
        },
    )


def _security(ecu: DescribedEcu) -> ServiceRule:
    rows: dict[int, SubFunctionRule] = {}
    for level, access in ecu.levels.items():
        rows[level] = SubFunctionRule(sessions=access.sessions, max_length=None)
        rows[level + 1] = SubFunctionRule(sessions=access.sessions, min_length=3, max_length=None)
    sessions = frozenset().union(*(access.sessions for access in ecu.levels.values()))
    return ServiceRule(sessions=sessions, functional=False, sub_functions=rows)


def _open_to(ecu: DescribedEcu, rows: Iterable[Access], shortest: int) -> ServiceRule:
    sessions = frozenset[Session]().union(*(row.sessions for row in rows))
    return ServiceRule(sessions=sessions & _sessions(ecu), functional=False, min_length=shortest)


def _sub(access: Access) -> SubFunctionRule:
    return SubFunctionRule(sessions=access.sessions, secured=access.secured, level=access.level)


def _sessions(ecu: DescribedEcu) -> frozenset[Session]:
    return frozenset(map(Session, ecu.sessions))


def _writable(ecu: DescribedEcu) -> dict[int, Access]:
    return {did: one.writable for did, one in ecu.data.items() if one.writable}


#: The reports of trouble codes that the server answers itself.
REPORTS: Final = frozenset(
    dtc_services(DtcRules(), UdsEdition.E2020)[ServiceId.READ_DTC_INFORMATION].sub_functions
) & frozenset(DtcReport)
