"""Secured data transmission (84) against a bench server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecu_sim.diagnostics import Respond, Restart
from protocols.editions import UdsEdition
from protocols.uds import Nrc, Refusal, ResetType, ServiceId, Session
from protocols.uds.rules import SecuredDataRules, SpecialRules, two_slot_application
from protocols.uds.secured_data import Administrative, Keys, SecuredMessage, is_fresh
from tests.support.diagnostics import OTHER_TESTER, Bench

A = Administrative
SIGNED = A.REQUEST | A.SIGNED
BOTH_WAYS = SIGNED | A.SIGN_RESPONSE
ENCRYPTED = SIGNED | A.ENCRYPTED
#: The bench device's key of a level that it does not know.
KEYS = Keys.derive(bytes(16))
SERVICES = frozenset(
    {
        ServiceId.READ_DATA_BY_IDENTIFIER,
        ServiceId.WRITE_DATA_BY_IDENTIFIER,
        ServiceId.DIAGNOSTIC_SESSION_CONTROL,
        ServiceId.ECU_RESET,
        ServiceId.ROUTINE_CONTROL,
    }
)
RULES = two_slot_application(
    special=SpecialRules(
        secured_data=SecuredDataRules(
            services=SERVICES, required=frozenset({ServiceId.WRITE_DATA_BY_IDENTIFIER})
        )
    )
)


@pytest.fixture(params=UdsEdition, ids=lambda edition: f"{edition:d}")
def bench(request: pytest.FixtureRequest) -> Bench:
    """2013 leaves the whole record open, so the layout of 2020 is one of those it may have."""
    special = SpecialRules(secured_data=RULES.special.secured_data)
    return Bench(two_slot_application(special=special, edition=request.param))


def message(inner: str, counter: int, administrative: Administrative = BOTH_WAYS) -> bytes:
    return SecuredMessage(
        administrative=administrative, counter=counter, inner=bytes.fromhex(inner)
    ).encode(KEYS)


def inside(answer: str) -> str:
    """The inner answer, in hex."""
    assert answer.startswith("c4"), answer
    return SecuredMessage.decode(bytes.fromhex(answer), KEYS).inner.hex()


@pytest.mark.parametrize(
    "administrative",
    [SIGNED, BOTH_WAYS, ENCRYPTED, ENCRYPTED | A.SIGN_RESPONSE, BOTH_WAYS | A.PRE_ESTABLISHED_KEY],
    ids=str,
)
def test_a_request_inside_is_answered_inside(bench: Bench, administrative: Administrative) -> None:
    answer = bench.ask(message("22 F1 88", 1, administrative))
    assert inside(answer) == "62f18853572d31"
    told = SecuredMessage.decode(bytes.fromhex(answer), KEYS)
    assert told.counter == 1
    assert told.encrypted is (A.ENCRYPTED in administrative)
    assert told.signed is (administrative != SIGNED)
    assert ("53572d31" in answer) is not told.encrypted


def test_the_layout_is_the_standard_s() -> None:
    encoded = message("2E F1 23 AA 55", 0x0124)
    assert encoded[:8].hex(" ") == "84 00 61 00 00 10 01 24"
    assert encoded[8:13].hex(" ") == "2e f1 23 aa 55"
    assert len(encoded) == 13 + 16


def test_what_is_refused_inside_is_told_inside(bench: Bench) -> None:
    assert inside(bench.ask(message("22 FF FF", 1))) == "7f2231"
    assert inside(bench.ask(message("31 01 FF 00", 2))) == "7f3131"
    assert inside(bench.ask(message("22", 3))) == "7f2213"


def test_an_old_counter_is_not_let_in_again(bench: Bench) -> None:
    first = message("22 F1 88", 5)
    assert inside(bench.ask(first)).startswith("62")
    assert bench.ask(first) == "7f843a"
    assert bench.ask(message("22 F1 88", 4)) == "7f843a"
    bench.restart()
    assert bench.ask(first) == "7f843a"
    assert inside(bench.ask(message("22 F1 88", 6))).startswith("62")


@pytest.mark.parametrize(
    ("counter", "last", "fresh"),
    [(1, 0, True), (0, 0, False), (0, 0xFFFF, True), (0xFFFF, 0, False), (0x7FFF, 0, True)],
)
def test_a_counter_is_ahead_by_half_the_circle_at_most(
    counter: int,
    last: int,
    fresh: bool,  # noqa: FBT001 a column of the table
) -> None:
    assert is_fresh(counter, last) is fresh


@pytest.mark.parametrize("at", [5, 7, 8, 10, 11, -1])
@pytest.mark.parametrize("administrative", [BOTH_WAYS, ENCRYPTED], ids=["clear", "encrypted"])
def test_no_altered_byte_gets_through(
    bench: Bench, at: int, administrative: Administrative
) -> None:
    altered = bytearray(message("22 F1 88", 0x0101, administrative))
    altered[at] ^= 0x04
    assert bench.ask(bytes(altered)) in {"7f843a", "7f8431"}
    assert inside(bench.ask(message("22 F1 88", 0x0101))).startswith("62")


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("84 00 01 00 00 00 00 01", "7f8413"),
        # Not signed, no request, unknown bits, unknown calculation, encrypted without signature.
        ("84 00 01 00 00 00 00 01 22 F1 88", "7f843a"),
        ("84 00 00 00 00 00 00 01 22 F1 88", "7f8431"),
        ("84 01 01 00 00 00 00 01 22 F1 88", "7f8431"),
        ("84 00 01 01 00 00 00 01 22 F1 88", "7f8431"),
        ("84 00 11 00 00 00 00 01 22 F1 88", "7f8431"),
        ("84 00 21 00 00 10 00 01 22 F1 88", "7f8413"),
        ("84 00 21 00 00 06 00 01 22 F1 88 00 00 00 00 00 00", "7f8431"),
    ],
)
def test_what_is_refused_outside(bench: Bench, request_hex: str, answer: str) -> None:
    assert bench.ask(request_hex) == answer


def test_only_services_of_the_table_are_served_inside(bench: Bench) -> None:
    assert bench.ask(message("3E 00", 1)) == "7f8439"
    assert bench.ask(message(message("22 F1 88", 1).hex(), 2)) == "7f8439"


def test_some_services_are_served_nowhere_else(bench: Bench) -> None:
    bench.ask("1003")
    bench.unlock()
    assert bench.ask("2E F1 5A 01") == "7f2e38"
    assert inside(bench.ask(message("2E F1 5A 01", 1))) == "6ef15a"
    assert bench.device.data[0xF15A] == b"\x01"


def test_sessions_security_and_suppression_count_inside(bench: Bench) -> None:
    assert inside(bench.ask(message("2E F1 5A 01", 1))) == "7f2e7f"
    assert inside(bench.ask(message("10 03", 2))) == "5003003201f4"
    assert bench.session() == Session.EXTENDED
    assert inside(bench.ask(message("2E F1 5A 01", 3))) == "7f2e33"
    assert bench.ask(message("22 F1 88", 4), source=OTHER_TESTER) == "7f8421"
    assert bench.ask(message("10 81", 5)) == ""
    assert bench.session() == Session.DEFAULT


def test_a_reset_inside_happens_after_its_answer(bench: Bench) -> None:
    bench.tell(message("11 01", 1))
    events = [event for _, event in bench.run(1.0)]
    assert isinstance(events[0], Respond)
    assert inside(events[0].payload.hex()) == "5101"
    assert events[1:] == [Restart(ResetType.HARD)]


def test_a_long_answer_inside_is_waited_for_with_78(bench: Bench) -> None:
    bench.ask("1003")
    bench.unlock()
    bench.tell(message("31 01 FF 00", 1))
    answers = [event.payload.hex() for _, event in bench.run(7.0) if isinstance(event, Respond)]
    assert set(answers[:-1]) == {"7f8478"}
    assert inside(answers[-1]) == "7101ff0000"


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    nrc = None
    try:
        assert SecuredMessage.decode(data, KEYS).inner
    except Refusal as refusal:
        nrc = refusal.nrc
    assert nrc in {
        None,
        Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT,
        Nrc.REQUEST_OUT_OF_RANGE,
        Nrc.SECURE_DATA_VERIFICATION_FAILED,
    }
