"""The DTC memories of one ECU: status bits, snapshots, counters (ISO 14229-1 Annex D.2).

The primary memory follows the tests. A user-defined memory, and the mirror memory, keep each DTC
as it stood while it was last confirmed, over 14 and aging, until they are cleared themselves.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ecu_sim.diagnostics.dtc_records import (
    CLEARED,
    DtcDefinition,
    DtcMemoryError,
    Record,
    decode,
    encode,
)
from protocols.uds.dtc import COUNTER_FAILED, COUNTER_PASSED, GROUP_BASE, StatusBit
from protocols.uds.requests import ALL_DTCS

__all__ = ["MIRROR", "DtcDefinition", "DtcMemory", "DtcMemoryError"]

#: Names the mirror memory where a memorySelection (one byte) names another.
MIRROR: Final = 0x100

_COMPLETED: Final = ~CLEARED & 0xFF
_FAILED: Final = (
    StatusBit.TEST_FAILED
    | StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
    | StatusBit.PENDING_DTC
    | StatusBit.TEST_FAILED_SINCE_LAST_CLEAR
)
#: Operation cycles without a failure after which the warning indicator goes out.
_INDICATOR_CYCLES: Final = 3
_LAYOUT_VERSION: Final = 2
_COUNTER_MAX: Final = 0xFF


def _count(counter: int) -> int:
    return min(counter + 1, _COUNTER_MAX)


class DtcMemory:
    """Fed with test results, read by 19, cleared by 14; `to_bytes` goes to the ECU's NVM.

    `capture` reads the snapshot's data records when a test fails first; each at most 255 bytes.
    `memories` are the memorySelections of user-defined memories, or `MIRROR`.
    """

    def __init__(
        self,
        definitions: Iterable[DtcDefinition] = (),
        *,
        capture: Callable[[], Mapping[int, bytes]] = dict,
        memories: Iterable[int] = (),
    ) -> None:
        self._records = {definition.code: Record(definition) for definition in definitions}
        self._copies: dict[int, dict[int, Record]] = {selection: {} for selection in memories}
        self._capture = capture
        self._changed = False
        #: Place of the latest event in the order of all.
        self._order = 0
        #: DTCs whose updating 85 02 has stopped.
        self._stopped: frozenset[int] = frozenset()

    @property
    def codes(self) -> tuple[int, ...]:
        return tuple(self._records)

    @property
    def changed(self) -> bool:
        """Whether something worth keeping changed since the last `to_bytes` or `restore`."""
        return self._changed

    def report(self, code: int, *, failed: bool) -> None:
        """Take a test's result; `DtcMemoryError` for a DTC that this ECU does not have.

        Results step the fault detection counter; at its ends the test has failed, or passed. A
        result against its sign begins at 0 again.
        """
        record = self._record(code)
        if code in self._stopped:
            return
        before = record.status
        if failed:
            step = record.definition.failed_step
            record.counter = min(max(record.counter, 0) + step, COUNTER_FAILED)
        else:
            step = record.definition.passed_step
            record.counter = max(min(record.counter, 0) - step, COUNTER_PASSED)
        if record.counter == COUNTER_FAILED:
            self._fail(record)
        elif record.counter == COUNTER_PASSED:
            record.status &= _COMPLETED & ~StatusBit.TEST_FAILED
        if record.status != before:
            self._changed = True
            self._keep(record)

    def _fail(self, record: Record) -> None:
        if not record.status & StatusBit.TEST_FAILED:
            record.failed = record.failed.again(self._next())
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
            self._confirm(record)

    def _confirm(self, record: Record) -> None:
        if not record.status & StatusBit.CONFIRMED_DTC:
            record.confirmed = record.confirmed.again(self._next())
        record.status |= StatusBit.CONFIRMED_DTC
        if record.definition.indicator:
            record.status |= StatusBit.WARNING_INDICATOR_REQUESTED
            record.permanent = True

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _keep(self, record: Record) -> None:
        if record.status & StatusBit.CONFIRMED_DTC:
            for kept in self._copies.values():
                kept[record.code] = record.copy()

    @property
    def logging(self) -> bool:
        """Whether every DTC is updated."""
        return not self._stopped

    def set_logging(self, group: int = ALL_DTCS, *, on: bool) -> None:
        """Stop or resume the updating of a group's status bits and counters."""
        codes = self._group(group)
        self._stopped = self._stopped.difference(codes) if on else self._stopped.union(codes)

    def start_operation_cycle(self) -> None:
        """A new cycle begins (the ECU was powered on): what the last one told is settled."""
        for record in self._records.values():
            self._settle(record)
            record.counter = 0
            record.status &= ~StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
            record.status |= StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
            self._keep(record)
        self._changed = True

    def _settle(self, record: Record) -> None:
        if record.occurrences:
            record.cycles_since_first_failure = _count(record.cycles_since_first_failure)
        failed = record.status & StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
        if failed or record.status & StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE:
            return
        record.status &= ~StatusBit.PENDING_DTC
        record.trips = 0
        if record.status & StatusBit.CONFIRMED_DTC:
            self._age(record)
        if not record.status & StatusBit.WARNING_INDICATOR_REQUESTED:
            # Only the ECU's own finding ends a permanent DTC: a cycle in which the test passed.
            record.permanent = False

    def _age(self, record: Record) -> None:
        record.aging = _count(record.aging)
        if record.aging >= _INDICATOR_CYCLES:
            record.status &= ~StatusBit.WARNING_INDICATOR_REQUESTED
        if record.aging >= record.definition.aging_cycles:
            record.status &= ~StatusBit.CONFIRMED_DTC
            record.forget()

    def has_group(self, group: int) -> bool:
        return group == ALL_DTCS or bool(self._group(group))

    def _group(self, group: int) -> tuple[int, ...]:
        """The DTCs of a groupOfDTC: all, those of a functional group, or one."""
        if group == ALL_DTCS:
            return self.codes
        if group in self._records:
            return (group,)
        return tuple(
            code
            for code, record in self._records.items()
            if record.definition.group is not None and group == GROUP_BASE | record.definition.group
        )

    def clear(self, group: int = ALL_DTCS, *, selection: int | None = None) -> None:
        """Forget a group, of the primary memory or of that selected one.

        `DtcMemoryError` for a DTC or a memory that this ECU does not have.
        """
        if not self.has_group(group):
            raise DtcMemoryError(f"this ECU has no DTC {group:06X}")
        for code in self._group(group):
            if selection is None:
                self._records[code].clear()
            else:
                self._kept(selection).pop(code, None)
        self._changed = True

    def status(self, code: int) -> int:
        return self._record(code).status

    def records(self, selection: int | None = None) -> Mapping[int, Record]:
        """DTC -> what is kept of it, in the order defined: in the primary memory, or another."""
        return self._records if selection is None else self._kept(selection)

    def has_memory(self, selection: int) -> bool:
        return selection in self._copies

    def matching(self, mask: int) -> list[tuple[int, int]]:
        """(code, status) of each DTC that shares a bit with `mask`, in the order defined."""
        return [
            (code, record.status) for code, record in self._records.items() if record.status & mask
        ]

    def supported(self) -> list[tuple[int, int]]:
        return [(code, record.status) for code, record in self._records.items()]

    def snapshots(self, code: int) -> dict[int, Mapping[int, bytes]]:
        """Record number -> (DID -> data record)."""
        return self._record(code).snapshots()

    def extended_data(self, code: int) -> dict[int, bytes]:
        """Record number -> data; none for a DTC that has not failed since it was cleared."""
        return self._record(code).extended_data()

    def to_bytes(self) -> bytes:
        """Everything that outlives the power: each memory with its DTCs' records."""
        self._changed = False
        memories = [self._records, *self._copies.values()]
        return bytes([_LAYOUT_VERSION, len(self._copies)]) + b"".join(
            selection.to_bytes(2) + len(kept).to_bytes(2) + b"".join(map(encode, kept.values()))
            for selection, kept in zip((0, *self._copies), memories, strict=True)
        )

    def restore(self, stored: bytes) -> None:
        """Take back what `to_bytes` gave; DTCs and memories that the ECU has no more are dropped.

        `DtcMemoryError`, with nothing taken, for bytes that `to_bytes` did not write.
        """
        if len(stored) < 2 or stored[0] != _LAYOUT_VERSION:
            raise DtcMemoryError(f"DTC memory: unknown layout {stored[:1].hex() or 'nothing'}")
        memories: list[tuple[int, dict[int, Record]]] = []
        at = 2
        for _ in range(1 + stored[1]):
            selection, at, kept = self._decode(stored, at)
            memories.append((selection, kept))
        if at != len(stored):
            raise DtcMemoryError(f"DTC memory: {len(stored) - at} bytes too many")
        (_, primary), *others = memories
        self._records |= primary
        for selection, kept in others:
            if selection in self._copies:
                self._copies[selection] = kept
        self._order = max(
            (max(one.failed.last, one.confirmed.last) for one in primary.values()), default=0
        )
        self._changed = False

    def _decode(self, stored: bytes, at: int) -> tuple[int, int, dict[int, Record]]:
        """One memory at this place: its selection, where it ends, and its records."""
        if at + 4 > len(stored):
            raise DtcMemoryError(f"DTC memory: cut short at byte {at}")
        selection, count = int.from_bytes(stored[at : at + 2]), stored[at + 2 : at + 4]
        at += 4
        kept: dict[int, Record] = {}
        for _ in range(int.from_bytes(count)):
            at, record = decode(stored, at)
            if record.code in self._records:
                record.definition = self._records[record.code].definition
                kept[record.code] = record
        return selection, at, kept

    def _record(self, code: int) -> Record:
        try:
            return self._records[code]
        except KeyError:
            raise DtcMemoryError(f"this ECU has no DTC {code:06X}") from None

    def _kept(self, selection: int) -> dict[int, Record]:
        try:
            return self._copies[selection]
        except KeyError:
            raise DtcMemoryError(f"this ECU has no DTC memory {selection:02X}") from None
