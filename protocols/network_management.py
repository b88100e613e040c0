"""Network management on CAN: who needs the wire says so; when nobody does, all sleep together.

A small AUTOSAR-like scheme ("Specification of CAN Network Management"): its states, timers and
first two bytes; partial networking and bus load reduction are not there. Every node has an
identifier from `BASE_IDENTIFIER` on; nobody rules.
"""

from dataclasses import dataclass
from enum import Enum, IntFlag
from types import MappingProxyType
from typing import Final

#: Node 0's identifier, 11 bits; node n's is n higher.
BASE_IDENTIFIER: Final = 0x500
NODES: Final = 64
#: Source node, control bits, user data.
PDU_LENGTH: Final = 8
_USER_DATA: Final = b"\xff" * (PDU_LENGTH - 2)


class Control(IntFlag):
    """The control bit vector."""

    #: Every node says for a while that it is there.
    REPEAT_MESSAGE_REQUEST = 0x01
    #: The sender has woken the wire itself.
    ACTIVE_WAKE_UP = 0x10


_NOTHING: Final = Control(0)


class State(Enum):
    BUS_SLEEP = "bus sleep"
    #: Everybody says that they are there.
    REPEAT_MESSAGE = "repeat message"
    #: We need the wire, and say so.
    NORMAL_OPERATION = "normal operation"
    #: We do not need it; somebody else may.
    READY_SLEEP = "ready sleep"
    #: Nobody has said for a while that they need it: no more frames, queues run empty.
    PREPARE_BUS_SLEEP = "prepare bus sleep"


class Trigger(Enum):
    REQUESTED = "we need the wire"
    RELEASED = "we need it no more"
    HEARD = "another node's PDU"
    REPEAT_ASKED = "another node's PDU that asks for repetition"
    WOKEN = "any frame, or our own start"
    REPEAT_OVER_REQUESTED = "repeated long enough, we need the wire"
    REPEAT_OVER_RELEASED = "repeated long enough, we do not"
    TIMEOUT = "no PDU for the timeout"
    WAITED = "waited for the wire to become silent"


#: What is not here changes nothing: whoever repeats already is not asked to again, so that no node
#: can make all others speak faster than their cycle.
TRANSITIONS: Final = MappingProxyType(
    {
        (State.BUS_SLEEP, Trigger.REQUESTED): State.REPEAT_MESSAGE,
        (State.BUS_SLEEP, Trigger.HEARD): State.REPEAT_MESSAGE,
        (State.BUS_SLEEP, Trigger.REPEAT_ASKED): State.REPEAT_MESSAGE,
        (State.BUS_SLEEP, Trigger.WOKEN): State.REPEAT_MESSAGE,
        (State.REPEAT_MESSAGE, Trigger.REPEAT_OVER_REQUESTED): State.NORMAL_OPERATION,
        (State.REPEAT_MESSAGE, Trigger.REPEAT_OVER_RELEASED): State.READY_SLEEP,
        (State.NORMAL_OPERATION, Trigger.RELEASED): State.READY_SLEEP,
        (State.NORMAL_OPERATION, Trigger.REPEAT_ASKED): State.REPEAT_MESSAGE,
        (State.READY_SLEEP, Trigger.REQUESTED): State.NORMAL_OPERATION,
        (State.READY_SLEEP, Trigger.REPEAT_ASKED): State.REPEAT_MESSAGE,
        (State.READY_SLEEP, Trigger.TIMEOUT): State.PREPARE_BUS_SLEEP,
        (State.PREPARE_BUS_SLEEP, Trigger.REQUESTED): State.REPEAT_MESSAGE,
        (State.PREPARE_BUS_SLEEP, Trigger.HEARD): State.REPEAT_MESSAGE,
        (State.PREPARE_BUS_SLEEP, Trigger.REPEAT_ASKED): State.REPEAT_MESSAGE,
        (State.PREPARE_BUS_SLEEP, Trigger.WAITED): State.BUS_SLEEP,
    }
)
#: States in which a node says that it is there.
SPEAKING: Final = frozenset({State.REPEAT_MESSAGE, State.NORMAL_OPERATION})
#: States in which a node may send its other messages.
COMMUNICATING: Final = SPEAKING | {State.READY_SLEEP}


class PduError(Exception):
    """Bytes that are no network-management PDU."""


@dataclass(frozen=True, slots=True)
class Pdu:
    node: int
    control: Control = _NOTHING

    def encode(self) -> bytes:
        return bytes((self.node, self.control)) + _USER_DATA


