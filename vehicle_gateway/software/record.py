"""What decides which slot starts: the record's states, and what moves it between them. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final, Self

from vehicle_gateway.software import SoftwareError

#: Starts that a trial gets (the car may be switched off meanwhile); the next one goes back.
MAX_TRIAL_STARTS: Final = 5


class State(Enum):
    CONFIRMED = "confirmed"
    #: A trial of the other slot begins at the next start.
    REQUESTED = "requested"
    TRIAL = "trial"
    #: As CONFIRMED, but the last trial came to nothing.
    REVERTED = "reverted"


class Trigger(Enum):
    STAGE = "another package is written into the inactive slot"
    ACTIVATE = "a trial is asked for"
    START = "the launcher starts the gateway"
    CONFIRM = "the running software is kept"
    REVERT = "the update goes back"
    FAILED = "package refused, starts used up, or the process hung"


#: None: refused. Every pair has a row.
TRANSITIONS: Final[Mapping[tuple[State, Trigger], State | None]] = MappingProxyType(
    {
        (State.CONFIRMED, Trigger.STAGE): State.CONFIRMED,
        (State.CONFIRMED, Trigger.ACTIVATE): State.REQUESTED,
        (State.CONFIRMED, Trigger.START): State.CONFIRMED,
        # Repeated after a crash of whoever asked.
        (State.CONFIRMED, Trigger.CONFIRM): State.CONFIRMED,
        (State.CONFIRMED, Trigger.REVERT): State.CONFIRMED,
        # There is nothing to go back to.
        (State.CONFIRMED, Trigger.FAILED): State.CONFIRMED,
        (State.REQUESTED, Trigger.STAGE): State.CONFIRMED,
        (State.REQUESTED, Trigger.ACTIVATE): State.REQUESTED,
        (State.REQUESTED, Trigger.START): State.TRIAL,
        (State.REQUESTED, Trigger.CONFIRM): None,
        (State.REQUESTED, Trigger.REVERT): State.REVERTED,
        (State.REQUESTED, Trigger.FAILED): State.REVERTED,
        # The inactive slot is the way back.
        (State.TRIAL, Trigger.STAGE): None,
        (State.TRIAL, Trigger.ACTIVATE): None,
        (State.TRIAL, Trigger.START): State.TRIAL,
        (State.TRIAL, Trigger.CONFIRM): State.CONFIRMED,
        (State.TRIAL, Trigger.REVERT): State.REVERTED,
        (State.TRIAL, Trigger.FAILED): State.REVERTED,
        (State.REVERTED, Trigger.STAGE): State.CONFIRMED,
        # What has failed once is not tried again before it is staged again.
        (State.REVERTED, Trigger.ACTIVATE): None,
        (State.REVERTED, Trigger.START): State.REVERTED,
        (State.REVERTED, Trigger.CONFIRM): None,
        (State.REVERTED, Trigger.REVERT): State.REVERTED,
        (State.REVERTED, Trigger.FAILED): State.REVERTED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRecord:
    #: The confirmed slot, 0 or 1; a trial runs in the other one.
    slot: int = 0
    state: State = State.CONFIRMED
    #: Starts of this trial.
    starts: int = 0
    #: Packages below it are refused; rises with a confirm.
    security_counter: int = 0

    @property
    def other(self) -> int:
        return 1 - self.slot

    @property
    def starting(self) -> int:
        """The slot that the state starts."""
        return self.other if self.state is State.TRIAL else self.slot

    def moved(self, trigger: Trigger) -> Self:
        """After one more event; `SoftwareError` where the state does not allow it."""
        state = TRANSITIONS[self.state, trigger]
        if state is None:
            raise SoftwareError(f"gateway software: {trigger.name} in state {self.state.value}")
        begun = state is State.TRIAL and trigger is Trigger.START
        return replace(self, state=state, starts=self.starts + 1 if begun else 0)

    def confirmed(self, security_counter: int) -> Self:
        """Kept: what was on trial is the confirmed slot from now on."""
        after = self.moved(Trigger.CONFIRM)
        if self.state is not State.TRIAL:
            return after
        counter = max(security_counter, self.security_counter)
        return replace(after, slot=self.other, security_counter=counter)

    def encode(self) -> bytes:
        values = {
            "slot": self.slot,
            "state": self.state.value,
            "starts": self.starts,
            "security_counter": self.security_counter,
        }
        return json.dumps(values, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """`ValueError` for a record that we have not written."""
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("not an object")  # noqa: TRY004 one error for all
        found = {name: values.get(name) for name in ("slot", "starts", "security_counter")}
        numbers = {name: one for name, one in found.items() if type(one) is int and one >= 0}
        if numbers.keys() != found.keys() or numbers["slot"] > 1:
            raise ValueError(f"{found}")
        return cls(state=State(values.get("state")), **numbers)
