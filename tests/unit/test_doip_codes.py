"""Every code that an entity can send, from the situation that ISO 13400-2 gives it for.

The tables are held against the enumerations: a code without a situation fails here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocols.doip import messages as m
from protocols.doip.entity import Close, EntityEvent
from protocols.doip.messages import ActivationCode, DiagnosticNack, HeaderNack, encode
from protocols.doip.settings import ActivationRule, Confirmation
from tests.support.doip_bench import ECU, TESTER, Bench, sent

A = ActivationCode
OTHER = TESTER + 1
Situation = Callable[[Bench], tuple[int, list[EntityEvent]]]


@dataclass(frozen=True)
class Case:
    """A situation that gives the connection and what is sent then; whether the socket closes."""

    situation: Situation
    closes: bool
    changes: Mapping[str, Any] = field(default_factory=dict)


def activation(source: int = TESTER, kind: int = 0) -> m.RoutingActivationRequest:
    return m.RoutingActivationRequest(source_address=source, activation_type=kind)


def plain(source: int = TESTER, kind: int = 0) -> Situation:
    def situation(bench: Bench) -> tuple[int, list[EntityEvent]]:
        at = bench.connect()
        return at, bench.tell(at, activation(source, kind))

    return situation


def full(bench: Bench) -> tuple[int, list[EntityEvent]]:
    others = {bench.connect(tester): tester for tester in (0x0E00, 0x0E01)}
    at = bench.connect()
    events = bench.tell(at, activation())
    for connection, tester in others.items():
        events += bench.tell(connection, m.AliveCheckResponse(tester))
    return at, events


def became_another(bench: Bench) -> tuple[int, list[EntityEvent]]:
    at = bench.connect(TESTER)
    return at, bench.tell(at, activation(OTHER))


def elsewhere(bench: Bench) -> tuple[int, list[EntityEvent]]:
    first, second = bench.connect(TESTER), bench.connect()
    bench.tell(second, activation())
    return second, bench.tell(first, m.AliveCheckResponse(TESTER))


def only(**rule: Any) -> dict[str, Any]:  # noqa: ANN401 any of the rule's fields
    return {"activations": {0: ActivationRule(**rule)}}


ACTIVATIONS = {
    A.UNKNOWN_SOURCE_ADDRESS: Case(plain(0x0123), closes=True),
    A.NO_FREE_SOCKET: Case(full, closes=True),
    A.SOURCE_ADDRESS_DIFFERS: Case(became_another, closes=True),
    A.SOURCE_ADDRESS_ACTIVE_ELSEWHERE: Case(elsewhere, closes=True),
    A.AUTHENTICATION_MISSING: Case(plain(), closes=False, changes=only(key=b"open")),
    A.CONFIRMATION_REJECTED: Case(
        plain(), closes=True, changes=only(confirmation=Confirmation(granted=False))
    ),
    A.UNSUPPORTED_TYPE: Case(plain(kind=0x02), closes=True),
    A.TLS_REQUIRED: Case(plain(), closes=False, changes=only(tls_only=True)),
    A.SUCCESS: Case(plain(), closes=False),
    A.CONFIRMATION_REQUIRED: Case(
        plain(), closes=False, changes=only(confirmation=Confirmation(after_s=None))
    ),
}


def asked(
    *, target: int = ECU, tester: int = TESTER, length: int = 2, objection: int | None = None
) -> Situation:
    def situation(bench: Bench) -> tuple[int, list[EntityEvent]]:
        at = bench.connect(TESTER)
        bench.objection = None if objection is None else DiagnosticNack(objection)
        return at, bench.ask(at, bytes(length), target=target, tester=tester)

    return situation


N = DiagnosticNack
NACKS = {
    N.INVALID_SOURCE_ADDRESS: Case(asked(tester=OTHER), closes=True),
    N.UNKNOWN_TARGET_ADDRESS: Case(asked(target=0x1099), closes=False),
    N.MESSAGE_TOO_LARGE: Case(asked(length=101), closes=False),
    N.OUT_OF_MEMORY: Case(asked(objection=5), closes=False),
    N.TARGET_UNREACHABLE: Case(asked(objection=6), closes=False),
    N.UNKNOWN_NETWORK: Case(
        asked(target=0x2001),
        closes=False,
        changes={"foreign_networks": (range(0x2000, 0x2100),)},
    ),
    N.TRANSPORT_PROTOCOL_ERROR: Case(asked(objection=8), closes=False),
}


def wire(data: str, *, payload: int = 0) -> Situation:
    """A message and so many zeros behind it, which a refused one has to skip."""

    def situation(bench: Bench) -> tuple[int, list[EntityEvent]]:
        at = bench.connect(TESTER)
        return at, bench.entity.receive(at, bytes.fromhex(data) + bytes(payload), now=bench.now)

    return situation


HEADERS = {
    HeaderNack.INCORRECT_PATTERN_FORMAT: Case(
        wire("02fc 8001 00000006 0f001031 3e00"), closes=True
    ),
    HeaderNack.UNKNOWN_PAYLOAD_TYPE: Case(wire("02fd 7000 00000000"), closes=False),
    HeaderNack.MESSAGE_TOO_LARGE: Case(wire("02fd 8001 00010000", payload=0x10000), closes=False),
    HeaderNack.OUT_OF_MEMORY: Case(
        wire("02fd 8001 00000010", payload=16), closes=False, changes={"receive_memory": 15}
    ),
    HeaderNack.INVALID_PAYLOAD_LENGTH: Case(wire("02fd 8001 00000004"), closes=True),
}


def test_every_code_has_its_situation() -> None:
    assert set(ACTIVATIONS) == set(ActivationCode)
    assert set(NACKS) == set(DiagnosticNack)
    assert set(HEADERS) == set(HeaderNack)


def run(case: Case) -> list[object]:
    """What is sent last to the connection; the socket does as the case says."""
    bench = Bench(**case.changes)
    at, events = case.situation(bench)
    assert (Close(at) in events) == case.closes
    # Closed is closed: nothing more is answered there.
    again = bench.tell(at, m.AliveCheckRequest())
    assert bool(again) != case.closes
    return list(sent(events))


@pytest.mark.parametrize("code", ActivationCode)
def test_routing_activation(code: ActivationCode) -> None:
    answer = m.RoutingActivationResponse(
        source_address=OTHER if code is A.SOURCE_ADDRESS_DIFFERS else TESTER,
        entity_address=ECU,
        code=code,
    )
    if code is A.UNKNOWN_SOURCE_ADDRESS:
        answer = m.RoutingActivationResponse(source_address=0x0123, entity_address=ECU, code=code)
    assert run(ACTIVATIONS[code])[-1] == answer


@pytest.mark.parametrize("code", DiagnosticNack)
def test_diagnostic_negative_acknowledgement(code: DiagnosticNack) -> None:
    targets = {N.UNKNOWN_TARGET_ADDRESS: 0x1099, N.UNKNOWN_NETWORK: 0x2001}
    assert run(NACKS[code]) == [
        m.DiagnosticNegativeAcknowledge(
            source_address=targets.get(code, ECU),
            target_address=OTHER if code is N.INVALID_SOURCE_ADDRESS else TESTER,
            code=code,
        )
    ]


@pytest.mark.parametrize("code", HeaderNack)
def test_header_negative_acknowledgement(code: HeaderNack) -> None:
    assert run(HEADERS[code]) == [m.HeaderNegativeAcknowledge(code)]


# The order of the checks: of two things wrong the earlier one is told.


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("02fc 7000 ffffffff", HeaderNack.INCORRECT_PATTERN_FORMAT),
        ("02fd 7000 ffffffff", HeaderNack.UNKNOWN_PAYLOAD_TYPE),
        ("02fd 0005 ffffffff", HeaderNack.MESSAGE_TOO_LARGE),
        ("02fd 0005 00000010", HeaderNack.OUT_OF_MEMORY),
    ],
)
def test_header_checks_in_their_order(data: str, code: HeaderNack) -> None:
    bench = Bench(receive_memory=15)
    at = bench.connect(TESTER)
    events = bench.entity.receive(at, bytes.fromhex(data), now=bench.now)
    assert sent(events) == [m.HeaderNegativeAcknowledge(code)]


@pytest.mark.parametrize(
    ("source", "kind", "changes", "code"),
    [
        (0x0123, 0x02, {"tls_only": True}, A.UNKNOWN_SOURCE_ADDRESS),
        (TESTER, 0x02, {"tls_only": True}, A.UNSUPPORTED_TYPE),
        (TESTER, 0x00, {"tls_only": True, **only(key=b"open")}, A.TLS_REQUIRED),
        (
            TESTER,
            0x00,
            only(key=b"open", confirmation=Confirmation(granted=False)),
            A.AUTHENTICATION_MISSING,
        ),
    ],
)
def test_activation_checks_in_their_order(
    source: int, kind: int, changes: dict[str, Any], code: ActivationCode
) -> None:
    bench = Bench(**changes)
    (answer,) = sent(bench.tell(bench.connect(), activation(source, kind)))
    assert isinstance(answer, m.RoutingActivationResponse)
    assert answer.code == code


@pytest.mark.parametrize(
    ("tester", "target", "length", "code"),
    [
        (OTHER, 0x1099, 101, N.INVALID_SOURCE_ADDRESS),
        (TESTER, 0x1099, 101, N.UNKNOWN_TARGET_ADDRESS),
        (TESTER, ECU, 101, N.MESSAGE_TOO_LARGE),
        (TESTER, ECU, 100, N.OUT_OF_MEMORY),
    ],
)
def test_diagnostic_checks_in_their_order(
    tester: int, target: int, length: int, code: DiagnosticNack
) -> None:
    bench = Bench()
    _, events = asked(target=target, tester=tester, length=length, objection=5)(bench)
    (answer,) = sent(events)
    assert isinstance(answer, m.DiagnosticNegativeAcknowledge)
    assert answer.code == code


# A socket whose activation waits for others


def test_an_activation_under_decision_is_not_cut_off_by_initial_inactivity() -> None:
    """Asked for in the last moment, it is answered when the alive check is over."""
    bench = Bench()
    first = bench.connect(TESTER)
    second = bench.connect()
    bench.now += 1.999999
    bench.tell(second, activation())
    assert bench.wait(0.499999) == []
    events = bench.wait(1e-6)
    assert Close(first) in events
    assert Close(second) not in events
    assert [its.code for its in sent(events) if isinstance(its, m.RoutingActivationResponse)] == [
        ActivationCode.SUCCESS
    ]
    assert bench.wait(299.9) == []


def test_a_socket_that_is_refused_and_stays_open_still_has_its_two_seconds_only() -> None:
    bench = Bench(**only(tls_only=True))
    at = bench.connect()
    bench.now += 1.0
    bench.tell(at, activation())
    assert bench.wait(0.999999) == []
    assert bench.wait(1e-6) == [Close(at)]


@pytest.mark.parametrize(("counted", "told"), [(False, 1), (True, 2)])
def test_which_sockets_the_entity_status_counts_is_a_setting(
    counted: bool,  # noqa: FBT001 the parameter
    told: int,
) -> None:
    bench = Bench(counts_fresh_sockets=counted)
    bench.connect(TESTER)
    for _ in range(2):
        bench.connect()
    question = encode(m.EntityStatusRequest(), version=3)
    (answer,) = bench.entity.receive_datagram(question, now=bench.now)
    assert answer[8:11] == bytes((1, 2, told))
