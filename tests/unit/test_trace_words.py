"""UDS and DoIP in words, and the passive listeners under them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbc import describe_vehicle
from protocols.doip.decoder import DoipDecoder, HeaderFault
from protocols.doip.messages import (
    DiagnosticMessage,
    RoutingActivationRequest,
    RoutingActivationResponse,
    VehicleAnnouncement,
    encode,
)
from protocols.doip.messages import Message as DoipMessage
from protocols.isotp import segment
from protocols.uds.enums import ServiceId
from recording.trace import VehicleNames, doip_words, uds_words
from recording.trace.isotp_listener import KEPT, Broken, IsoTpListener, Message
from recording.trace.tcp_listener import TcpListener, packet
from tests.support.tcp import client_frames

NAMES = VehicleNames(describe_vehicle())
CCU = NAMES.ecus["ccu"]

REQUESTS = {
    "10 03": "DiagnosticSessionControl|extended (03)",
    "10 82": "DiagnosticSessionControl|programming (02), no answer wanted",
    "10 40": "DiagnosticSessionControl|session 40 (40)",
    "11 01": "ECUReset|hard (01)",
    "14 FF FF FF": "ClearDiagnosticInformation|every code",
    "14 9A 01 00": "ClearDiagnosticInformation|B1A01-00 Cabin temperature control deviation",
    "19 02 08": "ReadDTCInformation|by status mask (02), 08",
    "19 04 9A 01 00 FF": "ReadDTCInformation|snapshot record by dtc number (04), B1A01-00 Cabin"
    " temperature control deviation, record FF",
    "22 F1 90": "ReadDataByIdentifier|VIN (F190)",
    "22 01 01 12 34": "ReadDataByIdentifier|Cabin temperature (0101), DID 1234",
    "22 F1": "ReadDataByIdentifier|cut short: F1",
    "23 14 20 00 10 00 40": "ReadMemoryByAddress|64 bytes at 0x20001000",
    "27 01": "SecurityAccess|seed of level 1",
    "27 02 AA BB": "SecurityAccess|key of level 1, 2 bytes",
    "28 81 01": "CommunicationControl|enable rx disable tx (01), normal messages, no answer wanted",
    "2E 01 02 14": "WriteDataByIdentifier|Blower level (0102) = 20 %",
    "31 01 FF 00 44": "RoutineControl|start (01) erase memory (FF00): 44",
    "31 03 12 34": "RoutineControl|request results (03) routine 1234",
    "34 00 44 08 04 00 00 00 00 10 00": "RequestDownload|4096 bytes at 0x8040000",
    "34 11 22 80 00 10 00": "RequestDownload|4096 bytes at 0x8000, format 11",
    "36 7F 00 00 00": "TransferData|block 7F, 3 bytes",
    "37": "RequestTransferExit|",
    "38 01 00 04 61 2E 68 78 00": "RequestFileTransfer|add (01) 'a.hx'",
    "3E 00": "TesterPresent|",
    "3E 80": "TesterPresent|no answer wanted",
    "85 02": "ControlDTCSetting|off (02)",
    "BA 01 02": "service BA|01 02",
}
RESPONSES = {
    "50 03 00 32 01 F4": "DiagnosticSessionControl|extended (03), P2 50 ms, P2* 5000 ms",
    "59 01 FF 01 00 02": "ReadDTCInformation|number by status mask (01): 2",
    "59 02 FF": "ReadDTCInformation|by status mask (02): none",
    "59 02 FF 9A 01 00 2F 12 34 56 08": "ReadDTCInformation|by status mask (02): B1A01-00 Cabin"
    " temperature control deviation (status 2F), P1234-56 (status 08)",
    "62 01 01 00 E7": "ReadDataByIdentifier|Cabin temperature (0101) = 23.1 °C",
    "62 F1 91 43 43 55 2D 32": "ReadDataByIdentifier|ECU hardware number (F191) = 'CCU-2'",
    "67 01 AA BB": "SecurityAccess|seed of level 1, 2 bytes",
    "67 01 00 00": "SecurityAccess|level 1 is unlocked already",
    "67 02": "SecurityAccess|level 1 unlocked",
    "71 01 FF 00 00": "RoutineControl|start (01) erase memory (FF00): 00",
    "74 20 0F FF": "RequestDownload|blocks of 4095 bytes at most",
    "76 01": "TransferData|block 01",
    "7E 00": "TesterPresent|",
    "7F 22 31": "ReadDataByIdentifier|refused: requestOutOfRange (31)",
    "7F 31 78": "RoutineControl|pending",
    "7F 22 E5": "ReadDataByIdentifier|refused: code E5",
    "7F": "service 00|refused: code 00",
}


def both(said: uds_words.Said) -> str:
    return f"{said.service}|{said.text}"


@pytest.mark.parametrize("message", REQUESTS)
def test_a_request_in_words(message: str) -> None:
    data = bytes.fromhex(message)
    assert both(uds_words.request(data, CCU, length=len(data))) == REQUESTS[message]


@pytest.mark.parametrize("message", RESPONSES)
def test_an_answer_in_words(message: str) -> None:
    data = bytes.fromhex(message)
    assert both(uds_words.response(data, CCU, length=len(data))) == RESPONSES[message]


def test_the_records_of_several_identifiers_are_told_apart_by_the_request() -> None:
    asked, answer = bytes.fromhex("22 0101 0102 F191"), bytes.fromhex("62 0101 00E7 0102 14 F191")
    said = uds_words.response(answer + b"CCU", CCU, length=12, asked=asked)
    assert said.text == (
        "Cabin temperature (0101) = 23.1 °C, Blower level (0102) = 20 %,"
        " ECU hardware number (F191) = 'CCU'"
    )
    other = uds_words.response(bytes.fromhex("62 0102 14"), CCU, length=4, asked=asked)
    assert other.text == "3 bytes of 3 identifiers"


def test_no_seed_and_no_key_is_written_out() -> None:
    for message in ("67 01 DE AD BE EF", "27 02 DE AD BE EF"):
        data = bytes.fromhex(message)
        tell = uds_words.request if data[0] < 0x40 else uds_words.response
        assert "DE" not in tell(data, CCU, length=6).text.upper().replace("LEVEL", "")


def listened(frames: list[bytes]) -> list[object]:
    listener = IsoTpListener()
    return [one for at, frame in enumerate(frames) for one in listener.receive(frame, at)[1]]


@given(st.binary(min_size=1, max_size=3000), st.sampled_from([8, 12, 64]))
def test_a_listener_hears_every_message_that_is_sent(message: bytes, length: int) -> None:
    frames = segment(message, length)
    (heard,) = listened(list(frames))
    assert heard == Message(data=message, length=len(message), frames=len(frames), first_ns=0)


def test_of_a_long_message_the_beginning_is_kept() -> None:
    message = bytes(range(256)) * 40
    (heard,) = listened(list(segment(message, 64)))
    assert isinstance(heard, Message)
    assert (heard.data, heard.length) == (message[:KEPT], len(message))


def test_a_lost_frame_is_said_once_and_the_next_message_is_heard() -> None:
    frames = list(segment(bytes(100), 8))
    del frames[3]
    heard = listened([*frames, *segment(b"next", 8)])
    assert heard == [
        Broken(reason="consecutive frame 4 where 3 was due"),
        Message(data=b"next", length=4, frames=1, first_ns=len(frames)),
    ]


def test_a_message_that_is_given_up_is_said() -> None:
    heard = listened([*list(segment(bytes(100), 8))[:4], *segment(b"next", 8)])
    assert heard[0] == Broken(reason="a message broke off after 27 of 100 bytes")
    (odd,) = listened([b"\x00\x00"])
    assert isinstance(odd, Broken)


SPOKEN = [
    DiagnosticMessage(source_address=0x0F00, target_address=0x1031, user_data=bytes((n,)) * 4000)
    for n in range(5)
]


def heard_of(frames: list[bytes]) -> list[DoipMessage | HeaderFault]:
    listener = TcpListener()
    heard: list[DoipMessage | HeaderFault] = []
    for frame in frames:
        segment_of = packet(frame)
        assert segment_of is not None
        decoder, data = listener.receive(segment_of)
        heard += decoder.receive(data)
    return heard


def conversation(*, opened: bool = True) -> list[bytes]:
    frames = client_frames(b"".join(encode(message, version=3) for message in SPOKEN))
    return frames if opened else frames[3:]


def test_a_stream_is_put_together_from_its_segments() -> None:
    assert heard_of(conversation()) == SPOKEN
    assert heard_of(conversation(opened=False)) == SPOKEN


def test_segments_may_come_twice_or_in_another_order() -> None:
    frames = conversation()
    mixed = [*frames[:4], frames[5], frames[4], frames[5], *frames[4:]]
    assert heard_of(mixed) == SPOKEN


def test_after_a_loss_the_stream_goes_on_at_the_next_message_that_begins_a_segment() -> None:
    frames = client_frames(*(encode(message, version=3) for message in SPOKEN * 8))
    del frames[4]
    heard = heard_of(frames)
    assert len(heard) > 10
    assert all(message in SPOKEN for message in heard)


def test_virtual_lans_and_version_6_are_looked_through() -> None:
    frame = conversation()[3]
    tagged = frame[:12] + b"\x81\x00\x00\x05" + frame[12:]
    assert packet(tagged) == packet(frame)
    tcp = frame[34:]
    head = b"\x60" + bytes(3) + len(tcp).to_bytes(2) + b"\x06\x40" + bytes(15) + b"\x01"
    six = packet(frame[:12] + b"\x86\xdd" + head + bytes(15) + b"\x02" + tcp)
    four = packet(frame)
    assert six is not None
    assert four is not None
    assert (six.source, six.target, six.data) == ("::1", "::2", four.data)
    assert packet(b"") is None
    assert packet(frame[:12] + b"\x08\x06" + bytes(40)) is None


def test_doip_in_words() -> None:
    spoken: list[DoipMessage | HeaderFault] = [
        RoutingActivationRequest(source_address=0x0F00),
        RoutingActivationResponse(source_address=0x0E80, entity_address=0x1031, code=0x04),
        VehicleAnnouncement(
            vin=b"WCANHVAC000000001", logical_address=0x1031, eid=bytes(6), gid=bytes(6)
        ),
    ]
    found = [doip_words.said(one, NAMES) for one in spoken]
    assert [(one.source, one.target, one.name, one.text) for one in found] == [
        ("tester", "", "routing activation request", "default (00)"),
        ("rear", "tester 0E80", "routing activation response", "authentication missing (04)"),
        ("rear", "", "vehicle announcement", "VIN 'WCANHVAC000000001', EID 00:00:00:00:00:00"),
    ]
    assert [one.alarming for one in found] == [False, True, False]
    (fault,) = DoipDecoder().receive(b"\x02\x00" + bytes(10))
    assert doip_words.said(fault, NAMES).name == "no DoIP message"


@pytest.mark.parametrize("service", ServiceId)
def test_every_service_has_words_of_its_own(service: ServiceId) -> None:
    data = bytes((service, 0x01, *range(0x11, 0x20)))
    said = uds_words.request(data, CCU, length=len(data))
    assert said.service != f"service {service:02X}"
    assert not said.text.startswith("cut short")
