"""The package says what the server's rules say, no more and no less."""

import io
import zipfile
from collections import Counter
from xml.etree import ElementTree as ET

import pytest
from odxtools.addressing import Addressing
from odxtools.dataobjectproperty import DataObjectProperty
from odxtools.diaglayers.hierarchyelement import HierarchyElement
from odxtools.diagservice import DiagService
from odxtools.parameters.valueparameter import ValueParameter

from ecu_sim.descriptions import pdx
from ecu_sim.descriptions.operations import operations, reachable
from ecu_sim.device import encode_live
from ecu_sim.ecus import EcuType, all_ecu_names, ecu_type
from ecu_sim.server_rules import programs
from protocols.uds import ServiceId, Session
from protocols.uds.dtc import display
from protocols.uds.rules import Access, ServerRules, file_operations
from tests.support.odx import base_variant, database, read_answer, read_request, values, variant

#: Services whose rows are per identifier in the rules as well.
_BY_IDENTIFIER = {
    ServiceId.READ_DATA_BY_IDENTIFIER,
    ServiceId.READ_SCALING_DATA_BY_IDENTIFIER,
    ServiceId.WRITE_DATA_BY_IDENTIFIER,
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER,
    ServiceId.ROUTINE_CONTROL,
}
#: 31, sub-function, two bytes of identifier; an option record may begin with a constant.
_LONGEST_HEAD = 4
PROGRAMS = [(name, program) for name in all_ecu_names() for program in programs(ecu_type(name))]


def rows(rules: ServerRules) -> dict[bytes, Access]:
    """Beginning of a request -> who may send it, as the rules have it."""
    found: dict[bytes, Access] = {}
    for service, rule in rules.services.items():
        if service in _BY_IDENTIFIER:
            continue
        own = file_operations(rules.special, rules.edition)
        if service == ServiceId.REQUEST_FILE_TRANSFER:
            found |= {bytes([service, mode]): access for mode, access in own.items()}
        elif not rule.sub_functions:
            found[bytes([service])] = rule
        for number, limits in rule.sub_functions.items():
            found[bytes([service, number])] = Access(
                sessions=rule.sessions & limits.sessions,
                secured=rule.secured or limits.secured,
                functional=rule.functional and limits.functional,
            )
    controls = rules.services.get(ServiceId.ROUTINE_CONTROL)
    for control in controls.sub_functions if controls else ():
        for rid, routine in rules.routines.items():
            if control in routine.controls:
                found[bytes([ServiceId.ROUTINE_CONTROL, control]) + rid.to_bytes(2)] = routine
    for did, access in rules.writable.items():
        found[bytes([ServiceId.WRITE_DATA_BY_IDENTIFIER]) + did.to_bytes(2)] = access
    for did, access in rules.data.outputs.items():
        found[bytes([ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER]) + did.to_bytes(2)] = access
    return found


def services(layer: HierarchyElement) -> dict[bytes, DiagService]:
    """The same of a layer, without those that want no positive response."""
    return {
        bytes(service.request.coded_const_prefix()[:_LONGEST_HEAD]): service
        for service in layer.services
        if service.request is not None and not service.short_name.endswith("_without_response")
    }


def states(service: DiagService) -> tuple[set[str], set[str]]:
    """Sessions and levels of access, one of each of which must hold; empty: any."""
    names = {one.short_name for one in service.pre_condition_states}
    sessions = names & {session.name.lower() for session in Session}
    return sessions, names - sessions


@pytest.mark.parametrize(("ecu", "program"), PROGRAMS)
def test_every_row_of_a_program_is_a_service_with_the_same_conditions(
    ecu: str, program: str
) -> None:
    rules = programs(ecu_type(ecu))[program]
    described = services(variant(ecu, program))
    may_be_in = reachable(rules)
    for prefix, access in rows(rules).items():
        if not access.sessions & may_be_in:
            assert prefix not in described
            continue
        service = described.pop(prefix)
        required = {one.name.lower() for one in access.sessions & may_be_in}
        everywhere = {one.name.lower() for one in Session}
        sessions, levels = states(service)
        assert (sessions or everywhere) == required, prefix.hex()
        assert bool(levels) == access.secured, prefix.hex()
        assert not access.level or levels == {f"level_{access.level}"}, prefix.hex()
        functional = service.addressing is Addressing.FUNCTIONAL_OR_PHYSICAL
        assert functional == access.functional, prefix.hex()
    left = {ServiceId(prefix[0]) for prefix in described}
    assert left <= {ServiceId.READ_DATA_BY_IDENTIFIER, ServiceId.READ_SCALING_DATA_BY_IDENTIFIER}


