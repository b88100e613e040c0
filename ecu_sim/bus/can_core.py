"""A CAN wire as a discrete-event core: who may send when, to the nanosecond; no loop, no clock.

Frames that follow each other under one header are one *run*: planned at once, one event at its
end. A run ends early where something could have gone otherwise: at the frame on the wire when a
sender with a lower identifier appears, or a listener that wants each frame. So the event count
depends on who takes part, the nanoseconds never do.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from ecu_sim.bus.confinement import Confinement
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorCounters, ErrorFrame, ErrorState, Fate, WireFaults
from ecu_sim.bus.stamps import Stamps
from protocols.can import FrameHeader, Receive, ReceiveRun, Sent, arbitration_key
from protocols.can.bits import (
    INTERMISSION_BITS,
    NS_PER_S,
    FrameError,
    burst_ns,
    frame_ns,
)

#: Longest run in ns: an event at least this often on a busy wire, well below N_Cr (1 s).
_LONGEST_RUN_NS: Final = 250_000_000
#: Below this many frames the arrays of a whole burst cost more than they save.
_SMALL_BURST: Final = 6
#: Bursts that a node may have queued: many more than any sender has, few enough to be bounded.
_QUEUE_LIMIT: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BusLoad:
    """What a wire has carried since it was made; two of them give the load in between."""

    #: Frames whose last bit has passed.
    frames: int
    #: Time in ns in which the wire was not free, intermission included.
    busy_ns: int
    #: Wire time in ns of this reading.
    at_ns: int
    #: Error frames that have ended.
    error_frames: int = 0

    def since(self, earlier: "BusLoad") -> float:
        """Share of the time between two readings in which the wire was busy, 0.0 to 1.0."""
        elapsed = self.at_ns - earlier.at_ns
        return (self.busy_ns - earlier.busy_ns) / elapsed if elapsed > 0 else 0.0


class _Listener:
    __slots__ = ("node", "receive", "receive_run", "since_ns")

    def __init__(
        self, node: str, receive: Receive, receive_run: ReceiveRun | None, since_ns: int
    ) -> None:
        self.node = node
        self.receive = receive
        self.receive_run = receive_run
        self.since_ns = since_ns


class _Burst:
    """Frames of one node under one header, with their times on the wire."""

    __slots__ = ("ends", "header", "key", "next", "node", "payloads", "sent")

    def __init__(
        self,
        node: str,
        header: FrameHeader,
        payloads: Sequence[bytes],
        sent: Sent | None,
        ends: Sequence[int],
    ) -> None:
        self.node = node
        self.header = header
        self.key = arbitration_key(header)
        self.payloads = payloads
        self.sent = sent
        #: ends[i]: ns from the first start of frame to the i-th frame's start, were it alone.
        self.ends = ends
        #: First frame that is not on the wire yet.
        self.next = 0


class _Run:
    """Frames `first` to `stop` of a burst, back to back; `origin_ns + ends[i]` starts frame i."""

    __slots__ = (
        "burst",
        "ends",
        "fate",
        "first",
        "intermission_ns",
        "longer_ns",
        "origin_ns",
        "stop",
    )

    def __init__(self, burst: _Burst, stop: int, start_ns: int, intermission_ns: int) -> None:
        self.fate = Fate.HEARD
        #: What an error frame takes above the frame itself.
        self.longer_ns = 0
        self.burst = burst
        #: Those at the bit rate of this run: the wire's may have changed when others hear of it.
        self.ends = burst.ends
        self.intermission_ns = intermission_ns
        self.first = burst.next
        self.stop = stop
        self.origin_ns = start_ns - burst.ends[burst.next]

    @property
    def start_ns(self) -> int:
        return self.origin_ns + self.ends[self.first]

    @property
    def free_ns(self) -> int:
        """When the next frame may start."""
        return self.origin_ns + self.ends[self.stop] + self.longer_ns

    @property
    def failed(self) -> bool:
        return self.fate is Fate.CORRUPTED or self.fate is Fate.UNACKNOWLEDGED

    @property
    def last_bit_ns(self) -> int:
        return self.free_ns - self.intermission_ns


class CanWireCore:
    """Ports, queues and the time line of one wire. Times are ns and never go back."""

    def __init__(self, name: str, *, bit_rate: int, data_bit_rate: int = 0) -> None:
        self.name = name
        self.bit_rate = bit_rate
        self.data_bit_rate = data_bit_rate
        self.now_ns = 0
        self._intermission_ns = INTERMISSION_BITS * NS_PER_S // bit_rate
        #: (key) -> bursts in order; a key belongs to one node at a time.
        self._queues: dict[int, deque[_Burst]] = {}
        self._queued: dict[str, int] = {}
        self._run: _Run | None = None
        self._free_ns = 0
        self._by_key: dict[int, tuple[_Listener, ...]] = {}
        self._everything: tuple[_Listener, ...] = ()
        self._frames = 0
        self._busy_ns = 0
        self._error_frames = 0
        self._confinement = Confinement()
        #: Called at each change of a node's error state, and at the end of each error frame.
        self.on_error_state: list[Callable[[str, ErrorState], None]] = []
        self.on_error_frame: list[Callable[[ErrorFrame], None]] = []
        #: The bit rate from the end of the frame on the wire on.
        self._next_bit_rate: int | None = None

    def send(
        self,
        node: str,
        header: FrameHeader,
        payloads: Sequence[bytes],
        sent: Sent | None,
        *,
        now_ns: int,
    ) -> None:
        """Queue a burst at `now_ns`; from then on it competes.

        Raises `WireError` for an empty burst, for frames that this wire cannot carry, for an
        identifier that another node is sending, and for a queue without end. What a node that is
        bus-off hands over is lost.
        """
        burst = _Burst(node, header, payloads, sent, self._ends(node, header, payloads))
        queue = self._queues.get(burst.key)
        if queue and queue[0].node != node:
            raise WireError(
                f"{self.name}: {node} sends 0x{header.identifier:X} while {queue[0].node} does"
            )
        queued = self._queued.get(node, 0)
        if queued >= _QUEUE_LIMIT:
            raise WireError(f"{self.name}: {node} has {queued} bursts queued")
        if self._confinement.is_off(node):
            return
        self._queued[node] = queued + 1
        self.now_ns = max(self.now_ns, now_ns)
        if queue is None:
            self._queues[burst.key] = deque((burst,))
        else:
            queue.append(burst)
        run = self._run
        if run is not None and (burst.key < run.burst.key or self.now_ns < run.start_ns):
            self._cut()

    def begin_faults(self, plan: WireFaults | None, *, owner: str = "", now_ns: int) -> None:
        """From the next start of frame on; None: this owner's plan holds no more."""
        self.now_ns = max(self.now_ns, now_ns)
        self._cut()
        self._confinement.begin(plan, owner=owner)

    def error_counters(self, node: str) -> ErrorCounters:
        return self._confinement.counters(node)

    def bus_offs(self, node: str) -> int:
        return self._confinement.bus_offs(node)

    def ask_recovery(self, node: str, *, now_ns: int) -> None:
        """A node that is bus-off wants to take part again: 128 times 11 recessive bits from now."""
        self.now_ns = max(self.now_ns, now_ns)
        self._confinement.ask_recovery(node, now_ns=self.now_ns)

    def set_bit_rate(self, bit_rate: int, *, now_ns: int) -> None:
        """Change the (arbitration) bit rate of all nodes; a frame on the wire ends as it began.

        `WireError` for a bit rate at which no wire works.
        """
        if bit_rate <= 0:
            raise WireError(f"{self.name}: bit rate {bit_rate} bit/s")
        self.now_ns = max(self.now_ns, now_ns)
        self._cut()
        self._next_bit_rate = bit_rate
        if self._run is None:
            self._change_bit_rate()

    def _change_bit_rate(self) -> None:
        """Between two frames: what is queued takes its time at the new bit rate."""
        if self._next_bit_rate is None:
            return
        self.bit_rate, self._next_bit_rate = self._next_bit_rate, None
        self._intermission_ns = INTERMISSION_BITS * NS_PER_S // self.bit_rate
        for queue in self._queues.values():
            for burst in queue:
                burst.ends = self._ends(burst.node, burst.header, burst.payloads)

    def listen(
        self,
        node: str,
        receive: Receive,
        keys: Sequence[int],
        receive_run: ReceiveRun | None,
        *,
        now_ns: int,
    ) -> Callable[[], None]:
        """Hear frames whose last bit comes after `now_ns`; no keys: all of them."""
        self.now_ns = max(self.now_ns, now_ns)
        listener = _Listener(node, receive, receive_run, self.now_ns)
        self._confinement.joined(node)
        listening = True
        for key in keys:
            self._by_key[key] = (*self._by_key.get(key, ()), listener)
        if not keys:
            self._everything = (*self._everything, listener)
        if receive_run is None and self._run is not None:
            self._cut()

        def stop() -> None:
            nonlocal listening
            if listening:
                listening = False
                self._confinement.left(node)
            for key in keys:
                rest = tuple(other for other in self._by_key.get(key, ()) if other is not listener)
                if rest:
                    self._by_key[key] = rest
                else:
                    self._by_key.pop(key, None)
            self._everything = tuple(other for other in self._everything if other is not listener)

        return stop

    def next_event(self) -> int | None:
        """When `handle` is to be called next, in ns; None while the wire is idle."""
        run = self._run
        if run is None and self._queues:
            run = self._run = self._plan()
        recovery_ns = self._recovery_before(run)
        if recovery_ns is not None:
            return recovery_ns
        return None if run is None else run.last_bit_ns

    def _recovery_before(self, run: _Run | None) -> int | None:
        """When a node recovers from bus-off, if the wire is idle then."""
        if not self._confinement.active:
            return None
        due = self._confinement.recovery_ns(self.bit_rate)
        return due if due is not None and (run is None or due <= run.start_ns) else None

    def handle(self) -> None:
        """The moment of `next_event` has come: the run is over, everybody hears of it.

        Callbacks may send and listen. The sender hears first.
        """
        run = self._run
        recovery_ns = self._recovery_before(run)
        if recovery_ns is not None:
            self.now_ns = max(self.now_ns, recovery_ns)
            self._confinement.recover(now_ns=self.now_ns, bit_rate=self.bit_rate)
            self._tell_states()
            return
        if run is None:
            return
        self._run = None
        burst = run.burst
        self.now_ns = run.last_bit_ns
        self._free_ns = run.free_ns
        if self._confinement.active:
            self._confinement.tried(
                burst.node,
                run.fate,
                start_ns=run.start_ns,
                free_ns=run.free_ns,
                bit_rate=self.bit_rate,
            )
            if run.failed:
                self._failed(run)
                return
        self._frames += run.stop - run.first
        self._busy_ns += run.free_ns - run.start_ns
        burst.next = run.stop
        if burst.next == len(burst.payloads):
            self._finish(burst)
        self._change_bit_rate()
        listeners = self._by_key.get(burst.key, ()) + self._everything
        if burst.next == len(burst.payloads) and burst.sent is not None:
            burst.sent(self.now_ns / NS_PER_S)
        for listener in listeners:
            if listener.node != burst.node and run.fate is Fate.HEARD:
                self._deliver(run, listener)
        self._tell_states()

    def _failed(self, run: _Run) -> None:
        """An error frame has ended: the sender tries again, unless it is bus-off now."""
        burst = run.burst
        self._busy_ns += run.free_ns - run.start_ns
        self._error_frames += 1
        if self._confinement.is_off(burst.node):
            self._drop(burst.node)
        self._change_bit_rate()
        error = ErrorFrame(
            node=burst.node,
            fate=run.fate,
            identifier=burst.header.identifier,
            at_s=self.now_ns / NS_PER_S,
        )
        for callback in tuple(self.on_error_frame):
            callback(error)
        self._tell_states()

    def _drop(self, node: str) -> None:
        """Everything that the node has queued is lost."""
        for key in [key for key, queue in self._queues.items() if queue[0].node == node]:
            del self._queues[key]
        self._queued[node] = 0

    def _tell_states(self) -> None:
        for node, state in self._confinement.changes():
            for callback in tuple(self.on_error_state):
                callback(node, state)

    def load(self, *, now_ns: int) -> BusLoad:
        """The counters at `now_ns`, frames on the wire counted up to there."""
        frames, busy_ns = self._frames, self._busy_ns
        now_ns = max(now_ns, self.now_ns)
        run = self._run
        if run is not None and now_ns > run.start_ns:
            busy_ns += min(now_ns, run.free_ns) - run.start_ns
            last_bit = now_ns - run.origin_ns + run.intermission_ns
            ends = run.ends
            if not run.failed:
                passed = bisect_right(ends, last_bit, run.first + 1, run.stop + 1)
                frames += passed - run.first - 1
        return BusLoad(
            frames=frames, busy_ns=busy_ns, at_ns=now_ns, error_frames=self._error_frames
        )

    def _ends(self, node: str, header: FrameHeader, payloads: Sequence[bytes]) -> Sequence[int]:
        if not payloads:
            raise WireError(f"{self.name}: {node} sends a burst without frames")
        if header.fd and not self.data_bit_rate:
            raise WireError(f"{self.name}: {node} sends FD frames on a classic wire")
        rates = {"bit_rate": self.bit_rate, "data_bit_rate": self.data_bit_rate}
        try:
            if len(payloads) < _SMALL_BURST:
                return [0, *accumulate(frame_ns(header, data, **rates) for data in payloads)]
            lengths = burst_ns(header, payloads, **rates)
        except FrameError as error:
            raise WireError(f"{self.name}: {node}: {error}") from error
        ends = np.zeros(len(payloads) + 1, dtype=np.int64)
        lengths.cumsum(out=ends[1:])
        # Plain integers one by one, and still one buffer: a list would cost more than the bits.
        return ends.data

    def _plan(self) -> _Run:
        """The winner of the next arbitration, and how far it gets."""
        if self._confinement.active:
            return self._plan_one()
        burst = self._queues[min(self._queues)][0]
        first = burst.next
        stop = first + 1
        count = len(burst.payloads)
        if stop < count and self._takes_runs(burst):
            limit = burst.ends[first] + _LONGEST_RUN_NS
            stop = max(stop, bisect_right(burst.ends, limit, first + 1, count + 1) - 1)
        start_ns = max(self._free_ns, self.now_ns)
        return _Run(burst, stop, start_ns, self._intermission_ns)

    def _plan_one(self) -> _Run:
        """The same where frames may go wrong: one frame, and what becomes of it."""
        confinement = self._confinement
        free = {key: confinement.suspended_ns(queue[0].node) for key, queue in self._queues.items()}
        start_ns = max(self._free_ns, self.now_ns, min(free.values()))
        burst = self._queues[min(key for key, since in free.items() if since <= start_ns)][0]
        run = _Run(burst, burst.next + 1, start_ns, self._intermission_ns)
        run.fate = confinement.fate(burst.node)
        bits = confinement.longer_bits(burst.node, run.fate)
        run.longer_ns = bits * NS_PER_S // self.bit_rate
        return run

    def _takes_runs(self, burst: _Burst) -> bool:
        return all(
            listener.receive_run is not None or listener.node == burst.node
            for listener in self._by_key.get(burst.key, ()) + self._everything
        )

    def _cut(self) -> None:
        """End the planned run with the frame that is on the wire now.

        A frame whose start would be at this very nanosecond has yet to win its arbitration.
        """
        run = self._run
        if run is None:
            return
        started = bisect_left(run.ends, self.now_ns - run.origin_ns, run.first, run.stop)
        if started == run.first:
            self._run = None
        else:
            run.stop = started

    def _finish(self, burst: _Burst) -> None:
        queue = self._queues[burst.key]
        queue.popleft()
        if not queue:
            del self._queues[burst.key]
        self._queued[burst.node] -= 1

    def _deliver(self, run: _Run, listener: _Listener) -> None:
        burst = run.burst
        if self._confinement.active and self._confinement.is_off(listener.node):
            return
        last_bits = run.origin_ns - run.intermission_ns
        first = run.first
        if listener.since_ns > run.start_ns:
            # Joined in mid-run: what had ended by then was not heard.
            heard = listener.since_ns - last_bits
            first = bisect_right(run.ends, heard, first + 1, run.stop + 1) - 1
        if run.stop - first == 1:
            listener.receive(burst.header, burst.payloads[first], self.now_ns / NS_PER_S)
        elif first < run.stop and listener.receive_run is not None:
            times = Stamps(last_bits, run.ends[first + 1 : run.stop + 1])
            listener.receive_run(burst.header, burst.payloads[first : run.stop], times)
