"""Two slots of signed images; `two_slots` has the rules."""

from ecu_sim.boot import BootMemory, Trust
from ecu_sim.boot.two_slots import (
    MAX_TRIAL_BOOTS,
    TRANSITIONS,
    BootRecord,
    Content,
    State,
    Trigger,
    TwoSlots,
)
from protocols.firmware.containers import ContainerError, mcuboot
from protocols.uds.routine_status import CheckStatus


class McubootAb(TwoSlots):
    """An image is good if a pinned key has signed it, for this hardware and not too old."""

    def __init__(self, memory: BootMemory, trust: Trust) -> None:
        super().__init__(memory)
        self._trust = trust

    def _verdict(self, slot: int) -> CheckStatus:
        image = self._image(slot)
        if not mcuboot.CONTAINER.recognizes(image):
            return CheckStatus.NOT_AN_IMAGE
        try:
            decoded = mcuboot.decode(image)
            mcuboot.verify(decoded, self._trust.public_keys)
        except mcuboot.SignatureError:
            return CheckStatus.WRONG_SIGNATURE
        except ContainerError:
            return CheckStatus.DAMAGED
        if decoded.hardware_id != self._trust.hardware_identifier:
            return CheckStatus.WRONG_HARDWARE
        if decoded.security_counter < self.record.security_counter:
            return CheckStatus.SECURITY_COUNTER_TOO_LOW
        return CheckStatus.CORRECT

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
