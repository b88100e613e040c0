"""A campaign, its assignments, and how an assignment moves from phase to phase."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from cloud.fleet.releases import Image


class CampaignState(IntEnum):
    """Numbers as in fleet.v1."""

    DRAFT = 1
    RUNNING = 2
    FINISHED = 3
    #: Cancelled, and not every vehicle is done yet.
    CANCELLING = 20


#: In these a vehicle may be at work.
OPEN_STATES: Final = (CampaignState.RUNNING, CampaignState.CANCELLING)


class Phase(IntEnum):
    """Where a vehicle stands in a campaign; UNSPECIFIED until the campaign starts."""

    UNSPECIFIED = 0
    OFFERED = 1
    DOWNLOADING = 2
    STAGING = 3
    ACTIVATING = 4
    CONFIRMING = 5
    REVERTING = 6
    DONE = 7
    #: Everything is staged: the vehicle waits for its preconditions and its driver.
    AWAITING = 10
    #: The vehicle has to end an older campaign first.
    WAITING = 20

    @property
    def under_way(self) -> bool:
        """The release was offered, and the vehicle is not done with it."""
        return self not in NOT_UNDER_WAY


NOT_UNDER_WAY: Final = (Phase.UNSPECIFIED, Phase.WAITING, Phase.DONE)


class Outcome(IntEnum):
    """How an update of one vehicle ended; numbers as in fleet.v1."""

    UNSPECIFIED = 0
    #: Every ECU runs the new release, proved by its read-back.
    UPDATED = 1
    #: Every ECU runs what it ran before.
    ROLLED_BACK = 2
    #: Nothing was changed.
    REFUSED = 3
    #: The vehicle holds neither release as a whole.
    FAILED_SAFE = 4


class Withdrawal(IntEnum):
    """What has become of a release that was taken back from a vehicle; as in fleet.v1."""

    UNSPECIFIED = 0
    REQUESTED = 1
    ACCEPTED = 2
    TOO_LATE = 3


#: What a vehicle's phase says to a withdrawal that was requested, and then its outcome.
WITHDRAWAL_AT_PHASE: Final[Mapping[Phase, Withdrawal]] = {
    Phase.REVERTING: Withdrawal.ACCEPTED,
    Phase.CONFIRMING: Withdrawal.TOO_LATE,
}
WITHDRAWAL_AT_END: Final[Mapping[Outcome, Withdrawal]] = {
    Outcome.ROLLED_BACK: Withdrawal.ACCEPTED,
    Outcome.REFUSED: Withdrawal.ACCEPTED,
    Outcome.UPDATED: Withdrawal.TOO_LATE,
    # It holds neither release as a whole: what was taken back did not go back.
    Outcome.FAILED_SAFE: Withdrawal.TOO_LATE,
}

_FROM_STAGING: Final = frozenset(
    {Phase.STAGING, Phase.AWAITING, Phase.ACTIVATING, Phase.CONFIRMING, Phase.REVERTING}
)

#: Phase -> phases that a progress report may move it to. Any other report leaves it where it is:
#: reports may come late, twice or out of order. DONE comes from the final report alone, and after
#: the commit (CONFIRMING) a vehicle only goes forward.
ADVANCES: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.UNSPECIFIED: frozenset(),
    Phase.OFFERED: frozenset({Phase.DOWNLOADING, *_FROM_STAGING}),
    Phase.DOWNLOADING: _FROM_STAGING,
    Phase.STAGING: _FROM_STAGING - {Phase.STAGING},
    Phase.AWAITING: _FROM_STAGING - {Phase.STAGING, Phase.AWAITING},
    Phase.ACTIVATING: frozenset({Phase.CONFIRMING, Phase.REVERTING}),
    Phase.CONFIRMING: frozenset(),
    Phase.REVERTING: frozenset(),
    Phase.DONE: frozenset(),
    Phase.WAITING: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuProgress:
    ecu: str
    step: str
    bytes_done: int
    bytes_total: int
    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One image that a campaign wants in one ECU, settled when the campaign starts."""

    ecu: str
    image: Image
    version_before: str
    #: What the ECU ran when the campaign started, if that was proved.
    sha256_before: bytes | None
    #: The published image that a single-slot ECU runs now, to be written back if need be.
    present: Image | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One vehicle's part in a campaign."""

    vin: str
    phase: Phase = Phase.UNSPECIFIED
    outcome: Outcome = Outcome.UNSPECIFIED
    reason: str = ""
    #: What the ECUs' read-backs are signed over; empty unless the release was offered.
    nonce: bytes = b""
    changes: tuple[Change, ...] = ()
    progress: tuple[EcuProgress, ...] = ()
    #: Of the newest progress report; -1 before the first.
    progress_sequence: int = -1
    update_time: datetime | None = None
    #: When the vehicle was first given the offer; None: it cannot have begun.
    offer_time: datetime | None = None
    withdrawal: Withdrawal = Withdrawal.UNSPECIFIED
    #: The campaign for which it was taken back; empty if for none.
    superseded_by: str = ""

    @property
    def under_way(self) -> bool:
        return self.phase.under_way

    @property
    def committed(self) -> bool:
        """Whether the vehicle is known to go forward only."""
        return self.phase is Phase.CONFIRMING

    @property
    def withdrawal_reason(self) -> str:
        """For people."""
        by = f"superseded by campaigns/{self.superseded_by}"
        return by if self.superseded_by else "cancelled by an operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    campaign_id: str
    release_id: str
    state: CampaignState
    assignments: tuple[Assignment, ...]
    create_time: datetime
    start_time: datetime | None = None
    finish_time: datetime | None = None
    cancel_time: datetime | None = None

    @property
    def finished(self) -> bool:
        return self.state is CampaignState.FINISHED


def advance(current: Phase, reported: Phase) -> Phase:
    """Return the phase after a progress report."""
    return reported if reported in ADVANCES[current] else current


def answered(current: Withdrawal, phase: Phase, outcome: Outcome) -> Withdrawal:
    """Return what a withdrawal is once the vehicle is in this phase, or has ended so."""
    if current is not Withdrawal.REQUESTED:
        return current
    if phase is Phase.DONE:
        return WITHDRAWAL_AT_END.get(outcome, current)
    return WITHDRAWAL_AT_PHASE.get(phase, current)
