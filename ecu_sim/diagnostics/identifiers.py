"""Reading by data identifier: fixed, periodic (F2xx) and dynamically defined (2C) ones."""

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.dynamic import IdentifierPart, Part
from ecu_sim.diagnostics.state import ServerState
from protocols.uds import DataIdentifier
from protocols.uds.rules import Access, check_access, region_of


def read_identifier(
    state: ServerState, did: int, *, source: int, functional: bool = False
) -> bytes:
    """A data identifier's record, read for the tester `source`.

    `Refusal` 31 if there is none in this session, 33 if it is locked; a dynamically defined one
    is as open as its parts are now.
    """
    data = state.rules.data
    parts = state.dynamic.parts(did)
    if parts:
        return b"".join(_read_part(state, part, source, functional=functional) for part in parts)
    if data.periodic is not None:
        did = data.periodic.identifiers.get(did, did)
    if did in data.readable:
        _require(state, data.readable[did], source, functional=functional)
    if did == DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION:
        return bytes([state.session])
    return state.device.read_data(did)


def read_memory(
    state: ServerState, address: int, size: int, *, source: int, functional: bool = False
) -> bytes:
    """Bytes of a region that may be read now; `Refusal` 31 or 33 if not."""
    region = region_of(state.rules.data.memory, address, size)
    memory = state.device.memory_access
    if region is None or memory is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no such memory")
    _require(state, region.read, source, functional=functional)
    return memory.read_memory(address, size)


def _read_part(state: ServerState, part: Part, source: int, *, functional: bool) -> bytes:
    if isinstance(part, IdentifierPart):
        record = read_identifier(state, part.did, source=source, functional=functional)
        piece = record[part.position - 1 : part.position - 1 + part.size]
        if len(piece) != part.size:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "the record has become shorter")
        return piece
    return read_memory(state, part.address, part.size, source=source, functional=functional)


def _require(
    state: ServerState, access: Access | None, source: int, *, functional: bool = False
) -> None:
    objection = check_access(
        access,
        session=state.session,
        unlocked=state.unlocked_for(source),
        functional=functional,
    )
    if objection is not None:
        raise Refusal(objection)
