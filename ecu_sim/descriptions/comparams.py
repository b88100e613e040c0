"""How to reach the ECU: COMPARAM-SPEC (`.odx-c`), COMPARAM-SUBSET (`.odx-cs`) and the values.

Only what differs from a tool's defaults, or comes from the ECU's tables, has a value of its own.
"""

from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element

from ecu_sim.descriptions.comparam_subsets import (
    NO_IDENTIFIER,
    ON_CAN,
    ON_DOIP,
    Parameter,
    Stack,
    Subset,
    Table,
)
from ecu_sim.descriptions.odx import Dictionary, child, named
from ecu_sim.ecus import WIRES, CanAddress, EcuType
from protocols.doip.client import ACKNOWLEDGE_TIMEOUT_S, CONTROL_TIMEOUT_S
from protocols.doip.messages import ActivationType

#: A tester repeats tester present at this share of the server's S3: 2 s of 5 s.
_TESTER_PRESENT_SHARE: Final = 0.4
#: What the wire may add to P2 both ways; half of it to P2*, which runs from a response.
_TRANSMISSION_S: Final = 0.1
#: What a whole response may take on DoIP, from P2 or P2* on.
_RESPONSE_S: Final = 0.95
#: The address that `canota ecus certificates` makes a certificate for.
TESTER_ADDRESS: Final = 0x0E80
_TABLE: Final = "CP_UniqueRespIdTable"


def stack_of(ecu: EcuType) -> Stack:
    return ON_CAN if ecu.can_addresses else ON_DOIP


def documents(ecu: EcuType) -> dict[str, Element]:
    """File name -> content: the ECU's protocol stack, and the definitions of its parameters."""
    stack = stack_of(ecu)
    found = {f"{subset.name}.odx-cs": _subset(subset) for subset in stack.subsets}
    return found | {f"{stack.name}.odx-c": _spec(stack)}


def refer_to_stack(protocol: Element, stack: Stack) -> None:
    """The references of a PROTOCOL among the diagnostic layers."""
    child(
        protocol,
        "COMPARAM-SPEC-REF",
        ID_REF=f"CPS_{stack.name}",
        DOCREF=stack.name,
        DOCTYPE="COMPARAM-SPEC",
    )
    child(protocol, "PROT-STACK-SNREF", SHORT_NAME=_stack_name(stack))


def _stack_name(stack: Stack) -> str:
    return f"PS_{stack.name}_on_{stack.link}"


def _spec(stack: Stack) -> Element:
    root = named(Element("COMPARAM-SPEC", {"ID": f"CPS_{stack.name}"}), stack.name)
    name = _stack_name(stack)
    made = named(child(child(root, "PROT-STACKS"), "PROT-STACK", ID=name), name)
    child(made, "PDU-PROTOCOL-TYPE", stack.name)
    child(made, "PHYSICAL-LINK-TYPE", stack.link)
    refs = child(made, "COMPARAM-SUBSET-REFS")
    for subset in stack.subsets:
        child(
            refs,
            "COMPARAM-SUBSET-REF",
            ID_REF=subset.name,
            DOCREF=subset.name,
            DOCTYPE="COMPARAM-SUBSET",
        )
    return root


def _subset(subset: Subset) -> Element:
    name = subset.name
    root = named(Element("COMPARAM-SUBSET", {"ID": name, "CATEGORY": subset.category}), name)
    dictionary = Dictionary(name, {})
    simple = child(root, "COMPARAMS")
    for one in subset.parameters:
        simple.append(_definition(name, one, dictionary))
    if subset.tables:
        tables = child(root, "COMPLEX-COMPARAMS")
        for table in subset.tables:
            tables.append(_table(name, table, dictionary))
    child(root, "DATA-OBJECT-PROPS").extend(dictionary.elements["DATA-OBJECT-PROPS"])
    if (units := dictionary.units()) is not None:
        root.append(units)
    return root


