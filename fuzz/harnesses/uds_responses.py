"""Any bytes in place of a UDS answer give a value or a `UdsError`."""

from contextlib import suppress
from typing import Final

from fuzz import Harness
from protocols.uds import DynamicDefinition, OutputControl, UdsError, responses
from protocols.uds.dtc import ExtendedDataRecord

_DECODERS: Final = (
    responses.decode_negative,
    responses.decode_session,
    responses.decode_download,
    responses.decode_dtcs,
    lambda payload: [
        responses.decode_extended_data(payload).counter(one) for one in ExtendedDataRecord
    ],
    lambda payload: responses.decode_snapshots(payload, {0x0101: 2, 0: 0}),
    lambda payload: responses.decode_routine(payload, 0xFF00),
    lambda payload: responses.decode_seed(payload, 1),
    lambda payload: responses.decode_data(payload, 0xF190),
    lambda payload: responses.decode_transfer(payload, 1),
    lambda payload: responses.decode_memory(payload, 4),
    lambda payload: responses.decode_scaling(payload, 0x0100),
    lambda payload: responses.decode_periodic(payload, unsegmented=True),
    lambda payload: responses.decode_periodic(payload, unsegmented=False),
    lambda payload: responses.decode_definition(payload, DynamicDefinition.BY_IDENTIFIER, 0xF300),
    lambda payload: responses.decode_output_control(payload, 0x0180, OutputControl.FREEZE),
    responses.decode_upload,
    lambda payload: responses.decode_uploaded(payload, 1),
)


def prove(data: bytes) -> None:
    for decode in _DECODERS:
        with suppress(UdsError):
            decode(data)


HARNESS: Final = Harness(
    prove=prove,
    seeds=tuple(
        map(
            bytes.fromhex,
            (
                "50 03 00 32 01 F4",
                "59 02 FF 9A 01 00 2F 9A 02 11 50",
                "59 04 9A 01 00 2F 01 01 01 01 00 10",
                "59 06 9A 01 00 2F 01 05 02 03",
                "67 01 00 01 02 03",
                "71 01 FF 00 00",
                "74 20 0F FF",
                "7F 22 31",
                "63 01 02 03 04",
                "64 01 00 02 A1 00 93 01 02 03",
                "6A 01 02 03",
                "6C 01 F3 00",
                "6F 01 80 02 00",
                "75 20 0F FF",
                "76 01 02",
            ),
        )
    ),
)
