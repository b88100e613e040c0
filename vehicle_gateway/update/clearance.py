"""The port between the flow and whatever says that the vehicle may be changed now.

Three things stand behind it: preconditions (signals of the vehicle), the driver's consent, and the
interlock that keeps the car where it stands. A clearance is of the running gateway: after a
restart it is obtained anew before anything more is activated.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.journal import Entry, Kind
from vehicle_gateway.update.offer import Offer


class ConditionsError(UpdateError):
    """Conditions that are not met, with what each was judged on, for the journal."""

    def __init__(self, *, step: str, cause: str, conditions: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(ecu="", step=step, cause=cause)
        self.conditions = tuple(conditions)


#: Writes an entry of the whole vehicle to the journal: its kind and its fields.
Note = Callable[[Kind, Mapping[str, Any]], None]


class Clearance(Protocol):
    """Whether the vehicle may be changed now. Every coroutine may be cancelled at any point."""

    async def staging(self, offer: Offer) -> None:
        """Wait until the supply allows staging; `UpdateError` if it does not in good time."""

    async def obtain(
        self, offer: Offer, *, entries: Sequence[Entry], begun: bool, note: Note
    ) -> Mapping[str, Any]:
        """Wait until preconditions hold, consent is given and the car is held where it stands.

        What was found is answered, for the journal. `entries` are the journal's until now: an
        answer of the driver that stands in them counts, and the release's time to wait runs from
        the last that was staged. `note` takes entries of kind `WAITING` and `CONSENT` on the way.
        `begun` says that something is activated already: then there is no waiting for a better
        time. `UpdateError` names every condition that is not met, or the driver's denial.
        """

    async def violation(self) -> UpdateError:
        """Return when a precondition no longer holds: which one, its value and its time."""

    def check(self) -> None:
        """Raise `UpdateError` if a precondition does not hold at this moment."""

    async def safe(self, offer: Offer) -> None:
        """Wait, for a bounded time, until ECUs may be reset: going back, or behind the commit."""

    def hold(self, *, engaged: bool) -> None:
        """Keep the vehicle from being driven, or let it go; the same again changes nothing."""
