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

#: High nibble of communicationType: all subnets, or the one that the request came on.
_SUBNETS: Final = frozenset({0x0, 0xF})


def _clear_dtcs(state: ServerState, request: Request) -> Work:
    group = int.from_bytes(request.data[1:4])
    if not state.device.dtcs.has_group(group):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    return Work(
        start=lambda _: state.device.clear_dtcs(group),
        finish=lambda _: Answer(positive(ServiceId.CLEAR_DIAGNOSTIC_INFORMATION)),
    )


def _read_dtcs(state: ServerState, request: Request) -> Answer:
    reported = bytes([request.sub_function]) + report(state.device.dtcs, request.data)
    return fitting(state, positive(ServiceId.READ_DTC_INFORMATION, reported))


def _control_dtc_setting(state: ServerState, request: Request) -> Answer:
    setting = DtcSetting(request.sub_function)
    state.device.set_dtc_logging(on=setting == DtcSetting.ON)
    return Answer(positive(ServiceId.CONTROL_DTC_SETTING, bytes([setting])))


def _communication_control(state: ServerState, request: Request) -> Answer:
    control = CommunicationControl(request.sub_function)
    communication = CommunicationType(request.data[2] & 0x03)
    # Bits 2 and 3 are reserved.
    if not communication or request.data[2] & 0x0C or request.data[2] >> 4 not in _SUBNETS:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    state.device.communication_control(control, communication)
    return Answer(positive(ServiceId.COMMUNICATION_CONTROL, bytes([control])))


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.CLEAR_DIAGNOSTIC_INFORMATION: _clear_dtcs,
        ServiceId.READ_DTC_INFORMATION: _read_dtcs,
        ServiceId.COMMUNICATION_CONTROL: _communication_control,
        ServiceId.CONTROL_DTC_SETTING: _control_dtc_setting,
    }
)
