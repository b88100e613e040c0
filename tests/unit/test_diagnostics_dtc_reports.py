"""19, 14 and 85 on memories of every kind, in both editions. Requests and answers in hex."""

from dataclasses import replace

import pytest
from uds.translator.service_definitions.read_dtc_information import (
    READ_DTC_INFORMATION_2013,
    READ_DTC_INFORMATION_2020,
)
from udsoncan.Response import Response
from udsoncan.services.ReadDTCInformation import ReadDTCInformation

from ecu_sim.diagnostics.dtc import MIRROR, DtcDefinition, DtcMemory, DtcMemoryError
from ecu_sim.diagnostics.dtc_reports import REPORTS
from protocols.editions import UdsEdition
from protocols.uds import DtcReport
from protocols.uds.dtc import FunctionalGroup, Severity
from protocols.uds.rules import DtcRules, dtc_reports, two_slot_application
from tests.support.diagnostics import Bench, BenchDevice

A, B, C = 0x9A0100, 0x9A0211, 0xD14087
_EVERYTHING = DtcRules(memories=(0x10,), mirror=True, emissions=True)
_EDITIONS = pytest.mark.parametrize("edition", UdsEdition)


def _memory() -> DtcMemory:
    return DtcMemory(
        (
            DtcDefinition(
                code=A,
                severity=Severity.CHECK_AT_NEXT_HALT,
                functional_unit=7,
                group=FunctionalGroup.EMISSIONS,
                readiness_group=2,
            ),
            DtcDefinition(code=B, severity=Severity.CHECK_IMMEDIATELY, indicator=True),
            DtcDefinition(code=C, failed_step=40, passed_step=64, group=FunctionalGroup.EMISSIONS),
        ),
        capture=lambda: {0x0101: b"\x01\x02"},
        memories=(0x10, MIRROR),
    )


def _bench(
    dtcs: DtcRules = _EVERYTHING, edition: UdsEdition = UdsEdition.E2020
) -> tuple[Bench, DtcMemory]:
    memory = _memory()
    rules = two_slot_application(dtcs=dtcs, edition=edition, nodes=frozenset({0x0001}))
    return Bench(rules, BenchDevice(dtcs=memory)), memory


# What is asked after: A failed, B failed, A passed, A failed again, C failed twice (not yet).
_AFTER_FAILURES = [
    ("1901ff", "5901ff010003"),
    ("190208", "5902ff9a01002f9a0211af"),
    ("1903", "59039a0100019a021101"),
    ("19049a010001", "59049a01002f010101010102"),
    ("19049a010000", "7f1931"),
    ("190501", "5905019a01002f01010101020" + "19a0211af0101010102"),
    ("1905ff", "5905019a01002f01010101020" + "19a0211af0101010102"),
    ("190502", "7f1931"),
    ("19069a010001", "59069a01002f0101"),
    ("19069a0100ff", "59069a01002f010102000300"),
    ("19069a0100fe", "7f1931"),
    ("190740ff", "5907ff010001"),
    ("190760ff", "5907ff010002"),
    ("1908c008", "5908ff40079a01002f80009a0211af"),
    ("19099a0100", "5909ff40079a01002f"),
    ("1909123456", "7f1931"),
    ("190a", "590aff9a01002f9a0211afd1408750"),
    ("190b", "590bff9a01002f"),
    ("190c", "590cff9a01002f"),
    ("190d", "590dff9a01002f"),
    ("190e", "590eff9a0211af"),
    ("1914", "5914d1408750"),
    ("1915", "5915ff9a0211af"),
    ("191601", "5916019a01002f019a0211af01"),
    ("1916ff", "7f1931"),
    ("19170810", "591710ff9a01002f9a0211af"),
    ("19170811", "7f1931"),
    ("19189a02110110", "5918109a0211af010101010102"),
    ("19189a02110111", "7f1931"),
    ("1918d140870110", "7f1931"),
    ("19199a0211ff10", "5919109a0211af010102000300"),
    ("191b", "7f1912"),
    ("194233ffff", "594233ffe004409a01002f20d1408750"),
    ("1942d0ffff", "7f1931"),
    ("1942ff08ff", "5942ffffe004409a01002f"),
    ("195533", "595533ff04"),
    ("1900", "7f1912"),
    ("19", "7f1913"),
    ("19ff", "7f1912"),
    ("198a", ""),
]
_IN_2013 = [
    ("190f08", "590fff9a01002f9a0211af"),
    ("19109a021101", "59109a0211af0101"),
    ("1910d1408701", "7f1931"),
    ("191108", "5911ff010002"),
    ("1912ff", "5912ff010002"),
    ("1913ff", "5913ff9a01002fd1408750"),
    ("191a01", "7f1912"),
    ("19563302", "7f1912"),
    ("14ffffff10", "7f1413"),
]
_IN_2020 = [
    ("190f08", "7f1912"),
    ("19109a021101", "7f1912"),
    ("191108", "7f1912"),
    ("1912ff", "7f1912"),
    ("1913ff", "7f1912"),
    ("191a02", "591aff029a01002f9a0211afd1408750"),
    ("191a04", "7f1931"),
    ("19563302", "595633ff04029a01002f"),
    ("19563303", "7f1931"),
    ("14ffffff11", "7f1431"),
]


