"""Who may use something, and when: what every row of the tables begins with."""

from dataclasses import dataclass
from typing import Final

from protocols.uds.enums import RoutineControl, Session
from protocols.uds.routine_status import Precondition

ALL_SESSIONS: Final = frozenset(Session)
NON_DEFAULT: Final = frozenset({Session.PROGRAMMING, Session.EXTENDED})
EXTENDED: Final = frozenset({Session.EXTENDED})
PROGRAMMING: Final = frozenset({Session.PROGRAMMING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may use something, and when."""

    sessions: frozenset[Session] = ALL_SESSIONS
    #: Only after security access by the same tester.
    secured: bool = False
    #: Which level that must be; 0: any.
    level: int = 0
    #: Also when asked on a functional address.
    functional: bool = True

    def locked(self, unlocked: int) -> bool:
        """Whether the level `unlocked` (0: none) does not open this."""
        return self.secured and (not unlocked or self.level not in {0, unlocked})


#: A routine that answers 31 01 when it is through has nothing to stop.
START_ONLY: Final = frozenset({RoutineControl.START})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutineRule(Access):
    """A routine, and which of 31's sub-functions it has."""

    controls: frozenset[RoutineControl] = START_ONLY
    #: What it is refused against, with `PRECONDITION_NRCS`.
    conditions: frozenset[Precondition] = frozenset()

    @property
    def runs_on(self) -> bool:
        """Whether it goes on after its 71 01."""
        return RoutineControl.STOP in self.controls


#: A routine that runs on.
EVERY_CONTROL: Final = frozenset(RoutineControl)
