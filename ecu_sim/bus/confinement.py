"""Fault confinement of ISO 11898-1: error counters, error states, bus-off and recovery.

An error frame begins where the acknowledgement fails: a receiver whose CRC check has failed gives
none, and the sender's error flag stands in the place of the ACK delimiter.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ecu_sim.bus.faults import ErrorCounters, ErrorState, Fate, WireFaults
from protocols.can.bits import INTERMISSION_BITS, NS_PER_S

#: A node's own error flag.
ERROR_FLAG_BITS: Final = 6
#: Receivers see their CRC error one bit after the sender has seen no acknowledgement.
ECHO_BITS: Final = 1
ERROR_DELIMITER_BITS: Final = 8
#: What of a frame an error frame takes the place of: ACK delimiter, end of frame, intermission.
REPLACED_BITS: Final = 1 + 7 + INTERMISSION_BITS
#: An error-passive node that has sent leaves the wire to the others for so long.
SUSPEND_BITS: Final = 8
#: Recovery from bus-off: so many sequences of so many recessive bits in a row.
RECOVERY_SEQUENCES: Final = 128
SEQUENCE_BITS: Final = 11

_PASSIVE_ABOVE: Final = 127
_BUS_OFF_ABOVE: Final = 255
_WORST_FIRST: Final = (Fate.CORRUPTED, Fate.LOST)
_FAILED: Final = frozenset({Fate.CORRUPTED, Fate.UNACKNOWLEDGED})
_NO_FAULTS: Final = WireFaults()


class Controller:
    """The fault confinement of one node."""

    def __init__(self) -> None:
        self.transmit = 0
        self.receive = 0
        self.off = False
        #: Sequences of recessive bits still to be seen; 0: recovery is not asked for.
        self.sequences_left = 0
        #: From when on recessive bits are counted, ns.
        self.counted_ns = 0
        #: Until when it leaves the wire to the others, ns.
        self.suspended_ns = 0

    @property
    def state(self) -> ErrorState:
        if self.off:
            return ErrorState.BUS_OFF
        if max(self.transmit, self.receive) > _PASSIVE_ABOVE:
            return ErrorState.PASSIVE
        return ErrorState.ACTIVE

    @property
    def counters(self) -> ErrorCounters:
        return ErrorCounters(transmit=self.transmit, receive=self.receive, state=self.state)

    @property
    def clean(self) -> bool:
        return not (self.transmit or self.receive or self.off)

    def sending_failed(self, fate: Fate) -> None:
        """TEC + 8; an error-passive node that hears no one else's error flag keeps its count."""
        if fate is Fate.UNACKNOWLEDGED and self.state is ErrorState.PASSIVE:
            return
        self.transmit += 8
        if self.transmit > _BUS_OFF_ABOVE:
            self.off = True

    def has_sent(self) -> None:
        self.transmit = max(self.transmit - 1, 0)

    def receiving_failed(self) -> None:
        self.receive = min(self.receive + 1, _BUS_OFF_ABOVE)

    def has_received(self) -> None:
        """REC - 1; from error passive to 127 (the standard allows 119 to 127)."""
        self.receive = max(min(self.receive, _PASSIVE_ABOVE + 1) - 1, 0)

    def recover(self) -> None:
        """128 sequences of recessive bits have passed: all begins anew."""
        self.transmit = self.receive = self.sequences_left = 0
        self.off = False


class _Held:
    """A plan that holds."""

    def __init__(self, plan: WireFaults) -> None:
        self.plan = plan
        self._number = 0
        #: What the plan says of the next try that it is about, once asked.
        self._fate: Fate | None = None

    def fate_of_next(self, node: str) -> Fate:
        if not self.plan.concerns(node):
            return Fate.HEARD
        if self._fate is None:
            self._fate = self.plan.fate(self._number)
        return self._fate

    def tried(self, node: str) -> None:
        if self.plan.concerns(node):
            self._number += 1
            self._fate = None


