"""What the vehicle's diagnostics say before an update and after it."""

import logging
import zlib
from typing import Final, Protocol

from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.journal import Kind
from vehicle_gateway.update.ledger import Ledger

_LOG = logging.getLogger(__name__)

#: So many characters of a campaign's id stand in a snapshot's.
_CAMPAIGN_CHARACTERS: Final = 32


class VehicleDiagnostics(Protocol):
    """What the flow needs of the vehicle's diagnostics."""

    async def record(self, occasion: str, *, campaign: str, snapshot: str) -> None:
        """Read every ECU and keep what it said under the id `snapshot`, for the cloud to get.

        `occasion` is `before_update` or `after_update`. An ECU that cannot be read is a part of
        the snapshot. Raises `UpdateError` if nothing could be kept.
        """

    async def clear_dtcs(self) -> None:
        """Clear all ECUs' DTCs; `UpdateError` names those that did not."""


class Snapshots:
    """Diagnostics that never stop an update: what fails is an entry with its cause."""

    def __init__(self, ledger: Ledger, diagnostics: VehicleDiagnostics) -> None:
        self._ledger = ledger
        self._diagnostics = diagnostics

    async def take(self, kind: Kind, occasion: str) -> None:
        """Take one; what could not be kept is told with its cause."""
        started_us = self._ledger.now_us()
        taken = sum(entry.kind is kind for entry in self._ledger.entries)
        campaign = self._ledger.opening.offer.campaign
        name = _snapshot_id(campaign, occasion, taken)
        try:
            await self._diagnostics.record(occasion, campaign=campaign, snapshot=name)
        except UpdateError as error:
            _LOG.warning("snapshot_missing occasion=%s cause=%s", occasion, error)
            self._ledger.note(kind, started_us=started_us, cause=str(error))
        else:
            self._ledger.note(kind, started_us=started_us, snapshot=name)

    async def clear_dtcs(self) -> None:
        """Clear all DTCs; those that stay are told with their cause."""
        started_us = self._ledger.now_us()
        try:
            await self._diagnostics.clear_dtcs()
        except UpdateError as error:
            _LOG.warning("dtcs_not_cleared cause=%s", error)
            self._ledger.note(Kind.DTCS_CLEARED, started_us=started_us, cause=str(error))
        else:
            self._ledger.note(Kind.DTCS_CLEARED, started_us=started_us)


def _snapshot_id(campaign: str, occasion: str, taken: int) -> str:
    """Unique for a vehicle, the same after a restart, and 63 characters at most."""
    short = campaign.rpartition("/")[2]
    if len(short) > _CAMPAIGN_CHARACTERS:
        short = f"{short[:_CAMPAIGN_CHARACTERS]}-{zlib.crc32(short.encode()):08x}"
    again = f"-{taken + 1}" if taken else ""
    return f"{short}-{occasion.removesuffix('_update')}{again}"
