"""Service 19: the DTC memory's answers, as bytes."""

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.dtc import DtcMemory
from protocols.uds import DtcReport
from protocols.uds.dtc import DTC_FORMAT_IDENTIFIER, STATUS_AVAILABILITY_MASK
from protocols.uds.requests import ALL_RECORDS


def report(memory: DtcMemory, request: bytes) -> bytes:
    """What follows the sub-function in the response; the rules have checked the length."""
    match request[1] & 0x7F:
        case DtcReport.NUMBER_BY_STATUS_MASK:
            count = len(memory.matching(request[2]))
            return bytes([STATUS_AVAILABILITY_MASK, DTC_FORMAT_IDENTIFIER]) + count.to_bytes(2)
        case DtcReport.BY_STATUS_MASK:
            return _listed(memory.matching(request[2]))
        case DtcReport.SUPPORTED_DTCS:
            return _listed(memory.supported())
        case DtcReport.SNAPSHOT_IDENTIFICATION:
            return b"".join(
                code.to_bytes(3) + bytes([number])
                for code in memory.codes
                for number in memory.snapshots(code)
            )
        case DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER:
            return _snapshots(memory, int.from_bytes(request[2:5]), request[5])
        case DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER:
            return _extended_data(memory, int.from_bytes(request[2:5]), request[5])
        case _:
            raise Refusal(Nrc.SUB_FUNCTION_NOT_SUPPORTED)


def _listed(dtcs: list[tuple[int, int]]) -> bytes:
    records = (code.to_bytes(3) + bytes([status]) for code, status in dtcs)
    return bytes([STATUS_AVAILABILITY_MASK]) + b"".join(records)


def _head(memory: DtcMemory, code: int) -> bytes:
    if code not in memory.codes:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no DTC {code:06X}")
    return code.to_bytes(3) + bytes([memory.status(code)])


def _snapshots(memory: DtcMemory, code: int, wanted: int) -> bytes:
    head = _head(memory, code)
    records = b"".join(
        bytes([number, len(data)]) + b"".join(did.to_bytes(2) + data[did] for did in data)
        for number, data in memory.snapshots(code).items()
        if wanted in {number, ALL_RECORDS}
    )
    return head + records


def _extended_data(memory: DtcMemory, code: int, wanted: int) -> bytes:
    head = _head(memory, code)
    records = b"".join(
        bytes([number]) + data
        for number, data in memory.extended_data(code).items()
        if wanted in {number, ALL_RECORDS}
    )
    return head + records
