"""The jobs at hand: each ECU's images, fetched and checked before any of them is sent."""

import logging
from dataclasses import replace

from dbc.vehicle import VehicleDescription
from vehicle_gateway.update import Progress, UpdateError, UpdateJob
from vehicle_gateway.update.coordinator import Direction, EcuState
from vehicle_gateway.update.images import Images, before_of, check_offer, make_job
from vehicle_gateway.update.ledger import Ledger
from vehicle_gateway.update.offer import PublishedImage

_LOG = logging.getLogger(__name__)


class Jobs:
    """One update's jobs by ECU."""

    def __init__(self, ledger: Ledger, *, vehicle: VehicleDescription, images: Images) -> None:
        self._ledger = ledger
        self._vehicle = vehicle
        self._images = images
        self._jobs: dict[str, UpdateJob] = {}

    async def fetch(self) -> None:
        """Get what the ECUs need, once the whole offer is found to fit; `UpdateError`."""
        for offered in self._ledger.opening.offer.images:
            ecu = self._vehicle.ecus.get(offered.ecu)
            check_offer(offered, ecu, self._ledger.before.get(offered.ecu))
        for part in self._ledger.state.parts:
            if part.state is not EcuState.UNCHANGED:
                await self._fetch(part.ecu)

    async def fetch_again(self) -> None:
        """After a restart: the files are at hand, unless someone removed them."""
        for part in self._ledger.state.parts:
            if part.state in {EcuState.UNCHANGED, EcuState.LOST}:
                continue
            try:
                await self._fetch(part.ecu)
            except UpdateError as error:
                # Two-slot ECUs go back without it; the others fail when they need it.
                _LOG.warning("image_missing ecu=%s cause=%s", part.ecu, error)

    async def fetched(self, ecu: str) -> UpdateJob:
        """An ECU's job, whose files are got if that has not been done; `UpdateError`."""
        if ecu not in self._jobs:
            await self._fetch(ecu)
        return self._jobs[ecu]

    def at_hand(self, ecu: str, step: str, *, without_image: bool = False) -> UpdateJob:
        """An ECU's job; `UpdateError` if its image is needed and not here."""
        job = self._jobs.get(ecu)
        if job is not None:
            return job
        if not without_image or ecu not in self._ledger.before:
            raise UpdateError(ecu=ecu, step=step, cause="its image is no longer at hand")
        image = self._ledger.offered[ecu].image
        return UpdateJob(
            ecu=ecu,
            image=b"",
            address=image.address,
            image_sha256=image.image_sha256,
            version=self._ledger.opening.offer.version,
            nonce=self._ledger.opening.offer.nonce,
            before_sha256=before_of(self._ledger.offered[ecu], self._ledger.before[ecu]),
        )

    def dead(self) -> tuple[bytes, ...]:
        """Files (by SHA-256) that only going back needs: the roll-back targets."""
        needed = {offered.image.file_sha256 for offered in self._ledger.offered.values()}
        targets = (offered.present for offered in self._ledger.offered.values())
        return tuple(sorted({one.file_sha256 for one in targets if one is not None} - needed))

    def discard_dead(self) -> None:
        """Behind the commit nothing can be brought back: neither by mistake nor by an attacker."""
        for file_sha256 in self.dead():
            self._images.discard(file_sha256)
        for ecu, job in self._jobs.items():
            self._jobs[ecu] = replace(job, present=None, committed=True)

    async def _fetch(self, name: str) -> None:
        offered = self._ledger.offered[name]
        ecu = check_offer(offered, self._vehicle.ecus.get(name), self._ledger.before.get(name))
        committed = self._ledger.state.direction is Direction.KEEP
        wanted = [offered.image]
        if ecu.single_slot and offered.present is not None and not committed:
            wanted.append(offered.present)
        total = sum(image.file_size for image in wanted)
        files: dict[bytes, bytes] = {}
        done = 0
        for image in wanted:
            files[image.file_sha256] = await self._file(name, image, done, total)
            done += image.file_size
        self._jobs[name] = make_job(
            self._ledger.opening.offer,
            offered,
            ecu,
            self._ledger.before[name],
            files,
            committed=committed,
        )

    async def _file(self, ecu: str, image: PublishedImage, before: int, total: int) -> bytes:
        """One of an ECU's files, of which `before` bytes of `total` are here."""

        def tell(at_hand: int) -> None:
            done = before + at_hand
            self._ledger.on_progress(
                Progress(ecu=ecu, step="downloading", bytes_done=done, bytes_total=total)
            )

        try:
            return await self._images.fetch(image, tell)
        except UpdateError as error:
            raise UpdateError(ecu=ecu, step=error.step, cause=error.cause) from error
