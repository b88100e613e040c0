"""Calibration values of one ECU, in its NVM."""

from collections.abc import Mapping
from typing import Final

from ecu_sim.diagnostics import Job
from ecu_sim.ecus import CALIBRATION_LENGTH, EcuType
from ecu_sim.memory import Nvm
from protocols.uds import Nrc, Refusal

_KEY: Final = "calibration"


class Calibrations:
    """All values one after the other; zero until they are written."""

    def __init__(self, ecu: EcuType, nvm: Nvm) -> None:
        self._calibrations = tuple(ecu.calibrations.items())
        self._nvm = nvm
        size = CALIBRATION_LENGTH * len(self._calibrations)
        stored = nvm.read(_KEY)
        # What another edition of the ECU has stored is no calibration of this one.
        self._content = stored if stored is not None and len(stored) == size else bytes(size)
        self._offsets: dict[int, float] = {}
        self._apply()

    @property
    def content(self) -> bytes:
        return self._content

    @property
    def offsets(self) -> Mapping[int, float]:
        """Input channel -> what is added to it, now and after each change."""
        return self._offsets

    def position(self, did: int) -> int | None:
        """Where the value of a data identifier stands; None if it is no calibration value."""
        for number, (own, _) in enumerate(self._calibrations):
            if own == did:
                return number * CALIBRATION_LENGTH
        return None

    def writing(self, position: int, data: bytes) -> Job:
        """Change bytes; `Refusal(REQUEST_OUT_OF_RANGE)` if a value would leave its limits."""
        end = position + len(data)
        if position < 0 or end > len(self._content):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no calibration value is there")
        changed = self._content[:position] + data + self._content[end:]
        for number, (_, calibration) in enumerate(self._calibrations):
            value = _raw(changed, number) * calibration.scale
            if not calibration.minimum <= value <= calibration.maximum:
                raise Refusal(
                    Nrc.REQUEST_OUT_OF_RANGE,
                    f"{calibration.name}: {value:g} {calibration.unit} is not in"
                    f" {calibration.minimum:g} to {calibration.maximum:g}",
                )
        return self._write(changed)

    def _write(self, changed: bytes) -> Job:
        yield from self._nvm.writing(_KEY, changed)
        self._content = changed
        self._apply()
        return b""

    def _apply(self) -> None:
        for number, (_, calibration) in enumerate(self._calibrations):
            self._offsets[calibration.channel] = _raw(self._content, number) * calibration.scale


def _raw(content: bytes, number: int) -> int:
    at = number * CALIBRATION_LENGTH
    return int.from_bytes(content[at : at + CALIBRATION_LENGTH], signed=True)
