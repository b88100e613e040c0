"""Unified diagnostic services (ISO 14229-1): codes, codecs, security access, the server's rules."""

from protocols.uds.enums import (
    CommunicationControl,
    CommunicationType,
    DataIdentifier,
    DtcReport,
    DtcSetting,
    DynamicDefinition,
    Nrc,
    OutputControl,
    ResetType,
    RoutineControl,
    RoutineId,
    ServiceId,
    Session,
    TransmissionMode,
)
from protocols.uds.errors import MalformedResponseError, Refusal, UdsError

__all__ = [
    "CommunicationControl",
    "CommunicationType",
    "DataIdentifier",
    "DtcReport",
    "DtcSetting",
    "DynamicDefinition",
    "MalformedResponseError",
    "Nrc",
    "OutputControl",
    "Refusal",
    "ResetType",
    "RoutineControl",
    "RoutineId",
    "ServiceId",
    "Session",
    "TransmissionMode",
    "UdsError",
]
