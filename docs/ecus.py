"""One reference page per ECU type: what it answers, from the tables that its server runs on."""

from collections.abc import Iterable, Iterator
from typing import Final

from ecu_sim.descriptions.layout import (
    Constant,
    CountedText,
    Field,
    LengthKey,
    Number,
    Packed,
    Raw,
    Repeat,
    Sized,
    Switch,
    Text,
    TroubleCode,
    constant_prefix,
)
from ecu_sim.descriptions.operations import Operation, operations, reachable, service_name
from ecu_sim.ecus import WIRES, EcuType
from ecu_sim.program import dtc_definitions
from ecu_sim.server_rules import programs
from protocols.uds import ServiceId
from protocols.uds.data_formats import PLAIN
from protocols.uds.dtc import SEVERITY_AVAILABILITY_MASK, Severity, display
from protocols.uds.rules import Access

_READ, _WRITE, _CONTROL = (
    ServiceId.READ_DATA_BY_IDENTIFIER,
    ServiceId.WRITE_DATA_BY_IDENTIFIER,
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER,
)
#: Told per identifier, in tables of their own.
_BY_DATA_IDENTIFIER = {_READ, _WRITE, _CONTROL, ServiceId.READ_SCALING_DATA_BY_IDENTIFIER}
_BY_IDENTIFIER = {*_BY_DATA_IDENTIFIER, ServiceId.ROUTINE_CONTROL}
_KIB = 1024
#: Texts of a number that are told; more are a list for machines.
_FEW = 8


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
            table(("property", "value"), _properties(ecu)),
            *_services(ecu, described),
            *_data(ecu, described),
            *_routines(ecu, described),
            *_trouble_codes(ecu),
            *_memory(ecu),
        )
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _properties(ecu: EcuType) -> Iterator[tuple[str, str]]:
    wire = WIRES[ecu.wire]
    yield "hardware identifier", ecu.hardware_identifier
    yield "wire", f"`{ecu.wire}` ({wire.kind})"
    for address in ecu.can_addresses:
        bits = "29 bits" if address.extended else "11 bits"
        pair = f"{address.request_id:03X}, {address.response_id:03X} ({bits})"
        yield "tester to ECU, ECU to tester", pair
        if address.periodic_id is not None:
            yield "periodic identifiers come on", f"{address.periodic_id:03X}"
    yield "functional address", f"{wire.functional_id:03X}"
    yield "logical address", f"{ecu.logical_address:04X}"
    yield (
        "editions",
        (
            f"ISO 14229-1:{ecu.editions.uds:d}, ISO 13400-2:{ecu.editions.doip:d},"
            f" ISO 15765-2:{ecu.editions.isotp:d}"
        ),
    )
    yield "P2, P2*, S3", f"{ecu.p2_s * 1000:g} ms, {ecu.p2_star_s:g} s, {ecu.s3_s:g} s"
    yield "reset to first answer", f"{ecu.boot_s:g} s"
    for level in (ecu.security_level, *ecu.more_levels):
        use = "programming" if level == ecu.security_level else "engineering"
        yield f"security level {level} ({use})", f"27 {level:02X} / 27 {level + 1:02X}"
    yield "maxNumberOfBlockLength", str(ecu.max_block_length)
    formats = {0x00: PLAIN, **ecu.data_formats}
    yield "data formats of 34", ", ".join(f"{key:02X} {its}" for key, its in formats.items())


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
    yield "## Data identifiers\n"
    yield "Who may read (22), write (2E) and control (2F), as above; the application's rules.\n"
    rows = []
    for did, uses in found.items():
        anyone = next(iter(uses.values()))
        record = uses[_READ].response[2:] if _READ in uses else ()
        accesses = (
            _access(ecu, "application", uses[use].access.get("application")) if use in uses else "-"
            for use in (_READ, _WRITE, _CONTROL)
        )
        rows.append((f"`{did:04X}`", anyone.title, fields(record), *accesses))
    yield table(("DID", "data", "record", "22", "2E", "2F"), rows)
    periodic = ecu.data.periodic
    if periodic is not None:
        yield (
            f"Periodic (2A): slow {periodic.slow_s:g} s, medium {periodic.medium_s:g} s, fast"
            f" {periodic.fast_s:g} s; at most {periodic.limit} at a time.\n"
        )


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


def fields(record: Iterable[Field]) -> str:
    """A record in words: width, name and meaning of each field."""
    return ", ".join(map(_field, record)) or "-"


