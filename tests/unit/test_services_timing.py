"""Access to timing parameters (83), edition 2013, against a bench server."""

import pytest

from ecu_sim.diagnostics import Respond
from protocols.editions import UdsEdition
from protocols.uds.rules import SpecialRules, TimingRules, two_slot_application
from tests.support.diagnostics import Bench

SPECIAL = SpecialRules(timing=TimingRules())


@pytest.fixture
def bench() -> Bench:
    bench = Bench(two_slot_application(edition=UdsEdition.E2013, special=SPECIAL))
    bench.ask("1003")
    return bench


def pending_at(bench: Bench) -> list[float]:
    """When a long routine is answered 78, from its request on."""
    bench.unlock()
    bench.tell("31 01 FF 00")
    return [
        at
        for at, event in bench.run(6.5)
        if isinstance(event, Respond) and event.payload == bytes.fromhex("7f3178")
    ]


def test_limits_and_active_values_are_read(bench: Bench) -> None:
    assert bench.ask("83 01") == "c301" + "00190032" + "03e81770"
    assert bench.ask("83 03") == "c303" + "003201f4"


def test_given_values_hold_and_are_told(bench: Bench) -> None:
    assert bench.ask("83 04 01 F4 00 64") == "c304"
    assert bench.ask("83 03") == "c303" + "01f40064"
    # P2 0.5 s and P2* 1 s, each with a fifth in hand.
    expected = [0.4 + 0.8 * count for count in range(7)]
    assert pending_at(bench)[:7] == pytest.approx(expected)


def test_the_default_values_come_back_on_request(bench: Bench) -> None:
    bench.ask("83 04 01 F4 00 64")
    assert bench.ask("83 02") == "c302"
    assert bench.ask("83 03") == "c303" + "003201f4"


@pytest.mark.parametrize("how", ["request", "silence", "reset"])
def test_the_default_values_come_back_with_the_session(bench: Bench, how: str) -> None:
    bench.ask("83 04 01 F4 00 64")
    assert bench.ask("10 03") == "500301f40064"
    if how == "request":
        assert bench.ask("10 01") == "5001003201f4"
    elif how == "silence":
        bench.run(5.1)
    else:
        bench.restart()
    assert bench.ask("10 03") == "5003003201f4"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("83 04 00 18 01 F4", "7f8331"),
        ("83 04 00 19 01 F4", "c304"),
        ("83 04 03 E8 17 70", "c304"),
        ("83 04 03 E9 17 70", "7f8331"),
        ("83 04 03 E8 17 71", "7f8331"),
        ("83 04 00 32 00 31", "7f8331"),
        ("83 04 00 32 00 32", "c304"),
        ("83 04 00 32", "7f8313"),
        ("83 03 00", "7f8313"),
        ("83 05", "7f8312"),
        ("83 83", ""),
    ],
)
def test_both_sides_of_each_limit(bench: Bench, request_hex: str, answer: str) -> None:
    assert bench.ask(request_hex) == answer


def test_the_service_went_with_the_edition_of_2020() -> None:
    bench = Bench(two_slot_application(special=SPECIAL))
    bench.ask("1003")
    assert bench.ask("83 03") == "7f8311"
