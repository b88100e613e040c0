from collections.abc import Iterator
from datetime import timedelta
from itertools import product

import pytest

from cloud.fleet.diagnostics import EcuDiagnostics
from cloud.fleet.dtcs import (
    RULES,
    SETTLE,
    Change,
    Facts,
    Reset,
    change,
    compare,
    completed,
    confirmed,
    lost_communication,
    words,
)
from cloud.reports.changes import changes_of
from cloud.reports.model import Outcome, Step, VehicleReport
from protocols.uds.dtc import StatusBit, parse
from tests.support.reports import START, VIN, dtc, snapshot

CONFIRMED = StatusBit.CONFIRMED_DTC | StatusBit.TEST_FAILED_SINCE_LAST_CLEAR
FAILING = CONFIRMED | StatusBit.TEST_FAILED
NOT_SINCE_CLEAR = StatusBit.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR
NOT_THIS_CYCLE = StatusBit.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE
NO_BLOWER = parse("U1140-87")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, FAILING, Change.NEW),
        (0x00, CONFIRMED, Change.NEW),
        (None, CONFIRMED | NOT_SINCE_CLEAR, Change.NOT_TESTED),
        (None, CONFIRMED | NOT_THIS_CYCLE, Change.NOT_TESTED),
        (FAILING, None, Change.GONE),
        (FAILING, 0x00, Change.GONE),
        (FAILING, NOT_SINCE_CLEAR | NOT_THIS_CYCLE, Change.NOT_TESTED),
        (FAILING, NOT_THIS_CYCLE, Change.NOT_TESTED),
        (FAILING, FAILING, Change.STILL_THERE),
        (FAILING, CONFIRMED | NOT_THIS_CYCLE, Change.STILL_THERE),
        (None, StatusBit.TEST_FAILED | StatusBit.PENDING_DTC, Change.PENDING),
        (FAILING, StatusBit.TEST_FAILED | StatusBit.PENDING_DTC, Change.PENDING),
        (NOT_SINCE_CLEAR, NOT_SINCE_CLEAR, Change.NOT_TESTED),
        (NOT_SINCE_CLEAR, None, Change.CLEAR),
    ],
)
def test_a_code_is_judged_by_both_status_bytes(
    before: int | None, after: int | None, expected: Change
) -> None:
    assert change(before, after, read_after=True) is expected


def _every_fact() -> Iterator[Facts]:
    for read, before, now, failing, ran, ours in product((False, True), repeat=6):
        yield Facts(
            read=read,
            confirmed_before=before,
            confirmed=now,
            failing=failing,
            completed=ran,
            own_reset=ours,
        )


def test_every_combination_of_facts_has_a_verdict_and_every_rule_decides_one() -> None:
    deciding = [next(rule for rule in RULES if rule.holds(facts)) for facts in _every_fact()]
    assert len(deciding) == 64
    assert set(deciding) == set(RULES)


#: Of the first byte only bit 3 counts.
_SAMPLES = (None, 0x00, 0x08, 0x2F, 0x50, 0x7F, 0xF7, 0xFF)


@pytest.mark.parametrize("before", _SAMPLES)
def test_of_the_first_status_byte_only_the_confirmation_counts(before: int | None) -> None:
    like = 0x08 if confirmed(before) else 0x00
    for after in range(256):
        verdict = change(before, after, read_after=True)
        assert verdict is change(like, after, read_after=True)


@pytest.mark.parametrize("own_reset", [False, True])
def test_of_all_status_bytes_before_and_after_none_breaks_a_promise(*, own_reset: bool) -> None:
    for before, after in product(_SAMPLES, (None, *range(256))):
        verdict = change(before, after, read_after=True, own_reset=own_reset)
        now = after or 0
        if verdict is Change.NEW:
            assert not confirmed(before)
            assert confirmed(now)
            assert completed(now)
            assert not own_reset
        if verdict is Change.GONE:
            assert confirmed(before)
            assert not now & (StatusBit.CONFIRMED_DTC | StatusBit.TEST_FAILED)
            assert completed(now)
        assert (verdict is Change.STILL_THERE) is (confirmed(before) and confirmed(now))
        if verdict is Change.CLEAR:
            assert completed(now)
            assert not now & (StatusBit.CONFIRMED_DTC | StatusBit.TEST_FAILED)
        if verdict is Change.NOT_TESTED:
            assert not completed(now)
        assert (verdict is Change.OWN_RESET) <= own_reset
        # What no rule names makes no difference: warning lamp, failed this cycle or since clear.
        lamp = StatusBit.WARNING_INDICATOR_REQUESTED
        if after is not None:
            other = change(before, after ^ lamp, read_after=True, own_reset=own_reset)
            assert other is verdict


@pytest.mark.parametrize("before", [None, FAILING, 0x00])
def test_without_a_reading_after_nothing_is_known(before: int | None) -> None:
    assert change(before, None, read_after=False) is Change.NOT_TESTED


def test_codes_are_compared_ecu_by_ecu() -> None:
    before = snapshot("before_update", EcuDiagnostics(ecu="ccu", dtcs=(dtc(0x9A0100, FAILING),)))
    after = snapshot(
        "after_update",
        EcuDiagnostics(ecu="ccu"),
        EcuDiagnostics(ecu="rear", dtcs=(dtc(0x9A0100, FAILING),)),
    )
    verdicts = {(one.ecu, one.change) for one in compare(before, after)}
    assert verdicts == {("ccu", Change.GONE), ("rear", Change.NEW)}


