"""The entity's socket table, activation codes, acknowledgements, timers and discovery."""

import pytest

from protocols.doip import messages as m
from protocols.doip.entity import Announce, Close, Request, Transmit
from protocols.doip.messages import ActivationCode, DiagnosticNack, Message, encode
from tests.support.doip_bench import ECU, SETTINGS, TESTER, Bench, codes
from tests.support.doip_bench import sent as decoded

ANOTHER = m.VehicleAnnouncement(vin=b"B" * 17, logical_address=0x1032, eid=bytes(6), gid=bytes(6))


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Routing activation


@pytest.mark.parametrize(
    ("tester", "kind", "code"),
    [
        (TESTER, 0x00, ActivationCode.SUCCESS),
        (0x0E00, 0x01, ActivationCode.SUCCESS),
        (0x0D00, 0x00, ActivationCode.UNKNOWN_SOURCE_ADDRESS),
        (0x1000, 0x00, ActivationCode.UNKNOWN_SOURCE_ADDRESS),
        (TESTER, 0xE0, ActivationCode.UNSUPPORTED_TYPE),
        (TESTER, 0x77, ActivationCode.UNSUPPORTED_TYPE),
    ],
)
def test_an_activation_is_answered_and_a_refused_socket_closed(
    bench: Bench, tester: int, kind: int, code: ActivationCode
) -> None:
    at = bench.connect()
    request = m.RoutingActivationRequest(source_address=tester, activation_type=kind)
    events = bench.tell(at, request)
    assert codes(events) == [code]
    assert (Close(at) in events) == (code != ActivationCode.SUCCESS)


def test_the_same_tester_may_activate_again_but_not_become_another(bench: Bench) -> None:
    at = bench.connect(TESTER)
    assert bench.activate(at, TESTER) == [ActivationCode.SUCCESS]
    assert bench.activate(at, 0x0E00) == [ActivationCode.SOURCE_ADDRESS_DIFFERS]
    assert bench.entity.send(b"\x7e\x00", tester=TESTER, now=bench.now) == []


def test_an_address_in_use_is_refused_if_its_user_is_alive(bench: Bench) -> None:
    first, second = bench.connect(TESTER), bench.connect()
    asked = bench.tell(second, m.RoutingActivationRequest(source_address=TESTER))
    assert [event.connection for event in asked if isinstance(event, Transmit)] == [first]
    assert decoded(asked) == [m.AliveCheckRequest()]
    events = bench.tell(first, m.AliveCheckResponse(TESTER))
    assert codes(events) == [ActivationCode.SOURCE_ADDRESS_ACTIVE_ELSEWHERE]
    assert Close(second) in events


def test_an_address_in_use_is_taken_over_if_its_user_is_gone(bench: Bench) -> None:
    first, second = bench.connect(TESTER), bench.connect()
    bench.tell(second, m.RoutingActivationRequest(source_address=TESTER))
    assert bench.wait(0.49) == []
    events = bench.wait(0.02)
    assert Close(first) in events
    assert codes(events) == [ActivationCode.SUCCESS]


def test_a_full_table_refuses_the_next_tester_if_all_are_alive(bench: Bench) -> None:
    first, second, third = bench.connect(0x0E00), bench.connect(0x0E01), bench.connect()
    asked = bench.tell(third, m.RoutingActivationRequest(source_address=TESTER))
    assert decoded(asked) == [m.AliveCheckRequest()] * 2
    assert bench.tell(first, m.AliveCheckResponse(0x0E00)) == []
    events = bench.tell(second, m.AliveCheckResponse(0x0E01))
    assert codes(events) == [ActivationCode.NO_FREE_SOCKET]
    assert Close(third) in events


def test_a_full_table_gives_the_place_of_a_dead_tester(bench: Bench) -> None:
    first, second, third = bench.connect(0x0E00), bench.connect(0x0E01), bench.connect()
    bench.tell(third, m.RoutingActivationRequest(source_address=TESTER))
    bench.tell(first, m.AliveCheckResponse(0x0E00))
    events = bench.wait(0.5)
    assert Close(second) in events
    assert codes(events) == [ActivationCode.SUCCESS]


def test_a_tester_that_leaves_during_the_check_makes_room(bench: Bench) -> None:
    first, second = bench.connect(TESTER), bench.connect()
    bench.tell(second, m.RoutingActivationRequest(source_address=TESTER))
    assert codes(bench.entity.disconnected(first, now=bench.now)) == [ActivationCode.SUCCESS]


def test_more_connections_than_the_table_and_one_are_closed_at_once(bench: Bench) -> None:
    for _ in range(3):
        bench.connect()
    assert bench.entity.connected(99, now=bench.now) == [Close(99)]


# Diagnostic messages


def test_the_acknowledgement_goes_before_the_request_reaches_the_ecu(bench: Bench) -> None:
    at = bench.connect(TESTER)
    first, request = bench.ask(at, b"\x3e\x00")
    acknowledge = m.DiagnosticAcknowledge(source_address=ECU, target_address=TESTER)
    assert decoded([first]) == [acknowledge]
    assert request == Request(
        payload=b"\x3e\x00", source=TESTER, target=ECU, functional=False, connection=at
    )
    answer = bench.entity.send(b"\x7e\x00", tester=TESTER, now=bench.now)
    assert decoded(answer) == [
        m.DiagnosticMessage(source_address=ECU, target_address=TESTER, user_data=b"\x7e\x00")
    ]


