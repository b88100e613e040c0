"""DoIP messages other than UDS in words (ISO 13400-2)."""

from dataclasses import dataclass

from protocols.doip.decoder import HeaderFault
from protocols.doip.messages import (
    ActivationCode,
    ActivationType,
    AliveCheckRequest,
    AliveCheckResponse,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    DiagnosticNack,
    DiagnosticNegativeAcknowledge,
    EntityStatusRequest,
    EntityStatusResponse,
    HeaderNack,
    HeaderNegativeAcknowledge,
    Message,
    NodeType,
    PowerMode,
    PowerModeRequest,
    PowerModeResponse,
    RoutingActivationRequest,
    RoutingActivationResponse,
    VehicleAnnouncement,
    VehicleIdentificationRequest,
)
from recording.trace.names import VehicleNames, record, word


@dataclass(frozen=True, slots=True, kw_only=True)
class DoipSaid:
    name: str
    text: str
    #: Empty: the message does not say it.
    source: str = ""
    target: str = ""
    alarming: bool = False
    #: An acknowledgement or the like, between every two messages.
    routine: bool = False


def said(message: Message | HeaderFault, names: VehicleNames) -> DoipSaid:
    """What a message says; a diagnostic message is told as UDS elsewhere, here by its length."""
    node = names.node
    match message:
        case HeaderFault(code, reason):
            text = f"{word(HeaderNack, code)}: {reason}"
            return DoipSaid(name="no DoIP message", text=text, alarming=True)
        case HeaderNegativeAcknowledge(code):
            text = word(HeaderNack, code)
            return DoipSaid(name="header refused", text=text, alarming=True)
        case VehicleIdentificationRequest(eid, vin):
            asked = record(vin) if vin else f"EID {record(eid)}" if eid else "everybody"
            return DoipSaid(name="vehicle identification request", text=asked)
        case VehicleAnnouncement():
            vin = message.vin
            text = f"VIN {record(vin)}, EID {message.eid.hex(':').upper()}"
            source = node(message.logical_address)
            return DoipSaid(name="vehicle announcement", text=text, source=source)
        case RoutingActivationRequest():
            return DoipSaid(
                name="routing activation request",
                text=word(ActivationType, message.activation_type),
                source=node(message.source_address),
            )
        case RoutingActivationResponse():
            return DoipSaid(
                name="routing activation response",
                text=word(ActivationCode, message.code),
                source=node(message.entity_address),
                target=node(message.source_address),
                alarming=message.code < ActivationCode.SUCCESS,
            )
        case AliveCheckRequest():
            return DoipSaid(name="alive check request", text="")
        case AliveCheckResponse(source_address):
            return DoipSaid(name="alive check response", text="", source=node(source_address))
        case EntityStatusRequest():
            return DoipSaid(name="entity status request", text="")
        case EntityStatusResponse():
            sockets = f"{message.open_sockets} of {message.max_sockets} sockets"
            size = "" if message.max_data_size is None else f", {message.max_data_size} bytes"
            text = f"{word(NodeType, message.node_type)}, {sockets}{size}"
            return DoipSaid(name="entity status response", text=text)
        case PowerModeRequest():
            return DoipSaid(name="power mode request", text="")
        case PowerModeResponse(mode):
            return DoipSaid(name="power mode response", text=word(PowerMode, mode))
        case DiagnosticMessage():
            return DoipSaid(
                name="diagnostic message",
                text=f"{len(message.user_data)} bytes",
                source=node(message.source_address),
                target=node(message.target_address),
            )
        case DiagnosticAcknowledge():
            return DoipSaid(
                name="diagnostic message acknowledged",
                text="",
                source=node(message.source_address),
                target=node(message.target_address),
                routine=True,
            )
        case DiagnosticNegativeAcknowledge():
            return DoipSaid(
                name="diagnostic message refused",
                text=word(DiagnosticNack, message.code),
                source=node(message.source_address),
                target=node(message.target_address),
                alarming=True,
            )
