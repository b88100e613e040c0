"""Everything that an ECU answers, one operation per service, sub-function and identifier.

The rules of the ECU's programs say what there is and who may use it; the tables of this room say
what the bytes mean. Nothing is listed here: a row that is new in the rules is described too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ecu_sim.descriptions import records
from ecu_sim.descriptions.layout import (
    Case,
    Constant,
    Field,
    Fields,
    Number,
    Raw,
    Repeat,
    Switch,
    constant_prefix,
    short_name,
    total_length,
)
from ecu_sim.descriptions.messages import (
    ACTIVE_EVENTS,
    DATA_RECORD,
    EXTENDED_RECORD,
    FILES,
    GROUP_OF_DTC,
    KEY,
    PERIODIC_IDENTIFIER,
    PERIODIC_RECORD,
    PERMANENT_WITH_SEVERITY,
    RESPOND_TO,
    SEED,
    SUB_FUNCTIONS,
    WHOLE,
    Layout,
    active_event,
)
from ecu_sim.ecus import IDENTIFICATION, EcuType
from ecu_sim.server_rules import programs
from protocols.uds import DtcReport, OutputControl, RoutineControl, ServiceId, Session
from protocols.uds.enums import POSITIVE_RESPONSE
from protocols.uds.rules import (
    Access,
    ServerRules,
    ServiceRule,
    file_operations,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request with its positive response, both whole."""

    #: Unique in the ECU: letters, digits, underscores.
    name: str
    #: For people.
    title: str
    service: int
    sub_function: int | None = None
    #: Data or routine identifier.
    identifier: int | None = None
    request: Fields
    response: Fields
    #: Bit 7 of the sub-function may ask for no positive response.
    suppressible: bool = False
    #: Program of the ECU -> who may use it there.
    access: Mapping[str, Access]


def operations(ecu: EcuType) -> tuple[Operation, ...]:
    """All operations of an ECU, those of its programs that are the same as one."""
    found: dict[str, Operation] = {}
    for program, rules in programs(ecu).items():
        sessions = reachable(rules)
        for row in _of_program(ecu, program, rules):
            one = replace(row, access={program: _within(row.access[program], sessions)})
            if not one.access[program].sessions:
                continue
            known = found.get(one.name)
            if known is None:
                found[one.name] = one
            else:
                found[one.name] = replace(known, access={**known.access, **one.access})
    return tuple(
        sorted(
            found.values(),
            key=lambda one: (
                one.service,
                one.sub_function or 0,
                one.identifier or 0,
                constant_prefix(one.request),
                one.name,
            ),
        )
    )


def name_of(
    described: Iterable[Operation],
    service: int,
    *,
    sub_function: int | None = None,
    identifier: int | None = None,
) -> str:
    """The name of one operation; `LookupError` if the ECU has none like it."""
    for one in described:
        if (one.service, one.sub_function, one.identifier) == (service, sub_function, identifier):
            return one.name
    raise LookupError(f"no operation {service:02X} {sub_function} {identifier}")


def reachable(rules: ServerRules) -> frozenset[Session]:
    """The sessions that this program can be in: 10 02 may be the way into another one."""
    control = rules.services.get(ServiceId.DIAGNOSTIC_SESSION_CONTROL)
    found = (
        {Session.DEFAULT} if control is None else {Session(one) for one in control.sub_functions}
    )
    if rules.programming_restarts:
        found.discard(Session.PROGRAMMING)
    return frozenset(found)


def service_name(service: int) -> str:
    """ReadDataByIdentifier for 0x22."""
    try:
        words = ServiceId(service).name.split("_")
    except ValueError:
        return f"Service_{service:02X}"
    return "".join(word.capitalize() for word in words)


def _of_program(ecu: EcuType, program: str, rules: ServerRules) -> Iterator[Operation]:
    for service, rule in rules.services.items():
        match service:
            case ServiceId.READ_DATA_BY_IDENTIFIER:
                yield from _reading(ecu, program, rules, rule)
            case ServiceId.READ_SCALING_DATA_BY_IDENTIFIER:
                record = records.SCALING
                for did in _readable(ecu, program):
                    access = _both(rule, rules.data.readable.get(did, rule))
                    yield _on_data(ecu, service, did, (), record, {program: access})
            case ServiceId.WRITE_DATA_BY_IDENTIFIER:
                for did, access in rules.writable.items():
                    data = records.data_record(ecu, did)
                    yield _on_data(ecu, service, did, data, (), {program: _both(rule, access)})
            case ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER:
                for did, access in rules.data.outputs.items():
                    state = (_PARAMETER, *records.data_record(ecu, did))
                    option = (records.output_control(ecu, did),)
                    both = {program: _both(rule, access)}
                    yield _on_data(ecu, service, did, option, state, both)
            case ServiceId.ROUTINE_CONTROL:
                yield from _routines(ecu, program, rules, rule)
            case ServiceId.REQUEST_FILE_TRANSFER:
                yield from _files(ecu, program, rules, rule)
            case _:
                yield from _others(ecu, program, service, rule)


