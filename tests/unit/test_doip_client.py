import pytest

from protocols.doip import (
    Acknowledged,
    Activated,
    ActivationRefused,
    DoipClient,
    DoipError,
    DoipTimeoutError,
    HeaderRefused,
    PeerBroken,
    Refused,
    Response,
    Transmit,
    encode,
)
from protocols.doip import messages as m

ECU, TESTER = 0x1031, 0x0F00


@pytest.fixture
def client() -> DoipClient:
    client = DoipClient(source_address=TESTER)
    client.connect(now=0.0)
    client.receive(_activation(0x10), now=0.0)
    return client


def _activation(code: int) -> bytes:
    return encode(m.RoutingActivationResponse(source_address=TESTER, entity_address=ECU, code=code))


def test_a_connection_begins_with_routing_activation() -> None:
    client = DoipClient(source_address=TESTER)
    with pytest.raises(DoipError, match="0x0F00"):
        client.send(b"\x3e\x00", target=ECU, now=0.0)
    assert client.connect(now=0.0) == [Transmit(bytes.fromhex("02fd0005000000070f000000000000"))]
    assert client.receive(_activation(0x10), now=0.1) == [Activated(ECU)]
    assert client.next_deadline() is None


def test_a_refused_activation_is_told() -> None:
    client = DoipClient(source_address=TESTER)
    client.connect(now=0.0)
    assert client.receive(_activation(0x01), now=0.1) == [ActivationRefused(1)]
    assert not client.active


def test_acknowledgement_and_response_come_in_order(client: DoipClient) -> None:
    assert client.send(b"\x3e\x00", target=ECU, now=1.0) == [
        Transmit(bytes.fromhex("02fd8001000000060f0010313e00"))
    ]
    assert client.next_deadline() == 3.0
    acknowledge = m.DiagnosticAcknowledge(source_address=ECU, target_address=TESTER)
    response = m.DiagnosticMessage(source_address=ECU, target_address=TESTER, user_data=b"\x7e\x00")
    events = client.receive(encode(acknowledge) + encode(response), now=1.1)
    assert events == [Acknowledged(ECU), Response(ECU, b"\x7e\x00")]
    assert client.next_deadline() is None


def test_a_refused_message_is_told_with_its_target(client: DoipClient) -> None:
    client.send(b"\x3e\x00", target=ECU, now=1.0)
    nack = m.DiagnosticNegativeAcknowledge(source_address=ECU, target_address=TESTER, code=6)
    assert client.receive(encode(nack), now=1.1) == [Refused(ECU, 6)]


def test_an_alive_check_is_answered_at_once(client: DoipClient) -> None:
    assert client.receive(encode(m.AliveCheckRequest()), now=1.0) == [
        Transmit(encode(m.AliveCheckResponse(TESTER)))
    ]


def test_silence_is_an_error_that_names_the_ecu(client: DoipClient) -> None:
    client.send(b"\x3e\x00", target=ECU, now=1.0)
    assert client.handle_timeout(now=2.9) == []
    with pytest.raises(DoipTimeoutError, match="0x1031"):
        client.handle_timeout(now=3.0)
    silent = DoipClient(source_address=TESTER)
    silent.connect(now=0.0)
    with pytest.raises(DoipTimeoutError, match="activation"):
        silent.handle_timeout(now=2.0)


def test_what_is_for_another_tester_is_not_ours(client: DoipClient) -> None:
    other = m.DiagnosticMessage(source_address=ECU, target_address=0x0E00, user_data=b"\x7e\x00")
    assert client.receive(encode(other), now=1.0) == []


def test_header_refusals_and_garbage_are_told(client: DoipClient) -> None:
    assert client.receive(encode(m.HeaderNegativeAcknowledge(2)), now=1.0) == [HeaderRefused(2)]
    (broken,) = client.receive(bytes(8), now=1.0)
    assert isinstance(broken, PeerBroken)