def test_a_code_of_an_ecu_that_did_not_answer_is_not_gone() -> None:
    before = snapshot("before_update", EcuDiagnostics(ecu="ccu", dtcs=(dtc(0x9A0100, FAILING),)))
    after = snapshot("after_update", EcuDiagnostics(ecu="ccu", error="no answer within P2"))
    assert [one.change for one in compare(before, after)] == [Change.NOT_TESTED]


@pytest.mark.parametrize(("code", "network"), [(NO_BLOWER, True), (0x9A0100, False)])
def test_communication_codes_are_told_apart(*, code: int, network: bool) -> None:
    (one,) = compare(
        snapshot("before_update", EcuDiagnostics(ecu="ccu", dtcs=(dtc(code, 8),))), None
    )
    assert one.network is network


@pytest.mark.parametrize(
    ("code", "lost"),
    [
        ("U1140-87", True),  # missing message, a maker's own number
        ("U0155-00", True),  # lost communication with the instrument panel
        ("U0293-00", True),
        ("U0073-88", False),  # bus off
        ("U0401-00", False),  # invalid data
        ("B1A01-87", False),
    ],
)
def test_codes_of_lost_communication_are_known_by_number_and_failure_type(
    code: str, *, lost: bool
) -> None:
    assert lost_communication(parse(code)) is lost


def _judged(
    status: int,
    *,
    reset_ends_s: float = 50.0,
    ecu_reset: str = "blower",
    cleared_s: float | None = None,
    code: int = NO_BLOWER,
    read_s: float = 100.0,
) -> Change:
    """The ccu misses the blower, which we have reset from 40 s on; read at 0 s and `read_s`."""
    (one,) = compare(
        snapshot("before", EcuDiagnostics(ecu="ccu")),
        snapshot("after", EcuDiagnostics(ecu="ccu", dtcs=(dtc(code, status),)), at_s=read_s),
        resets=[
            Reset(
                ecu=ecu_reset,
                start=START + timedelta(seconds=40),
                end=START + timedelta(seconds=reset_ends_s),
            )
        ],
        cleared=None if cleared_s is None else START + timedelta(seconds=cleared_s),
    )
    return one.change


def test_a_code_that_our_own_reset_of_the_partner_has_raised_is_listed_apart() -> None:
    assert _judged(CONFIRMED) is Change.OWN_RESET
    assert _judged(CONFIRMED | NOT_THIS_CYCLE) is Change.OWN_RESET
    assert _judged(CONFIRMED, cleared_s=55) is Change.OWN_RESET  # while it settles


@pytest.mark.parametrize(
    ("why", "verdict"),
    [
        ("the partner is not heard long after the reset", _judged(FAILING)),
        ("the codes were cleared after the reset had settled", _judged(CONFIRMED, cleared_s=61)),
        ("an ECU does not miss itself", _judged(CONFIRMED, ecu_reset="ccu")),
        ("a code of another kind", _judged(CONFIRMED, code=parse("B1A01-00"))),
        ("bus off is no lost communication", _judged(CONFIRMED, code=parse("U1141-88"))),
        ("the reset came after the reading", _judged(CONFIRMED, read_s=39)),
    ],
)
def test_a_code_that_our_reset_does_not_explain_is_new(why: str, verdict: Change) -> None:
    assert verdict is Change.NEW, why


def test_a_code_that_fails_while_the_reset_settles_is_our_own() -> None:
    assert _judged(FAILING, read_s=50 + SETTLE.total_seconds()) is Change.OWN_RESET
    assert _judged(FAILING, read_s=51 + SETTLE.total_seconds()) is Change.NEW


def test_a_report_takes_its_resets_and_the_clear_from_its_steps() -> None:
    def verdict(*steps: Step) -> Change:
        (one,) = changes_of(
            VehicleReport(
                vin=VIN,
                outcome=Outcome.UPDATED,
                before=snapshot("before_update", EcuDiagnostics(ecu="ccu")),
                after=snapshot(
                    "after_update",
                    EcuDiagnostics(ecu="ccu", dtcs=(dtc(NO_BLOWER, CONFIRMED),)),
                    at_s=270,
                ),
                steps=steps,
            )
        )
        return one.change

    activated = Step(start=START + timedelta(seconds=30), seconds=20, ecu="blower", step="activate")
    cleared_late = Step(start=START + timedelta(seconds=70), seconds=1, ecu="", step="clear DTCs")
    cleared_soon = Step(start=START + timedelta(seconds=52), seconds=1, ecu="", step="clear DTCs")
    assert verdict() is Change.NEW
    assert verdict(activated) is Change.OWN_RESET
    assert verdict(activated, cleared_soon) is Change.OWN_RESET
    assert verdict(activated, cleared_late) is Change.NEW


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "not reported"),
        (0x00, "tested, no fault"),
        (0x09, "failing now, confirmed"),
        (0x50, "not tested since cleared, not tested in this cycle"),
    ],
)
def test_a_status_byte_is_said_in_words(status: int | None, said: str) -> None:
    assert words(status) == said