def _table(subset: str, table: Table, dictionary: Dictionary) -> Element:
    made = _comparam("COMPLEX-COMPARAM", subset, table)
    made.set("ALLOW-MULTIPLE-VALUES", "true")
    for one in table.members:
        made.append(_definition(subset, one, dictionary))
    return made


def _definition(subset: str, one: Parameter, dictionary: Dictionary) -> Element:
    made = _comparam("COMPARAM", subset, one)
    child(made, "PHYSICAL-DEFAULT-VALUE", one.default)
    child(made, "DATA-OBJECT-PROP-REF", ID_REF=dictionary.data_object(one.value))
    return made


def _comparam(tag: str, owner: str, one: Parameter | Table) -> Element:
    attributes = {
        "ID": f"{owner}.{one.name}",
        "PARAM-CLASS": one.kind,
        "CPTYPE": "OPTIONAL" if one.optional else "STANDARD",
        "CPUSAGE": one.usage,
    }
    return named(Element(tag, attributes), one.name, one.title)


def comparam_refs(ecu: EcuType) -> Element:
    """COMPARAM-REFS: this ECU's values."""
    stack = stack_of(ecu)
    refs = Element("COMPARAM-REFS")
    values = _values(ecu)
    for subset in stack.subsets:
        for one in subset.parameters:
            if one.name in values:
                child(_reference(refs, subset.name, one.name), "SIMPLE-VALUE", values[one.name])
        for table in subset.tables:
            if table.name == _TABLE:
                row = child(_reference(refs, subset.name, table.name), "COMPLEX-VALUE")
                addresses = _addresses(ecu)
                for member in table.members:
                    child(row, "SIMPLE-VALUE", addresses[member.name])
    return refs


def _values(ecu: EcuType) -> dict[str, object]:
    own = _can_values(ecu) if ecu.can_addresses else _doip_values(ecu)
    return own | {
        "CP_P2Max_Ecu": _microseconds(ecu.p2_s),
        "CP_P2Star_Ecu": _microseconds(ecu.p2_star_s),
        "CP_P3Func": _microseconds(ecu.p2_s),
        "CP_P3Phys": _microseconds(ecu.p2_s),
        # The server is busy until it has answered the request of another tester.
        "CP_RC21Handling": "Continue until RC21 timeout",
        "CP_RC21CompletionTimeout": _microseconds(ecu.p2_star_s),
        "CP_TesterPresentHandling": "Enabled",
        "CP_TesterPresentTime": _microseconds(ecu.s3_s * _TESTER_PRESENT_SHARE),
        "CP_TesterPresentExpPosResp": "7E00",
        "CP_TesterPresentExpNegResp": "7F3E",
    }


def _can_values(ecu: EcuType) -> dict[str, object]:
    wire, isotp = WIRES[ecu.wire], ecu.isotp
    fills = isotp.padding is not None or isotp.rx_padding_required
    values: dict[str, object] = {
        # ISO 14229-2: P2 and P2* of the client are the server's and what the wire adds to them.
        "CP_P2Max": _microseconds(ecu.p2_s + _TRANSMISSION_S),
        "CP_P2Star": _microseconds(ecu.p2_star_s + _TRANSMISSION_S / 2),
        "CP_CanTransmissionTime": _microseconds(_TRANSMISSION_S),
        "CP_As": _microseconds(isotp.n_as_s),
        "CP_Ar": _microseconds(isotp.n_ar_s),
        "CP_Bs": _microseconds(isotp.n_bs_s),
        "CP_Cr": _microseconds(isotp.n_cr_s),
        "CP_As_Ecu": _microseconds(isotp.n_as_s),
        "CP_Ar_Ecu": _microseconds(isotp.n_ar_s),
        "CP_Bs_Ecu": _microseconds(isotp.n_bs_s),
        "CP_Br_Ecu": _microseconds(isotp.n_br_s),
        "CP_Cs_Ecu": _microseconds(isotp.n_cs_s),
        "CP_Cr_Ecu": _microseconds(isotp.n_cr_s),
        "CP_BlockSize_Ecu": isotp.block_size,
        "CP_StMin_Ecu": isotp.st_min,
        "CP_CanFillerByteHandling": "Enabled" if fills else "Disabled",
        "CP_CanMaxNumWaitFrames": isotp.max_own_wait_frames,
        "CP_CanFuncReqFormat": _format(None, extended=False, direction="transmit"),
        "CP_CanFuncReqId": wire.functional_id,
        "CP_Baudrate": wire.bit_rate,
    }
    if isotp.padding is not None:
        values["CP_CanFillerByte"] = isotp.padding
    if wire.data_bit_rate:
        values["CP_CANFDBaudrate"] = wire.data_bit_rate
        values["CP_CANFDTxMaxDataLength"] = "CANFD: TX_DL = 64"
    return values


