"""The DTC memory of one ECU: status bits, snapshots, counters (ISO 14229-1 Annex D.2)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocols.uds.dtc import FIRST_FAILURE_SNAPSHOT, ExtendedDataRecord, StatusBit
from protocols.uds.requests import ALL_DTCS

_CLEARED: Final = (
    StatusBit.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR
    | StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
)
_COMPLETED: Final = ~_CLEARED & 0xFF
_FAILED: Final = (
    StatusBit.TEST_FAILED
    | StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
    | StatusBit.PENDING_DTC
    | StatusBit.TEST_FAILED_SINCE_LAST_CLEAR
)
#: Operation cycles without a failure after which the warning indicator goes out.
_INDICATOR_CYCLES: Final = 3
_LAYOUT_VERSION: Final = 1
_COUNTER_MAX: Final = 0xFF


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
    #: A confirmed one asks for the warning indicator.
    indicator: bool = False


@dataclass(slots=True)
class _Record:
    definition: DtcDefinition
    status: int = _CLEARED
    #: Consecutive operation cycles with a failure.
    trips: int = 0
    occurrences: int = 0
    aging: int = 0
    cycles_since_first_failure: int = 0
    #: DID -> data record, taken at the first failure; empty: none taken.
    snapshot: dict[int, bytes] = field(default_factory=dict)

    def forget(self) -> None:
        self.occurrences = self.aging = self.trips = self.cycles_since_first_failure = 0
        self.snapshot = {}


def _count(counter: int) -> int:
    return min(counter + 1, _COUNTER_MAX)


class DtcMemory:
    """Fed with test results, read by 19, cleared by 14; `to_bytes` goes to the ECU's NVM.

    `capture` reads the snapshot's data records when a test fails first; each at most 255 bytes.
    """

    def __init__(
        self,
        definitions: Iterable[DtcDefinition] = (),
        *,
        capture: Callable[[], Mapping[int, bytes]] = dict,
    ) -> None:
        self._records = {definition.code: _Record(definition) for definition in definitions}
        self._capture = capture
        self._changed = False
        #: 85 02 stops the updating of status bits.
        self.logging = True

    @property
    def codes(self) -> tuple[int, ...]:
        return tuple(self._records)

    @property
    def changed(self) -> bool:
        """Whether something worth keeping changed since the last `to_bytes` or `restore`."""
        return self._changed

    def report(self, code: int, *, failed: bool) -> None:
        """Take a test's result; `DtcMemoryError` for a DTC that this ECU does not have."""
        record = self._record(code)
        if not self.logging:
            return
        before = record.status
        if failed:
            self._fail(record)
        else:
            record.status &= _COMPLETED & ~StatusBit.TEST_FAILED
        self._changed |= record.status != before

    def _fail(self, record: _Record) -> None:
        first_this_cycle = not record.status & StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
        record.status = record.status & _COMPLETED | _FAILED
        record.aging = 0
        if not first_this_cycle:
            return
        record.trips = _count(record.trips)
        record.occurrences = _count(record.occurrences)
        if not record.snapshot:
            record.snapshot = dict(self._capture())
        if record.trips >= record.definition.confirm_cycles:
            record.status |= StatusBit.CONFIRMED_DTC
            if record.definition.indicator:
                record.status |= StatusBit.WARNING_INDICATOR_REQUESTED

    def start_operation_cycle(self) -> None:
        """A new cycle begins (the ECU was powered on): what the last one told is settled."""
        for record in self._records.values():
            self._settle(record)
            record.status &= ~StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
            record.status |= StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
        self._changed = True

    def _settle(self, record: _Record) -> None:
        if record.occurrences:
            record.cycles_since_first_failure = _count(record.cycles_since_first_failure)
        failed = record.status & StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
        if failed or record.status & StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE:
            return
        record.status &= ~StatusBit.PENDING_DTC
        record.trips = 0
        if not record.status & StatusBit.CONFIRMED_DTC:
            return
        record.aging = _count(record.aging)
        if record.aging >= _INDICATOR_CYCLES:
            record.status &= ~StatusBit.WARNING_INDICATOR_REQUESTED
        if record.aging >= record.definition.aging_cycles:
            record.status &= ~StatusBit.CONFIRMED_DTC
            record.forget()

    def has_group(self, group: int) -> bool:
        return group == ALL_DTCS or group in self._records

    def clear(self, group: int = ALL_DTCS) -> None:
        """Forget one DTC, or all; `DtcMemoryError` for one that this ECU does not have."""
        cleared = self._records.values() if group == ALL_DTCS else (self._record(group),)
        for record in cleared:
            record.status = _CLEARED
            record.forget()
        self._changed = True

    def status(self, code: int) -> int:
        return self._record(code).status

    def matching(self, mask: int) -> list[tuple[int, int]]:
        """(code, status) of each DTC that shares a bit with `mask`, in the order defined."""
        return [
            (code, record.status) for code, record in self._records.items() if record.status & mask
        ]

    def supported(self) -> list[tuple[int, int]]:
        return [(code, record.status) for code, record in self._records.items()]

    def snapshots(self, code: int) -> dict[int, Mapping[int, bytes]]:
        """Record number -> (DID -> data record)."""
        snapshot = self._record(code).snapshot
        return {FIRST_FAILURE_SNAPSHOT: snapshot} if snapshot else {}

    def extended_data(self, code: int) -> dict[int, bytes]:
        """Record number -> data; none for a DTC that has not failed since it was cleared."""
        record = self._record(code)
        if not record.occurrences:
            return {}
        return {
            ExtendedDataRecord.OCCURRENCE_COUNTER: bytes([record.occurrences]),
            ExtendedDataRecord.AGING_COUNTER: bytes([record.aging]),
            ExtendedDataRecord.CYCLES_SINCE_FIRST_FAILURE: bytes(
                [record.cycles_since_first_failure]
            ),
        }

    def to_bytes(self) -> bytes:
        """Everything that outlives the power: per DTC its code, status, counters, snapshot."""
        self._changed = False
        return bytes([_LAYOUT_VERSION]) + b"".join(
            _encode(code, record) for code, record in self._records.items()
        )

    def restore(self, stored: bytes) -> None:
        """Take back what `to_bytes` gave; DTCs that the ECU has no more are dropped.

        `DtcMemoryError`, with nothing taken, for bytes that `to_bytes` did not write.
        """
        if stored[:1] != bytes([_LAYOUT_VERSION]):
            raise DtcMemoryError(f"DTC memory: unknown layout {stored[:1].hex() or 'nothing'}")
        restored: dict[int, _Record] = {}
        at = 1
        while at < len(stored):
            at, code, record = _decode(stored, at)
            if code in self._records:
                record.definition = self._records[code].definition
                restored[code] = record
        self._records |= restored
        self._changed = False

    def _record(self, code: int) -> _Record:
        try:
            return self._records[code]
        except KeyError:
            raise DtcMemoryError(f"this ECU has no DTC {code:06X}") from None


