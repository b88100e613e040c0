"""Requests and responses on data and memory, against an independent tester's codecs."""

from collections.abc import Callable

import pytest
from udsoncan.common.DidCodec import DidCodec
from udsoncan.common.DynamicDidDefinition import DynamicDidDefinition
from udsoncan.common.IOControls import IOMasks, IOValues
from udsoncan.common.MemoryLocation import MemoryLocation
from udsoncan.Request import Request
from udsoncan.services.DynamicallyDefineDataIdentifier import DynamicallyDefineDataIdentifier
from udsoncan.services.InputOutputControlByIdentifier import InputOutputControlByIdentifier
from udsoncan.services.ReadMemoryByAddress import ReadMemoryByAddress
from udsoncan.services.RequestUpload import RequestUpload
from udsoncan.services.WriteMemoryByAddress import WriteMemoryByAddress
from udsoncan.typing import IOConfig

from protocols.uds import (
    DynamicDefinition,
    MalformedResponseError,
    OutputControl,
    TransmissionMode,
    requests,
    responses,
)
from protocols.uds.requests import MemoryRange, RecordPart
from protocols.uds.responses import ScalingByte
from tests.support.data import DataBench

RANGE = MemoryRange(address=0x2010, size=4, address_bytes=2, size_bytes=1)
LOCATION = MemoryLocation(0x2010, 4, address_format=16, memorysize_format=8)


class Outputs(DidCodec):
    """Three bytes, as the record of three outputs."""

    def encode(self, *values: int) -> bytes:
        return bytes(values)

    def decode(self, string_bin: bytes) -> tuple[int, ...]:
        return tuple(string_bin)

    def __len__(self) -> int:
        return 3


IO_CONFIG: IOConfig = {
    0x0181: {"codec": Outputs, "mask": {"a": 0x80, "b": 0x40, "c": 0x20}, "mask_size": 1}
}


def _part(did: int, position: int, size: int) -> DynamicDidDefinition:
    return DynamicDidDefinition(did, position, size)  # type: ignore[no-untyped-call] # the library ships it so


def _memory(address: int, size: int) -> DynamicDidDefinition:
    location = MemoryLocation(address, size, address_format=32, memorysize_format=8)
    return DynamicDidDefinition(location)  # type: ignore[no-untyped-call] # the library ships it so


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (requests.read_memory(RANGE), ReadMemoryByAddress.make_request(LOCATION)),
        (
            requests.write_memory(RANGE, b"\x01\x02\x03\x04"),
            WriteMemoryByAddress.make_request(LOCATION, b"\x01\x02\x03\x04"),
        ),
        (requests.request_upload(RANGE), RequestUpload.make_request(LOCATION)),
        (
            requests.define_by_identifier(0xF300, [RecordPart(0x0102, 1, 2)]),
            DynamicallyDefineDataIdentifier.make_request(1, 0xF300, _part(0x0102, 1, 2)),
        ),
        (
            requests.define_by_memory_address(
                0xF300, MemoryRange(address=0x2000_0010, size=4, size_bytes=1)
            ),
            DynamicallyDefineDataIdentifier.make_request(2, 0xF300, _memory(0x2000_0010, 4)),
        ),
        (
            requests.clear_definition(0xF300),
            DynamicallyDefineDataIdentifier.make_request(3, 0xF300),
        ),
        (
            requests.clear_definition(),
            DynamicallyDefineDataIdentifier.make_request(3),
        ),
        (
            requests.control_output(
                0x0181,
                OutputControl.SHORT_TERM_ADJUSTMENT,
                state=b"\x0a\x32\x00",
                mask=b"\xa0",
            ),
            InputOutputControlByIdentifier.make_request(
                0x0181, 3, IOValues(10, 50, 0), IOMasks(a=True, c=True), IO_CONFIG
            ),
        ),
        (
            requests.control_output(0x0181, OutputControl.RETURN_TO_ECU),
            InputOutputControlByIdentifier.make_request(0x0181, 0, ioconfig=IO_CONFIG),
        ),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_a_request_is_the_same_bytes_as_another_testers(ours: bytes, theirs: Request) -> None:
    assert ours == theirs.get_payload()