def decode(data: bytes) -> Pdu:
    """One PDU; reserved control bits are dropped, user data is nobody's."""
    if len(data) != PDU_LENGTH:
        raise PduError(f"{len(data)} bytes, not {PDU_LENGTH}: {data.hex(' ')}")
    return Pdu(
        data[0], Control(data[1] & (Control.REPEAT_MESSAGE_REQUEST | Control.ACTIVE_WAKE_UP))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds; the same in every node of a wire."""

    #: Between two PDUs of a node.
    cycle_s: float = 0.5
    #: Duration of REPEAT_MESSAGE.
    repeat_s: float = 1.5
    #: From the last PDU of anybody to PREPARE_BUS_SLEEP.
    timeout_s: float = 2.0
    #: From there to BUS_SLEEP.
    wait_s: float = 1.0


@dataclass(frozen=True, slots=True)
class SendPdu:
    data: bytes


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: State


Event = SendPdu | StateChanged


class NetworkManager:
    """One node on one wire, without I/O. Times are loop seconds, handed in."""

    def __init__(self, node: int, timing: Timing | None = None) -> None:
        self._node = node
        self._timing = timing or Timing()
        self.state = State.BUS_SLEEP
        self._requested = False
        self._woke_actively = False
        #: Deadlines: our next PDU, and the end of the state.
        self._speak_at: float | None = None
        self._state_until: float | None = None

    def set_requested(self, requested: bool, *, now: float) -> list[Event]:  # noqa: FBT001 the whole content of the call
        """Whether this node needs the wire from now on."""
        if requested == self._requested and (not requested or self.state in SPEAKING):
            return []
        self._requested = requested
        self._woke_actively |= requested and self.state is State.BUS_SLEEP
        return self._pull(Trigger.REQUESTED if requested else Trigger.RELEASED, now=now)

    def wake(self, *, now: float) -> list[Event]:
        """A frame on the sleeping wire, or the node's own start."""
        return self._pull(Trigger.WOKEN, now=now)

    def receive(self, data: bytes, *, now: float) -> list[Event]:
        """Another node's PDU; bytes that are none are ignored."""
        try:
            pdu = decode(data)
        except PduError:
            return []
        if self.state is State.READY_SLEEP:
            self._state_until = now + self._timing.timeout_s
        asked = Control.REPEAT_MESSAGE_REQUEST in pdu.control
        return self._pull(Trigger.REPEAT_ASKED if asked else Trigger.HEARD, now=now)

    def next_deadline(self) -> float | None:
        due = (self._speak_at, self._state_until)
        return min((at for at in due if at is not None), default=None)

    def handle_timeout(self, *, now: float) -> list[Event]:
        """That moment has come; called early, it answers `[]`."""
        if self._state_until is not None and now >= self._state_until:
            return self._pull(self._end_of_state(), now=now)
        if self._speak_at is not None and now >= self._speak_at:
            return [self._speak(now=now)]
        return []

    def _end_of_state(self) -> Trigger:
        match self.state:
            case State.REPEAT_MESSAGE if self._requested:
                return Trigger.REPEAT_OVER_REQUESTED
            case State.REPEAT_MESSAGE:
                return Trigger.REPEAT_OVER_RELEASED
            case State.READY_SLEEP:
                return Trigger.TIMEOUT
            case _:
                return Trigger.WAITED

    def _pull(self, trigger: Trigger, *, now: float) -> list[Event]:
        before = self.state
        state = TRANSITIONS.get((before, trigger))
        if state is None:
            return []
        self.state = state
        self._state_until = {
            State.REPEAT_MESSAGE: now + self._timing.repeat_s,
            State.READY_SLEEP: now + self._timing.timeout_s,
            State.PREPARE_BUS_SLEEP: now + self._timing.wait_s,
        }.get(state)
        events: list[Event] = [StateChanged(state)]
        if state is State.BUS_SLEEP:
            self._woke_actively = False
        if state not in SPEAKING:
            self._speak_at = None
        elif before not in SPEAKING or trigger is Trigger.REPEAT_ASKED:
            # Who wakes a sleeping wire asks the others to show themselves.
            asks = self._requested and before is State.BUS_SLEEP
            events.append(self._speak(now=now, asks=asks))
        return events

    def _speak(self, *, now: float, asks: bool = False) -> SendPdu:
        self._speak_at = now + self._timing.cycle_s
        control = Control.REPEAT_MESSAGE_REQUEST if asks else _NOTHING
        if self._woke_actively:
            control |= Control.ACTIVE_WAKE_UP
        return SendPdu(Pdu(self._node, control).encode())


def identifier(node: int) -> int:
    return BASE_IDENTIFIER + node


def node_of(logical_address: int) -> int:
    """The node number that follows from a diagnostic address: its lowest six bits."""
    return logical_address % NODES