@pytest.mark.parametrize(
    ("edition", "request_hex", "answer"),
    [(edition, *row) for edition in UdsEdition for row in _AFTER_FAILURES]
    + [(UdsEdition.E2013, *row) for row in _IN_2013]
    + [(UdsEdition.E2020, *row) for row in _IN_2020],
)
def test_each_report_says_what_happened(edition: UdsEdition, request_hex: str, answer: str) -> None:
    bench, memory = _bench(edition=edition)
    for code, failed in ((A, True), (B, True), (A, False), (A, True), (C, True), (C, True)):
        memory.report(code, failed=failed)
    assert bench.ask(request_hex) == answer


# py-uds warns of every value that it has no word for.
@pytest.mark.filterwarnings("ignore:No label defined")
def test_a_permanent_dtc_is_told_with_its_severity_where_the_type_has_it_so() -> None:
    answers = {}
    for setting in (False, True):
        bench, _ = _bench(replace(_EVERYTHING, permanent_severity=setting))
        definition = DtcDefinition(code=A, indicator=True, severity=0x40, group=0x33)
        bench.device.dtcs = DtcMemory((definition,))
        bench.device.dtcs.report(A, failed=True)
        answers[setting] = bench.ask("195533")
    assert answers == {False: "595533ff049a0100af", True: "595533ff04409a0100af"}
    response = Response.from_payload(bytes.fromhex(answers[True]))
    read = ReadDTCInformation.interpret_response(response, subfunction=0x55).service_data
    assert [(dtc.id, dtc.severity.get_byte_as_int()) for dtc in read.dtcs] == [(A, 0x40)]
    parts = READ_DTC_INFORMATION_2020.decode(list(bytes.fromhex(answers[False])))
    assert f"'raw_value': {A}" in str(parts)


@_EDITIONS
def test_every_report_has_its_length_exactly(edition: UdsEdition) -> None:
    bench, _ = _bench(edition=edition)
    for report, row in dtc_reports(_EVERYTHING, edition).items():
        whole = bytes((0x19, report)).ljust(row.min_length, b"\x01")
        assert bench.ask(whole + b"\x00") == "7f1913"
        assert bench.ask(whole) != "7f1913"
        if row.min_length > 2:
            assert bench.ask(whole[:-1]) == "7f1913"


def test_every_report_that_rules_can_have_is_answered() -> None:
    had = {report for edition in UdsEdition for report in dtc_reports(_EVERYTHING, edition)}
    assert had == set(REPORTS) == set(DtcReport)


@_EDITIONS
def test_an_ecu_with_one_memory_has_neither_other_memories_nor_emissions(
    edition: UdsEdition,
) -> None:
    bench, _ = _bench(DtcRules(), edition)
    for report in (0x0F, 0x10, 0x11, 0x12, 0x13, 0x17, 0x18, 0x19, 0x42, 0x55, 0x56):
        assert bench.ask(bytes((0x19, report)).ljust(6, b"\x00")) == "7f1912"
    assert bench.ask("14ffffff10") == "7f1413"


@_EDITIONS
def test_an_empty_memory_answers_with_nothing_in_the_lists(edition: UdsEdition) -> None:
    bench, _ = _bench(edition=edition)
    for request, answer in {
        "1903": "5903",
        "190501": "590501",
        "1905ff": "5905ff",
        "190b": "590bff",
        "190e": "590eff",
        "1914": "5914",
        "1915": "5915ff",
        "191602": "591602",
        "1917ff10": "591710ff",
    }.items():
        assert bench.ask(request) == answer


# The memories


def test_a_user_defined_memory_outlives_the_clearing_of_the_primary_one() -> None:
    bench, memory = _bench()
    memory.report(A, failed=True)
    assert bench.ask("14ffffff") == "54"
    assert bench.ask("190208") == "5902ff"
    assert bench.ask("19170810") == "591710ff9a01002f"
    assert bench.ask("149a010010") == "54"
    assert bench.ask("19170810") == "591710ff"


def test_a_functional_group_is_cleared_alone() -> None:
    bench, memory = _bench()
    memory.report(A, failed=True)
    memory.report(B, failed=True)
    assert bench.ask("14ffff33") == "54"
    assert bench.ask("190208") == "5902ff9a0211af"
    assert bench.ask("14ffffd0") == "7f1431"


