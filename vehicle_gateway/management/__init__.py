"""How offers arrive and reports leave: a member per management protocol.

A member is a package or module here; it satisfies `Management`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from vehicle_gateway.diagnostics import EcuDiagnostics, SignalSeries
from vehicle_gateway.diagnostics.orders import JobResult, Orders, SignalBatch
from vehicle_gateway.outbox import Parcel
from vehicle_gateway.update import Inventory
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.offer import Offer


class ManagementError(Exception):
    """The cloud did not do what was asked; the message says what, and its words."""


class UnreachableError(ManagementError):
    """The cloud cannot be reached now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIn:
    """The cloud's answer to a check-in."""

    #: None: nothing to do.
    offer: Offer | None
    #: Seconds until it wants to hear again; 0 leaves it to the gateway.
    next_check_in_s: float
    #: Set while the unfinished campaign is taken back.
    withdrawal: "Withdrawal | None" = None
    #: What it wants of the vehicle's diagnostics.
    orders: Orders = field(default_factory=Orders)
    #: A tester wants to reach the vehicle.
    remote: "RemoteOffer | None" = None


class RemoteScope(Enum):
    """What a tester far away may ask of the vehicle."""

    READ = "read"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOffer:
    """A remote session that waits for the gateway."""

    #: `vehicles/{vin}/remoteSessions/{id}`.
    name: str
    scope: RemoteScope
    #: What the gateway proves itself with.
    token: bytes
    #: Seconds until it ends.
    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """The cloud takes a campaign back: until its commit it is undone, then it goes on."""

    campaign: str
    reason: str
    #: The campaign that is offered next; empty if there is none.
    superseded_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the vehicle's ECUs said at one time."""

    #: Unique for the vehicle; the same id again is the same snapshot.
    id: str
    #: `before_update`, `after_update`, `on_request`, `on_schedule` or `on_change`.
    occasion: str
    campaign: str
    #: Unix time in microseconds, and the loop's time at the same moment.
    time_us: int
    loop_time_s: float
    ecus: tuple[EcuDiagnostics, ...]
    signals: tuple[SignalSeries, ...]


class Management(Protocol):
    """The gateway's end of a management protocol."""

    async def check_in(
        self, inventory: Iterable[Inventory], *, unfinished_campaign: str
    ) -> CheckIn:
        """Say what the vehicle holds and ask for work; raises `ManagementError`.

        With an `unfinished_campaign` it asks only whether that may go on; the inventory may be
        empty then.
        """
        ...

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Have it on disk for `deliver`; raises `OutboxError`."""
        ...

    def keep_report(self, report: UpdateReport) -> None:
        """Have it on disk for `deliver`; raises `OutboxError`."""
        ...

    def keep_batch(self, batch: SignalBatch) -> None:
        """Have it on disk for `deliver`; raises `OutboxError`."""
        ...

    def keep_result(self, result: JobResult) -> None:
        """Have it on disk for `deliver`; raises `OutboxError`."""
        ...

    def holds_result(self, job_id: str) -> bool:
        """Whether a job's result waits for `deliver`."""
        ...

    async def deliver(self) -> tuple[Parcel, ...]:
        """Send what is kept, oldest first; answers with what is still waiting."""
        ...
