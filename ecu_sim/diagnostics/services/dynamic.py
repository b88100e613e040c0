"""Dynamically defined data identifiers (2C)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.dynamic import IdentifierPart, MemoryPart, Part
from ecu_sim.diagnostics.handling import Handler, Request, memory_range, positive
from ecu_sim.diagnostics.identifiers import read_identifier, read_memory
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer
from protocols.uds import DynamicDefinition, ServiceId
from protocols.uds.rules import DynamicRules

#: F2xx can also be sent periodically, where it is no fixed periodic identifier.
_PERIODIC: Final = range(0xF200, 0xF300)
_DYNAMIC: Final = range(0xF300, 0xF400)
#: Bytes of one element of 2C 01: identifier, position, size.
_ELEMENT: Final = 4


def _define(state: ServerState, request: Request) -> Answer:
    rules = state.rules.data.dynamic
    if rules is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    definition = DynamicDefinition(request.sub_function)
    if definition == DynamicDefinition.CLEAR:
        return _clear(state, request)
    did = int.from_bytes(request.data[2:4])
    parts = (
        _identifier_parts(request)
        if definition == DynamicDefinition.BY_IDENTIFIER
        else _memory_parts(request)
    )
    if not _is_dynamic(state, did):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"{did:04X} cannot be defined")
    _check_limits(state, rules, did, parts)
    for part in parts:
        _check_part(state, request, part)
    if did in state.schedule:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "it is being sent periodically")
    state.dynamic.add(did, parts)
    return _answer(definition, request.data[2:4])


def _clear(state: ServerState, request: Request) -> Answer:
    """One identifier, or all if none is named; what is sent periodically stops."""
    did = request.data[2:]
    if len(did) == 1:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    if not did:
        state.schedule.stop(
            [one for one in state.schedule.identifiers() if state.dynamic.parts(one)]
        )
        state.dynamic.clear_all()
        return _answer(DynamicDefinition.CLEAR, b"")
    number = int.from_bytes(did)
    if not _is_dynamic(state, number):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"{number:04X} is not dynamic")
    state.schedule.stop([number])
    state.dynamic.clear(number)
    return _answer(DynamicDefinition.CLEAR, did)


def _answer(definition: DynamicDefinition, did: bytes) -> Answer:
    told = bytes([definition]) + did
    return Answer(positive(ServiceId.DYNAMICALLY_DEFINE_DATA_IDENTIFIER, told))


def _is_dynamic(state: ServerState, did: int) -> bool:
    if did in _DYNAMIC:
        return True
    periodic = state.rules.data.periodic
    return periodic is not None and did in _PERIODIC and did not in periodic.identifiers


def _identifier_parts(request: Request) -> list[Part]:
    body = request.data[4:]
    if len(body) % _ELEMENT:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    elements = (body[at : at + _ELEMENT] for at in range(0, len(body), _ELEMENT))
    return [IdentifierPart(int.from_bytes(one[:2]), one[2], one[3]) for one in elements]


def _memory_parts(request: Request) -> list[Part]:
    """One format identifier, then ranges of that format until the end."""
    data, parts, at = request.data, list[Part](), 5
    step = (data[4] >> 4) + (data[4] & 0x0F)
    address, size, end = memory_range(data, 4, last=False)
    if (len(data) - at) % step:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    parts.append(MemoryPart(address, size))
    while end < len(data):
        address, size, _ = memory_range(data[4:5] + data[end : end + step], 0)
        parts.append(MemoryPart(address, size))
        end += step
    return parts


def _check_limits(state: ServerState, rules: DynamicRules, did: int, parts: list[Part]) -> None:
    before = state.dynamic.parts(did)
    whole = [*before, *parts]
    if not before and len(state.dynamic) >= rules.limit:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "too many identifiers")
    if len(whole) > rules.elements or sum(part.size for part in whole) > rules.max_record:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "too many elements or bytes")


def _check_part(state: ServerState, request: Request, part: Part) -> None:
    """A part must be there and open to this tester now; it is asked again at each reading."""
    if isinstance(part, MemoryPart):
        read_memory(
            state, part.address, part.size, source=request.source, functional=request.functional
        )
        return
    if state.dynamic.parts(part.did) or part.did in _DYNAMIC:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no part of a dynamic identifier")
    record = read_identifier(state, part.did, source=request.source, functional=request.functional)
    if not (part.position and part.size) or part.position - 1 + part.size > len(record):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"{part.did:04X} has {len(record)} bytes")


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.DYNAMICALLY_DEFINE_DATA_IDENTIFIER: _define}
)
