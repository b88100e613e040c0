"""What became of each trouble code between two readings: new, gone, still there, not tested.

A code counts as *new* or *gone* only if its monitor has completed since the codes were cleared
and in this operation cycle; until then nobody knows, and the verdict is *not tested*. A code of
lost communication that our own reset of another ECU has raised is neither: *own reset*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cloud.fleet.diagnostics import Dtc, EcuDiagnostics, Snapshot
from protocols.uds.dtc import StatusBit


class Change(StrEnum):
    NEW = "new"
    GONE = "gone"
    STILL_THERE = "still_there"
    PENDING = "pending"
    NOT_TESTED = "not_tested"
    OWN_RESET = "own_reset"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the verdict on one code depends on, and nothing else does."""

    #: The ECU was read at all the second time.
    read: bool
    confirmed_before: bool
    #: Bits 3 and 0 of the second reading.
    confirmed: bool
    failing: bool
    #: Bits 4 and 6 are clear: the monitor has run to its end since the clear and in this cycle.
    completed: bool
    #: Communication was lost while we reset another ECU, and only then.
    own_reset: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A verdict where these facts hold; None: whatever it is."""

    verdict: Change
    read: bool | None = None
    confirmed_before: bool | None = None
    confirmed: bool | None = None
    failing: bool | None = None
    completed: bool | None = None
    own_reset: bool | None = None

    def holds(self, facts: Facts) -> bool:
        return all(
            wanted is None or wanted is found
            for wanted, found in (
                (self.read, facts.read),
                (self.confirmed_before, facts.confirmed_before),
                (self.confirmed, facts.confirmed),
                (self.failing, facts.failing),
                (self.completed, facts.completed),
                (self.own_reset, facts.own_reset),
            )
        )


#: The first rule that holds decides.
RULES: Final = (
    Rule(read=False, verdict=Change.NOT_TESTED),
    Rule(confirmed_before=True, confirmed=True, verdict=Change.STILL_THERE),
    Rule(confirmed_before=False, own_reset=True, verdict=Change.OWN_RESET),
    Rule(confirmed=True, completed=True, verdict=Change.NEW),
    Rule(confirmed=True, completed=False, verdict=Change.NOT_TESTED),
    Rule(failing=True, verdict=Change.PENDING),
    Rule(completed=False, verdict=Change.NOT_TESTED),
    Rule(confirmed_before=True, verdict=Change.GONE),
    Rule(verdict=Change.CLEAR),
)

_NOT_COMPLETED: Final = (
    StatusBit.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR
    | StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
)
#: Bits that say that a test has failed, now or before.
_RAISED: Final = (
    StatusBit.TEST_FAILED
    | StatusBit.TEST_FAILED_THIS_OPERATION_CYCLE
    | StatusBit.PENDING_DTC
    | StatusBit.CONFIRMED_DTC
    | StatusBit.TEST_FAILED_SINCE_LAST_CLEAR
)
_WORDS: Final[dict[StatusBit, str]] = {
    StatusBit.TEST_FAILED: "failing now",
    StatusBit.CONFIRMED_DTC: "confirmed",
    StatusBit.PENDING_DTC: "pending",
    StatusBit.TEST_FAILED_SINCE_LAST_CLEAR: "failed since cleared",
    StatusBit.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR: "not tested since cleared",
    StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE: "not tested in this cycle",
    StatusBit.WARNING_INDICATOR_REQUESTED: "warning lamp requested",
}
#: SAE J2012-DA: U01xx and U02xx are "lost communication with"; a failure type of 87 is "missing
#: message", whatever the number.
_LOST_COMMUNICATION: Final = range(0xC100, 0xC300)
_MISSING_MESSAGE: Final = 0x87
#: An ECU that was reset is back on its wire, and missed by nobody, after so long.
SETTLE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """We had this ECU not at work for a time, in an activation or a revert."""

    ecu: str
    start: datetime
    end: datetime


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
    #: A code about communication (U...).
    network: bool


def confirmed(status: int | None) -> bool:
    return status is not None and bool(status & StatusBit.CONFIRMED_DTC)


def completed(status: int) -> bool:
    """Tell whether the monitor has run to its end since the last clear and in this cycle."""
    return not status & _NOT_COMPLETED


def about_communication(code: int) -> bool:
    """Tell whether a 24-bit code is of the network: U, the two upper bits set."""
    return code >> 22 == 0b11


def lost_communication(code: int) -> bool:
    """Tell whether a 24-bit code says that another ECU is not heard."""
    number, failure_type = divmod(code, 0x100)
    return about_communication(code) and (
        number in _LOST_COMMUNICATION or failure_type == _MISSING_MESSAGE
    )


def change(
    before: int | None, after: int | None, *, read_after: bool, own_reset: bool = False
) -> Change:
    """Judge one code by its two status bytes; None means that the ECU did not report it.

    19 02 with mask FF reports every code whose status is not 00: a code that is missing from a
    successful reading has completed its test and stands at 00. `own_reset`: the code is of lost
    communication, and our reset of another ECU lies where it was raised.
    """
    now = after or 0
    facts = Facts(
        read=read_after,
        confirmed_before=confirmed(before),
        confirmed=confirmed(now),
        failing=bool(now & StatusBit.TEST_FAILED),
        completed=completed(now),
        own_reset=own_reset and bool(now & _RAISED),
    )
    return next(rule.verdict for rule in RULES if rule.holds(facts))


def compare(
    before: Snapshot | None,
    after: Snapshot | None,
    *,
    resets: Sequence[Reset] = (),
    cleared: datetime | None = None,
) -> tuple[DtcChange, ...]:
    """Every code that either reading mentions, by ECU and code.

    `resets` are our own, `cleared` when the codes were cleared between the readings, if they were.
    """
    first, second = _by_key(before), _by_key(after)
    readable = {reading.ecu for reading in (after.ecus if after else ()) if not reading.error}
    return tuple(
        _judged(
            ecu,
            first.get((ecu, code)),
            second.get((ecu, code)),
            read_after=ecu in readable,
            own_reset=_of_own_reset(
                ecu, second.get((ecu, code)), before, after, resets=resets, cleared=cleared
            ),
        )
        for ecu, code in sorted(first.keys() | second.keys())
    )


def words(status: int | None) -> str:
    """Say a status byte in words, the most telling bit first."""
    if status is None:
        return "not reported"
    said = [text for bit, text in _WORDS.items() if status & bit]
    return ", ".join(said) if said else "tested, no fault"


def _of_own_reset(
    ecu: str,
    dtc: Dtc | None,
    before: Snapshot | None,
    after: Snapshot | None,
    *,
    resets: Sequence[Reset],
    cleared: datetime | None,
) -> bool:
    """Whether the code can only have been raised while we reset another ECU.

    It was raised after the first reading and after the clear. Where the reset and its settling lie
    behind that moment it may be the reset's; where the test fails even later, it is not.
    """
    if dtc is None or after is None or not lost_communication(dtc.code):
        return False
    since = max((moment for moment in (before and before.time, cleared) if moment), default=None)
    windows = [
        (reset.start, reset.end + SETTLE)
        for reset in resets
        if reset.ecu != ecu
        and reset.start <= after.time
        and (since is None or since <= reset.end + SETTLE)
    ]
    if not dtc.status & StatusBit.TEST_FAILED:
        return bool(windows)
    return any(after.time <= end for _, end in windows)


def _judged(
    ecu: str, before: Dtc | None, after: Dtc | None, *, read_after: bool, own_reset: bool
) -> DtcChange:
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
        change=change(first, second, read_after=read_after, own_reset=own_reset),
        network=about_communication(known.code),
    )


def _by_key(snapshot: Snapshot | None) -> dict[tuple[str, int], Dtc]:
    readings: tuple[EcuDiagnostics, ...] = snapshot.ecus if snapshot else ()
    return {(reading.ecu, dtc.code): dtc for reading in readings for dtc in reading.dtcs}
