"""The ECUs' packages as an independent reader (odxtools) sees them."""

import io
from functools import cache

import odxtools
from odxtools.database import Database
from odxtools.diaglayers.hierarchyelement import HierarchyElement
from odxtools.message import Message
from odxtools.request import Request

from ecu_sim.descriptions import pdx
from ecu_sim.ecus import ecu_type


@cache
def database(ecu: str) -> Database:
    """Loaded strictly; a warning is an error in these tests."""
    found = Database()
    found.add_pdx_file(io.BytesIO(pdx(ecu_type(ecu))))
    found.refresh()
    return found


def base_variant(ecu: str) -> HierarchyElement:
    return database(ecu).base_variants[ecu]


def variant(ecu: str, program: str) -> HierarchyElement:
    """The layer of one of the ECU's programs."""
    return database(ecu).ecu_variants[f"{ecu}_{program.replace(' ', '_')}"]


def read_request(layer: HierarchyElement, request: bytes) -> list[Message]:
    """Every reading of a request; each gives the very bytes when it is coded again."""
    found = [one for one in layer.decode(request) if isinstance(one.coding_object, Request)]
    for one in found:
        coded = one.service.encode_request(**one.param_dict)
        assert coded == request, f"{one.service.short_name}: {coded.hex(' ')} of {request.hex(' ')}"
    return found


def read_answer(layer: HierarchyElement, request: bytes, answer: bytes) -> list[Message]:
    """The same for an answer to that request."""
    found = layer.decode_response(answer, request)
    for one in found:
        assert not isinstance(one.coding_object, Request)
        coded = one.coding_object.encode(coded_request=request, **one.param_dict)
        assert coded == answer, f"{one.service.short_name}: {coded.hex(' ')} of {answer.hex(' ')}"
    return found


__all__ = ["base_variant", "database", "odxtools", "read_answer", "read_request", "variant"]
