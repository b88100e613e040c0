"""The data records of an ECU type's identifiers, routines and fault memory, as fields."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ecu_sim.descriptions.layout import (
    Case,
    Constant,
    Field,
    Fields,
    Number,
    Packed,
    Raw,
    Repeat,
    Switch,
    Text,
    short_name,
)
from ecu_sim.ecus import CALIBRATION_LENGTH, EcuType, Sweep
from ecu_sim.scaling import LONGEST, UNITS, Formula, ScalingType
from protocols.uds import DataIdentifier, OutputControl, RoutineId, Session
from protocols.uds.dtc import EXTENDED_DATA_LENGTHS, GROUP_BASE, ExtendedDataRecord, FunctionalGroup
from protocols.uds.requests import ALL_DTCS
from protocols.uds.routine_status import (
    ALFID,
    CHECK_TEXTS,
    SELF_TEST_TEXTS,
    Precondition,
    RoutineState,
)

_VIN_LENGTH: Final = 17
_DONE: Final = {0: "done"}

_STATUS: Final = Number(name="status", texts=_DONE)
_SELF_TEST: Final = Number(
    name="status", texts={int(status): text for status, text in SELF_TEST_TEXTS.items()}
)
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
        RoutineId.SELF_TEST: ((), (_SELF_TEST, Number(name="confirmed_dtcs"))),
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
    sweep = ecu.sweeps.get(rid)
    if sweep is not None:
        return ((), _sweep_record(sweep))
    if rid == RoutineId.CHECK_MEMORY:
        return (_checked_image(ecu), (_CHECKED,))
    return ROUTINES.get(rid, ((Raw(name="option_record"),), (Raw(name="status_record"),)))


def _checked_image(ecu: EcuType) -> Fields:
    if ecu.staging_area:
        return (Number(name="size", bits=32), _CRC, Raw(name="sha512", length=64))
    if ecu.blocks:
        return (_ADDRESS, _CRC)
    return (_CRC,) if ecu.single_slot else ()


def _sweep_record(sweep: Sweep) -> Fields:
    measured = (
        Number(name=f"{which}_measured", bits=16, scale=sweep.scale, unit=sweep.unit)
        for which in ("least", "greatest")
    )
    state = {int(one): one.name.lower() for one in RoutineState}
    return (Number(name="state", texts=state), Number(name="steps"), *measured)


def routine_name(ecu: EcuType, rid: int) -> str:
    sweep = ecu.sweeps.get(rid)
    if sweep is not None:
        return sweep.name.lower()
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


#: Identifiers that 2C may define, those that can also be sent periodically first.
_DYNAMIC: Final = range(0xF200, 0xF400)
_DEFINED: Final = (Raw(name="record", least=1),)


def data_cases(ecu: EcuType) -> Mapping[int, Case]:
    """The records behind their identifiers; the tester itself knows what it has defined by 2C."""
    cases = {
        did: Case(name=name, fields=data_record(ecu, did)) for did, name in identifiers(ecu).items()
    }
    if ecu.data.dynamic is None:
        return cases
    fixed = (did for did in sorted(cases) if did in _DYNAMIC)
    first = _DYNAMIC.start
    for did in (*fixed, _DYNAMIC.stop):
        if first < did:
            cases[first] = Case(name="dynamically defined", fields=_DEFINED, last=did - 1)
        first = did + 1
    return cases


def periodic_texts(ecu: EcuType) -> dict[int, str]:
    """The low bytes of the identifiers F2xx that 2A may ask for."""
    periodic, names = ecu.data.periodic, identifiers(ecu)
    if periodic is None:
        return {}
    texts = {did & 0xFF: names[did] for did in periodic.identifiers}
    if ecu.data.dynamic is None:
        return texts
    return {low: texts.get(low, f"dynamically defined F2{low:02X}") for low in range(0x100)}


def periodic_cases(ecu: EcuType) -> Mapping[int, Case]:
    """The records behind those low bytes."""
    first = _DYNAMIC.start
    return {
        did - first: replace(case, last=None if case.last is None else min(case.last - first, 0xFF))
        for did, case in data_cases(ecu).items()
        if first <= did <= first + 0xFF
    }


def group_texts(ecu: EcuType) -> dict[int, str]:
    """What 14 and 85 may name: everything, a functional group that has codes, or one code."""
    groups = {traits.group for traits in ecu.dtc_traits.values()}
    texts = {ALL_DTCS: "all groups"}
    texts |= {
        GROUP_BASE | group: f"{group.name.lower().replace('_', ' ')} group"
        for group in FunctionalGroup
        if group in groups
    }
    return texts | {code: f"{code:06X} {text}" for code, text in ecu.dtcs.items()}


def output_control(ecu: EcuType, did: int) -> Switch:
    """2F behind the identifier: parameter, states where it adjusts, and a mask of what is meant."""
    outputs = ecu.output_records[did].outputs
    bits = 8 * -(-len(outputs) // 8)
    chosen = tuple(
        Number(name=f"{short_name(one.name).lower()}_controlled", bits=1, bit=bits - 1 - number)
        for number, one in enumerate(outputs)
    )
    unused = Number(name="unused", bits=bits - len(outputs))
    parts = (*chosen, unused) if unused.bits else chosen
    mask = Packed(name="control_mask", length=bits // 8, parts=parts)
    # Without a mask all are meant; one output alone has none.
    rest = (Repeat(name="control_masks", most=1, items=(mask,)),) if len(outputs) > 1 else ()
    return Switch(
        name="control_option",
        key_bits=8,
        cases={
            control: Case(
                name=control.name.lower().replace("_", " "),
                fields=(
                    *(data_record(ecu, did) if control == _ADJUST else ()),
                    *rest,
                ),
            )
            for control in OutputControl
        },
    )


_ADJUST: Final = OutputControl.SHORT_TERM_ADJUSTMENT
#: A constant of a formula: mantissa times ten to the power of the exponent.
_CONSTANT: Final = Packed(
    name="constant",
    length=2,
    parts=(
        Number(name="mantissa", bits=12, bit=0, signed=True),
        Number(name="exponent", bits=4, bit=12, signed=True),
    ),
)
_FORMULA: Final = (
    Number(name="formula", texts={int(one): one.text for one in Formula}),
    _CONSTANT,
)
_UNIT: Final = (
    Number(name="unit_identifier", texts={code: unit or "no unit" for unit, code in UNITS.items()}),
)


def _scaling_cases() -> Mapping[int, Case]:
    """Scaling bytes, type and length in one, and what follows each of them."""
    lengths = {ScalingType.FORMULA: (3,), ScalingType.UNIT: (1,)}
    behind = {ScalingType.FORMULA: _FORMULA, ScalingType.UNIT: _UNIT}
    return {
        kind << 4 | length: Case(
            name=f"{kind.name.lower()} of {length} byte{'s' if length > 1 else ''}",
            fields=behind.get(kind, ()),
        )
        for kind in ScalingType
        for length in lengths.get(kind, range(1, LONGEST + 1))
    }


#: 24 behind the identifier.
SCALING: Final[Fields] = (
    Repeat(
        name="scaling", items=(Switch(name="scaling_byte", key_bits=8, cases=_scaling_cases()),)
    ),
)


def extended_cases() -> Mapping[int, Case]:
    return {
        number: Case(
            name=ExtendedDataRecord(number).name.lower(),
            fields=(Number(name="value", bits=8 * length),),
        )
        for number, length in EXTENDED_DATA_LENGTHS.items()
    }
