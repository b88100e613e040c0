"""Routing activation and the socket's life: every state by every message, every timer's two sides.

The tables enumerate; what the settings change of them follows.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from protocols.doip import messages as m
from protocols.doip.decoder import HeaderFault
from protocols.doip.entity import Announce, Close, EntityEvent, Request, Transmit
from protocols.doip.messages import ActivationCode, DiagnosticNack, HeaderNack, Message, encode
from protocols.doip.settings import Acknowledge, ActivationRule, Confirmation, Peer
from protocols.doip.sockets import SocketState
from protocols.editions import DoipEdition
from tests.support.doip_bench import ECU, TESTER, Bench, codes, sent

KEY = b"open"
ASKED, SHOWN = 0xE1, 0xE2
RULES = {
    0x00: ActivationRule(),
    ASKED: ActivationRule(confirmation=Confirmation(after_s=None)),
    SHOWN: ActivationRule(key=KEY),
}
OTHER = TESTER + 1
CERTIFIED = Peer(secure=True, addresses=frozenset({TESTER}))
CLOSED = "closed"


def socket_in(bench: Bench, state: SocketState) -> int:
    """A socket of TESTER in a state."""
    at = bench.connect()
    match state:
        case SocketState.ACTIVE:
            assert bench.activate(at, TESTER) == [0x10]
        case SocketState.PENDING_AUTHENTICATION:
            assert bench.activate(at, TESTER, kind=SHOWN) == [0x04]
        case SocketState.PENDING_CONFIRMATION:
            assert bench.activate(at, TESTER, kind=ASKED) == [0x11]
        case SocketState.INITIALIZED:
            pass
    return at


def activation(
    source: int = TESTER, kind: int = 0, oem: bytes | None = None
) -> m.RoutingActivationRequest:
    return m.RoutingActivationRequest(source_address=source, activation_type=kind, oem=oem)


def diagnostic(source: int = TESTER, target: int = ECU) -> m.DiagnosticMessage:
    return m.DiagnosticMessage(source_address=source, target_address=target, user_data=b"\x3e\x00")


MESSAGES: dict[str, Message] = {
    "activation": activation(),
    "activation of another": activation(OTHER),
    "activation of nobody": activation(0x0123),
    "activation of no type": activation(kind=0x77),
    "activation without its key": activation(kind=SHOWN),
    "activation with its key": activation(kind=SHOWN, oem=KEY),
    "activation to be confirmed": activation(kind=ASKED),
    "request": diagnostic(),
    "request of another": diagnostic(OTHER),
    "request for nobody": diagnostic(target=0x1099),
    "alive": m.AliveCheckResponse(TESTER),
    "alive of another": m.AliveCheckResponse(OTHER),
    "alive?": m.AliveCheckRequest(),
    "who are you?": m.VehicleIdentificationRequest(),
}
FRESH, UNSHOWN, UNCONFIRMED, ACTIVE = (
    SocketState.INITIALIZED,
    SocketState.PENDING_AUTHENTICATION,
    SocketState.PENDING_CONFIRMATION,
    SocketState.ACTIVE,
)
#: What is answered (an activation code, a NACK code, "ack", "alive", "unknown type" or nothing),
#: and the state after it; in the columns' order: fresh, unshown, unconfirmed, active.
TABLE: dict[str, list[tuple[object, object]]] = {
    "activation": [(0x10, ACTIVE), (0x10, ACTIVE), (0x10, ACTIVE), (0x10, ACTIVE)],
    "activation of another": [(0x10, ACTIVE), (0x02, CLOSED), (0x02, CLOSED), (0x02, CLOSED)],
    "activation of nobody": [(0x00, CLOSED)] * 4,
    "activation of no type": [(0x06, CLOSED)] * 4,
    "activation without its key": [(0x04, UNSHOWN)] * 4,
    "activation with its key": [(0x10, ACTIVE)] * 4,
    "activation to be confirmed": [(0x11, UNCONFIRMED)] * 4,
    "request": [(0x02, CLOSED), (0x02, CLOSED), (0x02, CLOSED), ("ack", ACTIVE)],
    "request of another": [(0x02, CLOSED)] * 4,
    "request for nobody": [(0x02, CLOSED), (0x02, CLOSED), (0x02, CLOSED), (0x03, ACTIVE)],
    "alive": [(None, FRESH), (None, UNSHOWN), (None, UNCONFIRMED), (None, ACTIVE)],
    "alive of another": [(None, FRESH), (None, UNSHOWN), (None, UNCONFIRMED), (None, ACTIVE)],
    "alive?": [("alive", FRESH), ("alive", UNSHOWN), ("alive", UNCONFIRMED), ("alive", ACTIVE)],
    "who are you?": [
        ("unknown type", FRESH),
        ("unknown type", UNSHOWN),
        ("unknown type", UNCONFIRMED),
        ("unknown type", ACTIVE),
    ],
}
ROWS = [
    (state, name, *expected)
    for name, row in TABLE.items()
    for state, expected in zip((FRESH, UNSHOWN, UNCONFIRMED, ACTIVE), row, strict=True)
]


def test_the_table_has_a_row_for_each_message_and_a_column_for_each_state() -> None:
    assert TABLE.keys() == MESSAGES.keys()
    assert {state for state, *_ in ROWS} == set(SocketState)


@pytest.mark.parametrize(
    ("state", "name", "answer", "after"), ROWS, ids=[f"{its[0].value}: {its[1]}" for its in ROWS]
)
def test_every_message_in_every_state(
    state: SocketState, name: str, answer: object, after: object
) -> None:
    bench = Bench(activations=RULES)
    at = socket_in(bench, state)
    events = bench.tell(at, MESSAGES[name])
    assert _kind(sent(events)) == answer
    closed = Close(at) in events
    assert closed == (after == CLOSED)
    user = OTHER if name == "activation of another" else TESTER
    assert bench.routes(user) == (after == ACTIVE)
    if not closed:
        assert bench.entity._table.sockets[at].state is after  # noqa: SLF001 what the table says


def _kind(answers: list[Message | HeaderFault]) -> object:
    match answers:
        case []:
            return None
        case [m.RoutingActivationResponse(code=code) | m.DiagnosticNegativeAcknowledge(code=code)]:
            return code
        case [m.DiagnosticAcknowledge()]:
            return "ack"
        case [m.AliveCheckResponse(source_address=source)] if source == ECU:
            return "alive"
        case [m.HeaderNegativeAcknowledge(HeaderNack.UNKNOWN_PAYLOAD_TYPE)]:
            return "unknown type"
        case _:
            raise AssertionError(answers)


# Timers


@dataclass(frozen=True)
class Case:
    """A timer: what starts it, the seconds it runs, and what it causes."""

    seconds: float
    state: SocketState
    changes: dict[str, Any]


TIMERS = {
    "initial inactivity": Case(2.0, FRESH, {}),
    "initial inactivity, set": Case(0.7, FRESH, {"initial_inactivity_s": 0.7}),
    "general inactivity": Case(300.0, ACTIVE, {}),
    "general inactivity, set": Case(11.0, ACTIVE, {"general_inactivity_s": 11.0}),
    "general inactivity, unshown": Case(300.0, UNSHOWN, {}),
    "general inactivity, unconfirmed": Case(300.0, UNCONFIRMED, {}),
}


@pytest.mark.parametrize("case", TIMERS.values(), ids=TIMERS)
def test_a_socket_stays_open_until_its_time_and_closes_then(case: Case) -> None:
    bench = Bench(activations=RULES, **case.changes)
    at = socket_in(bench, case.state)
    assert bench.entity.next_deadline() == pytest.approx(bench.now + case.seconds)
    assert bench.wait(case.seconds - 1e-6) == []
    assert bench.wait(1e-6) == [Close(at)]
    assert bench.entity.next_deadline() is None


@pytest.mark.parametrize("what", ["a message", "half a header", "a response", "an activation"])
def test_what_restarts_general_inactivity(what: str) -> None:
    bench = Bench()
    at = bench.connect(TESTER)
    bench.now += 299.9
    match what:
        case "a message":
            bench.ask(at, b"\x3e\x00")
        case "half a header":
            bench.entity.receive(at, b"\x02\xfd", now=bench.now)
        case "a response":
            assert bench.routes(TESTER)
        case _:
            bench.activate(at, TESTER)
    assert bench.wait(299.999) == []
    assert bench.wait(0.001) == [Close(at)]


def test_bytes_alone_do_not_keep_a_socket_without_a_tester() -> None:
    bench = Bench()
    at = bench.connect()
    for byte in bytes.fromhex("02fd00050000"):
        bench.now += 0.3
        bench.entity.receive(at, bytes([byte]), now=bench.now)
    assert bench.wait(0.199) == []
    assert bench.wait(0.001) == [Close(at)]


@pytest.mark.parametrize("alive_s", [0.5, 1.5])
def test_an_alive_check_is_open_until_its_time(alive_s: float) -> None:
    bench = Bench(alive_check_s=alive_s)
    first, second = bench.connect(TESTER), bench.connect()
    assert sent(bench.tell(second, activation())) == [m.AliveCheckRequest()]
    assert bench.wait(alive_s - 1e-6) == []
    events = bench.wait(1e-6)
    assert Close(first) in events
    assert codes(events) == [ActivationCode.SUCCESS]


def test_an_answer_just_in_time_keeps_the_socket_and_just_too_late_does_not() -> None:
    bench = Bench()
    bench.connect(TESTER)
    second = bench.connect()
    bench.tell(second, activation())
    bench.now += 0.499999
    assert codes(bench.tell(1, m.AliveCheckResponse(TESTER))) == [0x03]
    third = bench.connect()
    bench.tell(third, activation())
    assert codes(bench.wait(0.5)) == [0x10]
    assert bench.tell(1, m.AliveCheckResponse(TESTER)) == []


@pytest.mark.parametrize("granted", [True, False])
def test_a_person_answers_at_the_time_that_is_set(granted: bool) -> None:  # noqa: FBT001 the parameter
    rule = ActivationRule(confirmation=Confirmation(granted, 3.0))
    bench = Bench(activations={0: rule})
    at = bench.connect()
    assert bench.activate(at, TESTER) == [0x11]
    assert bench.wait(2.999999) == []
    events = bench.wait(1e-6)
    assert codes(events) == [0x10 if granted else 0x05]
    assert (Close(at) in events) == (not granted)
    assert bench.routes(TESTER) == granted


@pytest.mark.parametrize(("number", "interval_s"), [(3, 0.5), (1, 0.5), (5, 0.1), (0, 0.5)])
def test_announcements_come_in_number_and_interval_as_set(number: int, interval_s: float) -> None:
    bench = Bench(announcements=number, announce_interval_s=interval_s)
    bench.entity.start_announcing(wait_s=0.25, now=bench.now)
    step = 0.25
    for _ in range(number):
        assert bench.wait(step - 1e-6) == []
        (event,) = bench.wait(1e-6)
        assert isinstance(event, Announce)
        step = interval_s
    assert bench.entity.next_deadline() is None


# Several testers


def test_each_tester_gets_what_is_for_it() -> None:
    bench = Bench()
    first, second = bench.connect(TESTER), bench.connect(OTHER)
    for tester, at in ((TESTER, first), (OTHER, second)):
        (event,) = bench.entity.send(b"\x7e\x00", tester=tester, now=bench.now)
        assert isinstance(event, Transmit)
        assert event.connection == at


def test_a_tester_that_is_not_yet_confirmed_has_its_place() -> None:
    """A full table counts those who wait, and asks them whether they live."""
    bench = Bench(activations=RULES)
    first, second = bench.connect(), bench.connect(OTHER)
    assert bench.activate(first, TESTER, kind=ASKED) == [0x11]
    third = bench.connect()
    asked = bench.tell(third, activation(TESTER + 2))
    assert {event.connection for event in asked if isinstance(event, Transmit)} == {first, second}


def test_a_gateway_answers_from_the_address_of_the_ecu() -> None:
    bench = Bench(targets=frozenset({0x1010}))
    at = bench.connect(TESTER)
    _, request = bench.ask(at, b"\x3e\x00", target=0x1010)
    assert isinstance(request, Request)
    assert request.target == 0x1010
    answer = bench.entity.send(b"\x7e\x00", tester=TESTER, source=0x1010, now=bench.now)
    assert sent(answer) == [
        m.DiagnosticMessage(source_address=0x1010, target_address=TESTER, user_data=b"\x7e\x00")
    ]


# Authentication and TLS


@pytest.mark.parametrize(
    ("rule", "peer", "tester", "code"),
    [
        (ActivationRule(), Peer(secure=True), TESTER, 0x10),
        (ActivationRule(), CERTIFIED, TESTER, 0x10),
        (ActivationRule(), CERTIFIED, OTHER, 0x04),
        (ActivationRule(certificate=True), CERTIFIED, TESTER, 0x10),
        (ActivationRule(certificate=True), Peer(secure=True), TESTER, 0x04),
        (ActivationRule(certificate=True), Peer(), TESTER, 0x04),
        (ActivationRule(tls_only=True), Peer(), TESTER, 0x07),
        (ActivationRule(tls_only=True), Peer(secure=True), TESTER, 0x10),
        (ActivationRule(tls_only=True), Peer(), 0x0123, 0x00),
        (ActivationRule(tls_only=True, key=KEY), Peer(), TESTER, 0x07),
    ],
)
def test_what_tls_shows_of_a_tester_decides(
    rule: ActivationRule, peer: Peer, tester: int, code: int
) -> None:
    bench = Bench(activations={0: rule})
    at = bench.connect(peer=peer)
    assert bench.activate(at, tester) == [code]


def test_an_entity_of_2012_knows_no_tls() -> None:
    bench = Bench(edition=DoipEdition.E2012, tls_only=True)
    assert bench.activate(bench.connect(), TESTER) == [0x10]


def test_a_wrong_key_ends_what_routing_there_was() -> None:
    bench = Bench(activations=RULES)
    at = bench.connect(TESTER)
    assert bench.activate(at, TESTER, kind=SHOWN, oem=b"shut") == [0x04]
    assert not bench.routes(TESTER)
    assert bench.activate(at, TESTER, kind=SHOWN, oem=KEY) == [0x10]
    assert bench.routes(TESTER)


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_a_person_in_the_vehicle_decides(granted: bool, told: bool) -> None:  # noqa: FBT001 the parameters
    bench = Bench(activations=RULES, tells_confirmation=told)
    at = socket_in(bench, UNCONFIRMED)
    assert bench.entity.confirm(OTHER, granted=granted, now=bench.now) == []
    events = bench.entity.confirm(TESTER, granted=granted, now=bench.now)
    assert codes(events) == ([0x10 if granted else 0x05] if told else [])
    assert (Close(at) in events) == (not granted)
    assert bench.routes(TESTER) == granted
    if granted:
        assert bench.activate(at, TESTER, kind=ASKED) == [0x10]


def test_the_response_carries_the_oem_bytes_of_its_type() -> None:
    bench = Bench(activations={0: ActivationRule(oem=b"\x01\x02\x03\x04")})
    (answer,) = sent(bench.tell(bench.connect(), activation()))
    assert isinstance(answer, m.RoutingActivationResponse)
    assert answer.oem == b"\x01\x02\x03\x04"


def test_one_host_may_not_hold_more_sockets_than_are_set() -> None:
    bench = Bench(sockets_per_host=2)
    greedy, other = Peer(host="192.0.2.1"), Peer(host="192.0.2.2")
    first = bench.connect(peer=greedy)
    bench.connect(peer=greedy)
    assert bench.entity.connected(8, peer=greedy, now=bench.now) == [Close(8)]
    bench.connect(peer=other)
    bench.entity.disconnected(first, now=bench.now)
    assert bench.entity.connected(9, peer=greedy, now=bench.now) == []


# Where readings differ


@pytest.mark.parametrize("code", ActivationCode)
def test_which_codes_close_is_a_setting(code: ActivationCode) -> None:
    bench = Bench(activations={0: ActivationRule(key=KEY)}, closing_codes=frozenset({code}))
    at = bench.connect()
    events = bench.tell(at, activation())
    assert (Close(at) in events) == (code == ActivationCode.AUTHENTICATION_MISSING)


@pytest.mark.parametrize("closing", [frozenset[int](), frozenset({3})])
def test_which_nacks_close_is_a_setting(closing: frozenset[int]) -> None:
    bench = Bench(closing_nacks=closing)
    at = bench.connect(TESTER)
    assert Close(at) not in bench.tell(at, diagnostic(OTHER))
    assert (Close(at) in bench.tell(at, diagnostic(target=0x1099))) == bool(closing)


def test_an_entity_may_refuse_a_testers_alive_check() -> None:
    bench = Bench(answers_alive_check=False)
    at = bench.connect(TESTER)
    assert _kind(sent(bench.tell(at, m.AliveCheckRequest()))) == "unknown type"


def test_a_network_that_is_known_and_not_there() -> None:
    bench = Bench(foreign_networks=(range(0x2000, 0x2010),))
    at = bench.connect(TESTER)
    found = [_kind(sent(bench.ask(at, b"\x3e", target=its))) for its in (0x2000, 0x200F, 0x2010)]
    unknown, nowhere = DiagnosticNack.UNKNOWN_NETWORK, DiagnosticNack.UNKNOWN_TARGET_ADDRESS
    assert found == [unknown, unknown, nowhere]


def test_acknowledgements_repeat_as_much_as_is_set() -> None:
    bench = Bench(repeated_bytes=3)
    at = bench.connect(TESTER)
    (acknowledged,) = sent(bench.ask(at, b"\x22\xf1\x90\xf1\x91"))
    assert isinstance(acknowledged, m.DiagnosticAcknowledge)
    assert acknowledged.previous == b"\x22\xf1\x90"
    (refused,) = sent(bench.ask(at, b"\x22\xf1", target=0x1099))
    assert isinstance(refused, m.DiagnosticNegativeAcknowledge)
    assert refused.previous == b"\x22\xf1"


def test_an_acknowledgement_may_wait_for_the_last_bit() -> None:
    bench = Bench(acknowledge=Acknowledge.ON_DELIVERY)
    at = bench.connect(TESTER)
    (request,) = bench.ask(at, b"\x3e\x00")
    assert isinstance(request, Request)
    assert _kind(sent(bench.entity.delivered(request, None))) == "ack"
    nack = DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
    assert _kind(sent(bench.entity.delivered(request, nack))) == nack
    bench.entity.disconnected(at, now=bench.now)
    assert bench.entity.delivered(request, None) == []


def test_what_is_acknowledged_at_once_is_not_acknowledged_again() -> None:
    bench = Bench()
    _, request = bench.ask(bench.connect(TESTER), b"\x3e\x00")
    assert isinstance(request, Request)
    assert bench.entity.delivered(request, None) == []


# Memory and sizes


def test_messages_that_come_in_together_share_the_memory() -> None:
    bench = Bench(receive_memory=110)
    first, second = bench.connect(TESTER), bench.connect(OTHER)
    long = encode(
        m.DiagnosticMessage(source_address=TESTER, target_address=ECU, user_data=bytes(96))
    )
    assert bench.entity.receive(first, long[:50], now=bench.now) == []
    other = encode(
        m.DiagnosticMessage(source_address=OTHER, target_address=ECU, user_data=bytes(7))
    )
    (refused,) = sent(bench.entity.receive(second, other, now=bench.now))
    assert refused == m.HeaderNegativeAcknowledge(HeaderNack.OUT_OF_MEMORY)
    assert _kind(sent(bench.entity.receive(first, long[50:], now=bench.now))) == "ack"
    assert _kind(sent(bench.entity.receive(second, other, now=bench.now))) == "ack"


@pytest.mark.parametrize(
    ("length", "answer"),
    [
        (100, "ack"),
        (101, DiagnosticNack.MESSAGE_TOO_LARGE),
        (200, DiagnosticNack.MESSAGE_TOO_LARGE),
        (201, "header"),
    ],
)
def test_a_request_up_to_the_size_that_the_status_tells_is_taken(
    length: int, answer: object
) -> None:
    bench = Bench()
    at = bench.connect(TESTER)
    answers = sent(bench.ask(at, bytes(length)))
    if answer == "header":
        assert answers == [m.HeaderNegativeAcknowledge(HeaderNack.MESSAGE_TOO_LARGE)]
    else:
        assert _kind(answers) == answer
    assert _kind(sent(bench.ask(at, b"\x3e\x00"))) == "ack"


# Editions


@pytest.mark.parametrize(
    ("edition", "version", "taken"),
    [
        (DoipEdition.E2012, 2, True),
        (DoipEdition.E2012, 3, False),
        (DoipEdition.E2019, 2, True),
        (DoipEdition.E2019, 3, True),
        (DoipEdition.E2019, 4, False),
    ],
)
def test_an_edition_takes_its_versions_and_answers_in_kind(
    edition: DoipEdition,
    version: int,
    taken: bool,  # noqa: FBT001 a column of the table
) -> None:
    bench = Bench(edition=edition)
    at = bench.connect()
    first, *_ = events = bench.tell(at, activation(), version=version)
    assert isinstance(first, Transmit)
    assert codes(events) == ([0x10] if taken else [])
    assert (Close(at) in events) == (not taken)
    own = 2 if edition is DoipEdition.E2012 else 3
    assert first.data[0] == (version if taken else own)
    question = encode(m.EntityStatusRequest(), version=version)
    (answer,) = bench.entity.receive_datagram(question, now=bench.now)
    assert answer[0] == (version if taken else own)


@pytest.mark.parametrize("edition", DoipEdition)
def test_an_edition_announces_itself_in_its_version(edition: DoipEdition) -> None:
    bench = Bench(edition=edition)
    own = 2 if edition is DoipEdition.E2012 else 3
    question = encode(m.VehicleIdentificationRequest(), version=0xFF)
    (answer,) = bench.entity.receive_datagram(question, now=bench.now)
    assert answer[0] == own
    bench.entity.start_announcing(wait_s=0.0, now=bench.now)
    (event,) = bench.wait(0.0)
    assert isinstance(event, Announce)
    assert event.data == answer


def test_an_entity_may_answer_in_its_own_version_alone() -> None:
    bench = Bench(answer_in_kind=False)
    (event,) = bench.tell(bench.connect(), activation(), version=2)
    assert isinstance(event, Transmit)
    assert event.data[0] == 3
    question = encode(m.PowerModeRequest(), version=2)
    assert bench.entity.receive_datagram(question, now=bench.now)[0][0] == 3


# UDP


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        ("03fd000100000000", 0),
        ("03fc777700000000", 1),
        ("03fc000500000007" + "0e00" + "00" * 5, 1),
        ("03fc800100000006" + "0e0010313e00", 1),
        ("03fc000700000000", 1),
        ("03fc8001ffffffff", 2),
        ("03fc000200000005", 4),
        ("03fc000200000006" + "0102", 4),
    ],
)
def test_a_datagram_that_is_not_for_udp_is_refused(wire: str, code: int) -> None:
    (answer,) = Bench().entity.receive_datagram(bytes.fromhex(wire), now=0.0)
    assert answer.hex() == f"03fc000000000001{code:02x}"


@pytest.mark.parametrize("wire", ["", "03", "03fc0001000000", "03fc00000000000104"])
def test_no_header_and_no_question_is_not_answered(wire: str) -> None:
    assert Bench().entity.receive_datagram(bytes.fromhex(wire), now=0.0) == []


def _events(events: list[EntityEvent]) -> list[EntityEvent]:
    return [event for event in events if not isinstance(event, Transmit)]


def test_an_activation_while_one_is_decided_is_not_answered_twice() -> None:
    bench = Bench()
    first, second = bench.connect(TESTER), bench.connect()
    bench.tell(second, activation())
    assert bench.tell(second, activation()) == []
    events = bench.tell(first, m.AliveCheckResponse(TESTER))
    assert codes(events) == [0x03]
    assert _events(events) == [Close(second)]
