"""Service 19: the DTC memory's answers, as bytes.

Where the editions leave it open: a record number that no DTC of the ECU has is refused with 31; one
that it has, and has not stored, gives an answer without records. 05 and 16 without a stored record
echo the number alone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.dtc import MIRROR, DtcMemory
from ecu_sim.diagnostics.dtc_records import Record
from protocols.uds import DtcReport
from protocols.uds.dtc import (
    COUNTER_FAILED,
    DTC_FORMAT_IDENTIFIER,
    FIRST_FAILURE_SNAPSHOT,
    OBD_FORMAT_IDENTIFIER,
    SEVERITY_AVAILABILITY_MASK,
    STATUS_AVAILABILITY_MASK,
    ExtendedDataRecord,
    FunctionalGroup,
)
from protocols.uds.requests import ALL_RECORDS

_AVAILABLE: Final = bytes([STATUS_AVAILABILITY_MASK])
_SNAPSHOTS: Final = frozenset({FIRST_FAILURE_SNAPSHOT})
_EXTENDED: Final = frozenset(ExtendedDataRecord)


@dataclass(frozen=True, slots=True)
class _Query:
    memory: DtcMemory
    #: What follows the sub-function in the request.
    parameters: bytes
    #: `DtcRules.permanent_severity`.
    permanent_severity: bool = False

    @property
    def records(self) -> Iterable[Record]:
        return self.memory.records().values()

    def dtc(self, *, selection: int | None = None) -> Record:
        """The DTC that the parameters begin with; `Refusal` where that memory has none such."""
        code = int.from_bytes(self.parameters[:3])
        record = self.memory.records(selection).get(code)
        if record is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no DTC {code:06X}")
        return record

    def selection(self) -> int:
        """The memory that the parameters end with."""
        selection = self.parameters[-1]
        if not self.memory.has_memory(selection):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no DTC memory {selection:02X}")
        return selection

    def group(self) -> int:
        """The functional group that the parameters begin with."""
        group = self.parameters[0]
        if not any(_is_in(record, group) for record in self.records):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no functional group {group:02X}")
        return group


def report(memory: DtcMemory, request: bytes, *, permanent_severity: bool = False) -> bytes:
    """What follows the sub-function in the response; the rules have checked the length."""
    answer = REPORTS.get(request[1] & 0x7F)
    if answer is None:
        raise Refusal(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
    return answer(_Query(memory, request[2:], permanent_severity))


def check_report(memory: DtcMemory, request: bytes) -> None:
    """`Refusal` for a report that could never be answered, whatever a memory holds later."""
    query = _Query(memory, request[2:])
    match request[1] & 0x7F:
        case DtcReport.USER_MEMORY_SNAPSHOT_RECORD_BY_DTC_NUMBER:
            query.selection()
            _wanted(query.parameters[3], _SNAPSHOTS)
        case DtcReport.USER_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER:
            query.selection()
            _wanted(query.parameters[3], _EXTENDED)
        case _:
            report(memory, request)


# Pieces


def _status(record: Record) -> bytes:
    return record.code.to_bytes(3) + bytes([record.status])


def listing(records: Iterable[Record]) -> bytes:
    """DTCs with their status, behind the availability mask."""
    return _AVAILABLE + b"".join(map(_status, records))


def _number(records: Iterable[Record]) -> bytes:
    count = sum(1 for _ in records)
    return _AVAILABLE + bytes([DTC_FORMAT_IDENTIFIER]) + count.to_bytes(2)


def _severe(records: Iterable[Record]) -> bytes:
    return _AVAILABLE + b"".join(
        bytes([record.definition.severity, record.definition.functional_unit]) + _status(record)
        for record in records
    )


def _by_status(records: Iterable[Record], mask: int) -> list[Record]:
    return [record for record in records if record.status & mask]


def _by_severity(query: _Query) -> list[Record]:
    severity, status = query.parameters
    severe = (one for one in query.records if one.definition.severity & severity)
    return _by_status(severe, status)


def _is_in(record: Record, group: int) -> bool:
    of = record.definition.group
    return of is not None and group in {of, FunctionalGroup.ALL}


def _in_group(query: _Query, group: int) -> list[Record]:
    return [record for record in query.records if _is_in(record, group)]


def _emissions(query: _Query) -> list[Record]:
    return _by_status(_in_group(query, FunctionalGroup.EMISSIONS), query.parameters[0])


def _wanted(number: int, known: frozenset[int], *, every: bool = True) -> frozenset[int]:
    """The record numbers that are asked for; `Refusal` for one that the ECU never has."""
    if number == ALL_RECORDS and every:
        return known
    if number not in known:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no record {number:02X}")
    return frozenset((number,))


def _data_records(snapshot: Mapping[int, bytes]) -> bytes:
    parts = b"".join(did.to_bytes(2) + data for did, data in snapshot.items())
    return bytes([len(snapshot)]) + parts


def _snapshots(record: Record, number: int) -> bytes:
    wanted = _wanted(number, _SNAPSHOTS)
    return _status(record) + b"".join(
        bytes([number]) + _data_records(snapshot)
        for number, snapshot in record.snapshots().items()
        if number in wanted
    )


def _extended(record: Record, number: int) -> bytes:
    wanted = _wanted(number, _EXTENDED)
    return _status(record) + b"".join(
        bytes([number]) + data
        for number, data in record.extended_data().items()
        if number in wanted
    )


def _one(records: Iterable[Record], place: Callable[[Record], int], *, last: bool) -> bytes:
    """The DTC whose event was the first, or the last, since the last clear; none has none."""
    happened = sorted((record for record in records if place(record)), key=place)
    return listing(happened[-1:] if last else happened[:1])


# Reports of the primary memory that need more than one expression


def _snapshot_identification(query: _Query) -> bytes:
    return b"".join(
        record.code.to_bytes(3) + bytes([number])
        for record in query.records
        for number in record.snapshots()
    )


def _stored_data(query: _Query) -> bytes:
    wanted = _wanted(query.parameters[0], _SNAPSHOTS)
    stored = b"".join(
        bytes([number]) + _status(record) + _data_records(snapshot)
        for record in query.records
        for number, snapshot in record.snapshots().items()
        if number in wanted
    )
    return stored or query.parameters[:1]


def _extended_by_number(query: _Query) -> bytes:
    (number,) = _wanted(query.parameters[0], _EXTENDED, every=False)
    return bytes([number]) + b"".join(
        _status(record) + record.extended_data()[number]
        for record in query.records
        if number in record.extended_data()
    )


def _supporting(query: _Query) -> bytes:
    """1A: every DTC of this ECU has every extended data record."""
    (number,) = _wanted(query.parameters[0], _EXTENDED, every=False)
    return _AVAILABLE + bytes([number]) + b"".join(map(_status, query.records))


def _fault_detection_counters(query: _Query) -> bytes:
    """14: the DTCs on their way to a failure, of which a status byte says nothing yet."""
    return b"".join(
        record.code.to_bytes(3) + bytes([record.counter])
        for record in query.records
        if 0 < record.counter < COUNTER_FAILED
    )


# Other memories and groups


def _user_memory(query: _Query) -> bytes:
    selection = query.selection()
    kept = query.memory.records(selection).values()
    return bytes([selection]) + listing(_by_status(kept, query.parameters[0]))


def _user_snapshots(query: _Query) -> bytes:
    selection = query.selection()
    kept = query.dtc(selection=selection)
    return bytes([selection]) + _snapshots(kept, query.parameters[3])


def _user_extended(query: _Query) -> bytes:
    selection = query.selection()
    kept = query.dtc(selection=selection)
    return bytes([selection]) + _extended(kept, query.parameters[3])


def _mirrored(query: _Query) -> list[Record]:
    return _by_status(query.memory.records(MIRROR).values(), query.parameters[0])


def _obd_by_mask(query: _Query) -> bytes:
    group, (status, severity) = query.group(), query.parameters[1:]
    found = (
        record
        for record in _by_status(_in_group(query, group), status)
        if record.definition.severity & severity
    )
    head = bytes([group, STATUS_AVAILABILITY_MASK, SEVERITY_AVAILABILITY_MASK])
    return head + bytes([OBD_FORMAT_IDENTIFIER]) + b"".join(map(_with_severity, found))


def _with_severity(record: Record) -> bytes:
    return bytes([record.definition.severity]) + _status(record)


def _obd_permanent(query: _Query) -> bytes:
    group = query.group()
    found = (record for record in _in_group(query, group) if record.permanent)
    head = bytes([group, STATUS_AVAILABILITY_MASK, OBD_FORMAT_IDENTIFIER])
    told = _with_severity if query.permanent_severity else _status
    return head + b"".join(map(told, found))


def _by_readiness_group(query: _Query) -> bytes:
    group, readiness = query.group(), query.parameters[1]
    ready = [
        record
        for record in _in_group(query, group)
        if record.definition.readiness_group == readiness
    ]
    if not ready:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no readiness group {readiness:02X}")
    head = bytes([group, STATUS_AVAILABILITY_MASK, OBD_FORMAT_IDENTIFIER, readiness])
    return head + b"".join(map(_status, ready))


#: Every report there is; the rules say which of them a server has.
REPORTS: Final[Mapping[int, Callable[[_Query], bytes]]] = MappingProxyType(
    {
        DtcReport.NUMBER_BY_STATUS_MASK: lambda q: _number(_by_status(q.records, q.parameters[0])),
        DtcReport.BY_STATUS_MASK: lambda q: listing(_by_status(q.records, q.parameters[0])),
        DtcReport.SNAPSHOT_IDENTIFICATION: _snapshot_identification,
        DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER: lambda q: _snapshots(q.dtc(), q.parameters[3]),
        DtcReport.STORED_DATA_BY_RECORD_NUMBER: _stored_data,
        DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER: lambda q: _extended(q.dtc(), q.parameters[3]),
        DtcReport.NUMBER_BY_SEVERITY_MASK: lambda q: _number(_by_severity(q)),
        DtcReport.BY_SEVERITY_MASK: lambda q: _severe(_by_severity(q)),
        DtcReport.SEVERITY_OF_DTC: lambda q: _severe([q.dtc()]),
        DtcReport.SUPPORTED_DTCS: lambda q: listing(q.records),
        DtcReport.FIRST_TEST_FAILED: lambda q: _one(
            q.records, lambda one: one.failed.first, last=False
        ),
        DtcReport.FIRST_CONFIRMED: lambda q: _one(
            q.records, lambda one: one.confirmed.first, last=False
        ),
        DtcReport.MOST_RECENT_TEST_FAILED: lambda q: _one(
            q.records, lambda one: one.failed.last, last=True
        ),
        DtcReport.MOST_RECENT_CONFIRMED: lambda q: _one(
            q.records, lambda one: one.confirmed.last, last=True
        ),
        DtcReport.MIRROR_MEMORY_BY_STATUS_MASK: lambda q: listing(_mirrored(q)),
        DtcReport.MIRROR_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER: lambda q: _extended(
            q.dtc(selection=MIRROR), q.parameters[3]
        ),
        DtcReport.NUMBER_OF_MIRROR_MEMORY_BY_STATUS_MASK: lambda q: _number(_mirrored(q)),
        DtcReport.NUMBER_OF_EMISSIONS_BY_STATUS_MASK: lambda q: _number(_emissions(q)),
        DtcReport.EMISSIONS_BY_STATUS_MASK: lambda q: listing(_emissions(q)),
        DtcReport.FAULT_DETECTION_COUNTER: _fault_detection_counters,
        DtcReport.PERMANENT_STATUS: lambda q: listing(one for one in q.records if one.permanent),
        DtcReport.EXTENDED_DATA_RECORD_BY_RECORD_NUMBER: _extended_by_number,
        DtcReport.USER_MEMORY_BY_STATUS_MASK: _user_memory,
        DtcReport.USER_MEMORY_SNAPSHOT_RECORD_BY_DTC_NUMBER: _user_snapshots,
        DtcReport.USER_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER: _user_extended,
        DtcReport.SUPPORTED_EXTENDED_DATA_RECORD: _supporting,
        DtcReport.WWH_OBD_BY_MASK_RECORD: _obd_by_mask,
        DtcReport.WWH_OBD_PERMANENT_STATUS: _obd_permanent,
        DtcReport.BY_READINESS_GROUP: _by_readiness_group,
    }
)
