"""What a tool needs to reach the ECU, as odxtools finds it in the package."""

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
from odxtools.comparam import Comparam
from odxtools.comparamsubset import ComparamSubset
from odxtools.complexcomparam import ComplexComparam
from odxtools.database import Database
from odxtools.diaglayers.hierarchyelement import HierarchyElement
from odxtools.specialdata import SpecialData
from odxtools.specialdatagroup import SpecialDataGroup
from odxtools.usage import Usage

from ecu_sim.descriptions import pdx
from ecu_sim.ecus import WIRES, CanAddress, EcuType, all_ecu_names, ecu_type
from protocols.doip.client import ACKNOWLEDGE_TIMEOUT_S, CONTROL_TIMEOUT_S
from protocols.doip.settings import OPEN_ACTIVATIONS, TESTER_ADDRESSES
from protocols.isotp import IsoTpParameters
from tests.support.odx import base_variant, database

#: What the subsets of ISO 22900-2 that ODX tools ship have as standard parameters.
TRANSPORT_ON_CAN = {
    *("CP_As", "CP_Ar", "CP_Bs", "CP_Br", "CP_Cs", "CP_Cr", "CP_BlockSize", "CP_StMin"),
    *("CP_CanFillerByte", "CP_CanFillerByteHandling", "CP_CanMaxNumWaitFrames"),
    *("CP_CanFuncReqFormat", "CP_CanFuncReqId", "CP_CanFuncReqExtAddr", "CP_RequestAddrMode"),
}
APPLICATION = {
    *("CP_P3Func", "CP_P3Phys", "CP_CyclicRespTimeout", "CP_RCByteOffset"),
    *(f"CP_RC21{part}" for part in ("Handling", "CompletionTimeout", "RequestTime")),
    *("CP_RC78Handling", "CP_RC78CompletionTimeout"),
    *(
        f"CP_TesterPresent{part}"
        for part in (
            *("Handling", "AddrMode", "SendType", "Time", "Message", "ReqRsp"),
            *("ExpPosResp", "ExpNegResp"),
        )
    ),
}
STANDARD = {
    "UDS_on_CAN": {
        "ISO_15765_3": ("APP", APPLICATION | {"CP_P2Max", "CP_P2Star"}),
        "ISO_15765_2": ("TRANS", TRANSPORT_ON_CAN),
        "ISO_11898_2_DWCAN": ("PHYS", {"CP_Baudrate", "CP_BitSamplePoint", "CP_SyncJumpWidth"}),
    },
    "UDS_on_DoIP": {
        "ISO_14229_5": ("APP", APPLICATION | {"CP_P6Max", "CP_P6Star"}),
        "ISO_13400_2": (
            "TRANS",
            {
                *(f"CP_DoIPLogical{which}Address" for which in ("Tester", "Gateway", "Functional")),
                *("CP_DoIPRoutingActivationType", "CP_DoIPRoutingActivationTimeout"),
                *("CP_DoIPDiagnosticAckTimeout", "CP_RequestAddrMode"),
            },
        ),
    },
}
ADDRESSES_ON_CAN = [
    *("CP_CanPhysReqFormat", "CP_CanPhysReqId", "CP_CanPhysReqExtAddr"),
    *("CP_CanRespUSDTFormat", "CP_CanRespUSDTId", "CP_CanRespUSDTExtAddr"),
    *("CP_CanRespUUDTFormat", "CP_CanRespUUDTId", "CP_CanRespUUDTExtAddr"),
    "CP_ECULayerShortName",
]


def loaded(kind: EcuType) -> Database:
    """Of a type that is no module of its own; what comes from it lives as long as it does."""
    found = Database()
    found.add_pdx_file(io.BytesIO(pdx(kind)))
    found.refresh()
    return found


def value(layer: HierarchyElement, name: str) -> str:
    found = layer.get_comparam(name)
    assert found is not None, name
    return found.get_value()


def microseconds(layer: HierarchyElement, name: str) -> int:
    return int(value(layer, name))


def addresses(layer: HierarchyElement) -> Mapping[str, str | None]:
    table = layer.get_comparam("CP_UniqueRespIdTable")
    assert table is not None
    assert isinstance(table.spec, ComplexComparam)
    return {one.short_name: table.get_subvalue(one.short_name) for one in table.spec.subparams}


