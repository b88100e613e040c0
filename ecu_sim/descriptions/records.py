"""The data records of an ECU type's identifiers, routines and fault memory, as fields."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.descriptions.layout import Case, Constant, Field, Fields, Number, Raw, Repeat, Text
from ecu_sim.ecus import EcuType
from protocols.uds import DataIdentifier, RoutineId, Session
from protocols.uds.dtc import EXTENDED_DATA_LENGTHS, ExtendedDataRecord
from protocols.uds.routine_status import ALFID, CHECK_TEXTS, Precondition

_VIN_LENGTH: Final = 17
_DONE: Final = {0: "done"}

_STATUS: Final = Number(name="status", texts=_DONE)
_CHECKED: Final = Number(
    name="status", texts={int(status): text for status, text in CHECK_TEXTS.items()}
)

#: Routine -> what follows the identifier in request and response (`protocols.uds.routine_status`).
ROUTINES: Final[Mapping[int, tuple[Fields, Fields]]] = MappingProxyType(
    {
        RoutineId.ERASE_MEMORY: (
            (
                Constant(name="address_and_length_format", value=ALFID),
                Number(name="memory_address", bits=32),
                Number(name="memory_size", bits=32, unit="byte"),
            ),
            (_STATUS,),
        ),
        RoutineId.CHECK_DEPENDENCIES: ((), (_CHECKED,)),
        RoutineId.CHECK_PRECONDITIONS: (
            (),
            (
                Number(name="status", texts={0: "fulfilled", 1: "not fulfilled"}),
                Repeat(
                    name="failed",
                    counted=True,
                    items=(
                        Number(
                            name="precondition",
                            texts={
                                int(one): one.name.lower().replace("_", " ") for one in Precondition
                            },
                        ),
                    ),
                ),
            ),
        ),
        RoutineId.ACTIVATE: ((), (_STATUS,)),
        RoutineId.CONFIRM: ((), (_STATUS,)),
        RoutineId.REVERT: ((), (_STATUS,)),
        RoutineId.SELF_TEST: ((), (_STATUS, Number(name="confirmed_dtcs"))),
        RoutineId.SLOT_DIGEST: (
            (Raw(name="nonce", least=16),),
            (_STATUS, Raw(name="sha256", length=32), Raw(name="signature", length=64)),
        ),
    }
)
_CRC: Final = Number(name="crc32", bits=32)

_SESSIONS: Final = Number(name="session", texts={int(one): one.name.lower() for one in Session})


def routine_records(ecu: EcuType, rid: int) -> tuple[Fields, Fields]:
    """Option and status record; plain bytes for a routine that is in no table."""
    if rid == RoutineId.CHECK_MEMORY:
        return ((_CRC,) if ecu.single_slot else (), (_CHECKED,))
    return ROUTINES.get(rid, ((Raw(name="option_record"),), (Raw(name="status_record"),)))


def routine_name(rid: int) -> str:
    try:
        return RoutineId(rid).name.lower().replace("_", " ")
    except ValueError:
        return f"routine {rid:04X}"


def data_name(ecu: EcuType, did: int) -> str:
    return ecu.data_identifiers.get(did, f"data {did:04X}")


def data_record(ecu: EcuType, did: int) -> Fields:
    """What follows a data identifier."""
    live = ecu.live_values.get(did)
    if live is not None:
        return (
            Number(
                name="value",
                bits=8 * live.length,
                signed=live.signed,
                scale=live.scale,
                unit=live.unit,
            ),
        )
    return (_IDENTIFICATION.get(did, Raw(name="record")),)


_IDENTIFICATION: Final[Mapping[int, Field]] = MappingProxyType(
    {
        DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER: Text(name="text"),
        DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_VERSION: Text(name="text"),
        DataIdentifier.ECU_SERIAL_NUMBER: Text(name="text"),
        DataIdentifier.VIN: Text(name="text", length=_VIN_LENGTH),
        DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER: Text(name="text"),
        DataIdentifier.SYSTEM_SUPPLIER_ECU_SOFTWARE_VERSION: Text(name="text"),
        DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION: _SESSIONS,
        DataIdentifier.PROGRAMMING_FINGERPRINT: Raw(name="record", least=1),
    }
)


def data_cases(ecu: EcuType) -> Mapping[int, Case]:
    return {
        did: Case(name=name, fields=data_record(ecu, did))
        for did, name in ecu.data_identifiers.items()
    }


def extended_cases() -> Mapping[int, Case]:
    return {
        number: Case(
            name=ExtendedDataRecord(number).name.lower(),
            fields=(Number(name="value", bits=8 * length),),
        )
        for number, length in EXTENDED_DATA_LENGTHS.items()
    }
