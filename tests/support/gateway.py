"""The gateway's neighbours, small and true: ECUs behind the updater port, files, diagnostics.

`SimulatedEcu` keeps what a real one keeps over a power cut; `SimulatedUpdater` satisfies
`EcuUpdater` on it. `PowerSwitch` counts the moments at which power can fail (each journal write,
each effect in an ECU) and lets it fail at one of them.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dbc.vehicle import EcuDescription, VehicleDescription, describe_vehicle
from vehicle_gateway.update import (
    Inventory,
    Progress,
    ProgressSink,
    ReadBack,
    TransferFigures,
    UpdateError,
    UpdateJob,
)
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.begin import begin, inventories
from vehicle_gateway.update.clearance import Note
from vehicle_gateway.update.journal import Entry, Journal, Kind
from vehicle_gateway.update.offer import ImageFormat, Offer, OfferedImage, PublishedImage
from vehicle_gateway.update.vehicle import Phase, VehicleUpdate

NONCE = bytes(range(16))
VIN = "WCANATA0000000001"
SECTORS = 4
#: An update looks at the clock at each step and each entry; none of ours has so many.
MOST_STEPS = 2_000


class PowerCut(BaseException):
    """Everything stops: no handler of ours may see this as an error of its own."""


@dataclass
class PowerSwitch:
    """Power fails at the moment number `cut_at` (None: never), before or after its effect."""

    cut_at: int | None = None
    after: bool = False
    moments: int = 0
    #: Told the number of each moment before its effect.
    on_moment: Callable[[int], None] = lambda _: None

    def moment(self, effect: Callable[[], None]) -> None:
        number, self.moments = self.moments, self.moments + 1
        self.on_moment(number)
        if number == self.cut_at and not self.after:
            raise PowerCut
        effect()
        if number == self.cut_at:
            raise PowerCut


class SwitchedJournal(Journal):
    """A journal whose every write is a moment of the switch."""

    def __init__(
        self, path: Path, switch: PowerSwitch, on_note: Callable[[Kind, str], None]
    ) -> None:
        super().__init__(path)
        self._switch = switch
        self._on_note = on_note

    def append(self, entry: Entry, *, sync: bool = True) -> None:
        write = super().append
        self._switch.moment(lambda: write(entry, sync=sync))
        self._on_note(entry.kind, entry.ecu)


def image_of(ecu: str, version: str, size: int) -> bytes:
    """Bytes that differ by ECU and version."""
    seed = hashlib.sha256(f"{ecu} {version}".encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


@dataclass
class SimulatedEcu:
    """What is in an ECU's memory, and nothing else: it survives every cut."""

    description: EcuDescription
    #: What runs now; None: it stays in its boot loader.
    running: bytes | None
    inactive: bytes = b""
    staged: bytes | None = None
    #: A trial was asked for and begins at the next reset; a trial runs.
    requested: bool = False
    trial: bool = False
    #: Faults, as values.
    refuses: set[str] = field(default_factory=set)
    #: Fails so often before it does what it is asked.
    failures: dict[str, int] = field(default_factory=dict)
    boots: Callable[[bytes], bool] = lambda _: True
    log: list[str] = field(default_factory=list)
    #: What it was staged with last.
    job: UpdateJob | None = None
    #: Asleep, or without power.
    away: bool = False
    serial: str = "SN-1"
    hardware_id: str = ""
    #: A foreign boot loader digests what is in its slot, also where that does not run.
    digests_anything: bool = False
    #: Answers with what it has signed before, whatever it is asked.
    replays_nonce: bytes | None = None

    def replaced(self, running: bytes | None, *, serial: str, hardware_id: str = "") -> None:
        """A workshop puts another part in its place."""
        self.running, self.inactive, self.staged = running, b"", None
        self.requested = self.trial = False
        self.serial, self.hardware_id = serial, hardware_id

    def reset(self) -> None:
        """Power comes back: a requested trial or copy begins, a trial that ran ends."""
        if self.description.staging_area:
            if self.requested and self.staged is not None:
                self.requested = False
                self.running = self.staged if self.boots(self.staged) else None
        elif self.trial:
            self.running, self.inactive = self.inactive, self.running or b""
            self.trial = False
        elif self.requested and self.staged is not None:
            self.requested = False
            if self.boots(self.staged):
                self.running, self.inactive = self.staged, self.running or b""
                self.trial = True