_PARAMETER: Final = Number(
    name="input_output_control_parameter",
    texts={int(one): one.name.lower().replace("_", " ") for one in OutputControl},
)


# Data and routines


def _readable(ecu: EcuType, program: str) -> Iterator[int]:
    """A boot loader identifies itself; values are the application's."""
    for did in records.identifiers(ecu):
        if program == "application" or did in IDENTIFICATION:
            yield did


def _reading(
    ecu: EcuType, program: str, rules: ServerRules, rule: ServiceRule
) -> Iterator[Operation]:
    service = ServiceId.READ_DATA_BY_IDENTIFIER
    for did in _readable(ecu, program):
        access = _both(rule, rules.data.readable.get(did, rule))
        data = records.data_record(ecu, did)
        yield _on_data(ecu, service, did, (), data, {program: access})
    identifier = Number(name="data_identifier", bits=16)
    yield Operation(
        name=f"{service_name(service)}_several",
        title="read several data identifiers at once",
        service=service,
        request=(
            _service(service),
            Repeat(name="identifiers", items=(identifier,)),
        ),
        response=(
            _service(service, response=True),
            Repeat(name="data_records", items=(_filled(DATA_RECORD, ecu),)),
        ),
        access={program: rule},
    )


def _on_data(
    ecu: EcuType,
    service: int,
    did: int,
    request: Fields,
    response: Fields,
    access: Mapping[str, Access],
) -> Operation:
    title = records.identifiers(ecu).get(did) or f"data {did:04X}"
    identifier = Constant(name="data_identifier", value=did, length=2)
    return Operation(
        name=f"{service_name(service)}_{short_name(title)}",
        title=title,
        service=service,
        identifier=did,
        request=(_service(service), identifier, *request),
        response=(_service(service, response=True), identifier, *response),
        access=access,
    )


def _routines(
    ecu: EcuType, program: str, rules: ServerRules, rule: ServiceRule
) -> Iterator[Operation]:
    service = ServiceId.ROUTINE_CONTROL
    for control, control_rule in rule.sub_functions.items():
        verb = _lower(RoutineControl(control).name)
        for rid, access in rules.routines.items():
            identifier = Constant(name="routine_identifier", value=rid, length=2)
            if control not in access.controls:
                continue
            option, status = records.routine_records(ecu, rid)
            if control != RoutineControl.START:
                option = ()
            title = f"{verb} {records.routine_name(ecu, rid)}"
            echo = _sub_function(control)
            yield Operation(
                name=f"{service_name(service)}_{short_name(title)}",
                title=title,
                service=service,
                sub_function=control,
                identifier=rid,
                request=(_service(service), echo, identifier, *option),
                response=(_service(service, response=True), echo, identifier, *status),
                suppressible=True,
                access={program: _both(_both(rule, control_rule), access)},
            )


# What has neither


def _files(
    ecu: EcuType, program: str, rules: ServerRules, rule: ServiceRule
) -> Iterator[Operation]:
    """38: its mode of operation is no sub-function, but tells its messages apart as one does."""
    for number, own in file_operations(rules.special, rules.edition).items():
        layout, mode = FILES[number], Constant(name="mode_of_operation", value=number)
        coded = replace(layout, request=(mode, *layout.request), response=(mode, *layout.response))
        access = {program: _both(rule, own)}
        yield _operation(ecu, ServiceId.REQUEST_FILE_TRANSFER, None, coded, None, access)


def _others(ecu: EcuType, program: str, service: int, rule: ServiceRule) -> Iterator[Operation]:
    if not rule.sub_functions:
        layout = WHOLE.get(service) or _UNKNOWN
        if service == ServiceId.CLEAR_DIAGNOSTIC_INFORMATION and rule.max_length != _CLEAR_LENGTH:
            layout = replace(layout, request=(*layout.request, _SELECTED))
        yield _operation(ecu, service, None, layout, rule.max_length, {program: rule})
    for number, limits in rule.sub_functions.items():
        layout = _layout(ecu, service, number)
        access = {program: _both(rule, limits)}
        yield _operation(ecu, service, number, layout, limits.max_length, access)


def _layout(ecu: EcuType, service: int, sub_function: int) -> Layout:
    report = (service, sub_function)
    if report == _PERMANENT and ecu.dtc_rules.permanent_severity:
        return PERMANENT_WITH_SEVERITY
    if service == ServiceId.SECURITY_ACCESS:
        level = (sub_function - 1) // 2 * 2 + 1
        layout = SEED if sub_function % 2 else KEY
        return replace(layout, name=f"{layout.name} level {level}")
    known = SUB_FUNCTIONS.get(service, {}).get(sub_function)
    return known or replace(_UNKNOWN, name=f"sub-function {sub_function:02X}")


