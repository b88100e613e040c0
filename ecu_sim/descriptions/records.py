"""The data records of an ECU type's identifiers, routines and fault memory, as fields."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.descriptions.layout import (
    Case,
    Constant,
    Field,
    Fields,
    Number,
    Raw,
    Repeat,
    Text,
    short_name,
)
from ecu_sim.ecus import CALIBRATION_LENGTH, EcuType
from protocols.uds import DataIdentifier, RoutineId, Session
from protocols.uds.dtc import EXTENDED_DATA_LENGTHS, ExtendedDataRecord
from protocols.uds.routine_status import ALFID, CHECK_TEXTS, Precondition

_VIN_LENGTH: Final = 17
_DONE: Final = {0: "done"}

_STATUS: Final = Number(name="status", texts=_DONE)
_CHECKED: Final = Number(
    name="status", texts={int(status): text for status, text in CHECK_TEXTS.items()}
)

_ADDRESS: Final = Number(name="memory_address", bits=32)

#: Routine -> what follows the identifier in request and response (`protocols.uds.routine_status`).
ROUTINES: Final[Mapping[int, tuple[Fields, Fields]]] = MappingProxyType(
    {
        RoutineId.ERASE_MEMORY: (
            (
                Constant(name="address_and_length_format", value=ALFID),
                _ADDRESS,
                Number(name="memory_size", bits=32, unit="byte"),
            ),
            (_STATUS,),
        ),
        RoutineId.CHECK_DEPENDENCIES: ((), (_CHECKED,)),
        RoutineId.START_SECONDARY_LOADER: ((_ADDRESS,), (_CHECKED,)),
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
        whole = (_CRC,) if ecu.single_slot else ()
        return ((_ADDRESS, _CRC) if ecu.blocks else whole, (_CHECKED,))
    return ROUTINES.get(rid, ((Raw(name="option_record"),), (Raw(name="status_record"),)))


def routine_name(rid: int) -> str:
    try:
        return RoutineId(rid).name.lower().replace("_", " ").removeprefix("start ")
    except ValueError:
        return f"routine {rid:04X}"


def identifiers(ecu: EcuType) -> dict[int, str]:
    """Every data identifier that some program of the ECU reads, with its name."""
    return ecu.data_identifiers | ecu.engineering_identifiers


def data_record(ecu: EcuType, did: int) -> Fields:
    """What follows a data identifier."""
    if ecu.data.periodic is not None:
        did = ecu.data.periodic.identifiers.get(did, did)
    live, calibration = ecu.live_values.get(did), ecu.calibrations.get(did)
    outputs = ecu.output_records.get(did)
    if live is not None:
        value = Number(
            name="value",
            bits=8 * live.length,
            signed=live.signed,
            scale=live.scale,
            unit=live.unit,
        )
        return (value,)
    if calibration is not None:
        value = Number(
            name="value",
            bits=8 * CALIBRATION_LENGTH,
            signed=True,
            scale=calibration.scale,
            unit=calibration.unit,
        )
        return (value,)
    if outputs is not None:
        return tuple(
            Number(name=short_name(one.name).lower(), scale=one.scale, unit=one.unit)
            for one in outputs.outputs
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


_DYNAMIC: Final = (0xF300, 0xF3FF)
_DEFINED: Final = Case(
    name="dynamically_defined", fields=(Raw(name="record", least=1),), last=_DYNAMIC[1]
)


def data_cases(ecu: EcuType) -> Mapping[int, Case]:
    """The records behind their identifiers; the tester itself knows what it has defined by 2C."""
    cases = {
        did: Case(name=name, fields=data_record(ecu, did)) for did, name in identifiers(ecu).items()
    }
    return cases if ecu.data.dynamic is None else cases | {_DYNAMIC[0]: _DEFINED}


def extended_cases() -> Mapping[int, Case]:
    return {
        number: Case(
            name=ExtendedDataRecord(number).name.lower(),
            fields=(Number(name="value", bits=8 * length),),
        )
        for number, length in EXTENDED_DATA_LENGTHS.items()
    }
