"""What a gate lets through of a tester's stream, and what it answers itself."""

import pytest

from protocols.doip.decoder import DoipDecoder
from protocols.doip.gate import Answer, Broken, Pass, ReadGate, reads_only
from protocols.doip.messages import (
    DiagnosticAcknowledge,
    DiagnosticMessage,
    HeaderNegativeAcknowledge,
    Message,
    RoutingActivationRequest,
    encode,
)

TESTER, CCU, FUNCTIONAL = 0x0E80, 0x1010, 0xE400


def asked(request: str, target: int = CCU) -> bytes:
    user_data = bytes.fromhex(request)
    return encode(
        DiagnosticMessage(source_address=TESTER, target_address=target, user_data=user_data)
    )


def answers(made: list[Pass | Answer | Broken]) -> list[object]:
    data = b"".join(one.data for one in made if isinstance(one, Answer))
    return list(DoipDecoder().receive(data))


@pytest.mark.parametrize(
    "request_", ["22f190", "1902ff", "2a0401", "3e80", "1001", "1003", "1083", "24f190"]
)
def test_what_only_reads_passes_byte_for_byte_in_any_pieces(request_: str) -> None:
    stream = encode(RoutingActivationRequest(source_address=TESTER)) + asked(request_)
    for step in (1, 5, len(stream)):
        gate, passed = ReadGate(), b""
        for at in range(0, len(stream), step):
            for made in gate.receive(stream[at : at + step]):
                assert isinstance(made, Pass)
                passed += made.data
        assert passed == stream


@pytest.mark.parametrize(
    "request_",
    [
        "1002",
        "1082",
        "10",
        "1101",
        "14ffffff",
        "2701",
        "2ef19001",
        "2f0001",
        "3101ff00",
        "34",
        "8502",
    ],
)
def test_what_writes_is_answered_as_the_ecu_would_and_does_not_pass(request_: str) -> None:
    made = ReadGate().receive(asked(request_))
    assert not [one for one in made if isinstance(one, Pass)]
    service = bytes.fromhex(request_)[0]
    refusal = DiagnosticMessage(
        source_address=CCU, target_address=TESTER, user_data=bytes((0x7F, service, 0x33))
    )
    expected: list[Message] = [
        DiagnosticAcknowledge(source_address=CCU, target_address=TESTER),
        refusal,
    ]
    assert answers(made) == expected


def test_a_functional_request_that_writes_is_acknowledged_and_nobody_refuses_it() -> None:
    made = ReadGate().receive(asked("1181", FUNCTIONAL))
    assert answers(made) == [
        DiagnosticAcknowledge(source_address=FUNCTIONAL, target_address=TESTER)
    ]


def test_what_is_not_doip_is_answered_and_ends_the_connection() -> None:
    made = ReadGate().receive(b"GET / HTTP/1.1\r\n\r\n")
    assert answers(made) == [HeaderNegativeAcknowledge(0x00)]
    assert isinstance(made[-1], Broken)
    gate = ReadGate(max_payload=100)
    large = gate.receive(asked("22" + "00" * 200))
    assert answers(large) == [HeaderNegativeAcknowledge(0x02)]
    assert [type(one) for one in gate.receive(asked("22f190"))] == [Pass]


def test_an_empty_request_does_not_pass() -> None:
    assert not reads_only(b"")
