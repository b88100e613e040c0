import pytest

from ecu_sim.diagnostics.dtc import DtcDefinition, DtcMemory, DtcMemoryError
from protocols.uds.dtc import ExtendedDataRecord, StatusBit

CODE = 0x9A0100
OTHER = 0x9A0211


def _memory(
    *, confirm_cycles: int = 1, aging_cycles: int = 40, indicator: bool = False
) -> DtcMemory:
    captured = iter(range(100))
    return DtcMemory(
        (
            DtcDefinition(
                code=CODE,
                confirm_cycles=confirm_cycles,
                aging_cycles=aging_cycles,
                indicator=indicator,
            ),
            DtcDefinition(code=OTHER),
        ),
        capture=lambda: {0x0101: bytes([next(captured)])},
    )


def test_a_dtc_begins_not_tested() -> None:
    assert _memory().status(CODE) == 0x50


# Steps: f failed, p passed, c a new operation cycle; then the status byte (ISO 14229-1 D.2).
@pytest.mark.parametrize(
    ("steps", "confirm_cycles", "status"),
    [
        ("p", 1, 0x00),
        ("f", 1, 0x2F),
        ("f", 2, 0x27),
        ("fp", 2, 0x26),
        ("ff", 2, 0x27),
        ("fcf", 2, 0x2F),
        ("fc", 1, 0x6D),
        ("fpc", 1, 0x6C),
        ("fpcp", 1, 0x2C),
        ("fpcpc", 1, 0x68),
        ("fpcc", 1, 0x6C),
        ("fpcpcf", 2, 0x27),
        ("fcpc", 2, 0x60),
    ],
)
def test_status_bits_follow_the_tests(steps: str, confirm_cycles: int, status: int) -> None:
    memory = _memory(confirm_cycles=confirm_cycles)
    for step in steps:
        if step == "c":
            memory.start_operation_cycle()
        else:
            memory.report(CODE, failed=step == "f")
    assert memory.status(CODE) == status, f"{memory.status(CODE):02X}"
    assert memory.status(OTHER) == 0x50


def test_a_confirmed_dtc_ages_away_with_its_records() -> None:
    memory = _memory(aging_cycles=3)
    memory.report(CODE, failed=True)
    for _ in range(4):
        assert memory.status(CODE) & StatusBit.CONFIRMED_DTC
        memory.start_operation_cycle()
        memory.report(CODE, failed=False)
    memory.start_operation_cycle()
    assert not memory.status(CODE) & StatusBit.CONFIRMED_DTC
    assert memory.status(CODE) & StatusBit.TEST_FAILED_SINCE_LAST_CLEAR
    assert memory.snapshots(CODE) == {}
    assert memory.extended_data(CODE) == {}


def test_a_new_failure_begins_the_aging_anew() -> None:
    memory = _memory(aging_cycles=3)
    for failed in (True, False, False, True):
        memory.report(CODE, failed=failed)
        memory.start_operation_cycle()
    assert memory.extended_data(CODE)[ExtendedDataRecord.AGING_COUNTER] == b"\x00"
    for _ in range(2):
        memory.report(CODE, failed=False)
        memory.start_operation_cycle()
    assert memory.status(CODE) & StatusBit.CONFIRMED_DTC


def test_cycles_in_which_the_test_did_not_run_do_not_age() -> None:
    memory = _memory(aging_cycles=3)
    memory.report(CODE, failed=True)
    for _ in range(10):
        memory.start_operation_cycle()
    assert memory.status(CODE) & StatusBit.CONFIRMED_DTC
    counters = memory.extended_data(CODE)
    assert counters[ExtendedDataRecord.AGING_COUNTER] == b"\x00"
    assert counters[ExtendedDataRecord.CYCLES_SINCE_FIRST_FAILURE] == b"\x0a"


def test_the_warning_indicator_goes_out_after_three_good_cycles() -> None:
    memory = _memory(indicator=True)
    memory.report(CODE, failed=True)
    lit = []
    for _ in range(5):
        lit.append(bool(memory.status(CODE) & StatusBit.WARNING_INDICATOR_REQUESTED))
        memory.start_operation_cycle()
        memory.report(CODE, failed=False)
    assert lit == [True, True, True, True, False]


def test_a_snapshot_is_taken_at_the_first_failure_alone() -> None:
    memory = _memory()
    memory.report(CODE, failed=True)
    memory.report(CODE, failed=False)
    memory.start_operation_cycle()
    memory.report(CODE, failed=True)
    assert memory.snapshots(CODE) == {1: {0x0101: b"\x00"}}
    assert memory.extended_data(CODE)[ExtendedDataRecord.OCCURRENCE_COUNTER] == b"\x02"


def test_clearing_one_leaves_the_others() -> None:
    memory = _memory()
    memory.report(CODE, failed=True)
    memory.report(OTHER, failed=True)
    memory.clear(CODE)
    assert memory.status(CODE) == 0x50
    assert memory.snapshots(CODE) == {}
    assert memory.matching(StatusBit.CONFIRMED_DTC) == [(OTHER, 0x2F)]
    memory.clear()
    assert memory.matching(StatusBit.CONFIRMED_DTC) == []


def test_while_logging_is_off_nothing_changes() -> None:
    memory = _memory()
    memory.set_logging(on=False)
    memory.report(CODE, failed=True)
    assert memory.status(CODE) == 0x50
    assert not memory.changed


def test_a_memory_comes_back_from_its_bytes() -> None:
    memory = _memory()
    memory.report(CODE, failed=True)
    memory.report(OTHER, failed=False)
    before, stored, after = memory.changed, memory.to_bytes(), memory.changed
    assert (before, after) == (True, False)
    again = _memory()
    again.restore(stored)
    assert again.supported() == memory.supported()
    assert again.snapshots(CODE) == memory.snapshots(CODE)
    assert again.extended_data(CODE) == memory.extended_data(CODE)
    assert again.to_bytes() == stored


def test_a_dtc_that_the_software_has_no_more_is_dropped() -> None:
    memory = _memory()
    memory.report(CODE, failed=True)
    successor = DtcMemory((DtcDefinition(code=OTHER),))
    successor.restore(memory.to_bytes())
    assert successor.codes == (OTHER,)


def test_an_unknown_dtc_is_the_callers_error() -> None:
    memory = _memory()
    with pytest.raises(DtcMemoryError, match="000001"):
        memory.report(1, failed=True)
    with pytest.raises(DtcMemoryError, match="000001"):
        memory.clear(1)