def _encode(code: int, record: _Record) -> bytes:
    counters = bytes(
        [
            record.status,
            record.trips,
            record.occurrences,
            record.aging,
            record.cycles_since_first_failure,
            len(record.snapshot),
        ]
    )
    snapshot = b"".join(
        did.to_bytes(2) + bytes([len(data)]) + data for did, data in record.snapshot.items()
    )
    return code.to_bytes(3) + counters + snapshot


def _decode(stored: bytes, at: int) -> tuple[int, int, _Record]:
    """One DTC's record at this place, and where the next one begins."""
    head = stored[at : at + 9]
    if len(head) < 9:
        raise DtcMemoryError(f"DTC memory: cut short at byte {at}")
    code = int.from_bytes(head[:3])
    snapshot: dict[int, bytes] = {}
    at += 9
    for _ in range(head[8]):
        end = at + 3 + stored[at + 2] if at + 3 <= len(stored) else at + 3
        if end > len(stored):
            raise DtcMemoryError(f"DTC memory: snapshot of {code:06X} cut short")
        snapshot[int.from_bytes(stored[at : at + 2])] = stored[at + 3 : end]
        at = end
    record = _Record(
        DtcDefinition(code=code),
        status=head[3],
        trips=head[4],
        occurrences=head[5],
        aging=head[6],
        cycles_since_first_failure=head[7],
        snapshot=snapshot,
    )
    return at, code, record
