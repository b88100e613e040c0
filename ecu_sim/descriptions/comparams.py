"""How to reach the ECU: COMPARAM-SPEC (`.odx-c`), COMPARAM-SUBSET (`.odx-cs`) and the values.

The parameters carry the names and units (microseconds, bit/s) of ISO 22900-2, so that tools find
them; the definitions are this project's own, with only the parameters that the ECUs need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from ecu_sim.descriptions.layout import Number
from ecu_sim.descriptions.odx import Dictionary, child, named
from ecu_sim.ecus import WIRES, EcuType

SPEC: Final = "canota_UDS"
#: A tester repeats tester present at this share of the server's S3: 2 s of 5 s.
_TESTER_PRESENT_SHARE: Final = 0.4
_TABLE: Final = "CP_UniqueRespIdTable"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    name: str
    #: COM, TIMING, TESTER_PRESENT...: ISO 22900-2's class.
    kind: str
    title: str
    default: str = "0"
    #: Text instead of a number.
    text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    """One way to the ECU, with the names that ISO 22900-2 has for its two ends."""

    protocol: str
    link: str
    subset: str
    parameters: tuple[_Parameter, ...]
    #: Members of `CP_UniqueRespIdTable`.
    addresses: tuple[_Parameter, ...]


_TIMING: Final = (
    _Parameter(name="CP_P2Max", kind="TIMING", title="P2, microseconds", default="50000"),
    _Parameter(name="CP_P2Star", kind="TIMING", title="P2*, microseconds", default="5000000"),
    _Parameter(
        name="CP_TesterPresentTime",
        kind="TESTER_PRESENT",
        title="Period of tester present, microseconds",
        default="2000000",
    ),
)

#: Protocol of the ECU -> how it is reached.
_STACKS: Final[Mapping[str, _Stack]] = {
    "UDS_on_CAN": _Stack(
        protocol="ISO_15765_3_on_ISO_15765_2",
        link="ISO_11898_2_DWCAN",
        subset="canota_ISO_15765_2",
        parameters=(
            _Parameter(name="CP_Baudrate", kind="BUSTYPE", title="Bit rate", default="500000"),
            _Parameter(name="CP_CANFDBaudrate", kind="BUSTYPE", title="Bit rate of the data phase"),
            _Parameter(
                name="CP_CANFDTxMaxDataLength",
                kind="COM",
                title="Longest frame that is sent",
                default="CAN: TX_DL = 8",
                text=True,
            ),
            _Parameter(name="CP_CanFuncReqId", kind="COM", title="Functional request identifier"),
            *_TIMING,
        ),
        addresses=(
            _Parameter(
                name="CP_CanPhysReqFormat", kind="UNIQUE_ID", title="Request format", text=True
            ),
            _Parameter(name="CP_CanPhysReqId", kind="UNIQUE_ID", title="Request identifier"),
            _Parameter(
                name="CP_CanRespUSDTFormat", kind="UNIQUE_ID", title="Response format", text=True
            ),
            _Parameter(name="CP_CanRespUSDTId", kind="UNIQUE_ID", title="Response identifier"),
        ),
    ),
    "UDS_on_DoIP": _Stack(
        protocol="ISO_14229_5_on_ISO_13400_2",
        link="IEEE_802_3",
        subset="canota_ISO_13400_2",
        parameters=(
            _Parameter(
                name="CP_DoIPLogicalGatewayAddress", kind="COM", title="Logical gateway address"
            ),
            _Parameter(
                name="CP_DoIPLogicalFunctionalAddress",
                kind="COM",
                title="Logical functional address",
            ),
            *_TIMING,
        ),
        addresses=(
            _Parameter(
                name="CP_DoIPLogicalEcuAddress", kind="UNIQUE_ID", title="Logical ECU address"
            ),
        ),
    ),
}


def protocol_name(ecu: EcuType) -> str:
    return "UDS_on_CAN" if ecu.can_addresses else "UDS_on_DoIP"


def spec() -> Element:
    """COMPARAM-SPEC: the protocol stacks."""
    root = named(Element("COMPARAM-SPEC", {"ID": f"{SPEC}.spec"}), SPEC)
    stacks = child(root, "PROT-STACKS")
    for name, stack in _STACKS.items():
        made = named(child(stacks, "PROT-STACK", ID=f"{SPEC}.{name}"), name)
        child(made, "PDU-PROTOCOL-TYPE", stack.protocol)
        child(made, "PHYSICAL-LINK-TYPE", stack.link)
        refs = child(made, "COMPARAM-SUBSET-REFS")
        child(
            refs,
            "COMPARAM-SUBSET-REF",
            ID_REF=f"{stack.subset}.subset",
            DOCREF=stack.subset,
            DOCTYPE="COMPARAM-SUBSET",
        )
    return root


def subsets() -> dict[str, Element]:
    """COMPARAM-SUBSET by its name: the definitions of each stack."""
    return {stack.subset: _subset(stack) for stack in _STACKS.values()}


def _subset(stack: _Stack) -> Element:
    name = stack.subset
    root = named(
        Element("COMPARAM-SUBSET", {"ID": f"{name}.subset", "CATEGORY": "TRANSPORT"}), name
    )
    dictionary = Dictionary(name, {})
    simple = child(root, "COMPARAMS")
    for one in stack.parameters:
        simple.append(_definition(name, one, dictionary))
    table = child(
        child(root, "COMPLEX-COMPARAMS"),
        "COMPLEX-COMPARAM",
        ID=f"{name}.{_TABLE}",
        PARAM_CLASS="UNIQUE_ID",
        CPTYPE="STANDARD",
        CPUSAGE="ECU-COMM",
        ALLOW_MULTIPLE_VALUES="true",
    )
    named(table, _TABLE, "Addresses of the ECU")
    for one in stack.addresses:
        table.append(_definition(name, one, dictionary))
    child(root, "DATA-OBJECT-PROPS").extend(dictionary.elements["DATA-OBJECT-PROPS"])
    return root


def comparam_refs(ecu: EcuType) -> Element:
    """COMPARAM-REFS: this ECU's values."""
    wire = WIRES[ecu.wire]
    values = {
        "CP_P2Max": _microseconds(ecu.p2_s),
        "CP_P2Star": _microseconds(ecu.p2_star_s),
        "CP_TesterPresentTime": _microseconds(ecu.s3_s * _TESTER_PRESENT_SHARE),
    }
    if ecu.can_addresses:
        values["CP_Baudrate"] = str(wire.bit_rate)
        values["CP_CanFuncReqId"] = str(wire.functional_id)
        if wire.data_bit_rate:
            values["CP_CANFDBaudrate"] = str(wire.data_bit_rate)
            values["CP_CANFDTxMaxDataLength"] = "CANFD: TX_DL = 64"
    else:
        values["CP_DoIPLogicalGatewayAddress"] = str(ecu.logical_address)
        values["CP_DoIPLogicalFunctionalAddress"] = str(wire.functional_id)
    refs = Element("COMPARAM-REFS")
    subset = _STACKS[protocol_name(ecu)].subset
    for name, value in values.items():
        child(_reference(refs, subset, name), "SIMPLE-VALUE", value)
    table = child(_reference(refs, subset, _TABLE), "COMPLEX-VALUE")
    for value in _addresses(ecu):
        child(table, "SIMPLE-VALUE", value)
    return refs