def _doip_values(ecu: EcuType) -> dict[str, object]:
    return {
        "CP_P6Max": _microseconds(ecu.p2_s + _RESPONSE_S),
        "CP_P6Star": _microseconds(ecu.p2_star_s + _RESPONSE_S),
        "CP_NetworkTransmissionTime": _microseconds(_TRANSMISSION_S),
        "CP_DoIPLogicalTesterAddress": TESTER_ADDRESS,
        # The ECU is its own entity.
        "CP_DoIPLogicalGatewayAddress": ecu.logical_address,
        "CP_DoIPLogicalFunctionalAddress": WIRES[ecu.wire].functional_id,
        "CP_DoIPRoutingActivationType": int(ActivationType.DEFAULT),
        "CP_DoIPRoutingActivationTimeout": _microseconds(CONTROL_TIMEOUT_S),
        "CP_DoIPDiagnosticAckTimeout": _microseconds(ACKNOWLEDGE_TIMEOUT_S),
    }


def _addresses(ecu: EcuType) -> Mapping[str, object]:
    """Members of the table; the first pair of identifiers is the one to use."""
    layer = {"CP_ECULayerShortName": ecu.name}
    if not ecu.can_addresses:
        return layer | {
            "CP_DoIPLogicalEcuAddress": ecu.logical_address,
            "CP_DoIPSecondaryLogicalECUResponseAddress": 0,
        }
    return layer | can_address(ecu.can_addresses[0])


def can_address(one: CanAddress) -> dict[str, object]:
    """One way to an ECU on CAN, in the words of CP_UniqueRespIdTable."""
    request, response = one.request_extension, one.response_extension
    return {
        "CP_CanPhysReqFormat": _format(request, extended=one.extended, direction="transmit"),
        "CP_CanPhysReqId": one.request_id,
        "CP_CanPhysReqExtAddr": request or 0,
        "CP_CanRespUSDTFormat": _format(response, extended=one.extended, direction="receive"),
        "CP_CanRespUSDTId": one.response_id,
        "CP_CanRespUSDTExtAddr": response or 0,
        # A periodic response is a frame without any address in its data.
        "CP_CanRespUUDTFormat": f"normal unsegmented {_bits(extended=one.extended)} receive",
        "CP_CanRespUUDTId": NO_IDENTIFIER if one.periodic_id is None else one.periodic_id,
        "CP_CanRespUUDTExtAddr": 0,
    }


def _format(extension: int | None, *, extended: bool, direction: str) -> str:
    addressing = "normal" if extension is None else "extended"
    return f"{addressing} segmented {_bits(extended=extended)} {direction} with FC"


def _bits(*, extended: bool) -> str:
    return "29-bit" if extended else "11-bit"


def _reference(refs: Element, subset: str, name: str) -> Element:
    return child(
        refs, "COMPARAM-REF", ID_REF=f"{subset}.{name}", DOCREF=subset, DOCTYPE="COMPARAM-SUBSET"
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