_PERMANENT: Final = (ServiceId.READ_DTC_INFORMATION, DtcReport.WWH_OBD_PERMANENT_STATUS)
_UNKNOWN: Final = Layout(request=(Raw(name="record"),), response=(Raw(name="record"),))


#: 14 without the memory selection that came in 2020.
_CLEAR_LENGTH: Final = 4
_SELECTED: Final = Repeat(
    name="user_defined_memory", most=1, items=(Number(name="memory_selection"),)
)


def _operation(
    ecu: EcuType,
    service: int,
    sub_function: int | None,
    layout: Layout,
    longest: int | None,
    access: Mapping[str, Access],
) -> Operation:
    named = f"{service_name(service)}_{short_name(layout.name)}".rstrip("_")
    echo = () if sub_function is None else (_sub_function(sub_function),)
    request = (_service(service), *echo, *layout.request)
    response = (_service(service, response=True), *echo, *layout.response)
    length = total_length(request)
    if length is not None and (longest is None or longest > length):
        request = (*request, Raw(name="further_record"))
    return Operation(
        name=named,
        title=layout.name or _lower(_words(service_name(service))),
        service=service,
        sub_function=sub_function,
        request=tuple(_filled(one, ecu) for one in request),
        response=tuple(_filled(one, ecu) for one in response),
        suppressible=sub_function is not None,
        access=access,
    )


def _filled(one: Field, ecu: EcuType) -> Field:
    """The field with this ECU's identifiers in the place of a stand-in."""
    match one:
        case Repeat():
            return replace(one, items=tuple(_filled(item, ecu) for item in one.items))
        case Number() if one is GROUP_OF_DTC:
            return replace(one, texts=records.group_texts(ecu))
        case Number() if one is PERIODIC_IDENTIFIER:
            return replace(one, texts=records.periodic_texts(ecu))
        case Switch():
            cases = _CASES[one.name](ecu) if one in _STAND_INS else one.cases
            return replace(
                one,
                cases={
                    key: replace(case, fields=tuple(_filled(field, ecu) for field in case.fields))
                    for key, case in cases.items()
                },
            )
        case _:
            return one


def _respond_cases(ecu: EcuType) -> Mapping[int, Case]:
    """What 86 may be told to answer with: requests of the services that the rules name."""
    events, rules = ecu.special.events, programs(ecu)["application"]
    reports = rules.services[ServiceId.READ_DTC_INFORMATION].sub_functions
    known: dict[int, Fields] = {
        ServiceId.READ_DATA_BY_IDENTIFIER: (
            Repeat(name="identifiers", items=(Number(name="data_identifier", bits=16),)),
        ),
        ServiceId.READ_DTC_INFORMATION: (
            Switch(
                name="report",
                key_bits=8,
                cases={
                    number: Case(name=layout.name, fields=layout.request)
                    for number, layout in SUB_FUNCTIONS[ServiceId.READ_DTC_INFORMATION].items()
                    if number in reports
                },
            ),
        ),
    }
    return {
        service: Case(name=service_name(service), fields=known.get(service, _UNKNOWN.request))
        for service in (sorted(events.services) if events is not None else ())
    }


def _active_cases(ecu: EcuType) -> Mapping[int, Case]:
    """None and one as they are; where one of several ends, their bytes do not say."""
    events = ecu.special.events
    several = Case(name="several", fields=(Raw(name="event_records", least=1),))
    most = events.limit if events is not None else 1
    cases = {
        0: Case(name="none", fields=()),
        1: Case(name="one", fields=(active_event(),)),
    }
    return cases if most < 2 else cases | {2: replace(several, last=most)}


_CASES: Final[Mapping[str, Callable[[EcuType], Mapping[int, Case]]]] = {
    DATA_RECORD.name: records.data_cases,
    EXTENDED_RECORD.name: lambda _: records.extended_cases(),
    PERIODIC_RECORD.name: records.periodic_cases,
    RESPOND_TO.name: _respond_cases,
    ACTIVE_EVENTS.name: _active_cases,
}
_STAND_INS: Final = (DATA_RECORD, EXTENDED_RECORD, PERIODIC_RECORD, RESPOND_TO, ACTIVE_EVENTS)


def _service(service: int, *, response: bool = False) -> Constant:
    return Constant(name="service", value=service + POSITIVE_RESPONSE * response)


def _sub_function(number: int) -> Constant:
    return Constant(name="sub_function", value=number)


def _both(one: Access, other: Access) -> Access:
    """What holds where both do."""
    return Access(
        sessions=one.sessions & other.sessions,
        secured=one.secured or other.secured,
        level=other.level or one.level,
        functional=one.functional and other.functional,
    )


def _within(access: Access, sessions: frozenset[Session]) -> Access:
    return replace(access, sessions=access.sessions & sessions)


def _words(name: str) -> str:
    return "".join(f" {char}" if char.isupper() else char for char in name).strip()


def _lower(text: str) -> str:
    return text.lower().replace("_", " ")
