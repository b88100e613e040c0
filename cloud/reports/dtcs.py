"""What became of each trouble code between two readings: new, gone, still there, not tested.

A code counts as *new* or *gone* only if its monitor has completed since the codes were cleared
and in this operation cycle; until then nobody knows, and the verdict is *not tested*.
"""

from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import Final

from cloud.fleet.diagnostics import Dtc, EcuDiagnostics, Snapshot


class Status(IntFlag):
    """DTC status byte, ISO 14229-1 annex D.2."""

    TEST_FAILED = 0x01
    TEST_FAILED_THIS_OPERATION_CYCLE = 0x02
    PENDING_DTC = 0x04
    CONFIRMED_DTC = 0x08
    TEST_NOT_COMPLETED_SINCE_LAST_CLEAR = 0x10
    TEST_FAILED_SINCE_LAST_CLEAR = 0x20
    TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE = 0x40
    WARNING_INDICATOR_REQUESTED = 0x80


class Change(StrEnum):
    NEW = "new"
    GONE = "gone"
    STILL_THERE = "still_there"
    PENDING = "pending"
    NOT_TESTED = "not_tested"
    CLEAR = "clear"


#: (confirmed before, confirmed after, monitor completed after) -> what that means.
CHANGES: Final[dict[tuple[bool, bool, bool], Change]] = {
    (False, False, False): Change.NOT_TESTED,
    (False, False, True): Change.CLEAR,
    (False, True, False): Change.NOT_TESTED,
    (False, True, True): Change.NEW,
    (True, False, False): Change.NOT_TESTED,
    (True, False, True): Change.GONE,
    (True, True, False): Change.STILL_THERE,
    (True, True, True): Change.STILL_THERE,
}

_NOT_COMPLETED = (
    Status.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR | Status.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
)
_WORDS: Final[dict[Status, str]] = {
    Status.TEST_FAILED: "failing now",
    Status.CONFIRMED_DTC: "confirmed",
    Status.PENDING_DTC: "pending",
    Status.TEST_FAILED_SINCE_LAST_CLEAR: "failed since cleared",
    Status.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR: "not tested since cleared",
    Status.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE: "not tested in this cycle",
    Status.WARNING_INDICATOR_REQUESTED: "warning lamp requested",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcChange:
    """One code of one ECU in both readings; a side that did not report it is None."""

    ecu: str
    code: int
    display: str
    text: str
    before: int | None
    after: int | None
    change: Change
    #: A code about communication (U...): an update's own resets can raise it.
    network: bool


def confirmed(status: int | None) -> bool:
    return status is not None and bool(status & Status.CONFIRMED_DTC)


def completed(status: int) -> bool:
    """Tell whether the monitor has run to its end since the last clear and in this cycle."""
    return not status & _NOT_COMPLETED


def change(before: int | None, after: int | None, *, read_after: bool) -> Change:
    """Judge one code by its two status bytes; None means that the ECU did not report it.

    19 02 with mask FF reports every code whose status is not 00: a code that is missing from a
    successful reading has completed its test and stands at 00.
    """
    if not read_after:
        return Change.NOT_TESTED
    now = after or 0
    verdict = CHANGES[confirmed(before), confirmed(now), completed(now)]
    if verdict in {Change.CLEAR, Change.NOT_TESTED} and now & Status.TEST_FAILED:
        return Change.PENDING
    return verdict


def compare(before: Snapshot | None, after: Snapshot | None) -> tuple[DtcChange, ...]:
    """Every code that either reading mentions, by ECU and code."""
    first, second = _by_key(before), _by_key(after)
    readable = {reading.ecu for reading in (after.ecus if after else ()) if not reading.error}
    return tuple(
        _judged(ecu, first.get((ecu, code)), second.get((ecu, code)), read_after=ecu in readable)
        for ecu, code in sorted(first.keys() | second.keys())
    )


def words(status: int | None) -> str:
    """Say a status byte in words, the most telling bit first."""
    if status is None:
        return "not reported"
    said = [text for bit, text in _WORDS.items() if status & bit]
    return ", ".join(said) if said else "tested, no fault"


def _judged(ecu: str, before: Dtc | None, after: Dtc | None, *, read_after: bool) -> DtcChange:
    known = after or before
    if known is None:
        raise ValueError(f"{ecu}: a code that neither reading mentions")
    first = before.status if before else None
    second = after.status if after else None
    return DtcChange(
        ecu=ecu,
        code=known.code,
        display=known.display,
        text=known.text,
        before=first,
        after=second,
        change=change(first, second, read_after=read_after),
        network=known.code >> 22 == 0b11,
    )


def _by_key(snapshot: Snapshot | None) -> dict[tuple[str, int], Dtc]:
    readings: tuple[EcuDiagnostics, ...] = snapshot.ecus if snapshot else ()
    return {(reading.ecu, dtc.code): dtc for reading in readings for dtc in reading.dtcs}
