"""A simulated CAN or CAN FD wire on the running loop, virtual or real."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from clock import Timer, VirtualLoop
from ecu_sim.bus.can_core import BusLoad, CanWireCore
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorCounters, ErrorFrame, ErrorState, WireFaults
from protocols.can import CanPort, FrameHeader, Receive, ReceiveRun, Sent, arbitration_key
from protocols.can.bits import NS_PER_S

#: On a real loop events are handled up to this much early: selectors round a millisecond up, and
#: so the wire keeps its pace on the average without a turnaround charged to the host.
_AHEAD_S: Final = 0.001
#: Events in one callback on a virtual loop, so that real descriptors are looked at now and then.
_EVENTS_PER_CALLBACK: Final = 512


class CanWire:
    """One wire with its nodes; times are exact bit lengths in whole ns.

    On a virtual loop all frames up to the loop's next other timer are handled in one callback. On
    a real loop events have absolute deadlines: the wire lags when the machine is busy, senders
    live in its time meanwhile, and it catches up.
    """

    def __init__(
        self,
        name: str,
        *,
        bit_rate: int,
        data_bit_rate: int = 0,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        if bit_rate <= 0 or data_bit_rate < 0:
            raise WireError(f"{name}: bit rates {bit_rate} and {data_bit_rate} bit/s")
        self.name = name
        self.data_bit_rate = data_bit_rate
        self._loop = loop
        self._virtual = loop if isinstance(loop, VirtualLoop) else None
        self._core = CanWireCore(name, bit_rate=bit_rate, data_bit_rate=data_bit_rate)
        virtual = self._virtual
        pump = self._pump_real if virtual is None else partial(self._pump_virtual, virtual)
        self._timer = Timer(loop, pump)
        self._pumping = False

    @property
    def bit_rate(self) -> int:
        """Of the arbitration, bit/s, now."""
        return self._core.bit_rate

    def set_bit_rate(self, bit_rate: int) -> None:
        """Change it for all nodes, from the next frame on (a transition of link control).

        The nodes of a simulated wire follow it together; one that stays behind is not modelled.
        """
        self._core.set_bit_rate(bit_rate, now_ns=self._now_ns())
        self._arm()

    def begin_faults(self, plan: WireFaults | None, *, owner: str = "") -> None:
        """Let things go wrong from the next start of frame on; None: no more from then on.

        Each owner has one plan; those of different owners hold side by side.
        """
        self._core.begin_faults(plan, owner=owner, now_ns=self._now_ns())
        self._arm()

    def error_counters(self, node: str) -> ErrorCounters:
        """The node's counters and error state now."""
        return self._core.error_counters(node)

    def bus_offs(self, node: str) -> int:
        """How often the node has been bus-off since the wire was made."""
        return self._core.bus_offs(node)

    def ask_recovery(self, node: str) -> None:
        """The node is bus-off and wants to take part again, where it does not by itself."""
        self._core.ask_recovery(node, now_ns=self._now_ns())
        self._arm()

    def on_error_state(self, callback: Callable[[str, ErrorState], None]) -> None:
        """Call back at each change of a node's error state."""
        self._core.on_error_state.append(callback)

    def on_error_frame(self, callback: Callable[[ErrorFrame], None]) -> None:
        """Call back at the end of each error frame."""
        self._core.on_error_frame.append(callback)

    def port(self, node: str) -> CanPort:
        """Access for a node; ports of one name are one node."""
        return _Port(self, node)

    def load(self) -> BusLoad:
        """The wire's counters now; `now.since(earlier)` is the bus load in between."""
        return self._core.load(now_ns=self._now_ns())

    def close(self) -> None:
        """Stop: nothing that is queued goes on the wire any more."""
        self._timer.cancel()

    def send(
        self, node: str, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None
    ) -> None:
        self._core.send(node, header, payloads, sent, now_ns=self._now_ns())
        self._arm()

    def listen(
        self, node: str, receive: Receive, headers: Sequence[FrameHeader], run: ReceiveRun | None
    ) -> Callable[[], None]:
        keys = sorted({arbitration_key(header) for header in headers})
        stop = self._core.listen(node, receive, keys, run, now_ns=self._now_ns())
        self._arm()
        return lambda: stop(self._now_ns())

    def _now_ns(self) -> int:
        """The loop's time, but not beyond an event that is still to be handled."""
        if self._pumping:
            return self._core.now_ns
        if self._virtual is not None:
            return self._virtual.now_ns
        now_ns = round(self._loop.time() * NS_PER_S)
        due = self._core.next_event()
        return now_ns if due is None else min(now_ns, due)

    def _arm(self) -> None:
        if self._pumping:
            return
        due = self._core.next_event()
        if due is not None:
            ahead = 0.0 if self._virtual is not None else _AHEAD_S
            self._timer.set(due / NS_PER_S - ahead)

    def _pump_virtual(self, loop: VirtualLoop) -> None:
        core = self._core
        self._pumping = True
        try:
            for _ in range(_EVENTS_PER_CALLBACK):
                due = core.next_event()
                if due is None or (due > loop.now_ns and not loop.advance(due)):
                    break
                core.handle()
        finally:
            self._pumping = False
            self._arm()

    def _pump_real(self) -> None:
        """One event per callback: who was woken by it answers before the next one."""
        core = self._core
        self._pumping = True
        try:
            due = core.next_event()
            if due is not None and due <= (self._loop.time() + _AHEAD_S) * NS_PER_S:
                core.handle()
        finally:
            self._pumping = False
            self._arm()


class _Port:
    """A node's access to a wire (`protocols.can.CanPort`)."""

    __slots__ = ("_node", "_wire")

    def __init__(self, wire: CanWire, node: str) -> None:
        self._wire = wire
        self._node = node

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        self._wire.send(self._node, header, payloads, sent)

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        return self._wire.listen(self._node, receive, headers, receive_run)
