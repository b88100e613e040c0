"""Responses, decoded once at the tester's edge; `MalformedResponseError` for anything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from protocols.uds.dtc import EXTENDED_DATA_LENGTHS, ExtendedDataRecord
from protocols.uds.enums import (
    NEGATIVE_RESPONSE,
    POSITIVE_RESPONSE,
    DtcReport,
    DynamicDefinition,
    Nrc,
    OutputControl,
    RoutineControl,
    ServiceId,
    Session,
)
from protocols.uds.errors import MalformedResponseError

#: Kinds of scaling bytes that are followed by as many bytes as their low nibble says.
_EXTENDED_SCALING: Final = frozenset({0x9, 0xA})


@dataclass(frozen=True, slots=True)
class NegativeResponse:
    service_id: int
    #: The code as sent; `Nrc(code)` where it is one that this project knows.
    code: int

    @property
    def pending(self) -> bool:
        return self.code == Nrc.RESPONSE_PENDING

    def __str__(self) -> str:
        try:
            name = Nrc(self.code).name
        except ValueError:
            name = "unknown code"
        return f"service 0x{self.service_id:02X} refused: {name} (0x{self.code:02X})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParameters:
    session: Session
    p2_s: float
    p2_star_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingByte:
    """One scalingByte of 64 and what extends it (a formula's constants, a unit's code)."""

    #: High nibble: 0 unsigned, 1 signed, 5 states, 6 text, 9 formula, 10 unit, ...
    kind: int
    #: Low nibble: bytes of the record that it speaks of, or bytes that extend it.
    count: int
    extension: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcStatus:
    #: Three-byte DTC number, last byte the failure type.
    code: int
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    code: int
    status: int
    record_number: int
    #: DID -> data record.
    data: Mapping[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedData:
    code: int
    status: int
    #: Record number -> data record; numbers as in `ExtendedDataRecord`.
    records: Mapping[int, bytes]

    def counter(self, record: ExtendedDataRecord) -> int | None:
        found = self.records.get(record)
        return None if found is None else int.from_bytes(found)


def decode_negative(payload: bytes) -> NegativeResponse | None:
    """The refusal that a payload is, `None` if it is none."""
    if len(payload) != 3 or payload[0] != NEGATIVE_RESPONSE:
        return None
    return NegativeResponse(payload[1], payload[2])


def _body(payload: bytes, service: ServiceId, *, echo: bytes = b"", least: int = 0) -> bytes:
    """What follows the service's identifier and the bytes that echo the request."""
    head = bytes([service + POSITIVE_RESPONSE]) + echo
    if not payload.startswith(head) or len(payload) < len(head) + least:
        raise MalformedResponseError(
            f"{service.name}: expected {head.hex(' ')} and {least} more bytes,"
            f" got {payload[:16].hex(' ')}"
        )
    return payload[len(head) :]


def decode_session(payload: bytes) -> SessionParameters:
    """50: P2 comes in milliseconds, P2* in units of 10 ms."""
    body = _body(payload, ServiceId.DIAGNOSTIC_SESSION_CONTROL, least=5)
    try:
        session = Session(body[0])
    except ValueError as error:
        raise MalformedResponseError(f"unknown session 0x{body[0]:02X}") from error
    return SessionParameters(
        session=session,
        p2_s=int.from_bytes(body[1:3]) / 1000,
        p2_star_s=int.from_bytes(body[3:5]) / 100,
    )


def decode_seed(payload: bytes, level: int) -> bytes:
    """67: the seed; all zero when the level is unlocked already."""
    return _body(payload, ServiceId.SECURITY_ACCESS, echo=bytes([level]), least=1)


def decode_data(payload: bytes, did: int) -> bytes:
    """62, asked with one DID: its data record."""
    return _body(payload, ServiceId.READ_DATA_BY_IDENTIFIER, echo=did.to_bytes(2))


def decode_memory(payload: bytes, size: int) -> bytes:
    """63, asked for `size` bytes."""
    body = _body(payload, ServiceId.READ_MEMORY_BY_ADDRESS)
    if len(body) != size:
        raise MalformedResponseError(f"63: {len(body)} of {size} bytes")
    return body


def decode_scaling(payload: bytes, did: int) -> tuple[ScalingByte, ...]:
    """64: scaling bytes in order; formulas (9) and units (A) are followed by their extension."""
    echo = did.to_bytes(2)
    body = _body(payload, ServiceId.READ_SCALING_DATA_BY_IDENTIFIER, echo=echo, least=1)
    found: list[ScalingByte] = []
    at = 0
    while at < len(body):
        kind, count = body[at] >> 4, body[at] & 0x0F
        length = count if kind in _EXTENDED_SCALING else 0
        at += 1
        if at + length > len(body):
            raise MalformedResponseError(f"64: scaling byte {kind:X}{count:X} is cut short")
        found.append(ScalingByte(kind=kind, count=count, extension=body[at : at + length]))
        at += length
    return tuple(found)


