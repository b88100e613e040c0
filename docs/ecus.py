"""One reference page per ECU type: what it answers, from the tables that its server runs on."""

from collections.abc import Iterable, Iterator
from functools import partial

from docs import ecu_facts
from docs.message_words import fields
from docs.tables import table
from ecu_sim.descriptions.layout import Constant, Fields, constant_prefix
from ecu_sim.descriptions.operations import Operation, operations, reachable, service_name
from ecu_sim.ecus import EcuType
from ecu_sim.server_rules import programs
from protocols.uds import ServiceId
from protocols.uds.rules import Access

_READ, _WRITE, _CONTROL = (
    ServiceId.READ_DATA_BY_IDENTIFIER,
    ServiceId.WRITE_DATA_BY_IDENTIFIER,
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER,
)
#: Told per identifier, in tables of their own.
_BY_DATA_IDENTIFIER = {_READ, _WRITE, _CONTROL, ServiceId.READ_SCALING_DATA_BY_IDENTIFIER}
_BY_IDENTIFIER = {*_BY_DATA_IDENTIFIER, ServiceId.ROUTINE_CONTROL}


def page(ecu: EcuType) -> str:
    """The page of one ECU type, without the generator's note."""
    described = operations(ecu)
    return "\n".join(
        (
            f"# `{ecu.name}`: {ecu.hardware_identifier}\n",
            f"As an ODX 2.2 package: `canota ecus describe {ecu.name} --pdx {ecu.name}.pdx`.\n",
            ""
            if ecu.in_vehicle
            else "For test benches: no vehicle has it; it is served by name.\n",
            table(("property", "value"), ecu_facts.properties(ecu)),
            *ecu_facts.transport(ecu),
            *ecu_facts.timing(ecu),
            *ecu_facts.security(ecu),
            *_services(ecu, described),
            *_messages(described),
            *_data(ecu, described),
            *_routines(ecu, described),
            *ecu_facts.trouble_codes(ecu),
            *ecu_facts.programming(ecu),
            *ecu_facts.memory(ecu, partial(_access, ecu, "application")),
        )
    )


# Services


def _services(ecu: EcuType, described: Iterable[Operation]) -> Iterator[str]:
    names = tuple(programs(ecu))
    yield "## Services\n"
    yield (
        "D, P, X: default, programming, extended session; L1: security level 1; *ph*: answered at"
        " its physical address only. A dash: not there.\n"
    )
    rows = [
        (f"`{_head(one)}`", _title(one), *_by_program(ecu, one, names))
        for one in described
        if one.service not in _BY_IDENTIFIER
    ]
    yield table(("request", "service", *names), rows)


def _title(one: Operation) -> str:
    name = service_name(one.service)
    apart = one.sub_function is not None or one.service == ServiceId.REQUEST_FILE_TRANSFER
    return f"{name}: {one.title}" if apart else name


def _head(one: Operation) -> str:
    return constant_prefix(one.request).hex(" ").upper()


def _messages(described: Iterable[Operation]) -> Iterator[str]:
    yield "## Messages\n"
    yield (
        "What follows the bytes that are always the same; numbers are big endian, u16: 16 bits,"
        " i16: signed. A request whose second byte is a sub-function may have bit 7 of it set: then"
        " no positive response comes. A refusal is `7F`, the service, and the negative response"
        " code.\n"
    )
    rows = (
        (
            f"`{_head(one)}`",
            fields(_behind(one.request)),
            f"`{constant_prefix(one.response).hex(' ').upper()}`",
            fields(_behind(one.response)),
        )
        for one in described
        if one.service not in _BY_IDENTIFIER or one.identifier is None
    )
    yield table(("request", "and then", "response", "and then"), rows)


def _behind(message: Fields) -> Fields:
    """What is not constant at a message's beginning."""
    for number, one in enumerate(message):
        if not isinstance(one, Constant):
            return message[number:]
    return ()


def _by_program(ecu: EcuType, one: Operation, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(_access(ecu, program, one.access.get(program)) for program in names)


def _access(ecu: EcuType, program: str, access: Access | None) -> str:
    if access is None:
        return "-"
    everywhere = access.sessions == reachable(programs(ecu)[program])
    letters = {1: "D", 2: "P", 3: "X"}
    sessions = "" if everywhere else "".join(letters[one] for one in sorted(access.sessions))
    level = f"L{access.level or ecu.security_level}" if access.secured else ""
    address = "" if access.functional else "*ph*"
    return " ".join(word for word in (sessions, level, address) if word) or "yes"


# Data and routines


def _data(ecu: EcuType, described: Iterable[Operation]) -> Iterator[str]:
    found: dict[int, dict[int, Operation]] = {}
    for one in described:
        if one.service in _BY_DATA_IDENTIFIER and one.identifier is not None:
            found.setdefault(one.identifier, {})[one.service] = one
    uses = (_READ, _WRITE, _CONTROL)
    names = tuple(programs(ecu))
    # What no identifier of a program has is no column.
    columns = [
        (name, use)
        for name in names
        for use in uses
        if any(use in one and name in one[use].access for one in found.values())
    ]
    yield "## Data identifiers\n"
    yield "Who may read (22), write (2E) and control (2F), as above, in each program.\n"
    rows = []
    for did, one in found.items():
        anyone = next(iter(one.values()))
        record = one[_READ].response[2:] if _READ in one else ()
        accesses = (
            _access(ecu, name, one[use].access.get(name)) if use in one else "-"
            for name, use in columns
        )
        rows.append((f"`{did:04X}`", anyone.title, fields(record), *accesses))
    heads = (f"{use:02X} {name}" for name, use in columns)
    yield table(("DID", "data", "record", *heads), rows)
    controlled = [one[_CONTROL] for one in found.values() if _CONTROL in one]
    if controlled:
        yield "Behind the identifier of 2F:\n"
        yield table(
            ("request", "and then"),
            ((f"`{_head(one)}`", fields(_behind(one.request))) for one in controlled),
        )
    yield from _periodic(ecu)


def _periodic(ecu: EcuType) -> Iterator[str]:
    periodic = ecu.data.periodic
    if periodic is None:
        return
    named = ", ".join(f"`{did:04X}`" for did in sorted(periodic.identifiers))
    dynamic = ", and those of F200 to F2FF that 2C has defined" if ecu.data.dynamic else ""
    yield (
        f"Periodic (2A 01 slow {periodic.slow_s:g} s, 02 medium {periodic.medium_s:g} s, 03 fast"
        f" {periodic.fast_s:g} s, 04 stop; then the low bytes): {named}{dynamic}; at most"
        f" {periodic.limit} at a time.\n"
    )
    if not periodic.unsegmented:
        yield "Each comes as a response: `6A`, the low byte, the record.\n"
        return
    identifiers = ", ".join(
        f"{one.periodic_id:03X} (asked on {one.request_id:03X})"
        for one in ecu.can_addresses
        if one.periodic_id is not None
    )
    yield f"Each comes in one frame without ISO-TP on {identifiers}: the low byte, the record.\n"


def _routines(ecu: EcuType, described: Iterable[Operation]) -> Iterator[str]:
    names = tuple(programs(ecu))
    rows = [
        (
            f"`{_head(one)[:11]}`",
            one.title,
            fields(one.request[3:]),
            fields(one.response[3:]),
            *_by_program(ecu, one, names),
        )
        for one in described
        if one.service == ServiceId.ROUTINE_CONTROL
    ]
    yield "## Routines\n"
    yield table(("request", "routine", "option record", "status record", *names), rows)