def subsets(ecu: str) -> Mapping[str, ComparamSubset]:
    (protocol,) = database(ecu).protocols
    stack = protocol.prot_stack
    assert stack is not None
    return {subset.short_name: subset for subset in stack.comparam_subsets}


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_the_stack_has_the_subsets_and_standard_parameters_that_tools_know(ecu: str) -> None:
    (protocol,) = database(ecu).protocols
    found = subsets(ecu)
    expected = STANDARD[protocol.short_name]
    assert found.keys() == expected.keys()
    for name, (category, parameters) in expected.items():
        assert found[name].category == category
        assert parameters <= {one.short_name for one in found[name].comparams}
        assert found[name].odx_id.local_id == name


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_every_default_and_every_value_is_one_that_its_data_object_has(ecu: str) -> None:
    specs = [
        spec
        for subset in subsets(ecu).values()
        for spec in (
            *subset.comparams,
            *(one for table in subset.complex_comparams for one in table.subparams),
        )
    ]
    given = {
        name: found
        for one in base_variant(ecu).comparam_refs
        for name, found in (
            addresses(base_variant(ecu)).items()
            if isinstance(one.spec, ComplexComparam)
            else ((one.short_name, one.get_value()),)
        )
    }
    assert len(specs) > 40
    for spec in specs:
        assert isinstance(spec, Comparam)
        texts = [spec.physical_default_value_raw, given.pop(spec.short_name, None)]
        for text in filter(None, texts):
            physical = spec.dop.physical_type.base_data_type.from_string(text)
            assert spec.dop.compu_method.is_valid_physical_value(physical), (spec.short_name, text)
    assert given == {}


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_accessors_give_the_addresses_of_the_ecu_type(ecu: str) -> None:
    layer, kind = base_variant(ecu), ecu_type(ecu)
    wire = WIRES[kind.wire]
    assert addresses(layer)["CP_ECULayerShortName"] == layer.short_name
    if kind.can_addresses:
        first = kind.can_addresses[0]
        assert layer.uses_can()
        assert layer.get_can_receive_id() == first.request_id
        assert layer.get_can_send_id() == first.response_id
        assert layer.get_can_func_req_id() == wire.functional_id
        assert layer.get_can_baudrate() == wire.bit_rate
        assert layer.uses_can_fd() == (wire.kind == "canfd")
        assert (layer.get_can_fd_baudrate() or 0) == wire.data_bit_rate
        assert layer.get_max_can_payload_size() == (64 if wire.kind == "canfd" else 8)
        assert layer.get_doip_logical_ecu_address() is None
    else:
        assert not layer.uses_can()
        assert layer.get_can_receive_id() is None
        assert layer.get_max_can_payload_size() is None
        assert layer.get_doip_logical_ecu_address() == kind.logical_address
        assert layer.get_doip_logical_gateway_address() == kind.logical_address
        assert layer.get_doip_logical_functional_address() == wire.functional_id
        assert layer.get_doip_logical_tester_address() in TESTER_ADDRESSES
        assert layer.get_doip_routing_activation_type() in OPEN_ACTIVATIONS
        assert layer.get_doip_routing_activation_timeout() == CONTROL_TIMEOUT_S
        assert microseconds(layer, "CP_DoIPDiagnosticAckTimeout") == ACKNOWLEDGE_TIMEOUT_S * 1e6


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_a_tester_waits_longer_than_the_server_takes(ecu: str) -> None:
    layer, kind = base_variant(ecu), ecu_type(ecu)
    p2, p2_star = ("P2Max", "P2Star") if kind.can_addresses else ("P6Max", "P6Star")
    assert microseconds(layer, "CP_P2Max_Ecu") == round(kind.p2_s * 1e6)
    assert microseconds(layer, "CP_P2Star_Ecu") == round(kind.p2_star_s * 1e6)
    assert microseconds(layer, f"CP_{p2}") > round(kind.p2_s * 1e6)
    assert microseconds(layer, f"CP_{p2_star}") > round(kind.p2_star_s * 1e6)
    other = "CP_P6Max" if kind.can_addresses else "CP_P2Max"
    assert layer.get_comparam(other) is None
    assert microseconds(layer, "CP_P3Phys") >= round(kind.p2_s * 1e6)
    period = layer.get_tester_present_time()
    assert period is not None
    assert 0 < period < kind.s3_s / 2
    assert value(layer, "CP_TesterPresentHandling") == "Enabled"
    assert value(layer, "CP_RC21Handling") == "Continue until RC21 timeout"
    assert microseconds(layer, "CP_RC21CompletionTimeout") == round(kind.p2_star_s * 1e6)