def decode_periodic(message: bytes, *, unsegmented: bool) -> tuple[int, bytes]:
    """A periodic message (2A): its identifier F2xx and record.

    `unsegmented`: of type 2, one frame that begins with the identifier; else of type 1, a response
    that begins with 6A.
    """
    service = bytes([ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER + POSITIVE_RESPONSE])
    content = message if unsegmented else message.removeprefix(service)
    if len(content) < 2 or (not unsegmented and content is message):
        raise MalformedResponseError(f"no periodic message: {message[:8].hex(' ')}")
    return 0xF200 | content[0], content[1:]


def decode_definition(payload: bytes, definition: DynamicDefinition, did: int | None) -> None:
    """6C: raises `MalformedResponseError` unless it echoes the request."""
    echo = bytes([definition]) + (b"" if did is None else did.to_bytes(2))
    if _body(payload, ServiceId.DYNAMICALLY_DEFINE_DATA_IDENTIFIER, echo=echo):
        raise MalformedResponseError("6C: more than the echo of the request")


def decode_output_control(payload: bytes, did: int, control: OutputControl) -> bytes:
    """6F: the control status record."""
    echo = did.to_bytes(2) + bytes([control])
    return _body(payload, ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER, echo=echo)


def decode_routine(payload: bytes, rid: int) -> bytes:
    """71 01: the routineStatusRecord."""
    echo = bytes([RoutineControl.START]) + rid.to_bytes(2)
    return _body(payload, ServiceId.ROUTINE_CONTROL, echo=echo)


def decode_download(payload: bytes) -> int:
    """74: maxNumberOfBlockLength, which counts service identifier and counter too."""
    return _largest_block(payload, ServiceId.REQUEST_DOWNLOAD)


def decode_upload(payload: bytes) -> int:
    """75: the same for the responses to 36."""
    return _largest_block(payload, ServiceId.REQUEST_UPLOAD)


def _largest_block(payload: bytes, service: ServiceId) -> int:
    body = _body(payload, service, least=2)
    head = f"{payload[0]:02X}"
    length = body[0] >> 4
    if not 1 <= length <= 8 or len(body) != 1 + length:
        raise MalformedResponseError(f"{head}: length format {body[0]:02X} in {payload.hex(' ')}")
    largest = int.from_bytes(body[1:])
    if largest < 3:
        raise MalformedResponseError(f"{head}: blocks of {largest} bytes carry no data")
    return largest


def decode_uploaded(payload: bytes, block_sequence_counter: int) -> bytes:
    """76 of an upload: the block's data."""
    return _body(payload, ServiceId.TRANSFER_DATA, echo=bytes([block_sequence_counter]), least=1)


def decode_transfer(payload: bytes, block_sequence_counter: int) -> None:
    """76: the block was taken."""
    _body(payload, ServiceId.TRANSFER_DATA, echo=bytes([block_sequence_counter]))


def decode_dtcs(payload: bytes) -> tuple[DtcStatus, ...]:
    """59 02 or 59 0A: the DTCs in the ECU's order."""
    body = _body(payload, ServiceId.READ_DTC_INFORMATION, least=2)
    if body[0] not in {DtcReport.BY_STATUS_MASK, DtcReport.SUPPORTED_DTCS} or len(body) % 4 != 2:
        raise MalformedResponseError(f"59: no list of DTCs: {payload[:16].hex(' ')}")
    return tuple(
        DtcStatus(code=int.from_bytes(body[at : at + 3]), status=body[at + 3])
        for at in range(2, len(body), 4)
    )


def decode_snapshots(payload: bytes, lengths: Mapping[int, int]) -> tuple[Snapshot, ...]:
    """59 04: the records; `lengths` says how many bytes each DID's data record has.

    The message does not say so itself, so an unknown DID cannot be stepped over.
    """
    echo = bytes([DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER])
    body = _body(payload, ServiceId.READ_DTC_INFORMATION, echo=echo, least=4)
    code, status = int.from_bytes(body[:3]), body[3]
    found: list[Snapshot] = []
    at = 4
    while at < len(body):
        if at + 2 > len(body):
            raise MalformedResponseError("59 04: a record without its number of identifiers")
        number, count = body[at], body[at + 1]
        at += 2
        data: dict[int, bytes] = {}
        for _ in range(count):
            did = int.from_bytes(body[at : at + 2])
            length = lengths.get(did)
            if at + 2 > len(body) or length is None or at + 2 + length > len(body):
                raise MalformedResponseError(f"59 04: cannot read DID {did:04X} of a snapshot")
            data[did] = body[at + 2 : at + 2 + length]
            at += 2 + length
        found.append(Snapshot(code=code, status=status, record_number=number, data=data))
    return tuple(found)


def decode_extended_data(
    payload: bytes, lengths: Mapping[int, int] = EXTENDED_DATA_LENGTHS
) -> ExtendedData:
    """59 06: `lengths` says how many bytes each record number has."""
    echo = bytes([DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER])
    body = _body(payload, ServiceId.READ_DTC_INFORMATION, echo=echo, least=4)
    records: dict[int, bytes] = {}
    at = 4
    while at < len(body):
        number = body[at]
        length = lengths.get(number)
        if length is None or at + 1 + length > len(body):
            raise MalformedResponseError(f"59 06: cannot read extended data record {number:02X}")
        records[number] = body[at + 1 : at + 1 + length]
        at += 1 + length
    return ExtendedData(code=int.from_bytes(body[:3]), status=body[3], records=records)