@pytest.mark.parametrize(("ecu", "program"), PROGRAMS)
def test_every_identifier_that_a_program_reads_is_a_service(ecu: str, program: str) -> None:
    kind = ecu_type(ecu)
    expected = set(kind.data_identifiers)
    if program == "application":
        expected |= set(kind.engineering_identifiers)
    else:
        expected -= set(kind.live_values)
    read = {
        int.from_bytes(prefix[1:])
        for prefix in services(variant(ecu, program))
        if prefix[0] == 0x22 and len(prefix) == 3
    }
    assert read == expected


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_a_sub_function_can_be_asked_for_without_a_positive_response(ecu: str) -> None:
    layer = base_variant(ecu)
    (session,) = read_request(layer, bytes.fromhex("10 83"))
    assert session.service.short_name == "DiagnosticSessionControl_extended_without_response"
    (loud,) = read_request(layer, bytes.fromhex("10 03"))
    assert loud.service.pos_response_suppressible is not None
    assert loud.service.pos_response_suppressible.bit_mask == 0x80


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_trouble_codes_carry_their_letters_and_texts(ecu: str) -> None:
    (dop,) = base_variant(ecu).diag_data_dictionary_spec.dtc_dops
    assert {one.trouble_code: (one.display_trouble_code, str(one.text)) for one in dop.dtcs} == {
        code: (display(code), text) for code, text in ecu_type(ecu).dtcs.items()
    }


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_the_flash_data_name_every_area_and_the_hardware(ecu: str) -> None:
    kind = ecu_type(ecu)
    expected = {"application": (kind.application_base, kind.slot.size)}
    expected |= {block.name: (block.start, block.size) for block in kind.blocks}
    if kind.secondary_loader is not None:
        expected["secondary_loader"] = (kind.secondary_loader.start, kind.secondary_loader.size)
    (flash,) = database(ecu).flashs
    (memory,) = flash.ecu_mems
    (session,) = memory.mem.sessions
    found = {block.short_name: block.segments[0] for block in session.datablocks}
    assert {
        name: (one.source_start_address, one.source_end_address) for name, one in found.items()
    } == {name: (start, start + size - 1) for name, (start, size) in expected.items()}
    assert memory.phys_mem is not None
    areas = {area.short_name: area for area in memory.phys_mem.phys_segments}
    assert {name: area.start_address for name, area in areas.items()} == {
        name: start for name, (start, _) in expected.items()
    }
    assert areas["application"].block_size == kind.slot.sector_size
    (ident,) = session.expected_idents
    assert [one.value for one in ident.ident_values] == [kind.hardware_identifier]


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_the_hardware_is_identified_by_a_service_of_the_layers(ecu: str) -> None:
    (connector,) = database(ecu).flashs[0].ecu_mem_connectors
    (described,) = connector.ident_descs
    reading = base_variant(ecu).services[described.diag_comm_snref]
    assert described.out_param_if_snref in {
        one.short_name for one in reading.positive_responses[0].parameters
    }


def _documents(kind: EcuType) -> dict[str, ET.Element]:
    with zipfile.ZipFile(io.BytesIO(pdx(kind))) as package:
        return {name: ET.fromstring(package.read(name)) for name in package.namelist()}  # noqa: S314 our own


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_identifiers_are_unique_and_every_reference_has_its_end(ecu: str) -> None:
    documents = _documents(ecu_type(ecu))
    defined = Counter(
        identifier
        for root in documents.values()
        for element in root.iter()
        if (identifier := element.get("ID"))
    )
    assert [one for one, times in defined.items() if times > 1] == []
    wanted = {
        reference
        for root in documents.values()
        for element in root.iter()
        if (reference := element.get("ID-REF"))
    }
    assert wanted <= set(defined)


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_names_are_such_as_the_schema_allows_and_unique_among_siblings(ecu: str) -> None:
    for root in _documents(ecu_type(ecu)).values():
        for parent in root.iter():
            names = [one.findtext("SHORT-NAME") for one in parent]
            found = [name for name in names if name is not None]
            assert len(found) == len(set(found)), parent.tag
            for name in found:
                assert name.replace("_", "").isalnum(), name
                assert name.isascii(), name
                assert len(name) <= 128, name


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_the_index_lists_the_other_files(ecu: str) -> None:
    documents = _documents(ecu_type(ecu))
    listed = [file.text for file in documents["index.xml"].iter("FILE")]
    assert listed == [name for name in documents if name != "index.xml"]


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_the_same_tables_give_the_same_bytes(ecu: str) -> None:
    assert pdx(ecu_type(ecu)) == pdx(ecu_type(ecu))


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_an_operation_has_a_name_of_its_own(ecu: str) -> None:
    names = Counter(one.name for one in operations(ecu_type(ecu)))
    assert names.total() == len(names)


VALUES = [
    (name, did, sign * part)
    for name in all_ecu_names()
    for did, live in ecu_type(name).live_values.items()
    for sign in ((1, -1) if live.signed else (1,))
    for part in (0, 1, 100)
]


@pytest.mark.parametrize(("ecu", "did", "raw"), VALUES)
def test_a_live_value_reads_as_the_ecu_means_it(ecu: str, did: int, raw: int) -> None:
    live = ecu_type(ecu).live_values[did]
    physical = raw * live.scale
    request = bytes([ServiceId.READ_DATA_BY_IDENTIFIER]) + did.to_bytes(2)
    answer = bytes([request[0] + 0x40]) + request[1:] + encode_live(live, physical)
    (reading,) = (
        one
        for one in read_answer(base_variant(ecu), request, answer)
        if not one.service.short_name.endswith("_several")
    )
    assert values(reading)["value"] == pytest.approx(physical)
    (parameter,) = reading.service.positive_responses[0].parameters[2:]
    assert isinstance(parameter, ValueParameter)
    assert isinstance(parameter.dop, DataObjectProperty)
    unit = parameter.dop.unit
    assert (unit.display_name if unit else "") == live.unit