class SimulatedUpdater:
    """`EcuUpdater` on a `SimulatedEcu`: every effect is a moment of the switch."""

    def __init__(self, ecu: SimulatedEcu, switch: PowerSwitch) -> None:
        self._ecu = ecu
        self._switch = switch
        self.ecu = ecu.description.name
        self.single_slot = ecu.description.single_slot
        self.staging_area = ecu.description.staging_area

    async def stage(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        self._ecu.log.append(f"stage from {resume_from}")
        self._ecu.job = job
        self._refuse("stage")
        if self.single_slot:
            if job.present is None and not job.committed:
                raise UpdateError(ecu=self.ecu, step="staging", cause="no present image")
            if not self.staging_area or self._ecu.running is None:
                return TransferFigures()
        await self._fill(job.image, resume_from, progress)
        return TransferFigures(transfer_s=1.0, bound_s=0.9, staging_s=1.5)

    async def activate(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        self._ecu.log.append(f"activate from {resume_from}")
        self._refuse("activate")
        if self.single_slot and not (self.staging_area and self._ecu.running is not None):
            await self._program(job.image, resume_from, progress)
            return TransferFigures(transfer_s=2.0, bound_s=1.9, out_of_use_s=3.0)
        await self._switch_to(job.image)
        return TransferFigures(out_of_use_s=0.3)

    async def self_test(self, job: UpdateJob) -> None:  # noqa: ARG002 the port's
        self._ecu.log.append("self_test")
        self._refuse("self_test")
        if self._ecu.running is None:
            raise UpdateError(ecu=self.ecu, step="self-test", cause="no application runs")

    async def confirm(self, job: UpdateJob) -> None:
        self._ecu.log.append("confirm")
        self._refuse("confirm")
        if self._ecu.running is None or _digest(self._ecu.running) != job.image_sha256:
            raise UpdateError(ecu=self.ecu, step="confirming", cause="the trial has ended")
        self._effect(lambda: setattr(self._ecu, "trial", False))

    async def revert(self, job: UpdateJob, *, progress: ProgressSink) -> TransferFigures:
        self._ecu.log.append("revert")
        self._refuse("revert")
        if self.single_slot:
            if self._ecu.requested:
                self._effect(lambda: setattr(self._ecu, "requested", False))
            if self._ecu.running is None or _digest(self._ecu.running) != job.before_sha256:
                assert job.present is not None
                if self.staging_area and self._ecu.running is not None:
                    await self._fill(job.present, 0, progress)
                    await self._switch_to(job.present)
                else:
                    await self._program(job.present, 0, progress)
            return TransferFigures(out_of_use_s=3.0)
        if self._ecu.requested:
            self._effect(lambda: setattr(self._ecu, "requested", False))
        if self._ecu.trial:
            self._effect(self._ecu.reset)
        return TransferFigures(out_of_use_s=0.3)

    async def inventory(self, nonce: bytes) -> Inventory:
        self._refuse("inventory")
        await asyncio.sleep(0.01)
        running = self._ecu.running
        if running is None:
            return Inventory(
                ecu=self.ecu,
                hardware_id=self._ecu.hardware_id or self._ecu.description.hardware_id,
                serial_number=self._ecu.serial,
                read_back=_read_back(nonce, self._ecu.inactive)
                if self._ecu.digests_anything
                else None,
            )
        return Inventory(
            ecu=self.ecu,
            hardware_id=self._ecu.hardware_id or self._ecu.description.hardware_id,
            serial_number=self._ecu.serial,
            software_version=version_of(self.ecu, running),
            read_back=_read_back(self._ecu.replays_nonce or nonce, running),
        )

    async def _fill(self, image: bytes, resume_from: int, progress: ProgressSink) -> None:
        await self._write(image, resume_from, progress)
        self._refuse("check")
        if self._ecu.inactive != image:
            raise UpdateError(ecu=self.ecu, step="verifying", cause="not the image")
        self._effect(lambda: setattr(self._ecu, "staged", image))

    async def _switch_to(self, image: bytes) -> None:
        if self._ecu.running == image:
            return
        if self._ecu.staged is None:
            raise UpdateError(ecu=self.ecu, step="activating", cause="nothing is staged")
        self._effect(lambda: setattr(self._ecu, "requested", True))
        await asyncio.sleep(0.1)
        self._effect(self._ecu.reset)

    async def _program(self, image: bytes, resume_from: int, progress: ProgressSink) -> None:
        self._effect(lambda: setattr(self._ecu, "running", None))
        await self._write(image, resume_from, progress)
        if self._ecu.inactive != image:
            raise UpdateError(ecu=self.ecu, step="verifying", cause="not the image")
        if self._ecu.boots(image):
            self._effect(lambda: setattr(self._ecu, "running", image))

    async def _write(self, image: bytes, resume_from: int, progress: ProgressSink) -> None:
        sector = -(-len(image) // SECTORS)
        assert resume_from % sector == 0
        for at in range(resume_from, len(image), sector):
            await asyncio.sleep(0.25)
            written = self._ecu.inactive[:at] + image[at : at + sector]
            self._effect(partial(setattr, self._ecu, "inactive", written))
            progress(
                Progress(
                    ecu=self.ecu,
                    step="transferring",
                    bytes_done=len(written),
                    bytes_total=len(image),
                    verified=at + sector if at + sector < len(image) else 0,
                )
            )

    def _refuse(self, what: str) -> None:
        self._answer(what)
        left = self._ecu.failures.get(what, 0)
        if left:
            self._ecu.failures[what] = left - 1
        if left or what in self._ecu.refuses:
            raise UpdateError(ecu=self.ecu, step=what, cause=f"{what} refused")

    def _answer(self, what: str) -> None:
        if self._ecu.away:
            raise UpdateError(ecu=self.ecu, step=what, cause="does not answer", absent=True)

    def _effect(self, effect: Callable[[], None]) -> None:
        self._answer("writing")
        self._switch.moment(effect)


class Files:
    """`Images` from a mapping; a missing file is refused."""

    def __init__(self, files: Mapping[bytes, bytes]) -> None:
        self.files = dict(files)

    async def fetch(self, image: PublishedImage, progress: Callable[[int], None]) -> bytes:
        if image.file_sha256 not in self.files:
            raise UpdateError(ecu="", step="downloading", cause=f"{image.file_name}: not there")
        progress(image.file_size)
        return self.files[image.file_sha256]

    def discard(self, file_sha256: bytes) -> None:
        self.files.pop(file_sha256, None)


class QuietDiagnostics:
    """`VehicleDiagnostics` that notes what it was asked."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def record(self, occasion: str, *, campaign: str, snapshot: str) -> None:
        self.log.append(f"{occasion} {campaign} {snapshot}")

    async def clear_dtcs(self) -> None:
        self.log.append("clear")


class SimulatedClearance:
    """`Clearance` whose preconditions are a set of words that a test changes."""

    def __init__(self) -> None:
        #: What is not met, and what the driver has said against it.
        self.unmet: set[str] = set()
        self.denied = False
        #: Every change of the interlock.
        self.engaged: list[bool] = []
        self.log: list[str] = []

    async def staging(self, offer: Offer) -> None:
        self.log.append(f"staging {offer.release}")
        if "supply" in self.unmet:
            raise UpdateError(ecu="", step="waiting", cause="supply")

    async def obtain(
        self, offer: Offer, *, entries: Sequence[Entry], begun: bool, note: Note
    ) -> Mapping[str, Any]:
        self.log.append(f"obtain {offer.release}{' begun' if begun else ''}")
        if self.denied:
            note(Kind.CONSENT, {"answer": "denied"})
            raise UpdateError(ecu="", step="consent", cause="denied by the driver")
        if self.unmet and not begun:
            note(Kind.WAITING, {"unmet": sorted(self.unmet)})
            await asyncio.sleep(60.0)
        self.check()
        return {"conditions": len(entries)}

    async def violation(self) -> UpdateError:
        while True:
            try:
                self.check()
            except UpdateError as error:
                return error
            await asyncio.sleep(0.05)

    def check(self) -> None:
        if self.unmet:
            raise UpdateError(ecu="", step="preconditions", cause=", ".join(sorted(self.unmet)))

    async def safe(self, offer: Offer) -> None:
        self.log.append(f"safe {offer.release}")

    def hold(self, *, engaged: bool) -> None:
        if not self.engaged or self.engaged[-1] != engaged:
            self.engaged.append(engaged)


def published(ecu: EcuDescription, version: str, content: bytes) -> PublishedImage:
    return PublishedImage(
        hardware_id=ecu.hardware_id,
        file_name=f"{ecu.name}-{version}.bin",
        format=ImageFormat.RAW,
        file_size=len(content),
        file_sha256=_digest(content),
        address=ecu.application_base,
        image_size=len(content),
        image_sha256=_digest(content),
        software_version=version,
    )


class SimulatedVehicle:
    """A vehicle of simulated ECUs, the release it is offered, and a gateway's state directory."""

    def __init__(
        self, folder: Path, *, ecus: tuple[str, ...] = ("ccu", "blower", "rear"), size: int = 64
    ) -> None:
        self.folder = folder
        self.description: VehicleDescription = describe_vehicle()
        self.diagnostics = QuietDiagnostics()
        self.clearance = SimulatedClearance()
        self.ecus: dict[str, SimulatedEcu] = {}
        self.progress: list[Progress] = []
        self.phases: list[Phase] = []
        #: Told every entry once it is on disk.
        self.on_note: Callable[[Kind, str], None] = lambda *_: None
        #: The update that runs, or ran last.
        self.running: VehicleUpdate | None = None
        #: Times at which the update has told its phase, or looked at the clock.
        self._steps = 0
        files: dict[bytes, bytes] = {}
        offered = []
        for name in ecus:
            ecu = self.description.ecus[name]
            old, new = image_of(name, "1.0.0", size), image_of(name, "2.0.0", size)
            self.ecus[name] = SimulatedEcu(description=ecu, running=old)
            files |= {_digest(old): old, _digest(new): new}
            offered.append(
                OfferedImage(
                    ecu=name,
                    image=published(ecu, "2.0.0", new),
                    present=published(ecu, "1.0.0", old) if ecu.single_slot else None,
                )
            )
        self.size = size
        self.files = Files(files)
        self.offer = Offer(
            campaign="campaigns/spring",
            release="releases/two",
            version="2.0.0",
            nonce=NONCE,
            images=tuple(offered),
        )

    async def update(self, switch: PowerSwitch | None = None) -> UpdateReport:
        """Begin or resume, to the end."""
        switch = switch or PowerSwitch()
        updaters = {name: SimulatedUpdater(ecu, switch) for name, ecu in self.ecus.items()}
        path = self.folder / "journal.jsonl"
        with SwitchedJournal(path, switch, self.on_note) as journal:
            if not journal.entries:
                begin(
                    journal,
                    vin=VIN,
                    offer=self.offer,
                    before=await inventories(updaters.values(), self.offer.nonce),
                    vehicle=self.description,
                    now_us=self._now_us(),
                )
            update = VehicleUpdate(
                journal=journal,
                vehicle=self.description,
                updaters=updaters,
                images=self.files,
                diagnostics=self.diagnostics,
                clearance=self.clearance,
                now_us=self._now_us,
                observe_s=10.0,
                on_phase=self._on_phase,
                on_progress=self.progress.append,
            )
            self.running = update
            result = await update.run()
            update.finish(result)
            return result

    def _now_us(self) -> int:
        self._count_step()
        return round(asyncio.get_running_loop().time() * 1e6)

    def _on_phase(self, phase: Phase) -> None:
        self._count_step()
        self.phases.append(phase)

    def _count_step(self) -> None:
        self._steps += 1
        assert self._steps < MOST_STEPS, "the update goes on without end"

    def versions(self) -> dict[str, str]:
        """What runs, by ECU; empty for an ECU in its boot loader."""
        return {
            name: version_of(name, ecu.running) if ecu.running is not None else ""
            for name, ecu in self.ecus.items()
        }


def version_of(ecu: str, image: bytes) -> str:
    for version in ("1.0.0", "2.0.0"):
        if image == image_of(ecu, version, len(image)):
            return version
    return f"{zlib.crc32(image):08x}"


def _read_back(nonce: bytes, image: bytes) -> ReadBack:
    return ReadBack(nonce=nonce, image_sha256=_digest(image), signature=b"s")


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
