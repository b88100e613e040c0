"""The services: what is left to decide once the rules have let a request through.

A member is a module here with `HANDLERS`, a table of service identifier -> `Handler`.
"""

from collections.abc import Mapping
from functools import cache
from typing import cast

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.plugins import members


@cache
def handlers() -> Mapping[int, Handler]:
    """Every service that some server can have; `ValueError` if two members claim one."""
    found: dict[int, Handler] = {}
    for name, table in members(__name__, "HANDLERS").items():
        for service_id, handler in cast(
            "Mapping[int, Handler]",  # what a member of this family offers
            table,
        ).items():
            if service_id in found:
                raise ValueError(f"{__name__}.{name}: service {service_id:02X} has a handler")
            found[service_id] = handler
    return found


def serve(state: ServerState, request: Request) -> Answer | Work:
    """Answer a request that the general rules have passed."""
    if state.stock_answer is not None:
        stock = state.stock_answer(request.data)
        if stock is not None:
            return Answer(stock)
    handler = handlers().get(request.data[0])
    if handler is None:
        raise Refusal(Nrc.SERVICE_NOT_SUPPORTED)
    rules = state.rules.special.secured_data
    if rules is not None and request.data[0] in rules.required and not request.secured:
        raise Refusal(Nrc.SECURE_DATA_TRANSMISSION_REQUIRED)
    return handler(state, request)
