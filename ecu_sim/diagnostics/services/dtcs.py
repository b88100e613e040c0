"""Diagnostic trouble codes and what keeps them quiet (14, 19, 28, 85)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.dtc_reports import report
from ecu_sim.diagnostics.handling import Handler, Request, fitting, positive
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import CommunicationControl, CommunicationType, DtcSetting, ServiceId
from protocols.uds.requests import ALL_DTCS

#: High nibble of communicationType: all subnets, or the one that the request came on.
_SUBNETS: Final = frozenset({0x0, 0xF})


def _clear_dtcs(state: ServerState, request: Request) -> Work:
    group = int.from_bytes(request.data[1:4])
    selection = request.data[4] if len(request.data) > 4 else None
    memory = state.device.dtcs
    if not memory.has_group(group) or not (selection is None or memory.has_memory(selection)):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    return Work(
        start=lambda _: state.device.clear_dtcs(group, selection=selection),
        finish=lambda _: Answer(positive(ServiceId.CLEAR_DIAGNOSTIC_INFORMATION)),
    )


def _read_dtcs(state: ServerState, request: Request) -> Answer:
    told = report(
        state.device.dtcs,
        request.data,
        permanent_severity=state.rules.dtcs.permanent_severity,
    )
    reported = bytes([request.sub_function]) + told
    return fitting(state, positive(ServiceId.READ_DTC_INFORMATION, reported))


def _control_dtc_setting(state: ServerState, request: Request) -> Answer:
    """85; DTCSettingControlOptionRecord: none, or a list of groupOfDTC (three bytes each)."""
    setting, option = DtcSetting(request.sub_function), request.data[2:]
    if len(option) % 3:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    groups = [int.from_bytes(option[at : at + 3]) for at in range(0, len(option), 3)]
    if not all(map(state.device.dtcs.has_group, groups)):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    state.device.set_dtc_logging(on=setting == DtcSetting.ON, groups=groups or [ALL_DTCS])
    return Answer(positive(ServiceId.CONTROL_DTC_SETTING, bytes([setting])))


def _communication_control(state: ServerState, request: Request) -> Answer:
    control = CommunicationControl(request.sub_function)
    communication = CommunicationType(request.data[2] & 0x03)
    # Bits 2 and 3 are reserved.
    if not communication or request.data[2] & 0x0C or request.data[2] >> 4 not in _SUBNETS:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    node = int.from_bytes(request.data[3:5]) if len(request.data) > 3 else None
    if node is not None and node not in state.rules.nodes:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no node {node:04X}")
    state.device.communication_control(control, communication, node=node)
    return Answer(positive(ServiceId.COMMUNICATION_CONTROL, bytes([control])))


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.CLEAR_DIAGNOSTIC_INFORMATION: _clear_dtcs,
        ServiceId.READ_DTC_INFORMATION: _read_dtcs,
        ServiceId.COMMUNICATION_CONTROL: _communication_control,
        ServiceId.CONTROL_DTC_SETTING: _control_dtc_setting,
    }
)
