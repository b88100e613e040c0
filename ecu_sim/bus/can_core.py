"""A CAN wire as a discrete-event core: who may send when, to the nanosecond; no loop, no clock.

Frames that follow each other under one header are one *run*: planned at once, one event at its
end, or one at each frame where somebody listens who wants that. A run ends early where something
could have gone otherwise: at the frame on the wire when a sender with a lower identifier appears,
or such a listener. So the event count depends on who takes part, the nanoseconds never do.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Final

import numpy as np

from ecu_sim.bus.confinement import Confinement
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorCounters, ErrorFrame, ErrorState, Fate, WireFaults
from protocols.can import LONGEST_RUN_S, FrameHeader, Receive, ReceiveRun, Sent, arbitration_key
from protocols.can.bits import (
    INTERMISSION_BITS,
    NS_PER_S,
    FrameError,
    burst_ns,
    frame_ns,
)
from protocols.can.stamps import Stamps

#: A listener of runs hears of a frame that late at most.
_LONGEST_RUN_NS: Final = round(LONGEST_RUN_S * NS_PER_S)
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
    __slots__ = ("ended", "node", "receive", "receive_run", "since_ns")

    def __init__(
        self, node: str, receive: Receive, receive_run: ReceiveRun | None, since_ns: int
    ) -> None:
        self.node = node
        self.receive = receive
        self.receive_run = receive_run
        self.since_ns = since_ns
        self.ended = False


class _Burst:
    """Frames of one node under one header, with their times on the wire."""

    __slots__ = ("ends", "header", "key", "next", "node", "payloads", "sent", "told_ns")

    def __init__(
        self,
        node: str,
        header: FrameHeader,
        payloads: Sequence[bytes],
        sent: Sent | None,
        ends: Sequence[int],
        now_ns: int,
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
        #: When listeners heard of its last frame; they wait for the first one already (N_Cr).
        self.told_ns = now_ns - _LONGEST_RUN_NS


class _Run:
    """Frames `first` to `stop` of a burst, back to back; `origin_ns + ends[i]` starts frame i."""

    __slots__ = (
        "burst",
        "each",
        "ends",
        "fate",
        "first",
        "intermission_ns",
        "longer_ns",
        "origin_ns",
        "stop",
        "tried",
    )

    def __init__(
        self, burst: _Burst, stop: int, start_ns: int, intermission_ns: int, *, each: bool
    ) -> None:
        self.fate = Fate.HEARD
        #: Whether fault confinement counts it: not if it began before anything could go wrong.
        self.tried = False
        #: Every frame is an event, for a listener that wants it; `first` moves on with them.
        self.each = each
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

    @property
    def event_ns(self) -> int:
        """The last bit of the run, or of its next frame."""
        if self.each and self.first + 1 < self.stop:
            return self.origin_ns + self.ends[self.first + 1] - self.intermission_ns
        return self.last_bit_ns


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
        self.now_ns = max(self.now_ns, now_ns)
        ends = self._ends(node, header, payloads)
        burst = _Burst(node, header, payloads, sent, ends, self.now_ns)
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
    ) -> Callable[[int], None]:
        """Hear frames whose last bit comes after `now_ns`; no keys: all of them.

        Returns what ends it, called with the time in ns: all that had its last bit before is heard.
        """
        self.now_ns = max(self.now_ns, now_ns)
        listener = _Listener(node, receive, receive_run, self.now_ns)
        self._confinement.joined(node)
        for key in keys:
            self._by_key[key] = (*self._by_key.get(key, ()), listener)
        if not keys:
            self._everything = (*self._everything, listener)
        run = self._run
        if receive_run is None and run is not None and (not keys or run.burst.key in keys):
            self._cut()
        return partial(self._stop, listener, tuple(keys))

    def _stop(self, listener: _Listener, keys: Sequence[int], now_ns: int) -> None:
        if listener.ended:
            return
        listener.ended = True
        self._confinement.left(listener.node)
        for key in keys:
            rest = tuple(other for other in self._by_key[key] if other is not listener)
            if rest:
                self._by_key[key] = rest
            else:
                del self._by_key[key]
        self._everything = tuple(other for other in self._everything if other is not listener)
        self.now_ns = max(self.now_ns, now_ns)
        run = self._run
        if run is not None and not run.each and (not keys or run.burst.key in keys):
            so_far = self.now_ns - run.origin_ns + run.intermission_ns
            stop = bisect_left(run.ends, so_far, run.first + 1, run.stop + 1) - 1
            self._deliver(run, listener, stop=stop)

    def next_event(self) -> int | None:
        """When `handle` is to be called next, in ns; None while the wire is idle."""
        run = self._run
        if run is None and self._queues:
            run = self._run = self._plan()
        recovery_ns = self._recovery_before(run)
        if recovery_ns is not None:
            return recovery_ns
        return None if run is None else run.event_ns

    def _recovery_before(self, run: _Run | None) -> int | None:
        """When a node recovers from bus-off, if the wire is idle then."""
        if not self._confinement.active:
            return None
        due = self._confinement.recovery_ns(self.bit_rate)
        return due if due is not None and (run is None or due <= run.start_ns) else None

    def handle(self) -> None:
        """The moment of `next_event` has come: a run, or one frame, is over and everybody hears it.

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
        if run.each and run.first + 1 < run.stop:
            self._pass_frame(run)
            return
        self._run = None
        burst = run.burst
        self.now_ns = run.last_bit_ns
        self._free_ns = run.free_ns
        if run.tried:
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
        burst.next, burst.told_ns = run.stop, self.now_ns
        if burst.next == len(burst.payloads):
            self._finish(burst)
        self._change_bit_rate()
        listeners = self._by_key.get(burst.key, ()) + self._everything
        if burst.next == len(burst.payloads) and burst.sent is not None:
            burst.sent(self.now_ns / NS_PER_S)
        for listener in listeners:
            self._deliver(run, listener, stop=run.stop)
        self._tell_states()

    def _pass_frame(self, run: _Run) -> None:
        """One frame of a run is over, and the next one follows if nobody objects."""
        burst, first = run.burst, run.first
        free_ns = run.origin_ns + run.ends[first + 1]
        self.now_ns = now_ns = burst.told_ns = free_ns - run.intermission_ns
        self._free_ns = free_ns
        self._frames += 1
        self._busy_ns += free_ns - run.start_ns
        burst.next = run.first = first + 1
        data, at_s = burst.payloads[first], now_ns / NS_PER_S
        for listener in self._by_key.get(burst.key, ()) + self._everything:
            if listener.node != burst.node and listener.since_ns < now_ns:
                listener.receive(burst.header, data, at_s)

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
            if len(payloads) == 1:
                return (0, frame_ns(header, payloads[0], **rates))
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
        first, ends, count = burst.next, burst.ends, len(burst.payloads)
        start_ns = max(self._free_ns, self.now_ns)
        stop, each = first + 1, False
        if stop < count:
            each = not self._takes_runs(burst)
            # Told in time, however long the wire was taken by others.
            limit = burst.told_ns + _LONGEST_RUN_NS - start_ns + ends[first]
            stop = max(stop, bisect_right(ends, limit, stop, count + 1) - 1)
        return _Run(burst, stop, start_ns, self._intermission_ns, each=each)

    def _plan_one(self) -> _Run:
        """The same where frames may go wrong: one frame, and what becomes of it."""
        confinement = self._confinement
        free = {key: confinement.suspended_ns(queue[0].node) for key, queue in self._queues.items()}
        start_ns = max(self._free_ns, self.now_ns, min(free.values()))
        burst = self._queues[min(key for key, since in free.items() if since <= start_ns)][0]
        run = _Run(burst, burst.next + 1, start_ns, self._intermission_ns, each=False)
        run.tried = True
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

    def _deliver(self, run: _Run, listener: _Listener, *, stop: int) -> None:
        """Tell of the frames before `stop`."""
        burst = run.burst
        if listener.node == burst.node or run.fate is not Fate.HEARD:
            return
        if self._confinement.active and self._confinement.is_off(listener.node):
            return
        last_bits = run.origin_ns - run.intermission_ns
        first = run.first
        if listener.since_ns > run.start_ns:
            # Joined in mid-run: what had ended by then was not heard.
            heard = listener.since_ns - last_bits
            first = bisect_right(run.ends, heard, first + 1, run.stop + 1) - 1
        if stop - first == 1:
            at_s = (last_bits + run.ends[stop]) / NS_PER_S
            listener.receive(burst.header, burst.payloads[first], at_s)
        elif first < stop and listener.receive_run is not None:
            times = Stamps(last_bits, run.ends[first + 1 : stop + 1])
            listener.receive_run(burst.header, burst.payloads[first:stop], times)
