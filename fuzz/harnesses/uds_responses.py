"""Any bytes in place of a UDS answer give a value or a `UdsError`."""

from contextlib import suppress
from typing import Final

from fuzz import Harness
from protocols.uds import UdsError, responses

_DECODERS: Final = (
    responses.decode_negative,
    responses.decode_session,
    responses.decode_download,
    responses.decode_dtcs,
    responses.decode_extended_data,
    lambda payload: responses.decode_snapshots(payload, {0x0101: 2, 0: 0}),
    lambda payload: responses.decode_routine(payload, 0xFF00),
    lambda payload: responses.decode_seed(payload, 1),
    lambda payload: responses.decode_data(payload, 0xF190),
    lambda payload: responses.decode_transfer(payload, 1),
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
            ),
        )
    ),
)
