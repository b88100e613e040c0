"""Requests, as the bytes a tester sends."""

from collections.abc import Iterable
from dataclasses import dataclass

from protocols.uds.enums import (
    SUPPRESS_POSITIVE_RESPONSE,
    CommunicationControl,
    CommunicationType,
    DtcReport,
    DtcSetting,
    DynamicDefinition,
    OutputControl,
    ResetType,
    RoutineControl,
    ServiceId,
    Session,
    TransmissionMode,
)

#: groupOfDTC that means every DTC (ISO 14229-1 Annex D.1).
ALL_DTCS = 0xFFFFFF
#: Record number that means every snapshot or extended data record.
ALL_RECORDS = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRange:
    """A range, and in how many bytes its address and size are sent (1 to 4 each)."""

    address: int
    size: int
    address_bytes: int = 4
    size_bytes: int = 4

    @property
    def format(self) -> int:
        """AddressAndLengthFormatIdentifier."""
        return self.size_bytes << 4 | self.address_bytes

    def encode(self) -> bytes:
        """Address and size without their format; `OverflowError` if they do not fit it."""
        return self.address.to_bytes(self.address_bytes) + self.size.to_bytes(self.size_bytes)


@dataclass(frozen=True, slots=True)
class RecordPart:
    """`size` bytes of a data identifier's record, from byte `position` (1 is the first)."""

    did: int
    position: int
    size: int


def _sub_function(value: int, *, suppress: bool) -> int:
    return value | SUPPRESS_POSITIVE_RESPONSE if suppress else value


def session_control(session: Session, *, suppress: bool = False) -> bytes:
    sub_function = _sub_function(session, suppress=suppress)
    return bytes([ServiceId.DIAGNOSTIC_SESSION_CONTROL, sub_function])


def ecu_reset(reset: ResetType, *, suppress: bool = False) -> bytes:
    return bytes([ServiceId.ECU_RESET, _sub_function(reset, suppress=suppress)])


def clear_dtcs(group: int = ALL_DTCS) -> bytes:
    return bytes([ServiceId.CLEAR_DIAGNOSTIC_INFORMATION]) + group.to_bytes(3)


def count_dtcs(status_mask: int = 0xFF) -> bytes:
    report = DtcReport.NUMBER_BY_STATUS_MASK
    return bytes([ServiceId.READ_DTC_INFORMATION, report, status_mask])


def read_dtcs(status_mask: int = 0xFF) -> bytes:
    return bytes([ServiceId.READ_DTC_INFORMATION, DtcReport.BY_STATUS_MASK, status_mask])


def read_supported_dtcs() -> bytes:
    return bytes([ServiceId.READ_DTC_INFORMATION, DtcReport.SUPPORTED_DTCS])


def read_snapshots(code: int, record: int = ALL_RECORDS) -> bytes:
    report = DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER
    return bytes([ServiceId.READ_DTC_INFORMATION, report, *code.to_bytes(3), record])


def read_extended_data(code: int, record: int = ALL_RECORDS) -> bytes:
    report = DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER
    return bytes([ServiceId.READ_DTC_INFORMATION, report, *code.to_bytes(3), record])


def read_data(*dids: int) -> bytes:
    return bytes([ServiceId.READ_DATA_BY_IDENTIFIER]) + b"".join(did.to_bytes(2) for did in dids)


def write_data(did: int, record: bytes) -> bytes:
    return bytes([ServiceId.WRITE_DATA_BY_IDENTIFIER]) + did.to_bytes(2) + record


def request_seed(level: int) -> bytes:
    """Ask for the seed of a security level (odd sub-function)."""
    return bytes([ServiceId.SECURITY_ACCESS, level])


def send_key(level: int, key: bytes) -> bytes:
    """Answer the seed of `level`; the sub-function is the level's successor."""
    return bytes([ServiceId.SECURITY_ACCESS, level + 1]) + key


def communication_control(
    control: CommunicationControl,
    communication: CommunicationType = CommunicationType.NORMAL,
    *,
    suppress: bool = False,
) -> bytes:
    sub_function = _sub_function(control, suppress=suppress)
    return bytes([ServiceId.COMMUNICATION_CONTROL, sub_function, communication])