def _field(one: Field) -> str:
    match one:
        case Constant():
            return f"`{one.value:0{2 * one.length}X}`"
        case Number():
            return _number(one)
        case Packed(parts=parts):
            return f"{_words(one.name)} of " + ", ".join(map(_part, parts))
        case LengthKey():
            return f"{_words(one.name)} u{one.bits}"
        case Text() | Raw():
            size = f"{one.length} bytes" if one.length is not None else "rest"
            return f"{_words(one.name)}: {'ASCII, ' if isinstance(one, Text) else ''}{size}"
        case CountedText():
            return f"{_words(one.name)}: length and ASCII"
        case Sized():
            return _words(one.name)
        case TroubleCode():
            return "DTC"
        case Repeat():
            count = "number of, then each" if one.counted else "each"
            if one.most == 1:
                count = "perhaps"
            return f"{_words(one.name)} ({count}: {fields(one.items)})"
        case Switch():
            return _words(one.name)


def _number(one: Number) -> str:
    kind = f"{'i' if one.signed else 'u'}{one.bits}"
    scale = f" x {one.scale:g}" if one.scale != 1 else ""
    meanings = ""
    if one.texts and len(one.texts) <= _FEW:
        meanings = ": " + "; ".join(f"{raw:02X} {text}" for raw, text in one.texts.items())
    return f"{_words(one.name)} {kind}{scale}{' ' + one.unit if one.unit else ''}{meanings}"


def _part(part: Number | LengthKey) -> str:
    return _words(part.name)


def _words(name: str) -> str:
    return name.replace("_", " ")


# The rest


_SEVERITIES: Final = {
    0: "none",
    Severity.MAINTENANCE_ONLY: "maintenance only",
    Severity.CHECK_AT_NEXT_HALT: "check at next halt",
    Severity.CHECK_IMMEDIATELY: "check immediately",
}


def _trouble_codes(ecu: EcuType) -> Iterator[str]:
    yield "## Trouble codes\n"
    rows = (
        (
            f"`{display(one.code)}`",
            f"{one.code:06X}",
            ecu.dtcs[one.code],
            _SEVERITIES[one.severity & SEVERITY_AVAILABILITY_MASK],
            f"{one.functional_unit:02X}",
            f"{one.confirm_cycles}",
            "yes" if one.indicator else "-",
        )
        for one in dtc_definitions(ecu)
    )
    columns = ("severity", "functional unit", "confirmed after cycles", "indicator, permanent")
    yield table(("DTC", "number", "text", *columns), rows)
    selections = ", ".join(f"`{selection:02X}`" for selection in ecu.dtc_rules.memories)
    if selections:
        yield f"User-defined memories (memorySelection): {selections}.\n"
    if ecu.nodes:
        nodes = ", ".join(f"`{node:04X}`" for node in sorted(ecu.nodes))
        yield f"Nodes that `28 04` and `28 05` can name: {nodes}.\n"


def _memory(ecu: EcuType) -> Iterator[str]:
    yield "## Memory\n"
    slots = "one slot" if ecu.single_slot else f"{ecu.slots} slots behind one range of addresses"
    rows = {
        "application area": f"{ecu.application_base:08X}, {ecu.slot.size // _KIB} KiB, {slots}",
        "sector": f"{ecu.slot.sector_size} bytes, erased in {ecu.slot.erase_s * 1000:g} ms",
        "page": f"{ecu.slot.page_size} bytes, programmed in {ecu.slot.program_s * 1000:g} ms",
    }
    yield table(("property", "value"), rows.items())
    if ecu.blocks or ecu.secondary_loader is not None:
        yield "Programmed beside the application:\n"
        rows = {f"block `{one.name}`": f"{one.start:08X}, {one.size} bytes" for one in ecu.blocks}
        if ecu.secondary_loader is not None:
            loader = ecu.secondary_loader
            rows["secondary boot loader (RAM)"] = f"{loader.start:08X}, {loader.size} bytes"
        yield table(("area", "range"), rows.items())
    if ecu.data.memory:
        yield "By address (23, 3D, 35):\n"
        yield table(
            ("range", "holds", "23", "3D", "35"),
            (
                (
                    f"{one.start:08X}, {one.size} bytes",
                    one.storage.value,
                    *(
                        _access(ecu, "application", access)
                        for access in (one.read, one.write, one.upload)
                    ),
                )
                for one in ecu.data.memory
            ),
        )
