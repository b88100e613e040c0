"""Data by identifier (22, 2E)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request, positive, require_access
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import DataIdentifier, ServiceId


def _read_data(state: ServerState, request: Request) -> Answer:
    """Several DIDs at once: those that the ECU has are answered, if there is one at all."""
    if len(request.data) % 2 == 0:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    response = bytearray(positive(ServiceId.READ_DATA_BY_IDENTIFIER))
    for at in range(1, len(request.data), 2):
        response += _data_record(state, request.data[at : at + 2])
        if len(response) > state.max_response:
            raise Refusal(Nrc.RESPONSE_TOO_LONG)
    if len(response) == 1:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    return Answer(bytes(response))


def _data_record(state: ServerState, did: bytes) -> bytes:
    if int.from_bytes(did) == DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION:
        return did + bytes([state.session])
    try:
        return did + state.device.read_data(int.from_bytes(did))
    except Refusal as refusal:
        if refusal.nrc == Nrc.REQUEST_OUT_OF_RANGE:
            return b""
        raise


def _write_data(state: ServerState, request: Request) -> Work:
    did, record = request.data[1:3], request.data[3:]
    require_access(state, request, state.rules.writable.get(int.from_bytes(did)))
    return Work(
        start=lambda _: state.device.write_data(int.from_bytes(did), record),
        finish=lambda _: Answer(positive(ServiceId.WRITE_DATA_BY_IDENTIFIER, did)),
    )


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.READ_DATA_BY_IDENTIFIER: _read_data,
        ServiceId.WRITE_DATA_BY_IDENTIFIER: _write_data,
    }
)
