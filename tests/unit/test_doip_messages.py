import pytest

from protocols.doip import messages as m
from protocols.doip.decoder import DoipDecoder, HeaderFault, decode_datagram
from protocols.doip.messages import HeaderNack, Message, encode

MESSAGES: list[tuple[str, Message]] = [
    ("02fd00000000000104", m.HeaderNegativeAcknowledge(4)),
    ("02fd000100000000", m.VehicleIdentificationRequest()),
    ("02fd000200000006010203040506", m.VehicleIdentificationRequest(eid=bytes([1, 2, 3, 4, 5, 6]))),
    ("02fd000300000011" + "41" * 17, m.VehicleIdentificationRequest(vin=b"A" * 17)),
    (
        "02fd000400000021" + "41" * 17 + "1031" + "e1" * 6 + "91" * 6 + "0000",
        m.VehicleAnnouncement(
            vin=b"A" * 17, logical_address=0x1031, eid=b"\xe1" * 6, gid=b"\x91" * 6
        ),
    ),
    ("02fd0005000000070f000000000000", m.RoutingActivationRequest(source_address=0x0F00)),
    (
        "02fd0006000000090f0010311000000000",
        m.RoutingActivationResponse(source_address=0x0F00, entity_address=0x1031, code=0x10),
    ),
    ("02fd000700000000", m.AliveCheckRequest()),
    ("02fd0008000000020f00", m.AliveCheckResponse(0x0F00)),
    ("02fd400100000000", m.EntityStatusRequest()),
    (
        "02fd40020000000701040100010000",
        m.EntityStatusResponse(node_type=1, max_sockets=4, open_sockets=1, max_data_size=0x10000),
    ),
    ("02fd400300000000", m.PowerModeRequest()),
    ("02fd40040000000101", m.PowerModeResponse(1)),
    (
        "02fd8001000000060f0010313e00",
        m.DiagnosticMessage(source_address=0x0F00, target_address=0x1031, user_data=b"\x3e\x00"),
    ),
    (
        "02fd80020000000510310f0000",
        m.DiagnosticAcknowledge(source_address=0x1031, target_address=0x0F00),
    ),
    (
        "02fd80030000000510310f0003",
        m.DiagnosticNegativeAcknowledge(source_address=0x1031, target_address=0x0F00, code=3),
    ),
]
IDS = [type(message).__name__ for _, message in MESSAGES]


@pytest.mark.parametrize(("wire", "message"), MESSAGES, ids=IDS)
def test_a_message_is_written_and_read_as_the_standard_lays_it_out(
    wire: str, message: Message
) -> None:
    assert encode(message).hex() == wire
    assert DoipDecoder().receive(bytes.fromhex(wire)) == [message]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 1460])
def test_any_split_gives_the_same_messages(size: int) -> None:
    stream = bytes.fromhex("".join(wire for wire, _ in MESSAGES))
    decoder = DoipDecoder()
    found = [
        message
        for at in range(0, len(stream), size)
        for message in decoder.receive(stream[at : at + size])
    ]
    assert found == [message for _, message in MESSAGES]


@pytest.mark.parametrize(
    ("wire", "code", "closes"),
    [
        ("02fe000100000000", HeaderNack.INCORRECT_PATTERN_FORMAT, True),
        ("01fe000100000000", HeaderNack.INCORRECT_PATTERN_FORMAT, True),
        ("ff00000500000007", HeaderNack.INCORRECT_PATTERN_FORMAT, True),
        ("02fd777700000000", HeaderNack.UNKNOWN_PAYLOAD_TYPE, False),
        ("02fd8001ffffffff", HeaderNack.MESSAGE_TOO_LARGE, False),
        ("02fd800100020001", HeaderNack.MESSAGE_TOO_LARGE, False),
        ("02fd000500000003", HeaderNack.INVALID_PAYLOAD_LENGTH, True),
        ("02fd800100000004", HeaderNack.INVALID_PAYLOAD_LENGTH, True),
    ],
)
def test_a_bad_header_is_refused_by_its_first_eight_bytes(
    wire: str,
    code: HeaderNack,
    closes: bool,  # noqa: FBT001 a column of the table
) -> None:
    (fault,) = DoipDecoder().receive(bytes.fromhex(wire))
    assert isinstance(fault, HeaderFault)
    assert (fault.code, fault.closes) == (code, closes)


def test_a_message_that_is_too_large_is_dropped_and_the_next_one_read() -> None:
    decoder = DoipDecoder(max_payload=64)
    large = bytes.fromhex("02fd800100000041") + bytes(0x41)
    stream = large + bytes.fromhex(MESSAGES[7][0])
    found = [
        message for at in range(len(stream)) for message in decoder.receive(stream[at : at + 1])
    ]
    assert [type(message) for message in found] == [HeaderFault, m.AliveCheckRequest]
    assert DoipDecoder(max_payload=64).receive(stream) == found


def test_nothing_comes_after_a_broken_pattern() -> None:
    decoder = DoipDecoder()
    good = bytes.fromhex(MESSAGES[7][0])
    assert len(decoder.receive(bytes(8) + good)) == 1
    assert decoder.receive(good) == []


def test_discovery_may_leave_the_edition_open() -> None:
    assert decode_datagram(bytes.fromhex("ff00000100000000")) == m.VehicleIdentificationRequest()
    assert decode_datagram(b"\x02\xfd\x00") is None
