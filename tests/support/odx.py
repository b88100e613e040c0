"""The ECUs' packages as an independent reader (odxtools) sees them."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from odxtools.database import Database
from odxtools.diaglayers.hierarchyelement import HierarchyElement
from odxtools.message import Message
from odxtools.request import Request

from ecu_sim.descriptions import pdx
from ecu_sim.descriptions.layout import (
    Constant,
    CountedText,
    Field,
    Fields,
    LengthKey,
    Number,
    Packed,
    Raw,
    Repeat,
    Sized,
    Switch,
    Text,
    TroubleCode,
)
from ecu_sim.ecus import EcuType, ecu_type
from tests.support.recording import Exchange


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
    """Every reading of a whole request; each gives the very bytes when it is coded again."""
    found = [one for one in layer.decode(request) if isinstance(one.coding_object, Request)]
    return [
        one
        for one in found
        if _is_whole(one, one.service.encode_request(**one.param_dict), request)
    ]


def _is_whole(reading: Message, coded: bytearray, message: bytes) -> bool:
    """False for the first of several identifiers, whose own service knows of no others."""
    if message[0] in {0x22, 0x62} and len(message) > len(coded) and message.startswith(coded):
        return False
    name = reading.service.short_name
    assert coded == message, f"{name}: {coded.hex(' ')} of {message.hex(' ')}"
    return True


def values(message: Message) -> dict[str, Any]:  # Any: what the package says it is
    return cast("dict[str, Any]", message.param_dict)  # Any: as above


def read_answer(layer: HierarchyElement, request: bytes, answer: bytes) -> list[Message]:
    """The same for an answer to that request."""
    found = layer.decode_response(answer, request)
    assert not any(isinstance(one.coding_object, Request) for one in found)
    return [
        one
        for one in found
        if _is_whole(one, one.coding_object.encode(coded_request=request, **one.param_dict), answer)
    ]


@dataclass(slots=True, kw_only=True)
class Download:
    """One 34 with the 36 and the 37 after it, in values of the package alone."""

    address: int
    size: int
    max_block_length: int
    #: dataFormatIdentifier.
    data_format: int
    counters: list[int] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    complete: bool = False


def only(readings: list[Message]) -> dict[str, Any]:  # Any: what the package says it is
    """The values of a message that has one reading."""
    (reading,) = readings
    return values(reading)


def downloads(layer: HierarchyElement, exchanges: Iterable[Exchange]) -> list[Download]:
    """What was transferred, as the package reads it."""
    found: list[Download] = []
    for one in exchanges:
        match one.request[0]:
            case 0x34:
                asked = only(read_request(layer, one.request))
                told = only(read_answer(layer, one.request, one.answers[-1]))
                found.append(
                    Download(
                        address=asked["memory_address"],
                        size=asked["memory_size"],
                        max_block_length=told["max_number_of_block_length"],
                        data_format=asked["compression_method"] << 4 | asked["encrypting_method"],
                    )
                )
            case 0x36:
                asked = only(read_request(layer, one.request))
                told = only(read_answer(layer, one.request, one.answers[-1]))
                assert told["block_sequence_counter"] == asked["block_sequence_counter"]
                found[-1].counters.append(asked["block_sequence_counter"])
                found[-1].data += asked["data"]
            case 0x37:
                only(read_answer(layer, one.request, one.answers[-1]))
                found[-1].complete = True
    return found


#: What a field must hold for the request to make sense; else the smallest number there is.
_ADDRESS_BYTES = _SIZE_BYTES = 4
_KEYS = {
    "address_length": _ADDRESS_BYTES,
    "size_length": _SIZE_BYTES,
    "file_size_parameter_length": 2,
}


def sample(ecu: EcuType, fields: Fields) -> bytes:
    """A plausible request of this layout: each list has one element, each rest is short."""
    return b"".join(_sample(ecu, one) for one in fields)


def _sample(ecu: EcuType, one: Field) -> bytes:
    match one:
        case Constant():
            return one.value.to_bytes(one.length)
        case Number():
            return _number(ecu, one).to_bytes(one.bits // 8)
        case LengthKey():
            return _KEYS[one.name].to_bytes(one.bits // 8)
        case Packed(parts=parts):
            return sum(_part(part) << part.bit for part in parts).to_bytes(one.length)
        case Sized():
            return _place(ecu).get(one.name, 4).to_bytes(_KEYS[one.key])
        case TroubleCode():
            return next(iter(ecu.dtcs)).to_bytes(3)
        case Repeat():
            return bytes([1] if one.counted else []) + sample(ecu, one.items)
        case Text() | CountedText():
            return b"\x00\x05/file" if isinstance(one, CountedText) else b"text"
        case Raw():
            return bytes(one.length or one.least)
        case Switch():
            key, case = next(iter(one.cases.items()))
            return key.to_bytes(one.key_bits // 8) + sample(ecu, case.fields)


def _part(part: Number | LengthKey) -> int:
    if isinstance(part, LengthKey):
        return _KEYS[part.name]
    return min(part.texts) if part.texts else 0


def _number(ecu: EcuType, one: Number) -> int:
    if one.name == "source_data_identifier":
        return next(iter(ecu.live_values))
    if one.name == "data_identifier":
        return 0xF190
    if one.name == "dynamically_defined_data_identifier":
        return 0xF300
    if one.name in {"dtc_status_mask", "record_number"}:
        return 0xFF
    return min(one.texts) if one.texts else _place(ecu).get(one.name, 1)


def _place(ecu: EcuType) -> dict[str, int]:
    """A sector of the application area."""
    return {"memory_address": ecu.application_base, "memory_size": 0x20}
