"""Symmetric secure boot as with a Secure Hardware Extension: two slots, a MAC for each.

At every boot the AES-128-CMAC over the slot is compared with the one in the secure store. Nothing
loads that MAC but the check (0202), from the protected update that the image carries behind its
payload: a slot that was written and not checked has a stale MAC, and does not boot. `two_slots` has
the rules of trial, confirm and revert.

The key is the ECU model's: an image is published once for all ECUs of a hardware id, so all of them
hold the same key, and whoever reads it out of one can make images for all.
"""

from ecu_sim.boot import BootMemory, Checking, Operations, OptionError, Trust
from ecu_sim.boot.two_slots import (
    MAX_TRIAL_BOOTS,
    TRANSITIONS,
    BootRecord,
    Content,
    State,
    Trigger,
    TwoSlots,
)
from protocols.firmware.containers import ContainerError, cmac
from protocols.uds.routine_status import CheckStatus


class SheCmac(TwoSlots):
    """An image is good if its MAC is in the secure store, for this hardware and not too old."""

    def __init__(self, memory: BootMemory, trust: Trust) -> None:
        super().__init__(memory)
        self._trust = trust

    def check(self, option: bytes) -> Checking:
        if option:
            raise OptionError(f"no option record expected, got {len(option)} bytes")
        slot = self._checked_slot()
        status, mac = _authentic_mac(self._image(slot), self._trust)
        if status is not CheckStatus.CORRECT:
            return status
        yield from self._load(slot, mac)
        return self._verdict(slot)

    def _load(self, slot: int, mac: bytes) -> Operations:
        yield from self._write(self.record.with_mac(slot, mac))

    def _verdict(self, slot: int) -> CheckStatus:
        image, record = self._image(slot), self.record
        if not cmac.CONTAINER.recognizes(image):
            return CheckStatus.NOT_AN_IMAGE
        try:
            decoded = cmac.decode(image)
        except ContainerError:
            return CheckStatus.DAMAGED
        if not cmac.verify(decoded, self._trust.boot_mac_key, record.macs[slot]):
            return CheckStatus.STALE_MAC
        if decoded.hardware_id != self._trust.hardware_identifier:
            return CheckStatus.WRONG_HARDWARE
        if decoded.security_counter < record.security_counter:
            return CheckStatus.SECURITY_COUNTER_TOO_LOW
        return CheckStatus.CORRECT

    def _content(self, image: bytes) -> Content:
        decoded = cmac.decode(image)
        return Content(
            module=decoded.payload,
            declared=cmac.CONTAINER.declared(image),
            security_counter=decoded.security_counter,
        )


def _authentic_mac(image: bytes, trust: Trust) -> tuple[CheckStatus, bytes]:
    """The MAC that an image brings, if its update is authentic and the MAC the image's own."""
    if not cmac.CONTAINER.recognizes(image):
        return CheckStatus.NOT_AN_IMAGE, b""
    try:
        return CheckStatus.CORRECT, cmac.authentic_mac(cmac.decode(image), trust.boot_mac_key)
    except cmac.MacError:
        return CheckStatus.WRONG_SIGNATURE, b""
    except ContainerError:
        return CheckStatus.DAMAGED, b""


class _Profile:
    def open(self, memory: BootMemory, trust: Trust) -> SheCmac:
        return SheCmac(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:
        """The end of the line loads the first MAC as the check does; none of a bad image."""
        _, mac = _authentic_mac(image, trust)
        return BootRecord(lengths=(len(image), 0), macs=(mac, b"")).encode()


PROFILE = _Profile()

__all__ = [
    "MAX_TRIAL_BOOTS",
    "PROFILE",
    "TRANSITIONS",
    "BootRecord",
    "SheCmac",
    "State",
    "Trigger",
]
