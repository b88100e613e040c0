"""Rows of the services on trouble codes and on what keeps an ECU quiet (14 19 28 85).

The editions differ in 19: mirror memory (0F-11) and the emissions reports 12 and 13 are in 2013
alone, 1A and 56 in 2020 alone. 14 has a memory selection since 2020.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from protocols.editions import UdsEdition
from protocols.uds.enums import CommunicationControl, DtcReport, DtcSetting, ServiceId
from protocols.uds.rules.access import NON_DEFAULT
from protocols.uds.rules.model import DtcRules, ServiceRule, SubFunctionRule


def _exactly(length: int) -> SubFunctionRule:
    return SubFunctionRule(min_length=length, max_length=length)


#: In both editions.
_ALWAYS: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.NUMBER_BY_STATUS_MASK: _exactly(3),
    DtcReport.BY_STATUS_MASK: _exactly(3),
    DtcReport.SNAPSHOT_IDENTIFICATION: _exactly(2),
    DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER: _exactly(6),
    DtcReport.STORED_DATA_BY_RECORD_NUMBER: _exactly(3),
    DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER: _exactly(6),
    DtcReport.NUMBER_BY_SEVERITY_MASK: _exactly(4),
    DtcReport.BY_SEVERITY_MASK: _exactly(4),
    DtcReport.SEVERITY_OF_DTC: _exactly(5),
    DtcReport.SUPPORTED_DTCS: _exactly(2),
    DtcReport.FIRST_TEST_FAILED: _exactly(2),
    DtcReport.FIRST_CONFIRMED: _exactly(2),
    DtcReport.MOST_RECENT_TEST_FAILED: _exactly(2),
    DtcReport.MOST_RECENT_CONFIRMED: _exactly(2),
    DtcReport.FAULT_DETECTION_COUNTER: _exactly(2),
    DtcReport.PERMANENT_STATUS: _exactly(2),
    DtcReport.EXTENDED_DATA_RECORD_BY_RECORD_NUMBER: _exactly(3),
}
_SINCE_2020: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.SUPPORTED_EXTENDED_DATA_RECORD: _exactly(3),
}
_USER_DEFINED_MEMORY: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.USER_MEMORY_BY_STATUS_MASK: _exactly(4),
    DtcReport.USER_MEMORY_SNAPSHOT_RECORD_BY_DTC_NUMBER: _exactly(7),
    DtcReport.USER_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER: _exactly(7),
}
_MIRROR_MEMORY_2013: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.MIRROR_MEMORY_BY_STATUS_MASK: _exactly(3),
    DtcReport.MIRROR_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER: _exactly(6),
    DtcReport.NUMBER_OF_MIRROR_MEMORY_BY_STATUS_MASK: _exactly(3),
}
_EMISSIONS: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.WWH_OBD_BY_MASK_RECORD: _exactly(5),
    DtcReport.WWH_OBD_PERMANENT_STATUS: _exactly(3),
}
_EMISSIONS_2013: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.NUMBER_OF_EMISSIONS_BY_STATUS_MASK: _exactly(3),
    DtcReport.EMISSIONS_BY_STATUS_MASK: _exactly(3),
}
_EMISSIONS_2020: Final[Mapping[int, SubFunctionRule]] = {
    DtcReport.BY_READINESS_GROUP: _exactly(4),
}

_ENHANCED: Final = frozenset(
    {
        CommunicationControl.ENABLE_RX_DISABLE_TX_OF_NODE,
        CommunicationControl.ENABLE_RX_AND_TX_OF_NODE,
    }
)

#: 85; the option record names DTCs, three bytes each; none: all.
DTC_SETTING: Final = ServiceRule(
    sessions=NON_DEFAULT, sub_functions=dict.fromkeys(DtcSetting, SubFunctionRule(max_length=None))
)


def dtc_reports(dtcs: DtcRules, edition: UdsEdition) -> dict[int, SubFunctionRule]:
    """The sub-functions of 19 that a server of this edition has."""
    newest = edition >= UdsEdition.E2020
    rows: dict[int, SubFunctionRule] = {**_ALWAYS}
    if newest:
        rows |= _SINCE_2020
    if dtcs.memories:
        rows |= _USER_DEFINED_MEMORY
    if dtcs.mirror and not newest:
        rows |= _MIRROR_MEMORY_2013
    if dtcs.emissions:
        rows |= _EMISSIONS
        rows |= _EMISSIONS_2020 if newest else _EMISSIONS_2013
    return rows


def communication_control(nodes: Iterable[int] = ()) -> ServiceRule:
    """28; with enhanced address information (04, 05) where there are nodes to name."""
    rows: dict[int, SubFunctionRule] = {
        control: _exactly(3) for control in CommunicationControl if control not in _ENHANCED
    }
    if any(True for _ in nodes):
        rows |= {control: _exactly(5) for control in _ENHANCED}
    return ServiceRule(sessions=NON_DEFAULT, sub_functions=rows)


def dtc_services(dtcs: DtcRules, edition: UdsEdition) -> dict[int, ServiceRule]:
    """14, 19 and 85 of an application."""
    selects = edition >= UdsEdition.E2020 and bool(dtcs.memories)
    return {
        ServiceId.CLEAR_DIAGNOSTIC_INFORMATION: ServiceRule(
            min_length=4, max_length=5 if selects else 4
        ),
        ServiceId.READ_DTC_INFORMATION: ServiceRule(
            shared=True, sub_functions=dtc_reports(dtcs, edition)
        ),
        ServiceId.CONTROL_DTC_SETTING: DTC_SETTING,
    }
