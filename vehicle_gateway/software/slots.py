"""Record and packages of the gateway's software on disk: whole or not at all, whenever power goes.

A package is an MCUboot image whose payload is a ZIP archive of Python packages. It is verified
with every look at it: signature, hardware id, security counter.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocols.firmware.containers import ContainerError, Declared, mcuboot
from vehicle_gateway.software import HARDWARE_ID, SLOT_SIZE, SoftwareError
from vehicle_gateway.software.record import MAX_TRIAL_STARTS, SlotRecord, State, Trigger

_RECORD: Final = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A verified package in its slot."""

    slot: int
    declared: Declared
    #: Of the whole image, as it was transferred.
    sha256: bytes
    #: The ZIP archive.
    archive: bytes
    security_counter: int


class SoftwareSlots:
    """Two slots and their record in one folder. Every method leaves it whole."""

    def __init__(self, folder: Path, public_keys: Mapping[bytes, Ed25519PublicKey]) -> None:
        """`public_keys`: `mcuboot.key_hash` -> key that packages may be signed with."""
        self.folder = folder
        self._public_keys = dict(public_keys)

    @property
    def record(self) -> SlotRecord:
        """`SoftwareError` if there is none, or it is damaged."""
        path = self.folder / _RECORD
        try:
            return SlotRecord.decode(path.read_bytes())
        except FileNotFoundError:
            raise SoftwareError(f"{self.folder}: no gateway software is provisioned here") from None
        except (OSError, ValueError) as error:
            raise SoftwareError(f"{path}: {error}") from error

    def path(self, slot: int) -> Path:
        return self.folder / f"slot-{slot}.img"

    def provision(self, image: bytes) -> Package:
        """The software that the gateway leaves its factory with, in slot 0."""
        package = self.verified(0, image, security_counter=0)
        self._write(self.path(0), image)
        self._keep(SlotRecord(security_counter=package.security_counter))
        return package

    def package(self, slot: int) -> Package:
        """What stands in a slot; `SoftwareError` if it may not run."""
        path = self.path(slot)
        try:
            image = path.read_bytes()
        except OSError as error:
            raise SoftwareError(f"{path}: {error.strerror}") from error
        return self.verified(slot, image, security_counter=self.record.security_counter)

    def start(self) -> Package:
        """What is to run now: called once for every start of the gateway, by its launcher."""
        record = self.record.moved(Trigger.START)
        if record.state is State.TRIAL and not self._may_be_tried(record):
            record = record.moved(Trigger.FAILED)
        self._keep(record)
        return self.package(record.starting)

    def stage(self, image: bytes) -> Package:
        """Write a package into the inactive slot and verify it there."""
        record = self.record.moved(Trigger.STAGE)
        self.verified(record.other, image, security_counter=record.security_counter)
        self._keep(record)
        self._write(self.path(record.other), image)
        return self.package(record.other)

    def activate(self) -> None:
        """The next start tries the inactive slot."""
        record = self.record.moved(Trigger.ACTIVATE)
        self.package(record.other)
        self._keep(record)

    def confirm(self, slot: int) -> None:
        """Keep what runs in `slot`; again and again is the same."""
        record = self.record
        if slot != record.starting:
            raise SoftwareError(f"gateway software: slot {slot} is not the one on trial")
        self._keep(record.confirmed(self.package(slot).security_counter))

    def revert(self) -> None:
        """The next start is of the confirmed slot."""
        self._keep(self.record.moved(Trigger.REVERT))

    def fail(self) -> None:
        """The software on trial hung: the next start is of the confirmed slot."""
        self._keep(self.record.moved(Trigger.FAILED))

    def verified(self, slot: int, image: bytes, *, security_counter: int) -> Package:
        """A package that may run; `SoftwareError` says what is wrong with it."""
        name = self.path(slot).name
        if len(image) > SLOT_SIZE:
            raise SoftwareError(f"{name}: {len(image)} bytes do not fit {SLOT_SIZE}")
        try:
            decoded = mcuboot.decode(image)
            mcuboot.verify(decoded, self._public_keys)
            declared = mcuboot.CONTAINER.declared(image)
        except ContainerError as error:
            raise SoftwareError(f"{name}: {error}") from error
        if decoded.hardware_id != HARDWARE_ID:
            raise SoftwareError(f"{name}: is for {decoded.hardware_id}, not for {HARDWARE_ID}")
        if decoded.security_counter < security_counter:
            raise SoftwareError(
                f"{name}: security counter {decoded.security_counter} is below {security_counter}"
            )
        return Package(
            slot=slot,
            declared=declared,
            sha256=hashlib.sha256(image).digest(),
            archive=decoded.payload,
            security_counter=decoded.security_counter,
        )

    def _may_be_tried(self, record: SlotRecord) -> bool:
        if record.starts > MAX_TRIAL_STARTS:
            return False
        try:
            self.package(record.other)
        except SoftwareError:
            return False
        return True

    def _keep(self, record: SlotRecord) -> None:
        path = self.folder / _RECORD
        content = record.encode()
        if not path.exists() or path.read_bytes() != content:
            self._write(path, content)

    def _write(self, path: Path, content: bytes) -> None:
        """All or nothing: beside it, synced, renamed, and the name synced."""
        part = path.with_name(f"{path.name}.part~")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise SoftwareError(f"{path}: {error.strerror}") from error