def test_the_functional_address_reaches_the_ecu_as_such(bench: Bench) -> None:
    at = bench.connect(TESTER)
    _, request = bench.ask(at, b"\x3e\x80", target=0xE400)
    assert request == Request(
        payload=b"\x3e\x80", source=TESTER, target=0xE400, functional=True, connection=at
    )


@pytest.mark.parametrize(
    ("tester", "target", "length", "code"),
    [
        (0x0E00, ECU, 2, DiagnosticNack.INVALID_SOURCE_ADDRESS),
        (TESTER, 0xFFFF, 2, DiagnosticNack.UNKNOWN_TARGET_ADDRESS),
        (TESTER, ECU, 101, DiagnosticNack.MESSAGE_TOO_LARGE),
    ],
)
def test_a_diagnostic_message_that_cannot_be_routed(
    bench: Bench, tester: int, target: int, length: int, code: DiagnosticNack
) -> None:
    at = bench.connect(TESTER)
    events = bench.ask(at, bytes(length), target=target, tester=tester)
    refusal = m.DiagnosticNegativeAcknowledge(
        source_address=target, target_address=tester, code=code
    )
    assert decoded(events) == [refusal]
    assert (Close(at) in events) == (code == DiagnosticNack.INVALID_SOURCE_ADDRESS)
    assert not any(isinstance(event, Request) for event in events)


def test_before_activation_nothing_is_routed(bench: Bench) -> None:
    at = bench.connect()
    events = bench.ask(at, b"\x3e\x00")
    assert Close(at) in events
    assert bench.ask(at, b"\x3e\x00") == []


@pytest.mark.parametrize(
    "nack",
    [
        DiagnosticNack.OUT_OF_MEMORY,
        DiagnosticNack.TARGET_UNREACHABLE,
        DiagnosticNack.TRANSPORT_PROTOCOL_ERROR,
    ],
)
def test_what_the_network_behind_objects_to_is_refused_and_the_socket_stays(
    bench: Bench, nack: DiagnosticNack
) -> None:
    at = bench.connect(TESTER)
    bench.objection = nack
    events = bench.ask(at, b"\x3e\x00")
    assert decoded(events) == [
        m.DiagnosticNegativeAcknowledge(source_address=ECU, target_address=TESTER, code=nack)
    ]
    assert Close(at) not in events


# Header faults and timers


@pytest.mark.parametrize(
    ("wire", "code", "closes"),
    [
        ("02fe000100000000", 0, True),
        ("02fc000100000000", 0, True),
        ("04fb000500000007", 0, True),
        ("ff00000500000007", 0, True),
        ("02fd777700000000", 1, False),
        ("02fd8001ffffffff", 2, False),
        ("02fd000500000003", 4, True),
        ("02fd000100000000", 1, False),
    ],
)
def test_header_faults_are_told_and_some_close(
    bench: Bench,
    wire: str,
    code: int,
    closes: bool,  # noqa: FBT001 a column of the table
) -> None:
    at = bench.connect(TESTER)
    events = bench.entity.receive(at, bytes.fromhex(wire), now=bench.now)
    assert events[0] == Transmit(at, bytes.fromhex(f"02fd000000000001{code:02x}"))
    assert (Close(at) in events) == closes


def test_a_socket_without_activation_is_closed_after_two_seconds(bench: Bench) -> None:
    at = bench.connect()
    bench.entity.receive(at, b"\x02\xfd", now=bench.now + 1.9)
    assert bench.entity.next_deadline() == bench.now + 2.0
    assert bench.wait(2.0) == [Close(at)]


def test_an_active_socket_is_closed_after_five_silent_minutes(bench: Bench) -> None:
    at = bench.connect(TESTER)
    bench.now += 200
    bench.ask(at, b"\x3e\x00")
    assert bench.wait(299) == []
    assert bench.wait(1) == [Close(at)]
    assert bench.entity.next_deadline() is None


# UDP


def test_a_vehicle_announces_itself_three_times(bench: Bench) -> None:
    bench.entity.start_announcing(wait_s=0.2, now=bench.now)
    times = []
    while (due := bench.entity.next_deadline()) is not None:
        (event,) = bench.entity.handle_timeout(now=due)
        assert isinstance(event, Announce)
        times.append(round(due - bench.now, 3))
    assert times == [0.2, 0.7, 1.2]


@pytest.mark.parametrize(
    ("message", "answered"),
    [
        (m.VehicleIdentificationRequest(), True),
        (m.VehicleIdentificationRequest(eid=SETTINGS.eid), True),
        (m.VehicleIdentificationRequest(eid=b"\x01" * 6), False),
        (m.VehicleIdentificationRequest(vin=SETTINGS.vin.encode()), True),
        (m.VehicleIdentificationRequest(vin=b"B" * 17), False),
        (m.EntityStatusRequest(), True),
        (m.PowerModeRequest(), True),
        (
            m.VehicleAnnouncement(vin=b"B" * 17, logical_address=1, eid=bytes(6), gid=bytes(6)),
            False,
        ),
        (m.HeaderNegativeAcknowledge(0), False),
    ],
)
def test_only_questions_for_this_entity_are_answered_by_udp(
    bench: Bench,
    message: Message,
    answered: bool,  # noqa: FBT001 a column of the table
) -> None:
    answers = bench.entity.receive_datagram(encode(message), now=bench.now)
    assert len(answers) == answered


def test_identification_is_limited_in_rate(bench: Bench) -> None:
    question = encode(m.VehicleIdentificationRequest())
    answers = [bench.entity.receive_datagram(question, now=bench.now) for _ in range(1000)]
    assert sum(map(len, answers)) == SETTINGS.identifications_per_s
    assert bench.entity.receive_datagram(question, now=bench.now + 1) != []