def control_dtc_setting(setting: DtcSetting, *, suppress: bool = False) -> bytes:
    return bytes([ServiceId.CONTROL_DTC_SETTING, _sub_function(setting, suppress=suppress)])


def start_routine(rid: int, option: bytes = b"", *, suppress: bool = False) -> bytes:
    sub_function = _sub_function(RoutineControl.START, suppress=suppress)
    return bytes([ServiceId.ROUTINE_CONTROL, sub_function]) + rid.to_bytes(2) + option


def request_download(
    address: int,
    size: int,
    *,
    data_format: int = 0x00,
    address_bytes: int = 4,
    size_bytes: int = 4,
) -> bytes:
    """Announce a download; `OverflowError` if address or size do not fit their bytes."""
    memory = MemoryRange(
        address=address, size=size, address_bytes=address_bytes, size_bytes=size_bytes
    )
    return bytes([ServiceId.REQUEST_DOWNLOAD, data_format, memory.format]) + memory.encode()


def transfer_data(block_sequence_counter: int, data: bytes) -> bytes:
    return bytes([ServiceId.TRANSFER_DATA, block_sequence_counter]) + data


def next_block(block_sequence_counter: int) -> int:
    """The counter of the block after this one; 0xFF is followed by 0x00."""
    return (block_sequence_counter + 1) % 256


def request_transfer_exit() -> bytes:
    return bytes([ServiceId.REQUEST_TRANSFER_EXIT])


def tester_present(*, suppress: bool = True) -> bytes:  # noqa: PT028 no test
    return bytes([ServiceId.TESTER_PRESENT, _sub_function(0x00, suppress=suppress)])


def read_memory(memory: MemoryRange) -> bytes:
    return bytes([ServiceId.READ_MEMORY_BY_ADDRESS, memory.format]) + memory.encode()


def write_memory(memory: MemoryRange, data: bytes) -> bytes:
    """`ValueError` if the data is not as long as the range says."""
    if len(data) != memory.size:
        raise ValueError(f"{len(data)} bytes for a range of {memory.size}")
    return bytes([ServiceId.WRITE_MEMORY_BY_ADDRESS, memory.format]) + memory.encode() + data


def request_upload(memory: MemoryRange, *, data_format: int = 0) -> bytes:
    head = bytes([ServiceId.REQUEST_UPLOAD, data_format, memory.format])
    return head + memory.encode()


def read_scaling(did: int) -> bytes:
    return bytes([ServiceId.READ_SCALING_DATA_BY_IDENTIFIER]) + did.to_bytes(2)


def read_periodic(mode: TransmissionMode, dids: Iterable[int] = ()) -> bytes:
    """`dids` are F2xx; only their low byte is sent. None with `STOP`: all."""
    low_bytes = bytes(did & 0xFF for did in dids)
    return bytes([ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER, mode]) + low_bytes


def define_by_identifier(did: int, parts: Iterable[RecordPart]) -> bytes:
    elements = b"".join(part.did.to_bytes(2) + bytes([part.position, part.size]) for part in parts)
    return _definition(DynamicDefinition.BY_IDENTIFIER) + did.to_bytes(2) + elements


def define_by_memory_address(did: int, first: MemoryRange, *more: MemoryRange) -> bytes:
    """All ranges in the format of the first; `ValueError` for another."""
    if any(memory.format != first.format for memory in more):
        raise ValueError("one request has one address and length format")
    ranges = b"".join(memory.encode() for memory in (first, *more))
    head = _definition(DynamicDefinition.BY_MEMORY_ADDRESS) + did.to_bytes(2)
    return head + bytes([first.format]) + ranges


def clear_definition(did: int | None = None) -> bytes:
    """Forget one dynamically defined identifier, or all."""
    named = b"" if did is None else did.to_bytes(2)
    return _definition(DynamicDefinition.CLEAR) + named


def control_output(
    did: int, control: OutputControl, *, state: bytes = b"", mask: bytes = b""
) -> bytes:
    """2F: `state` for `SHORT_TERM_ADJUSTMENT` only; `mask`: the first output is its first bit."""
    head = bytes([ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER]) + did.to_bytes(2)
    return head + bytes([control]) + state + mask


def _definition(definition: DynamicDefinition) -> bytes:
    return bytes([ServiceId.DYNAMICALLY_DEFINE_DATA_IDENTIFIER, definition])
