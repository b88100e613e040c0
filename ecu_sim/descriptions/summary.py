"""An ECU type as plain data: what `canota ecus describe --json` prints."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Final, cast

from ecu_sim.descriptions.layout import Case, Field, LengthKey
from ecu_sim.descriptions.operations import Operation, operations
from ecu_sim.ecus import WIRES, DtcTraits, EcuType
from protocols.uds.dtc import display
from protocols.uds.routine_status import PRECONDITION_NRCS
from protocols.uds.rules import Access, RoutineRule

#: What JSON can say.
Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]


def summary(ecu: EcuType) -> dict[str, Plain]:
    """Addresses, timing, memory, identifiers, trouble codes and every operation."""
    wire = WIRES[ecu.wire]
    return {
        "ecu": ecu.name,
        "hardware_id": ecu.hardware_identifier,
        "wire": {"name": ecu.wire, "kind": wire.kind, "functional_id": wire.functional_id},
        "can_addresses": [
            {
                "request_id": one.request_id,
                "response_id": one.response_id,
                "extended": one.extended,
                "request_extension": one.request_extension,
                "response_extension": one.response_extension,
                "periodic_id": one.periodic_id,
            }
            for one in ecu.can_addresses
        ],
        "logical_address": ecu.logical_address,
        "editions": {
            "iso_14229_1": int(ecu.editions.uds),
            "iso_13400_2": int(ecu.editions.doip),
            "iso_15765_2": int(ecu.editions.isotp),
        },
        "isotp": {name: getattr(ecu.isotp, name) for name in _ISOTP if ecu.can_addresses},
        "timing": {
            "p2_s": ecu.p2_s,
            "p2_star_s": ecu.p2_star_s,
            "s3_s": ecu.s3_s,
            "boot_s": ecu.boot_s,
        },
        "memory": {
            "application_base": ecu.application_base,
            "slot_size": ecu.slot.size,
            "slots": ecu.slots,
            "staging_area": ecu.staging_area,
            "sector_size": ecu.slot.sector_size,
            "page_size": ecu.slot.page_size,
            "erase_s": ecu.slot.erase_s,
            "program_s": ecu.slot.program_s,
            "max_block_length": ecu.max_block_length,
            "data_formats": {f"{key:02X}": str(found) for key, found in ecu.data_formats.items()},
        },
        "dtcs": [
            {"code": code, "display": display(code), "text": text, **_traits(ecu, code)}
            for code, text in ecu.dtcs.items()
        ],
        "operations": [_operation(one) for one in operations(ecu)],
    }


#: What of ISO-TP belongs to the ECU type; lengths, addresses and edition stand elsewhere.
_ISOTP: Final = (
    *("padding", "rx_padding_required", "block_size", "st_min", "half_duplex"),
    *("max_wait_frames", "max_own_wait_frames"),
    *("n_as_s", "n_ar_s", "n_bs_s", "n_br_s", "n_cs_s", "n_cr_s"),
)


def _traits(ecu: EcuType, code: int) -> dict[str, Plain]:
    traits = ecu.dtc_traits.get(code, DtcTraits())
    return {one.name: _plain(getattr(traits, one.name)) for one in fields(traits)}


def _operation(operation: Operation) -> Plain:
    return {
        "name": operation.name,
        "service": operation.service,
        "sub_function": operation.sub_function,
        "identifier": operation.identifier,
        "request": [_field(one) for one in operation.request],
        "response": [_field(one) for one in operation.response],
        "access": {
            program: {
                "sessions": [session.name.lower() for session in sorted(access.sessions)],
                "secured": access.secured,
                "security_level": access.level or None,
                "functional": access.functional,
                **_conditions(access),
            }
            for program, access in operation.access.items()
        },
    }


def _conditions(access: Access) -> dict[str, Plain]:
    """What a routine is refused against, each with its negative response code."""
    if not isinstance(access, RoutineRule) or not access.conditions:
        return {}
    return {
        "conditions": {
            one.name.lower(): f"{nrc:02X}"
            for one, nrc in PRECONDITION_NRCS.items()
            if one in access.conditions
        }
    }


def _field(one: Field | LengthKey | Case) -> dict[str, Plain]:
    """A field by its kind, and whatever of it is not at its default."""
    told: dict[str, Plain] = {"kind": type(one).__name__}
    for part in fields(one):
        value = getattr(one, part.name)
        if value not in (part.default, {}):
            told[part.name] = _plain(value)
    return told


def _plain(value: object) -> Plain:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return [_plain(one) for one in value]
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case _:
            return _field(cast("Field | LengthKey | Case", value))  # what fields are made of