class Confinement:
    """The nodes of one wire, and the plans of faults that hold. Times are ns."""

    def __init__(self) -> None:
        #: By whose plan it is.
        self._plans: dict[str, _Held] = {}
        #: Nodes with a counter above 0, or off.
        self._nodes: dict[str, Controller] = {}
        self._listening: Counter[str] = Counter()
        #: How often each node has been bus-off so far.
        self._bus_offs: Counter[str] = Counter()
        self._changed: list[tuple[str, ErrorState]] = []

    @property
    def active(self) -> bool:
        """Whether each frame must be looked at by itself."""
        return bool(self._plans) or bool(self._nodes)

    def begin(self, plan: WireFaults | None, *, owner: str = "") -> None:
        """Let a plan hold beside those of other owners; None: no plan of this owner any more."""
        self._plans.pop(owner, None)
        if plan is not None:
            self._plans[owner] = _Held(plan)

    def joined(self, node: str) -> None:
        self._listening[node] += 1

    def left(self, node: str) -> None:
        self._listening[node] -= 1
        if not self._listening[node]:
            del self._listening[node]

    def counters(self, node: str) -> ErrorCounters:
        controller = self._nodes.get(node)
        return ErrorCounters() if controller is None else controller.counters

    def is_off(self, node: str) -> bool:
        controller = self._nodes.get(node)
        return controller is not None and controller.off

    def bus_offs(self, node: str) -> int:
        return self._bus_offs[node]

    def fate(self, node: str) -> Fate:
        """What will become of the next try if this node makes it; the same at each call."""
        fates = {held.fate_of_next(node) for held in self._plans.values()}
        fate = next((its for its in _WORST_FIRST if its in fates), Fate.HEARD)
        if fate is not Fate.CORRUPTED and self._acknowledged:
            return fate if self._hearers(node) else Fate.UNACKNOWLEDGED
        return fate

    @property
    def _acknowledged(self) -> bool:
        """Whether a frame that nobody acknowledges is an error."""
        return any(held.plan.acknowledgement for held in self._plans.values())

    def longer_bits(self, node: str, fate: Fate) -> int:
        """Bits from the start of frame to the end of intermission, above those of the frame."""
        if fate not in _FAILED:
            return 0
        flags = ERROR_FLAG_BITS + (ECHO_BITS if self._hearers(node) else 0)
        return flags + ERROR_DELIMITER_BITS + INTERMISSION_BITS - REPLACED_BITS

    def suspended_ns(self, node: str) -> int:
        controller = self._nodes.get(node)
        return 0 if controller is None else controller.suspended_ns

    def tried(self, node: str, fate: Fate, *, start_ns: int, free_ns: int, bit_rate: int) -> None:
        """A try is over: count, for sender, receivers, and those who recover."""
        for held in self._plans.values():
            held.tried(node)
        before = {name: controller.state for name, controller in self._nodes.items()}
        self._count_recessive(start_ns, free_ns, bit_rate)
        sender = self._nodes.setdefault(node, Controller())
        if fate in _FAILED:
            sender.sending_failed(fate)
            for name in self._hearers(node) if fate is Fate.CORRUPTED else ():
                self._nodes.setdefault(name, Controller()).receiving_failed()
        else:
            sender.has_sent()
            for name, controller in self._nodes.items():
                if name != node and name in self._listening and fate is Fate.HEARD:
                    controller.has_received()
        if sender.off and before.get(node) is not ErrorState.BUS_OFF:
            self._bus_offs[node] += 1
            sender.counted_ns = free_ns
            if all(held.plan.recovery for held in self._plans.values()):
                sender.sequences_left = RECOVERY_SEQUENCES
        if sender.state is ErrorState.PASSIVE:
            sender.suspended_ns = free_ns + SUSPEND_BITS * NS_PER_S // bit_rate
        self._settle(before)

    def ask_recovery(self, node: str, *, now_ns: int) -> None:
        """A node that is bus-off begins to wait for the 128 sequences; else nothing happens."""
        controller = self._nodes.get(node)
        if controller is not None and controller.off and not controller.sequences_left:
            controller.sequences_left = RECOVERY_SEQUENCES
            controller.counted_ns = now_ns

    def recovery_ns(self, bit_rate: int) -> int | None:
        """When the next node recovers if the wire stays idle until then."""
        return min((due for _, due in self._recoveries(bit_rate)), default=None)

    def recover(self, *, now_ns: int, bit_rate: int) -> None:
        """The wire was idle until `now_ns`: who has waited for that takes part again."""
        before = {name: controller.state for name, controller in self._nodes.items()}
        for controller, due in list(self._recoveries(bit_rate)):
            if due <= now_ns:
                controller.recover()
        self._settle(before)

    def changes(self) -> list[tuple[str, ErrorState]]:
        """Nodes whose error state has changed since the last call, with the state now."""
        changed, self._changed = self._changed, []
        return changed

    def _hearers(self, sender: str) -> list[str]:
        """Nodes that acknowledge and flag errors: all that listen, to whatever identifiers."""
        plans = [held.plan for held in self._plans.values()] or [_NO_FAULTS]
        return [
            name
            for name in self._listening
            if name != sender
            and not any(name in plan.listen_only for plan in plans)
            and not self.is_off(name)
        ]

    def _recoveries(self, bit_rate: int) -> Iterable[tuple[Controller, int]]:
        for controller in self._nodes.values():
            if controller.off and controller.sequences_left:
                bits = controller.sequences_left * SEQUENCE_BITS
                yield controller, controller.counted_ns + bits * NS_PER_S // bit_rate

    def _count_recessive(self, start_ns: int, free_ns: int, bit_rate: int) -> None:
        """The idle time before a frame, and the eleven recessive bits at its end."""
        sequence_ns = SEQUENCE_BITS * NS_PER_S // bit_rate
        for controller in self._nodes.values():
            if controller.off and controller.sequences_left:
                idle_ns = max(start_ns - controller.counted_ns, 0)
                left = controller.sequences_left - idle_ns // sequence_ns - 1
                controller.counted_ns = free_ns
                controller.sequences_left = max(left, 0)
                if left <= 0:
                    controller.recover()

    def _settle(self, before: dict[str, ErrorState]) -> None:
        for name, controller in list(self._nodes.items()):
            if controller.state is not before.get(name, ErrorState.ACTIVE):
                self._changed.append((name, controller.state))
            if controller.clean:
                del self._nodes[name]
