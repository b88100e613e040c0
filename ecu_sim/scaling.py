"""Scaling data (service 24) from an ECU type's own tables (ISO 14229-1, scalingByte).

A scaling byte is a type in the high nibble and a number of bytes in the low one. Numeric values
are followed by a formula where raw is not the value, and by their unit.
"""

import math
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from ecu_sim.ecus import CALIBRATION_LENGTH, IDENTIFICATION, EcuType
from protocols.uds import DataIdentifier, Nrc, Refusal


class ScalingType(IntEnum):
    """High nibble of a scaling byte; those that this project's ECUs send."""

    UNSIGNED = 0x0
    SIGNED = 0x1
    STATE_ENCODED = 0x5
    ASCII = 0x6
    FORMULA = 0x9
    UNIT = 0xA


class Formula(IntEnum):
    TIMES = 0x06
    DIVIDED = 0x07

    @property
    def text(self) -> str:
        return "y = C0 * x" if self is Formula.TIMES else "y = x / C0"


#: Unit as an `EcuType` writes it -> its code.
UNITS: Final = MappingProxyType(
    {"": 0x00, "V": 0x0E, "°C": 0x17, "W": 0x21, "rpm": 0x33, "%": 0x35}
)


#: Most bytes of data that one scaling byte can stand for.
LONGEST: Final = 0xF
#: What a constant's two parts can be.
_EXPONENTS: Final = range(-8, 8)
_MANTISSAS: Final = range(-0x800, 0x800)


class Scalings:
    """`ecu_sim.diagnostics.Scaling` of one ECU type."""

    def __init__(self, ecu: EcuType) -> None:
        self._ecu = ecu

    def scaling_data(self, did: int, length: int) -> bytes:
        live = self._ecu.live_values.get(did)
        if live is not None:
            return _numeric(live.length, signed=live.signed, scale=live.scale, unit=live.unit)
        calibration = self._ecu.calibrations.get(did)
        if calibration is not None:
            return _numeric(
                CALIBRATION_LENGTH, signed=True, scale=calibration.scale, unit=calibration.unit
            )
        outputs = self._ecu.output_records.get(did)
        if outputs is not None:
            return b"".join(
                _numeric(1, signed=False, scale=one.scale, unit=one.unit) for one in outputs.outputs
            )
        if did not in IDENTIFICATION:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no scaling of {did:04X}")
        return _run(_IDENTIFICATION.get(did, ScalingType.ASCII), length)


#: Identification that is no text.
_IDENTIFICATION: Final = MappingProxyType[int, int](
    {
        DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION: ScalingType.STATE_ENCODED,
        DataIdentifier.PROGRAMMING_FINGERPRINT: ScalingType.UNSIGNED,
    }
)


def real(value: float) -> bytes:
    """A constant of a formula: exponent to the base 10 (4 bits) and mantissa (12), both signed.

    `ValueError` if they cannot hold it exactly.
    """
    sign, digits, exponent = Decimal(str(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} has no exact form")  # noqa: TRY004 the value is wrong, not its type
    mantissa = int("".join(map(str, digits))) * (-1 if sign else 1)
    while exponent > _EXPONENTS[-1] and abs(mantissa * 10) in _MANTISSAS:
        mantissa, exponent = mantissa * 10, exponent - 1
    if exponent not in _EXPONENTS or mantissa not in _MANTISSAS:
        raise ValueError(f"{value} has no exact form of 12 bits and a power of ten")
    return ((exponent & 0xF) << 12 | mantissa & 0xFFF).to_bytes(2)


def _numeric(length: int, *, signed: bool, scale: float, unit: str) -> bytes:
    kind = ScalingType.SIGNED if signed else ScalingType.UNSIGNED
    formula = b""
    if scale != 1.0:
        # A divisor where there is one: some testers read no constant with a negative exponent.
        divisor = round(1 / scale)
        divides = divisor > 1 and math.isclose(divisor * scale, 1.0)
        constant = real(divisor if divides else scale)
        content = bytes([Formula.DIVIDED if divides else Formula.TIMES]) + constant
        formula = bytes([ScalingType.FORMULA << 4 | len(content)]) + content
    return bytes([kind << 4 | length]) + formula + bytes([ScalingType.UNIT << 4 | 1, UNITS[unit]])


def _run(kind: int, length: int) -> bytes:
    """As many scaling bytes as a record needs: one covers 15 bytes at most (the VIN: 6F 62)."""
    whole, rest = divmod(length, LONGEST)
    scaling = bytes([kind << 4 | LONGEST]) * whole
    return scaling + (bytes([kind << 4 | rest]) if rest else b"")
