"""DoIP messages (ISO 13400-2): one dataclass per payload type, and the table of their lengths."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

VERSION_2012: Final = 0x02
VERSION_2019: Final = 0x03
#: Only in vehicle identification requests, by a tester that does not know the edition yet.
VERSION_DISCOVERY: Final = 0xFF
#: A loop that counts whole nanoseconds calls a core at the one nearest to its deadline.
RESOLUTION_S: Final = 1e-9
#: UDP discovery and TCP data; TCP data over TLS (from the 2019 edition on).
PORT: Final = 13400
TLS_PORT: Final = 3496


class PayloadType(IntEnum):
    HEADER_NEGATIVE_ACKNOWLEDGE = 0x0000
    VEHICLE_IDENTIFICATION_REQUEST = 0x0001
    VEHICLE_IDENTIFICATION_REQUEST_EID = 0x0002
    VEHICLE_IDENTIFICATION_REQUEST_VIN = 0x0003
    VEHICLE_ANNOUNCEMENT = 0x0004
    ROUTING_ACTIVATION_REQUEST = 0x0005
    ROUTING_ACTIVATION_RESPONSE = 0x0006
    ALIVE_CHECK_REQUEST = 0x0007
    ALIVE_CHECK_RESPONSE = 0x0008
    ENTITY_STATUS_REQUEST = 0x4001
    ENTITY_STATUS_RESPONSE = 0x4002
    POWER_MODE_REQUEST = 0x4003
    POWER_MODE_RESPONSE = 0x4004
    DIAGNOSTIC_MESSAGE = 0x8001
    DIAGNOSTIC_ACKNOWLEDGE = 0x8002
    DIAGNOSTIC_NEGATIVE_ACKNOWLEDGE = 0x8003


class HeaderNack(IntEnum):
    INCORRECT_PATTERN_FORMAT = 0x00
    UNKNOWN_PAYLOAD_TYPE = 0x01
    MESSAGE_TOO_LARGE = 0x02
    OUT_OF_MEMORY = 0x03
    INVALID_PAYLOAD_LENGTH = 0x04


class ActivationType(IntEnum):
    DEFAULT = 0x00
    REGULATORY = 0x01
    CENTRAL_SECURITY = 0xE0


class ActivationCode(IntEnum):
    UNKNOWN_SOURCE_ADDRESS = 0x00
    NO_FREE_SOCKET = 0x01
    SOURCE_ADDRESS_DIFFERS = 0x02
    SOURCE_ADDRESS_ACTIVE_ELSEWHERE = 0x03
    AUTHENTICATION_MISSING = 0x04
    CONFIRMATION_REJECTED = 0x05
    UNSUPPORTED_TYPE = 0x06
    TLS_REQUIRED = 0x07
    SUCCESS = 0x10
    CONFIRMATION_REQUIRED = 0x11


class DiagnosticNack(IntEnum):
    INVALID_SOURCE_ADDRESS = 0x02
    UNKNOWN_TARGET_ADDRESS = 0x03
    MESSAGE_TOO_LARGE = 0x04
    OUT_OF_MEMORY = 0x05
    TARGET_UNREACHABLE = 0x06
    UNKNOWN_NETWORK = 0x07
    TRANSPORT_PROTOCOL_ERROR = 0x08


class PowerMode(IntEnum):
    NOT_READY = 0x00
    READY = 0x01
    NOT_SUPPORTED = 0x02


class NodeType(IntEnum):
    GATEWAY = 0x00
    NODE = 0x01


@dataclass(frozen=True, slots=True)
class HeaderNegativeAcknowledge:
    code: int


@dataclass(frozen=True, slots=True)
class VehicleIdentificationRequest:
    """By neither, EID (six bytes) or VIN (17 characters, as bytes)."""

    eid: bytes | None = None
    vin: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleAnnouncement:
    """Also the answer to a vehicle identification request."""

    vin: bytes
    logical_address: int
    eid: bytes
    gid: bytes
    further_action: int = 0x00
    #: VIN/GID synchronisation status; `None`: the optional byte is left out.
    sync_status: int | None = 0x00


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingActivationRequest:
    source_address: int
    activation_type: int = ActivationType.DEFAULT
    #: The manufacturer's four bytes; `None`: left out.
    oem: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingActivationResponse:
    source_address: int
    #: Logical address of the entity that answers.
    entity_address: int
    code: int
    #: The manufacturer's four bytes; `None`: left out.
    oem: bytes | None = None


@dataclass(frozen=True, slots=True)
class AliveCheckRequest:
    pass


@dataclass(frozen=True, slots=True)
class AliveCheckResponse:
    source_address: int


@dataclass(frozen=True, slots=True)
class EntityStatusRequest:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityStatusResponse:
    #: 0 gateway, 1 node.
    node_type: int
    max_sockets: int
    open_sockets: int
    #: Largest request in bytes that the entity takes (MDS); `None`: left out.
    max_data_size: int | None


@dataclass(frozen=True, slots=True)
class PowerModeRequest:
    pass


@dataclass(frozen=True, slots=True)
class PowerModeResponse:
    #: 0 not ready, 1 ready, 2 not supported.
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticMessage:
    source_address: int
    target_address: int
    user_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticAcknowledge:
    #: Of the ECU that was asked; source and target are those of the request, swapped.
    source_address: int
    target_address: int
    code: int = 0x00
    #: The beginning of the message that it is for, if the entity repeats it.
    previous: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticNegativeAcknowledge:
    source_address: int
    target_address: int
    code: int
    previous: bytes = b""


Message = (
    HeaderNegativeAcknowledge
    | VehicleIdentificationRequest
    | VehicleAnnouncement
    | RoutingActivationRequest
    | RoutingActivationResponse
    | AliveCheckRequest
    | AliveCheckResponse
    | EntityStatusRequest
    | EntityStatusResponse
    | PowerModeRequest
    | PowerModeResponse
    | DiagnosticMessage
    | DiagnosticAcknowledge
    | DiagnosticNegativeAcknowledge
)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2])


def _announcement(data: bytes) -> VehicleAnnouncement:
    return VehicleAnnouncement(
        vin=data[:17],
        logical_address=_u16(data, 17),
        eid=data[19:25],
        gid=data[25:31],
        further_action=data[31],
        sync_status=data[32] if len(data) > 32 else None,
    )


def _entity_status(data: bytes) -> EntityStatusResponse:
    return EntityStatusResponse(
        node_type=data[0],
        max_sockets=data[1],
        open_sockets=data[2],
        max_data_size=int.from_bytes(data[3:7]) if len(data) > 3 else None,
    )


#: Longest payload of a message that has no largest length of its own.
_ANY: Final = 0xFFFF_FFFF
_Row = tuple[frozenset[int] | range, Callable[[bytes], Message]]


def _exactly(*lengths: int) -> frozenset[int]:
    return frozenset(lengths)


#: Payload type -> lengths that the standard allows, and how the payload reads.
LAYOUTS: Final[dict[int, _Row]] = {
    PayloadType.HEADER_NEGATIVE_ACKNOWLEDGE: (
        _exactly(1),
        lambda data: HeaderNegativeAcknowledge(data[0]),
    ),
    PayloadType.VEHICLE_IDENTIFICATION_REQUEST: (
        _exactly(0),
        lambda _: VehicleIdentificationRequest(),
    ),
    PayloadType.VEHICLE_IDENTIFICATION_REQUEST_EID: (
        _exactly(6),
        lambda data: VehicleIdentificationRequest(eid=data),
    ),
    PayloadType.VEHICLE_IDENTIFICATION_REQUEST_VIN: (
        _exactly(17),
        lambda data: VehicleIdentificationRequest(vin=data),
    ),
    PayloadType.VEHICLE_ANNOUNCEMENT: (_exactly(32, 33), _announcement),
    # Four reserved bytes, whatever they hold, then the manufacturer's four, which are optional.
    PayloadType.ROUTING_ACTIVATION_REQUEST: (
        _exactly(7, 11),
        lambda data: RoutingActivationRequest(
            source_address=_u16(data, 0), activation_type=data[2], oem=data[7:] or None
        ),
    ),
    PayloadType.ROUTING_ACTIVATION_RESPONSE: (
        _exactly(9, 13),
        lambda data: RoutingActivationResponse(
            source_address=_u16(data, 0),
            entity_address=_u16(data, 2),
            code=data[4],
            oem=data[9:] or None,
        ),
    ),
    PayloadType.ALIVE_CHECK_REQUEST: (_exactly(0), lambda _: AliveCheckRequest()),
    PayloadType.ALIVE_CHECK_RESPONSE: (
        _exactly(2),
        lambda data: AliveCheckResponse(_u16(data, 0)),
    ),
    PayloadType.ENTITY_STATUS_REQUEST: (_exactly(0), lambda _: EntityStatusRequest()),
    PayloadType.ENTITY_STATUS_RESPONSE: (_exactly(3, 7), _entity_status),
    PayloadType.POWER_MODE_REQUEST: (_exactly(0), lambda _: PowerModeRequest()),
    PayloadType.POWER_MODE_RESPONSE: (_exactly(1), lambda data: PowerModeResponse(data[0])),
    PayloadType.DIAGNOSTIC_MESSAGE: (
        range(5, _ANY),
        lambda data: DiagnosticMessage(
            source_address=_u16(data, 0), target_address=_u16(data, 2), user_data=data[4:]
        ),
    ),
    # An acknowledgement may repeat the beginning of the message that it is for.
    PayloadType.DIAGNOSTIC_ACKNOWLEDGE: (
        range(5, _ANY),
        lambda data: DiagnosticAcknowledge(
            source_address=_u16(data, 0),
            target_address=_u16(data, 2),
            code=data[4],
            previous=data[5:],
        ),
    ),
    PayloadType.DIAGNOSTIC_NEGATIVE_ACKNOWLEDGE: (
        range(5, _ANY),
        lambda data: DiagnosticNegativeAcknowledge(
            source_address=_u16(data, 0),
            target_address=_u16(data, 2),
            code=data[4],
            previous=data[5:],
        ),
    ),
}


def _payload(message: Message) -> tuple[PayloadType, bytes]:
    match message:
        case DiagnosticMessage():
            addresses = message.source_address << 16 | message.target_address
            return PayloadType.DIAGNOSTIC_MESSAGE, addresses.to_bytes(4) + message.user_data
        case DiagnosticAcknowledge():
            addresses = message.source_address << 16 | message.target_address
            acknowledge = addresses.to_bytes(4) + bytes([message.code]) + message.previous
            return PayloadType.DIAGNOSTIC_ACKNOWLEDGE, acknowledge
        case DiagnosticNegativeAcknowledge():
            addresses = message.source_address << 16 | message.target_address
            acknowledge = addresses.to_bytes(4) + bytes([message.code]) + message.previous
            return PayloadType.DIAGNOSTIC_NEGATIVE_ACKNOWLEDGE, acknowledge
        case HeaderNegativeAcknowledge(code):
            return PayloadType.HEADER_NEGATIVE_ACKNOWLEDGE, bytes([code])
        case VehicleIdentificationRequest(None, None):
            return PayloadType.VEHICLE_IDENTIFICATION_REQUEST, b""
        case VehicleIdentificationRequest(bytes() as eid, None):
            return PayloadType.VEHICLE_IDENTIFICATION_REQUEST_EID, eid
        case VehicleIdentificationRequest(_, vin):
            return PayloadType.VEHICLE_IDENTIFICATION_REQUEST_VIN, vin or b""
        case VehicleAnnouncement():
            sync = b"" if message.sync_status is None else bytes([message.sync_status])
            identity = message.vin + message.logical_address.to_bytes(2) + message.eid + message.gid
            announcement = identity + bytes([message.further_action]) + sync
            return PayloadType.VEHICLE_ANNOUNCEMENT, announcement
        case RoutingActivationRequest():
            request = message.source_address.to_bytes(2) + bytes([message.activation_type])
            return PayloadType.ROUTING_ACTIVATION_REQUEST, request + bytes(4) + (message.oem or b"")
        case RoutingActivationResponse():
            addresses = message.source_address << 16 | message.entity_address
            response = addresses.to_bytes(4) + bytes([message.code])
            return PayloadType.ROUTING_ACTIVATION_RESPONSE, response + bytes(4) + (
                message.oem or b""
            )
        case AliveCheckRequest():
            return PayloadType.ALIVE_CHECK_REQUEST, b""
        case AliveCheckResponse(source_address):
            return PayloadType.ALIVE_CHECK_RESPONSE, source_address.to_bytes(2)
        case EntityStatusRequest():
            return PayloadType.ENTITY_STATUS_REQUEST, b""
        case EntityStatusResponse():
            size = message.max_data_size
            counts = bytes([message.node_type, message.max_sockets, message.open_sockets])
            status = counts if size is None else counts + size.to_bytes(4)
            return PayloadType.ENTITY_STATUS_RESPONSE, status
        case PowerModeRequest():
            return PayloadType.POWER_MODE_REQUEST, b""
        case PowerModeResponse(mode):
            return PayloadType.POWER_MODE_RESPONSE, bytes([mode])


def encode(message: Message, *, version: int = VERSION_2012) -> bytes:
    """The message behind its generic header."""
    payload_type, payload = _payload(message)
    header = bytes([version, version ^ 0xFF]) + payload_type.to_bytes(2)
    return header + len(payload).to_bytes(4) + payload
