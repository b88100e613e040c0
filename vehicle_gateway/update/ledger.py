"""The journal of a running update, and the state that follows from it: both change together."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from vehicle_gateway.update import Progress, ProgressSink, UpdateError
from vehicle_gateway.update.account import opening_of
from vehicle_gateway.update.clearance import ConditionsError
from vehicle_gateway.update.coordinator import EcuState, State, advance, fold, resumed
from vehicle_gateway.update.journal import Entry, Journal, JournalError, Kind

_LOG = logging.getLogger(__name__)


class Ledger:
    """What has happened, on disk before anything comes of it."""

    def __init__(
        self,
        journal: Journal,
        *,
        now_us: Callable[[], int],
        on_state: Callable[[State], None],
        on_progress: ProgressSink,
    ) -> None:
        """Take up what the journal holds. `on_state` is told the state after each entry.

        Raises `JournalError` if the journal is not an update's.
        """
        if not journal.entries:
            raise JournalError(f"{journal.path}: no update in it")
        self.opening = opening_of(journal.entries[0])
        self.offered = {offered.ecu: offered for offered in self.opening.offer.images}
        #: What each ECU said before anything was done.
        self.before = {inventory.ecu: inventory for inventory in self.opening.before}
        self.now_us = now_us
        self.on_progress = on_progress
        self._state = resumed(fold(self.opening.parts, journal.entries[1:]))
        self._journal = journal
        self._on_state = on_state

    @property
    def state(self) -> State:
        return self._state

    @property
    def entries(self) -> Sequence[Entry]:
        return self._journal.entries

    def failed_last(self, ecu: str) -> bool:
        """Whether the newest entry of an ECU is a failure: nothing has come of it since."""
        newest = next((entry for entry in reversed(self.entries) if entry.ecu == ecu), None)
        return newest is not None and newest.kind is Kind.FAILED

    def reserve(self) -> None:
        """Have room on the disk for what comes; `JournalError` if there is none."""
        self._journal.reserve()

    def note(self, kind: Kind, ecu: str = "", *, sync: bool = True, **fields: object) -> None:
        """Write an entry; `JournalError` if it is not on disk, and then the state is the same."""
        entry = Entry(kind=kind, ecu=ecu, time_us=self.now_us(), fields=fields)
        after = advance(self._state, entry)
        self._journal.append(entry, sync=sync)
        self._state = after
        self._on_state(after)

    def fail(
        self, error: UpdateError, *, started_us: int, ecu: str = "", kind: Kind = Kind.FAILED
    ) -> None:
        """Write what went wrong, of an ECU that has a part in the update or of the vehicle."""
        _LOG.warning("update_failure ecu=%s step=%s cause=%s", error.ecu, error.step, error.cause)
        known = {part.ecu for part in self._state.parts}
        name = ecu or (error.ecu if error.ecu in known else "")
        # What a whole wire refuses may be another ECU's refusal.
        cause = f"{error.ecu}: {error.cause}" if error.ecu not in {"", name} else error.cause
        more: dict[str, Any] = {}
        if isinstance(error, ConditionsError):
            more["conditions"] = error.conditions
        self.note(kind, name, started_us=started_us, step=error.step, cause=cause, **more)

    def is_absent(self, error: UpdateError, ecu: str) -> None:
        """Write that an ECU is away, which is no failure yet."""
        _LOG.info("ecu_absent ecu=%s step=%s cause=%s", ecu, error.step, error.cause)
        self.note(Kind.ABSENT, ecu, step=error.step, cause=error.cause)
        self.on_progress(Progress(ecu=ecu, step="waiting"))

    def give_up(self, ecu: str) -> None:
        """Write that an ECU is lost, for the cause that was told last."""
        self.note(Kind.LOST, ecu, step="given up", cause=self._state.part(ecu).cause)

    def sink(self, ecu: str) -> ProgressSink:
        """Takes the progress of an ECU; what is in its memory for certain gets an entry."""

        def take(progress: Progress) -> None:
            part = self._state.part(ecu)
            running = part.state in {EcuState.STAGING, EcuState.ACTIVATING}
            if running and progress.verified > part.verified:
                try:
                    self.note(Kind.VERIFIED, ecu, sync=False, verified=progress.verified)
                except JournalError as error:  # Only a hint is lost; the next entry tells.
                    _LOG.warning("mark_lost ecu=%s cause=%s", ecu, error)
            self.on_progress(progress)

        return take
