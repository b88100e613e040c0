"""Link control (87) against a bench server: what is verified, refused, and told to the node."""

import pytest

from ecu_sim.diagnostics import Respond, SetBitRate
from protocols.uds.rules import LinkRules, SpecialRules, two_slot_application
from protocols.uds.rules.special import CAN_BIT_RATES
from tests.support.diagnostics import BASE, OTHER_TESTER, TESTER, Bench

RULES = two_slot_application(
    special=SpecialRules(link=LinkRules(specific=frozenset({800_000, 83_333})))
)


@pytest.fixture
def bench() -> Bench:
    bench = Bench(RULES)
    bench.ask("1003")
    return bench


def fixed(identifier: int) -> bytes:
    return bytes([0x87, 0x01, identifier])


def specific(bit_rate: int) -> bytes:
    return bytes([0x87, 0x02]) + bit_rate.to_bytes(3)


@pytest.mark.parametrize("identifier", range(0x100))
def test_every_fixed_identifier_is_verified_or_out_of_range(bench: Bench, identifier: int) -> None:
    there = identifier in CAN_BIT_RATES
    assert bench.ask(fixed(identifier)) == ("c701" if there else "7f8731")
    events = bench.tell("8703")
    if there:
        expected = [Respond(b"\xc7\x03", TESTER), SetBitRate(CAN_BIT_RATES[identifier])]
        assert events == expected
    else:
        assert events == [Respond(b"\x7f\x87\x24", TESTER)]


@pytest.mark.parametrize(
    ("bit_rate", "answer"),
    [(800_000, "c702"), (83_333, "c702"), (800_001, "7f8731"), (500_000, "7f8731"), (0, "7f8731")],
)
def test_a_specific_bit_rate_is_one_of_the_table(bench: Bench, bit_rate: int, answer: str) -> None:
    assert bench.ask(specific(bit_rate)) == answer
    if answer == "c702":
        assert SetBitRate(bit_rate) in bench.tell("8703")


def test_a_transition_needs_a_verification_of_its_own(bench: Bench) -> None:
    assert bench.ask("8703") == "7f8724"
    bench.ask(fixed(0x10))
    assert bench.ask("8703") == "c703"
    assert bench.ask("8703") == "7f8724"


def test_the_last_verification_counts_and_a_refused_one_does_not(bench: Bench) -> None:
    bench.ask(fixed(0x10))
    bench.ask(fixed(0x13))
    assert bench.ask(fixed(0x55)) == "7f8731"
    assert SetBitRate(1_000_000) in bench.tell("8703")


def test_a_change_of_session_forgets_the_verification(bench: Bench) -> None:
    bench.ask(fixed(0x10))
    bench.ask("1003")
    assert bench.ask("8703") == "7f8724"


def test_nothing_changes_during_a_transfer(bench: Bench) -> None:
    bench.unlock()
    bench.ask(fixed(0x10))
    bench.ask(bytes.fromhex("340044") + BASE.to_bytes(4) + (16).to_bytes(4))
    assert bench.ask(fixed(0x13)) == "7f8722"
    assert bench.ask("8703") == "7f8722"


def test_the_bit_rate_is_given_back_once_with_the_session(bench: Bench) -> None:
    bench.ask(fixed(0x10))
    bench.ask("8703")
    bench.ask("1003")
    answered = Respond(bytes.fromhex("5001003201f4"), TESTER)
    assert bench.tell("1001") == [answered, SetBitRate(None)]
    assert bench.tell("1001") == [answered]


def test_a_session_that_changed_nothing_gives_nothing_back(bench: Bench) -> None:
    bench.ask(fixed(0x10))
    assert [event for _, event in bench.run(6.0)] == []


def test_silence_gives_the_bit_rate_back(bench: Bench) -> None:
    bench.ask(fixed(0x10))
    bench.ask("8703")
    assert bench.run(6.0) == [(5.0, SetBitRate(None))]


def test_a_functional_transition_without_an_answer_is_one(bench: Bench) -> None:
    bench.ask(fixed(0x11), functional=True)
    assert bench.tell("8783", functional=True) == [SetBitRate(250_000)]


def test_another_tester_changes_nothing(bench: Bench) -> None:
    bench.ask(fixed(0x10))
    assert bench.ask("8703", source=OTHER_TESTER) == "7f8721"


def test_the_default_session_has_no_link_control() -> None:
    assert Bench(RULES).ask(fixed(0x10)) == "7f877f"
