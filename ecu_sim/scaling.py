"""Scaling data (service 24) from an ECU type's own tables (ISO 14229-1, scalingByte).

A scaling byte is a type in the high nibble and a number of bytes in the low one. Numeric values
are followed by a formula where raw is not the value, and by their unit.
"""

import math
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from ecu_sim.ecus import CALIBRATION_LENGTH, IDENTIFICATION, EcuType
from protocols.uds import DataIdentifier, Nrc, Refusal

_UNSIGNED: Final = 0x0
_SIGNED: Final = 0x1
_STATE_ENCODED: Final = 0x5
_ASCII: Final = 0x6
_FORMULA: Final = 0x9
_UNIT: Final = 0xA
#: y = C0 * x, and y = x / C0.
_TIMES: Final = 0x06
_DIVIDED: Final = 0x07
#: Unit as an `EcuType` writes it -> its code.
UNITS: Final = MappingProxyType({"": 0x00, "V": 0x0E, "°C": 0x17, "rpm": 0x33, "%": 0x35})


_LONGEST: Final = 0xF
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
        return _run(_IDENTIFICATION.get(did, _ASCII), length)


#: Identification that is no text.
_IDENTIFICATION: Final = MappingProxyType[int, int](
    {
        DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION: _STATE_ENCODED,
        DataIdentifier.PROGRAMMING_FINGERPRINT: _UNSIGNED,
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
    kind = _SIGNED if signed else _UNSIGNED
    formula = b""
    if scale != 1.0:
        # A divisor where there is one: some testers read no constant with a negative exponent.
        divisor = round(1 / scale)
        divides = divisor > 1 and math.isclose(divisor * scale, 1.0)
        constant = real(divisor if divides else scale)
        content = bytes([_DIVIDED if divides else _TIMES]) + constant
        formula = bytes([_FORMULA << 4 | len(content)]) + content
    return bytes([kind << 4 | length]) + formula + bytes([_UNIT << 4 | 1, UNITS[unit]])


def _run(kind: int, length: int) -> bytes:
    """As many scaling bytes as a record needs: one covers 15 bytes at most (the VIN: 6F 62)."""
    whole, rest = divmod(length, _LONGEST)
    scaling = bytes([kind << 4 | _LONGEST]) * whole
    return scaling + (bytes([kind << 4 | rest]) if rest else b"")
