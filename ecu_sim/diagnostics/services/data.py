"""Data by identifier: read, write, its scaling, and control of outputs (22, 24, 2E, 2F)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request, fitting, positive, require_access
from ecu_sim.diagnostics.identifiers import read_identifier
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import OutputControl, ServiceId


def _read_data(state: ServerState, request: Request) -> Answer:
    """Several DIDs at once: those that the ECU has are answered, if there is one at all."""
    if len(request.data) % 2 == 0:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    most = state.rules.data.max_identifiers
    if most is not None and len(request.data) // 2 > most:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "too many identifiers")
    response = bytearray(positive(ServiceId.READ_DATA_BY_IDENTIFIER))
    for at in range(1, len(request.data), 2):
        response += _data_record(state, request, request.data[at : at + 2])
        if len(response) > state.max_response:
            raise Refusal(Nrc.RESPONSE_TOO_LONG)
    if len(response) == 1:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    return Answer(bytes(response))


def _data_record(state: ServerState, request: Request, did: bytes) -> bytes:
    try:
        return did + read_identifier(
            state, int.from_bytes(did), source=request.source, functional=request.functional
        )
    except Refusal as refusal:
        if refusal.nrc == Nrc.REQUEST_OUT_OF_RANGE:
            return b""
        raise


def _read_scaling(state: ServerState, request: Request) -> Answer:
    """Scaling is as open as the record itself."""
    did, scaling = int.from_bytes(request.data[1:3]), state.device.scaling
    if scaling is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    record = read_identifier(state, did, source=request.source, functional=request.functional)
    if state.rules.data.periodic is not None:
        did = state.rules.data.periodic.identifiers.get(did, did)
    told = positive(ServiceId.READ_SCALING_DATA_BY_IDENTIFIER, request.data[1:3])
    return fitting(state, told + scaling.scaling_data(did, len(record)))


def _write_data(state: ServerState, request: Request) -> Work:
    did, record = request.data[1:3], request.data[3:]
    require_access(state, request, state.rules.writable.get(int.from_bytes(did)))
    return Work(
        start=lambda _: state.device.write_data(int.from_bytes(did), record),
        finish=lambda _: Answer(positive(ServiceId.WRITE_DATA_BY_IDENTIFIER, did)),
    )


_OUTPUT_CONTROLS: Final = frozenset(OutputControl)


def _control_output(state: ServerState, request: Request) -> Answer:
    did, parameter, option = request.data[1:3], request.data[3], request.data[4:]
    outputs = state.device.input_output
    access = state.rules.data.outputs.get(int.from_bytes(did))
    require_access(state, request, access)
    if outputs is None or parameter not in _OUTPUT_CONTROLS:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    status = outputs.control_output(int.from_bytes(did), OutputControl(parameter), option)
    head = did + bytes([parameter])
    return Answer(positive(ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER, head + status))


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.READ_DATA_BY_IDENTIFIER: _read_data,
        ServiceId.READ_SCALING_DATA_BY_IDENTIFIER: _read_scaling,
        ServiceId.WRITE_DATA_BY_IDENTIFIER: _write_data,
        ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER: _control_output,
    }
)
