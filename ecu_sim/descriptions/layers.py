"""The ECU's diagnostic layers: DIAG-LAYER-CONTAINER (`.odx-d`).

The base variant describes everything that any program of the ECU answers. Each program is an ECU
variant that leaves out what it does not have, and says more narrowly when it answers the rest.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree.ElementTree import Element

from ecu_sim.descriptions.comparams import can_address, comparam_refs, refer_to_stack, stack_of
from ecu_sim.descriptions.layout import Constant, Fields, Number, short_name
from ecu_sim.descriptions.odx import XSI_TYPE, Dictionary, child, named
from ecu_sim.descriptions.operations import Operation, name_of, operations, service_name
from ecu_sim.ecus import EcuType
from ecu_sim.server_rules import programs
from protocols.uds import DataIdentifier, DtcReport, Nrc, ServiceId, Session
from protocols.uds.dtc import STATUS_AVAILABILITY_MASK
from protocols.uds.enums import NEGATIVE_RESPONSE, SUPPRESS_POSITIVE_RESPONSE
from protocols.uds.rules import Access

_NRC: Final = Number(
    name="negative_response_code",
    texts={int(nrc): nrc.name.lower().replace("_", " ") for nrc in Nrc},
)
#: First parameter of the reports of 19 that list trouble codes.
_AVAILABILITY: Final = "dtc_status_availability_mask"
#: Service -> the word by which tools group it.
_SEMANTICS: Final[Mapping[int, str]] = {
    ServiceId.DIAGNOSTIC_SESSION_CONTROL: "SESSION",
    ServiceId.CLEAR_DIAGNOSTIC_INFORMATION: "FAULTCLEAR",
    ServiceId.READ_DTC_INFORMATION: "FAULTREAD",
    ServiceId.READ_DATA_BY_IDENTIFIER: "CURRENTDATA",
    ServiceId.READ_MEMORY_BY_ADDRESS: "MEMORY",
    ServiceId.SECURITY_ACCESS: "SECURITY",
    ServiceId.COMMUNICATION_CONTROL: "COMMUNICATION",
    ServiceId.WRITE_DATA_BY_IDENTIFIER: "STOREDDATA",
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER: "CONTROL",
    ServiceId.ROUTINE_CONTROL: "ROUTINE",
    ServiceId.REQUEST_DOWNLOAD: "DOWNLOAD",
    ServiceId.REQUEST_UPLOAD: "UPLOAD",
    ServiceId.WRITE_MEMORY_BY_ADDRESS: "MEMORY",
    ServiceId.TESTER_PRESENT: "TESTERPRESENT",
}


def container(ecu: EcuType) -> Element:
    """DIAG-LAYER-CONTAINER with the protocol, the base variant and a variant per program."""
    name = f"{ecu.name}_layers"
    root = named(
        Element("DIAG-LAYER-CONTAINER", {"ID": f"{name}.container"}),
        name,
        f"{ecu.hardware_identifier}: diagnostic layers",
    )
    stack = stack_of(ecu)
    layer = child(child(root, "PROTOCOLS"), "PROTOCOL", ID=f"{ecu.name}.{stack.protocol}")
    named(layer, stack.protocol)
    refer_to_stack(layer, stack)
    described = operations(ecu)
    child(root, "BASE-VARIANTS").append(_base_variant(ecu, described))
    variants = child(root, "ECU-VARIANTS")
    for program in programs(ecu):
        variants.append(_variant(ecu, program, described))
    return root


def base_variant_id(ecu: EcuType) -> str:
    return f"{ecu.name}.base_variant"


def _base_variant(ecu: EcuType, described: Iterable[Operation]) -> Element:
    layer = named(
        Element("BASE-VARIANT", {"ID": base_variant_id(ecu)}),
        ecu.name,
        f"{ecu.hardware_identifier} on {ecu.wire}",
    )
    dictionary = Dictionary(ecu.name, ecu.dtcs)
    comms = Element("DIAG-COMMS")
    requests, responses, refusals = (
        Element("REQUESTS"),
        Element("POS-RESPONSES"),
        Element("NEG-RESPONSES"),
    )
    refused: set[int] = set()
    for one in described:
        access = _union(one.access.values())
        for silent in (False, True) if one.suppressible else (False,):
            comms.append(_service(ecu, one, access, silent=silent))
            request = named(
                child(requests, "REQUEST", ID=_request_id(ecu, one, silent=silent)),
                f"RQ_{_name(one, silent=silent)}",
            )
            fields = _silenced(one.request) if silent else one.request
            dictionary.params(request, fields, owner=_request_id(ecu, one, silent=silent))
        identifier = f"{ecu.name}.response.{one.name}"
        response = named(child(responses, "POS-RESPONSE", ID=identifier), f"PR_{one.name}")
        dictionary.params(response, one.response, owner=identifier)
        if one.service not in refused:
            refused.add(one.service)
            identifier = _refusal_id(ecu, one.service)
            refusal = named(
                child(refusals, "NEG-RESPONSE", ID=identifier),
                f"NR_{service_name(one.service)}",
            )
            dictionary.params(refusal, _refusal(one.service), owner=identifier)
    layer.append(_functional_classes(ecu, refused))
    layer.append(dictionary.written())
    layer.extend((comms, requests, responses, refusals))
    layer.append(_state_charts(ecu, described))
    layer.append(_special_data(ecu))
    layer.append(comparam_refs(ecu))
    pattern = child(layer, "BASE-VARIANT-PATTERN")
    parameters = child(pattern, "MATCHING-BASE-VARIANT-PARAMETERS")
    matching = child(parameters, "MATCHING-BASE-VARIANT-PARAMETER")
    hardware = DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER
    reading = name_of(described, ServiceId.READ_DATA_BY_IDENTIFIER, identifier=hardware)
    _matching(matching, ecu.hardware_identifier, reading, "text")
    _parent(layer, f"{ecu.name}.{stack_of(ecu).protocol}", "PROTOCOL-REF")
    return layer


def _variant(ecu: EcuType, program: str, described: Iterable[Operation]) -> Element:
    """What this program answers otherwise than the base variant says."""
    name = f"{ecu.name}_{short_name(program)}"
    layer = named(
        Element("ECU-VARIANT", {"ID": f"{name}.ecu_variant"}),
        name,
        f"{ecu.hardware_identifier}: {program}",
    )
    comms = Element("DIAG-COMMS")
    missing: list[str] = []
    for one in described:
        access = one.access.get(program)
        for silent in (False, True) if one.suppressible else (False,):
            if access is None:
                missing.append(_name(one, silent=silent))
            elif access != _union(one.access.values()):
                comms.append(_service(ecu, one, access, silent=silent, variant=name))
    if len(comms):
        layer.append(comms)
    pattern = child(child(layer, "ECU-VARIANT-PATTERNS"), "ECU-VARIANT-PATTERN")
    matching = child(child(pattern, "MATCHING-PARAMETERS"), "MATCHING-PARAMETER")
    _matching(matching, *_sign(program, described))
    parent = _parent(layer, base_variant_id(ecu), "BASE-VARIANT-REF")
    if missing:
        left_out = child(parent, "NOT-INHERITED-DIAG-COMMS")
        for comm in missing:
            child(child(left_out, "NOT-INHERITED-DIAG-COMM"), "DIAG-COMM-SNREF", SHORT_NAME=comm)
    return layer


def _sign(program: str, described: Iterable[Operation]) -> tuple[str, str, str]:
    """Value, service and parameter by which a program is told from the ECU's other ones.

    A boot loader has no software of its own to name, and an application has a fault memory.
    """
    if program == "application":
        service, report = ServiceId.READ_DTC_INFORMATION, DtcReport.SUPPORTED_DTCS
        mask = str(STATUS_AVAILABILITY_MASK)
        return mask, name_of(described, service, sub_function=report), _AVAILABILITY
    software = DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER
    reading = name_of(described, ServiceId.READ_DATA_BY_IDENTIFIER, identifier=software)
    return _NRC.texts[Nrc.CONDITIONS_NOT_CORRECT], reading, _NRC.name


def _matching(matching: Element, value: str, service: str, parameter: str) -> None:
    child(matching, "EXPECTED-VALUE", value)
    child(matching, "DIAG-COMM-SNREF", SHORT_NAME=service)
    child(matching, "OUT-PARAM-IF-SNREF", SHORT_NAME=parameter)


def _parent(layer: Element, identifier: str, kind: str) -> Element:
    parent = child(child(layer, "PARENT-REFS"), "PARENT-REF", ID_REF=identifier)
    parent.set(XSI_TYPE, kind)
    return parent


# Services


def _service(
    ecu: EcuType, one: Operation, access: Access, *, silent: bool, variant: str = ""
) -> Element:
    name = _name(one, silent=silent)
    addressing = "FUNCTIONAL-OR-PHYSICAL" if access.functional else "PHYSICAL"
    made = named(
        Element(
            "DIAG-SERVICE",
            {
                "ID": f"{variant or ecu.name}.service.{name}",
                "SEMANTIC": _SEMANTICS.get(one.service, "FUNCTION"),
                "ADDRESSING": addressing,
                "TRANSMISSION-MODE": "SEND-OR-RECEIVE" if silent else "SEND-AND-RECEIVE",
            },
        ),
        name,
        one.title + (", without positive response" if silent else ""),
    )
    classes = child(made, "FUNCT-CLASS-REFS")
    child(classes, "FUNCT-CLASS-REF", ID_REF=_class_id(ecu, one.service))
    _states(ecu, made, one, access)
    child(made, "REQUEST-REF", ID_REF=_request_id(ecu, one, silent=silent))
    positive = child(made, "POS-RESPONSE-REFS")
    child(positive, "POS-RESPONSE-REF", ID_REF=f"{ecu.name}.response.{one.name}")
    negative = child(made, "NEG-RESPONSE-REFS")
    child(negative, "NEG-RESPONSE-REF", ID_REF=_refusal_id(ecu, one.service))
    if one.suppressible and not silent:
        suppressible = child(made, "POS-RESPONSE-SUPPRESSABLE")
        child(suppressible, "BIT-MASK", f"{SUPPRESS_POSITIVE_RESPONSE:02X}")
        child(suppressible, "CODED-CONST-SNREF", SHORT_NAME="sub_function")
    return made


def _states(ecu: EcuType, service: Element, one: Operation, access: Access) -> None:
    required = [
        f"session.{session.name.lower()}"
        for session in sorted(access.sessions)
        if access.sessions != frozenset(Session)
    ]
    if access.secured:
        levels = (access.level,) if access.level else _levels(ecu)
        required += [f"security.level_{level}" for level in levels]
    if required:
        conditions = child(service, "PRE-CONDITION-STATE-REFS")
        for state in required:
            child(conditions, "PRE-CONDITION-STATE-REF", ID_REF=f"{ecu.name}.{state}")
    if moves := _moves(ecu, one):
        transitions = child(service, "STATE-TRANSITION-REFS")
        for move in moves:
            child(transitions, "STATE-TRANSITION-REF", ID_REF=f"{ecu.name}.{move}")


def _levels(ecu: EcuType) -> tuple[int, ...]:
    return (ecu.security_level, *ecu.more_levels)


def _moves(ecu: EcuType, one: Operation) -> list[str]:
    """The state transitions that a positive response brings: chart.source_to_target."""
    if one.service == ServiceId.DIAGNOSTIC_SESSION_CONTROL and one.sub_function in set(Session):
        target = Session(one.sub_function).name.lower()
        sources = sorted({session for access in one.access.values() for session in access.sessions})
        moves = [f"session.{source.name.lower()}_to_{target}" for source in sources]
        return moves + [f"security.level_{level}_to_locked" for level in _levels(ecu)]
    if one.service == ServiceId.SECURITY_ACCESS and one.sub_function and not one.sub_function % 2:
        level = one.sub_function - 1
        sources_of = ["locked", *(f"level_{other}" for other in _levels(ecu) if other != level)]
        return [f"security.{source}_to_level_{level}" for source in sources_of]
    return []


def _state_charts(ecu: EcuType, described: Iterable[Operation]) -> Element:
    charts = Element("STATE-CHARTS")
    moves = dict.fromkeys(move for one in described for move in _moves(ecu, one))
    states = {
        "session": [session.name.lower() for session in Session],
        "security": ["locked", *(f"level_{level}" for level in _levels(ecu))],
    }
    for chart, names in states.items():
        made = named(child(charts, "STATE-CHART", ID=f"{ecu.name}.{chart}"), chart)
        child(made, "SEMANTIC", chart.upper())
        of_chart = [move for move in moves if move.startswith(f"{chart}.")]
        transitions = child(made, "STATE-TRANSITIONS")
        for move in of_chart:
            name = move.partition(".")[2]
            source, _, target = name.partition("_to_")
            element = named(child(transitions, "STATE-TRANSITION", ID=f"{ecu.name}.{move}"), name)
            child(element, "SOURCE-SNREF", SHORT_NAME=source)
            child(element, "TARGET-SNREF", SHORT_NAME=target)
        child(made, "START-STATE-SNREF", SHORT_NAME=names[0])
        group = child(made, "STATES")
        for name in names:
            named(child(group, "STATE", ID=f"{ecu.name}.{chart}.{name}"), name)
    return charts


def _functional_classes(ecu: EcuType, services: Iterable[int]) -> Element:
    classes = Element("FUNCT-CLASSS")
    for service in sorted(services):
        made = child(classes, "FUNCT-CLASS", ID=_class_id(ecu, service))
        named(made, service_name(service), f"Service {service:02X}")
    return classes


def _special_data(ecu: EcuType) -> Element:
    """SDGS: what ODX has no place for."""
    groups = Element("SDGS")
    group = child(groups, "SDG", SI="editions")
    for standard, edition in (
        ("ISO 14229-1", ecu.editions.uds),
        ("ISO 13400-2", ecu.editions.doip),
        ("ISO 15765-2", ecu.editions.isotp),
    ):
        child(group, "SD", int(edition), SI=standard)
    # Communication parameters have one way to the ECU, the first.
    for address in ecu.can_addresses[1:]:
        group = child(groups, "SDG", SI="further_can_address")
        for name, value in can_address(address).items():
            child(group, "SD", value, SI=name)
    return groups


def _refusal(service: int) -> Fields:
    return (
        Constant(name="negative_response", value=NEGATIVE_RESPONSE),
        Constant(name="refused_service", value=service),
        _NRC,
    )


def _silenced(request: Fields) -> Fields:
    return tuple(
        Constant(name=one.name, value=one.value | SUPPRESS_POSITIVE_RESPONSE)
        if isinstance(one, Constant) and one.name == "sub_function"
        else one
        for one in request
    )


def _union(accesses: Iterable[Access]) -> Access:
    """What holds in one program or another."""
    found = tuple(accesses)
    levels = {one.level for one in found}
    return Access(
        sessions=frozenset(session for one in found for session in one.sessions),
        secured=all(one.secured for one in found),
        level=levels.pop() if len(levels) == 1 else 0,
        functional=any(one.functional for one in found),
    )


def _name(one: Operation, *, silent: bool) -> str:
    return f"{one.name}_without_response" if silent else one.name


def _request_id(ecu: EcuType, one: Operation, *, silent: bool) -> str:
    return f"{ecu.name}.request.{_name(one, silent=silent)}"


def _refusal_id(ecu: EcuType, service: int) -> str:
    return f"{ecu.name}.refusal.{service_name(service)}"


def _class_id(ecu: EcuType, service: int) -> str:
    return f"{ecu.name}.class.{service_name(service)}"
