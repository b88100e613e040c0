"""Two slots of signed images; `two_slots` has the rules."""

from ecu_sim.boot import BootMemory, Trust, signed_verdict
from ecu_sim.boot.two_slots import (
    MAX_TRIAL_BOOTS,
    TRANSITIONS,
    BootRecord,
    Content,
    State,
    Trigger,
    TwoSlots,
)
from protocols.firmware.containers import mcuboot
from protocols.uds.routine_status import CheckStatus


class McubootAb(TwoSlots):
    """An image is good if a pinned key has signed it, for this hardware and not too old."""

    def __init__(self, memory: BootMemory, trust: Trust) -> None:
        super().__init__(memory)
        self._trust = trust

    def _verdict(self, slot: int) -> CheckStatus:
        counter = self.record.security_counter
        return signed_verdict(self._image(slot), self._trust, security_counter=counter)

    def _content(self, image: bytes) -> Content:
        decoded = mcuboot.decode(image)
        return Content(
            module=decoded.payload,
            declared=mcuboot.CONTAINER.declared(image),
            security_counter=decoded.security_counter,
        )


class _Profile:
    def open(self, memory: BootMemory, trust: Trust) -> McubootAb:
        return McubootAb(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:  # noqa: ARG002 it is signed
        return BootRecord(lengths=(len(image), 0)).encode()


PROFILE = _Profile()

__all__ = [
    "MAX_TRIAL_BOOTS",
    "PROFILE",
    "TRANSITIONS",
    "BootRecord",
    "McubootAb",
    "State",
    "Trigger",
]
