"""Secured data transmission (84): a request inside a signed, perhaps encrypted, message.

Requests must be signed. The counter of each must be ahead of the last one's, which is in the NVM
before anything happens: neither a reset nor a power cut lets an old message in again. What is
inside is answered by the same tables as outside, and refused inside, too.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Job, Nrc, Refusal, ServerEvent
from ecu_sim.diagnostics.handling import Handler, Request
from ecu_sim.diagnostics.services import serve
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds.enums import NEGATIVE_RESPONSE, ServiceId
from protocols.uds.rules import check, suppresses_positive
from protocols.uds.secured_data import (
    KEY_LEVEL,
    Administrative,
    Keys,
    SecuredMessage,
    is_fresh,
)

_COUNTER_KEY: Final = "secured counter"
_COUNTER_LENGTH: Final = 2


def _secured_data(state: ServerState, request: Request) -> Work:
    rules = state.rules.special.secured_data
    keys = Keys.derive(state.device.security_key(KEY_LEVEL))
    message = SecuredMessage.decode(request.data, keys)
    last = state.device.nvm_read(_COUNTER_KEY)
    if not message.signed:
        raise Refusal(Nrc.SECURE_DATA_VERIFICATION_FAILED, "not signed")
    if last is not None and not is_fresh(message.counter, int.from_bytes(last)):
        raise Refusal(Nrc.SECURE_DATA_VERIFICATION_FAILED, "the counter is not ahead")
    if rules is None or message.inner[0] not in rules.services:
        raise Refusal(Nrc.SECURE_DATA_TRANSMISSION_NOT_ALLOWED)
    then: list[ServerEvent] = []

    def finish(inner: bytes) -> Answer:
        answer = _protect(state, message, inner, keys) if inner else None
        return Answer(answer, tuple(then))

    inner = Request(message.inner, request.source, functional=False, now=request.now, secured=True)
    return Work(start=lambda _: _answer(state, message, inner, then), finish=finish)


def _answer(
    state: ServerState, message: SecuredMessage, request: Request, then: list[ServerEvent]
) -> Job:
    """The inner answer, positive or negative; empty if none is to be sent."""
    yield from state.device.nvm_write(_COUNTER_KEY, message.counter.to_bytes(_COUNTER_LENGTH))
    nrc = check(
        state.rules,
        request.data,
        session=state.session,
        unlocked=state.unlocked_for(request.source),
        functional=False,
    )
    if nrc is not None:
        return _negative(request, nrc)
    try:
        outcome = serve(state, request)
        if isinstance(outcome, Work):
            if outcome.waits():
                return _negative(request, Nrc.BUSY_REPEAT_REQUEST)
            result = yield from outcome.start(request.now)
            outcome = outcome.finish(result)
    except Refusal as refusal:
        return _negative(request, refusal.nrc)
    then += outcome.then
    if outcome.payload is None or suppresses_positive(state.rules, request.data):
        return b""
    return outcome.payload


def _protect(state: ServerState, request: SecuredMessage, inner: bytes, keys: Keys) -> bytes:
    """Encrypted where the request was, signed where it asked for that or encrypts."""
    asked = request.administrative
    bits = asked & Administrative.PRE_ESTABLISHED_KEY
    if Administrative.ENCRYPTED in asked:
        bits |= Administrative.ENCRYPTED | Administrative.SIGNED
    if Administrative.SIGN_RESPONSE in asked:
        bits |= Administrative.SIGNED
    response = SecuredMessage(administrative=bits, counter=request.counter, inner=inner)
    encoded = response.encode(keys)
    if len(encoded) > state.max_response:
        raise Refusal(Nrc.RESPONSE_TOO_LONG)
    return encoded


def _negative(request: Request, nrc: Nrc) -> bytes:
    return bytes([NEGATIVE_RESPONSE, request.data[0], nrc])


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.SECURED_DATA_TRANSMISSION: _secured_data}
)