def _addresses(ecu: EcuType) -> tuple[str, ...]:
    """In the order of the stack's `addresses`; the first pair of identifiers is the one to use."""
    if not ecu.can_addresses:
        return (str(ecu.logical_address),)
    first = ecu.can_addresses[0]
    bits = "29" if first.extended else "11"
    frame = "CAN FD" if WIRES[ecu.wire].data_bit_rate else "CAN"
    form = f"normal segmented {bits}-bit transmit with FC on {frame}"
    return (form, str(first.request_id), form, str(first.response_id))


def _reference(refs: Element, subset: str, name: str) -> Element:
    return child(
        refs, "COMPARAM-REF", ID_REF=f"{subset}.{name}", DOCREF=subset, DOCTYPE="COMPARAM-SUBSET"
    )


def _definition(subset: str, one: _Parameter, dictionary: Dictionary) -> Element:
    made = Element(
        "COMPARAM",
        {
            "ID": f"{subset}.{one.name}",
            "PARAM-CLASS": one.kind,
            "CPTYPE": "STANDARD",
            "CPUSAGE": "ECU-COMM",
        },
    )
    named(made, one.name, one.title)
    child(made, "PHYSICAL-DEFAULT-VALUE", one.default)
    number = Number(name="number", bits=32)
    reference = dictionary.text_object() if one.text else dictionary.number_object(number)
    child(made, "DATA-OBJECT-PROP-REF", ID_REF=reference)
    return made


def _microseconds(seconds: float) -> str:
    return str(round(seconds * 1_000_000))
