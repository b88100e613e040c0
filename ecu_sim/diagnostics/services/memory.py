"""Memory by address (23, 3D, 35)."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import MemoryAccess, Nrc, Refusal
from ecu_sim.diagnostics.handling import (
    Handler,
    Request,
    length_format,
    memory_range,
    positive,
    require_access,
)
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.upload import Upload
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import ServiceId
from protocols.uds.rules import Access, MemoryRegion, region_of


def _read_memory(state: ServerState, request: Request) -> Answer:
    address, size, _ = memory_range(request.data, 1)
    memory = _memory(state, request, address, size, lambda region: region.read)
    if size + 1 > state.max_response:
        raise Refusal(Nrc.RESPONSE_TOO_LONG)
    data = memory.read_memory(address, size)
    return Answer(positive(ServiceId.READ_MEMORY_BY_ADDRESS, data))


def _write_memory(state: ServerState, request: Request) -> Work:
    address, size, end = memory_range(request.data, 1, last=False)
    head, data = request.data[1:end], request.data[end:]
    if len(data) != size:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "length of the data")
    memory = _memory(state, request, address, size, lambda region: region.write)
    return Work(
        start=lambda _: memory.write_memory(address, data),
        finish=lambda _: Answer(positive(ServiceId.WRITE_MEMORY_BY_ADDRESS, head)),
    )


def _request_upload(state: ServerState, request: Request) -> Answer:
    address, size, _ = memory_range(request.data, 2)
    memory = _memory(state, request, address, size, lambda region: region.upload)
    longest = memory.request_upload(address, size, request.data[1])
    if state.download is not None or state.upload is not None:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a transfer is under way")
    max_block_length = min(longest, state.max_response)
    state.transfer_access = _region(state, address, size).upload
    state.upload = Upload(
        memory.read_memory, address=address, size=size, max_block_length=max_block_length
    )
    return Answer(positive(ServiceId.REQUEST_UPLOAD, length_format(max_block_length)))


def _memory(
    state: ServerState,
    request: Request,
    address: int,
    size: int,
    operation: Callable[[MemoryRegion], Access | None],
) -> MemoryAccess:
    """The memory, once the range lies in a region that is open to this operation."""
    region, memory = _region(state, address, size), state.device.memory_access
    if memory is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no memory by address")
    require_access(state, request, operation(region))
    return memory


def _region(state: ServerState, address: int, size: int) -> MemoryRegion:
    region = region_of(state.rules.data.memory, address, size)
    if region is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no such memory")
    return region


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.READ_MEMORY_BY_ADDRESS: _read_memory,
        ServiceId.WRITE_MEMORY_BY_ADDRESS: _write_memory,
        ServiceId.REQUEST_UPLOAD: _request_upload,
    }
)