@pytest.mark.parametrize("ecu", [one for one in all_ecu_names() if ecu_type(one).can_addresses])
def test_addresses_on_can_are_in_the_published_order_with_the_periodic_one(ecu: str) -> None:
    layer, first = base_variant(ecu), ecu_type(ecu).can_addresses[0]
    found = addresses(layer)
    assert list(found) == ADDRESSES_ON_CAN
    assert found["CP_CanPhysReqFormat"] == "normal segmented 11-bit transmit with FC"
    assert found["CP_CanRespUSDTFormat"] == "normal segmented 11-bit receive with FC"
    assert found["CP_CanRespUUDTFormat"] == "normal unsegmented 11-bit receive"
    periodic = 0xFFFF_FFFF if first.periodic_id is None else first.periodic_id
    assert found["CP_CanRespUUDTId"] == str(periodic)
    assert value(layer, "CP_CanFuncReqFormat") == "normal segmented 11-bit transmit with FC"


def test_a_second_way_to_the_ecu_is_told_apart_from_the_first() -> None:
    _, second = ecu_type("ecomp").can_addresses
    (group,) = (one for one in base_variant("ecomp").sdgs if one.semantic_info != "editions")
    assert isinstance(group, SpecialDataGroup)
    told = {one.semantic_info: one.value for one in group.values if isinstance(one, SpecialData)}
    assert told["CP_CanPhysReqId"] == str(second.request_id)
    assert told["CP_CanRespUUDTId"] == str(second.periodic_id)
    assert told["CP_CanRespUSDTFormat"] == "normal segmented 29-bit receive with FC"


def test_extended_addressing_is_told_with_its_bytes() -> None:
    address = CanAddress(
        request_id=0x18DA_20F1,
        response_id=0x18DA_F120,
        extended=True,
        request_extension=0x42,
        response_extension=0xF1,
    )
    package = loaded(replace(ecu_type("ccu"), can_addresses=(address,)))
    found = addresses(package.base_variants.ccu)
    assert found["CP_CanPhysReqFormat"] == "extended segmented 29-bit transmit with FC"
    assert found["CP_CanRespUSDTFormat"] == "extended segmented 29-bit receive with FC"
    assert found["CP_CanPhysReqExtAddr"] == str(0x42)
    assert found["CP_CanRespUSDTExtAddr"] == str(0xF1)


@pytest.mark.parametrize(
    ("isotp", "filler", "handling"),
    [
        (IsoTpParameters(), "204", "Enabled"),
        (IsoTpParameters(padding=0x55), "85", "Enabled"),
        (IsoTpParameters(padding=None), None, "Disabled"),
        (IsoTpParameters(padding=None, rx_padding_required=True), None, "Enabled"),
    ],
)
def test_padding_is_that_of_the_ecu_type(
    isotp: IsoTpParameters, filler: str | None, handling: str
) -> None:
    package = loaded(replace(ecu_type("ccu"), isotp=isotp))
    layer = package.base_variants.ccu
    assert value(layer, "CP_CanFillerByteHandling") == handling
    found = layer.get_comparam("CP_CanFillerByte")
    assert (None if found is None else found.get_value()) == filler


def test_iso_tp_settings_are_those_of_the_ecu_type() -> None:
    isotp = IsoTpParameters(
        block_size=8,
        st_min=0x05,
        n_as_s=0.11,
        n_ar_s=0.12,
        n_bs_s=0.13,
        n_br_s=0.014,
        n_cs_s=0.015,
        n_cr_s=0.16,
        max_own_wait_frames=3,
    )
    package = loaded(replace(ecu_type("ccu"), isotp=isotp))
    layer = package.base_variants.ccu
    timers = {name: microseconds(layer, f"CP_{name}_Ecu") for name in _TIMERS}
    assert timers == dict(zip(_TIMERS, _TIMES, strict=True))
    assert value(layer, "CP_BlockSize_Ecu") == "8"
    assert value(layer, "CP_StMin_Ecu") == "5"
    assert value(layer, "CP_CanMaxNumWaitFrames") == "3"
    # What a tester waits for is what the ECU does; what it does itself is its own affair.
    waits = {name: microseconds(layer, f"CP_{name}") for name in ("Bs", "Cr")}
    assert waits == {"Bs": 130_000, "Cr": 160_000}
    assert layer.get_comparam("CP_BlockSize") is None


_TIMERS = ("As", "Ar", "Bs", "Br", "Cs", "Cr")
_TIMES = (110_000, 120_000, 130_000, 14_000, 15_000, 160_000)


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_what_the_ecu_keeps_is_marked_as_such(ecu: str) -> None:
    found = {
        one.short_name: one.cpusage for subset in subsets(ecu).values() for one in subset.comparams
    }
    ends = {name for name in found if name.endswith("_Ecu")}
    assert ends >= {"CP_P2Max_Ecu", "CP_P2Star_Ecu"}
    assert ends == {name for name, usage in found.items() if usage is Usage.ECU_SOFTWARE}
