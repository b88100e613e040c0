from itertools import product

import pytest

from cloud.fleet.diagnostics import EcuDiagnostics
from cloud.reports.dtcs import CHANGES, Change, Status, change, compare, words
from tests.support.reports import dtc, snapshot

CONFIRMED = Status.CONFIRMED_DTC | Status.TEST_FAILED_SINCE_LAST_CLEAR
FAILING = CONFIRMED | Status.TEST_FAILED
NOT_SINCE_CLEAR = Status.TEST_NOT_COMPLETED_SINCE_LAST_CLEAR
NOT_THIS_CYCLE = Status.TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE


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
        (None, Status.TEST_FAILED | Status.PENDING_DTC, Change.PENDING),
        (NOT_SINCE_CLEAR, NOT_SINCE_CLEAR, Change.NOT_TESTED),
        (NOT_SINCE_CLEAR, None, Change.CLEAR),
    ],
)
def test_a_code_is_judged_by_both_status_bytes(
    before: int | None, after: int | None, expected: Change
) -> None:
    assert change(before, after, read_after=True) is expected


def test_every_combination_has_a_verdict() -> None:
    assert set(CHANGES) == set(product((False, True), repeat=3))


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


@pytest.mark.parametrize(("code", "network"), [(0xD14087, True), (0x9A0100, False)])
def test_communication_codes_are_told_apart(*, code: int, network: bool) -> None:
    (one,) = compare(
        snapshot("before_update", EcuDiagnostics(ecu="ccu", dtcs=(dtc(code, 8),))), None
    )
    assert one.network is network


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