def test_requests_that_it_has_no_codec_for() -> None:
    assert requests.read_scaling(0x0101).hex() == "240101"
    assert requests.read_periodic(TransmissionMode.FAST, [0xF201, 0xF202]).hex() == "2a030102"
    assert requests.read_periodic(TransmissionMode.STOP).hex() == "2a04"


def test_a_request_that_contradicts_itself_is_not_made() -> None:
    with pytest.raises(ValueError, match="3 bytes for a range of 4"):
        requests.write_memory(RANGE, b"\x01\x02\x03")
    with pytest.raises(ValueError, match="one address and length format"):
        requests.define_by_memory_address(0xF300, RANGE, MemoryRange(address=0, size=1))
    with pytest.raises(OverflowError):
        requests.read_memory(MemoryRange(address=0x10000, size=1, address_bytes=2))


def test_a_server_and_these_codecs_understand_each_other() -> None:
    bench = DataBench()
    bench.ask("1003")
    bench.unlock(3)

    def ask(request: bytes) -> bytes:
        return bytes.fromhex(bench.ask(request))

    assert responses.decode_memory(ask(requests.read_memory(RANGE)), 4) == b"\x10\x11\x12\x13"
    unit, formula = 0xA, 0x9
    assert responses.decode_scaling(ask(requests.read_scaling(0x0101)), 0x0101) == (
        ScalingByte(kind=1, count=2),
        ScalingByte(kind=formula, count=3, extension=b"\x07\x10\x01"),
        ScalingByte(kind=unit, count=1, extension=b"\x17"),
    )
    defined = ask(requests.define_by_identifier(0xF300, [RecordPart(0x0102, 1, 1)]))
    responses.decode_definition(defined, DynamicDefinition.BY_IDENTIFIER, 0xF300)
    cleared = ask(requests.clear_definition())
    responses.decode_definition(cleared, DynamicDefinition.CLEAR, None)
    taken = ask(requests.control_output(0x0180, OutputControl.FREEZE))
    assert responses.decode_output_control(taken, 0x0180, OutputControl.FREEZE) == b"\x1e"
    bench.unlock(1)
    image = MemoryRange(address=0x4000, size=20)
    assert responses.decode_upload(ask(requests.request_upload(image))) == 18
    assert responses.decode_uploaded(ask(b"\x36\x01"), 1) == bytes(range(16))


def test_periodic_messages_of_both_types_are_read() -> None:
    assert responses.decode_periodic(b"\x6a\x01", unsegmented=True) == (0xF26A, b"\x01")
    assert responses.decode_periodic(b"\x6a\x01\x02", unsegmented=False) == (0xF201, b"\x02")


@pytest.mark.parametrize(
    "decode",
    [
        lambda: responses.decode_memory(b"\x63\x00", 2),
        lambda: responses.decode_memory(b"\x62\x00", 1),
        lambda: responses.decode_scaling(b"\x64\x01\x01", 0x0101),
        lambda: responses.decode_scaling(b"\x64\x01\x01\x93\x06\xf0", 0x0101),
        lambda: responses.decode_periodic(b"\x01", unsegmented=True),
        lambda: responses.decode_periodic(b"\x01\x02\x03", unsegmented=False),
        lambda: responses.decode_definition(b"\x6c\x03\xf3", DynamicDefinition.CLEAR, None),
        lambda: responses.decode_definition(b"\x6c\x01", DynamicDefinition.CLEAR, None),
        lambda: responses.decode_output_control(b"\x6f\x01\x80\x03", 0x0180, OutputControl.FREEZE),
        lambda: responses.decode_upload(b"\x75\x20\x00\x02"),
        lambda: responses.decode_upload(b"\x74\x20\x00\x12"),
        lambda: responses.decode_uploaded(b"\x76\x01", 1),
    ],
)
def test_anything_else_is_malformed(decode: Callable[[], object]) -> None:
    with pytest.raises(MalformedResponseError):
        decode()
