from collections.abc import Callable

import pytest
from udsoncan.common.MemoryLocation import MemoryLocation
from udsoncan.Request import Request
from udsoncan.services.ClearDiagnosticInformation import ClearDiagnosticInformation
from udsoncan.services.DiagnosticSessionControl import DiagnosticSessionControl
from udsoncan.services.ECUReset import ECUReset
from udsoncan.services.ReadDTCInformation import ReadDTCInformation
from udsoncan.services.RequestDownload import RequestDownload
from udsoncan.services.RequestTransferExit import RequestTransferExit
from udsoncan.services.RoutineControl import RoutineControl
from udsoncan.services.SecurityAccess import SecurityAccess
from udsoncan.services.TesterPresent import TesterPresent
from udsoncan.services.TransferData import TransferData

from protocols.uds import MalformedResponseError, ResetType, Session, requests, responses
from protocols.uds.dtc import ExtendedDataRecord, display, parse

_SNAPSHOT_LENGTHS = {0x0101: 2}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            requests.session_control(Session.EXTENDED),
            DiagnosticSessionControl.make_request(3),
        ),
        (requests.ecu_reset(ResetType.HARD), ECUReset.make_request(1)),
        (requests.clear_dtcs(), ClearDiagnosticInformation.make_request(0xFFFFFF)),
        (
            requests.read_dtcs(0x09),
            ReadDTCInformation.make_request(2, status_mask=0x09),
        ),
        (
            requests.read_snapshots(0x9A0100),
            ReadDTCInformation.make_request(4, dtc=0x9A0100, snapshot_record_number=0xFF),
        ),
        (
            requests.read_extended_data(0x9A0100, 1),
            ReadDTCInformation.make_request(6, dtc=0x9A0100, extended_data_record_number=1),
        ),
        (requests.request_seed(1), SecurityAccess.make_request(1, mode=0)),
        (
            requests.send_key(1, b"k" * 16),
            SecurityAccess.make_request(1, mode=1, data=b"k" * 16),
        ),
        (
            requests.start_routine(0xFF00, b"\x44"),
            RoutineControl.make_request(0xFF00, 1, b"\x44"),
        ),
        (
            requests.request_download(0x08040000, 0x1234),
            RequestDownload.make_request(MemoryLocation(0x08040000, 0x1234, 32, 32)),
        ),
        (requests.transfer_data(255, b"ab"), TransferData.make_request(255, b"ab")),
        (requests.request_transfer_exit(), RequestTransferExit.make_request()),
        (requests.tester_present(suppress=False), TesterPresent.make_request()),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_requests_read_as_the_independent_implementation_writes_them(
    ours: bytes, theirs: Request
) -> None:
    assert ours == theirs.get_payload()


def test_suppression_sets_the_top_bit_of_the_sub_function() -> None:
    assert requests.session_control(Session.EXTENDED, suppress=True) == b"\x10\x83"
    assert requests.tester_present() == b"\x3e\x80"


def test_the_block_counter_wraps_from_ff_to_00() -> None:
    assert [requests.next_block(counter) for counter in (1, 0xFE, 0xFF, 0)] == [2, 0xFF, 0, 1]


def test_session_timing_is_read_in_its_two_resolutions() -> None:
    parameters = responses.decode_session(bytes.fromhex("5003003201f4"))
    assert (parameters.session, parameters.p2_s, parameters.p2_star_s) == (3, 0.05, 5.0)


@pytest.mark.parametrize(
    ("payload", "largest"), [("74200102", 258), ("74200fff", 4095), ("744000100000", 0x100000)]
)
def test_the_largest_block_is_read_in_any_width(payload: str, largest: int) -> None:
    assert responses.decode_download(bytes.fromhex(payload)) == largest


def test_dtcs_snapshots_and_extended_data_are_read() -> None:
    (dtc,) = responses.decode_dtcs(bytes.fromhex("5902ff9a01002f"))
    assert (dtc.code, dtc.status) == (0x9A0100, 0x2F)
    (snapshot,) = responses.decode_snapshots(
        bytes.fromhex("59049a01002f01010101abcd"), _SNAPSHOT_LENGTHS
    )
    assert snapshot.data == {0x0101: b"\xab\xcd"}
    extended = responses.decode_extended_data(bytes.fromhex("59069a01002f010702010300"))
    assert extended.counter(ExtendedDataRecord.OCCURRENCE_COUNTER) == 7
    assert extended.counter(ExtendedDataRecord.AGING_COUNTER) == 1


_DECODERS: list[tuple[Callable[[bytes], object], str]] = [
    (responses.decode_session, "5003003201f4"),
    (lambda payload: responses.decode_seed(payload, 1), "6701" + "aa" * 16),
    (lambda payload: responses.decode_data(payload, 0xF190), "62f190"),
    (lambda payload: responses.decode_routine(payload, 0xFF00), "7101ff00"),
    (responses.decode_download, "74200102"),
    (lambda payload: responses.decode_transfer(payload, 1), "7601"),
    (responses.decode_dtcs, "5902ff9a01002f"),
    (
        lambda payload: responses.decode_snapshots(payload, _SNAPSHOT_LENGTHS),
        "59049a01002f01010101abcd",
    ),
    (responses.decode_extended_data, "59069a01002f010702010300"),
]


@pytest.mark.parametrize(("decode", "good"), _DECODERS, ids=[good for _, good in _DECODERS])
def test_a_response_that_is_cut_short_or_of_another_service_is_malformed(
    decode: Callable[[bytes], object], good: str
) -> None:
    payload = bytes.fromhex(good)
    decode(payload)
    for bad in (b"", payload[:1], b"\x7f" + payload[1:], bytes([payload[0] ^ 1]) + payload[1:]):
        with pytest.raises(MalformedResponseError):
            decode(bad)


def test_a_negative_response_says_which_service_and_why() -> None:
    negative = responses.decode_negative(b"\x7f\x36\x78")
    assert negative is not None
    assert negative.pending
    assert str(negative) == "service 0x36 refused: RESPONSE_PENDING (0x78)"
    assert responses.decode_negative(b"\x76\x01") is None
    assert "unknown code" in str(responses.decode_negative(b"\x7f\x36\xf0"))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x9A0100, "B1A01-00"),
        (0xD14087, "U1140-87"),
        (0x012345, "P0123-45"),
        (0x400000, "C0000-00"),
        (0xFFFFFF, "U3FFF-FF"),
    ],
)
def test_a_dtc_reads_in_letters_and_back(code: int, text: str) -> None:
    assert display(code) == text
    assert parse(text) == code


@pytest.mark.parametrize("text", ["", "B1A01", "X1A01-00", "B9A01-00", "B1A0G-00", "B1A01-0"])
def test_what_is_no_dtc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a DTC|digit"):
        parse(text)