def test_a_permanent_dtc_outlives_14_until_its_test_has_passed_for_a_cycle() -> None:
    bench, memory = _bench()
    memory.report(B, failed=True)
    bench.ask("14ffffff")
    assert bench.ask("1915") == "5915ff9a021150"
    memory.start_operation_cycle()
    assert bench.ask("1915") == "5915ff9a021150", "the test has not run"
    memory.report(B, failed=False)
    memory.start_operation_cycle()
    assert bench.ask("1915") == "5915ff"


def test_a_result_against_the_counter_begins_at_zero_again() -> None:
    bench, memory = _bench()
    counters = []
    for failed in (True, True, True, False, False, True, True, True, True):
        memory.report(C, failed=failed)
        counters.append((memory.records()[C].counter, memory.status(C) & 1))
    assert counters == [
        (40, 0),
        (80, 0),
        (120, 0),
        (-64, 0),
        (-128, 0),
        (40, 0),
        (80, 0),
        (120, 0),
        (127, 1),
    ]
    assert bench.ask("1914") == "5914", "it has failed, and that its status says"


def test_all_memories_come_back_from_their_bytes() -> None:
    memory = _memory()
    for code in (A, B, A):
        memory.report(code, failed=True)
    memory.clear(A)
    again = _memory()
    again.restore(memory.to_bytes())
    assert again.to_bytes() == memory.to_bytes()
    assert again.records(0x10)[A].status == 0x2F
    assert again.records()[B].permanent
    again.report(C, failed=True)
    bench = Bench(two_slot_application(dtcs=_EVERYTHING), BenchDevice(dtcs=again))
    for _ in range(4):
        again.report(C, failed=True)
    assert bench.ask("190d")[6:12] == "d14087", "later than all before the power went"


def test_bytes_that_are_cut_or_too_long_are_refused_whole() -> None:
    memory = _memory()
    for code in (A, B):
        memory.report(code, failed=True)
    stored = memory.to_bytes()
    for wrong in (*(stored[:length] for length in range(len(stored))), stored + b"\x00"):
        victim = _memory()
        with pytest.raises(DtcMemoryError):
            victim.restore(wrong)
        assert victim.supported() == _memory().supported()


# 85 and 28


def test_85_stops_single_codes_and_groups() -> None:
    bench, memory = _bench()
    bench.ask("1003")
    assert bench.ask("85029a0211") == "c502"
    memory.report(A, failed=True)
    memory.report(B, failed=True)
    assert bench.ask("190208") == "5902ff9a01002f"
    assert bench.ask("8501ffffff") == "c501"
    memory.report(B, failed=True)
    assert bench.ask("190208") == "5902ff9a01002f9a0211af"
    assert bench.ask("8502123456") == "7f8531"
    assert bench.ask("8502ffff") == "7f8513"
    assert bench.ask("8502ffff33d14087") == "c502"
    bench.ask("1001")
    assert memory.logging


def test_28_silences_one_node_and_knows_no_other() -> None:
    bench, _ = _bench()
    bench.ask("1003")
    assert bench.ask("2804010001") == "6804"
    assert bench.device.silenced_nodes == {1: 4}
    assert bench.ask("2805010001") == "6805"
    assert bench.device.silenced_nodes == {1: 5}
    assert bench.ask("2804010002") == "7f2831"
    assert bench.ask("280401") == "7f2813"
    assert bench.ask("2803010001") == "7f2813"


#: Reports with records, whose lengths a tester must know beforehand: udsoncan reads these.
_READ_BY_OTHERS = frozenset({0x04, 0x05, 0x06, 0x10, 0x16, 0x18, 0x19})


# It warns of every value that it has no word for.
@pytest.mark.filterwarnings("ignore:No label defined")
@_EDITIONS
def test_py_uds_reads_the_same_codes_from_every_list(edition: UdsEdition) -> None:
    codec = READ_DTC_INFORMATION_2020 if edition == UdsEdition.E2020 else READ_DTC_INFORMATION_2013
    bench, memory = _bench(edition=edition)
    for code in (A, B, C):
        memory.report(code, failed=True)
    read = set()
    own = _IN_2020 if edition == UdsEdition.E2020 else _IN_2013
    for request, _ in (*_AFTER_FAILURES, *own):
        answer = bytes.fromhex(bench.ask(request))
        if answer[:1] != b"\x59" or answer[1] in _READ_BY_OTHERS:
            continue
        parts = codec.decode(list(answer))
        text = str(parts)
        for code in (A, B, C):
            assert (code.to_bytes(3) in answer) == (f"'raw_value': {code}" in text), request
        read.add(answer[1])
    assert read >= set(dtc_reports(_EVERYTHING, edition)) - _READ_BY_OTHERS
