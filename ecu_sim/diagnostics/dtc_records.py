"""What is kept of one DTC, and its bytes in the ECU's NVM."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from protocols.uds.dtc import (
    COUNTER_FAILED,
    COUNTER_PASSED,
    FIRST_FAILURE_SNAPSHOT,
    ExtendedDataRecord,
    Severity,
    StatusBit,
)

#: Status of a DTC whose test has not run.
CLEARED: Final = (
    StatusBit.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR
    | StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
)
#: code (high byte, low word); status, trips, occurrences, aging, cycles, permanent, data records;
#: orders of the first and last failure and confirmation.
_HEAD: Final = struct.Struct(">BH7B4I")
_DATA: Final = struct.Struct(">HB")


class DtcMemoryError(Exception):
    """A stored DTC memory that cannot be read back, or a DTC that the ECU does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcDefinition:
    #: Three-byte DTC number.
    code: int
    #: Operation cycles with a failure, one after the other, that confirm it.
    confirm_cycles: int = 1
    #: Operation cycles with a completed test and no failure that forget a confirmed one.
    aging_cycles: int = 40
    #: A confirmed one asks for the warning indicator, and is permanent until it is out again.
    indicator: bool = False
    #: DTCSeverity, class bits included.
    severity: int = Severity.MAINTENANCE_ONLY
    #: DTCFunctionalUnit, the manufacturer's numbering.
    functional_unit: int = 0
    #: Steps of the fault detection counter per result; whole steps trust the monitor's own.
    failed_step: int = COUNTER_FAILED
    passed_step: int = -COUNTER_PASSED
    #: FunctionalGroupIdentifier, `None`: in no group.
    group: int | None = None
    #: DTCReadinessGroupIdentifier, `None`: in no group.
    readiness_group: int | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """The first and the last time since the last clear, as places in an order; 0: never."""

    first: int = 0
    last: int = 0

    def again(self, order: int) -> "Times":
        return Times(self.first or order, order)


@dataclass(slots=True)
class Record:
    definition: DtcDefinition
    status: int = CLEARED
    #: Consecutive operation cycles with a failure.
    trips: int = 0
    occurrences: int = 0
    aging: int = 0
    cycles_since_first_failure: int = 0
    #: It has asked for the warning indicator, and 14 cannot undo that.
    permanent: bool = False
    failed: Times = field(default_factory=Times)
    confirmed: Times = field(default_factory=Times)
    #: DID -> data record, taken at the first failure; empty: none taken.
    snapshot: dict[int, bytes] = field(default_factory=dict)
    #: Fault detection counter; begins anew with each operation cycle.
    counter: int = 0

    @property
    def code(self) -> int:
        return self.definition.code

    def copy(self) -> "Record":
        return replace(self, snapshot=dict(self.snapshot))

    def forget(self) -> None:
        """Everything that is kept besides the status, except that it is permanent."""
        self.occurrences = self.aging = self.trips = self.cycles_since_first_failure = 0
        self.confirmed = Times()
        self.snapshot = {}

    def clear(self) -> None:
        """As 14 leaves it."""
        self.status = CLEARED
        self.counter = 0
        self.failed = Times()
        self.forget()

    def snapshots(self) -> dict[int, Mapping[int, bytes]]:
        """Record number -> (DID -> data record)."""
        return {FIRST_FAILURE_SNAPSHOT: self.snapshot} if self.snapshot else {}

    def extended_data(self) -> dict[int, bytes]:
        """Record number -> data; none for a DTC that has not failed since it was cleared."""
        if not self.occurrences:
            return {}
        return {
            ExtendedDataRecord.OCCURRENCE_COUNTER: bytes([self.occurrences]),
            ExtendedDataRecord.AGING_COUNTER: bytes([self.aging]),
            ExtendedDataRecord.CYCLES_SINCE_FIRST_FAILURE: bytes([self.cycles_since_first_failure]),
        }


def encode(record: Record) -> bytes:
    head = _HEAD.pack(
        record.code >> 16,
        record.code & 0xFFFF,
        record.status,
        record.trips,
        record.occurrences,
        record.aging,
        record.cycles_since_first_failure,
        record.permanent,
        len(record.snapshot),
        record.failed.first,
        record.failed.last,
        record.confirmed.first,
        record.confirmed.last,
    )
    data = (_DATA.pack(did, len(value)) + value for did, value in record.snapshot.items())
    return head + b"".join(data)


def decode(stored: bytes, at: int) -> tuple[int, Record]:
    """The record at this place, and where the next one begins."""
    if at + _HEAD.size > len(stored):
        raise DtcMemoryError(f"DTC memory: cut short at byte {at}")
    high, low, *counters, permanent, parts, first, last, confirmed_first, confirmed_last = (
        _HEAD.unpack_from(stored, at)
    )
    at += _HEAD.size
    snapshot: dict[int, bytes] = {}
    for _ in range(parts):
        start = at + _DATA.size
        end = start + (stored[start - 1] if start <= len(stored) else 0)
        if max(start, end) > len(stored):
            raise DtcMemoryError(f"DTC memory: snapshot of {high:02X}{low:04X} cut short")
        snapshot[int.from_bytes(stored[at : at + 2])] = stored[start:end]
        at = end
    status, trips, occurrences, aging, cycles = counters
    return at, Record(
        DtcDefinition(code=high << 16 | low),
        status=status,
        trips=trips,
        occurrences=occurrences,
        aging=aging,
        cycles_since_first_failure=cycles,
        permanent=bool(permanent),
        failed=Times(first, last),
        confirmed=Times(confirmed_first, confirmed_last),
        snapshot=snapshot,
    )
