"""Network management of the simulated nodes: who keeps a CAN wire awake, and what wakes a node."""

import asyncio
from collections.abc import Callable
from typing import Final

from clock import Timer
from protocols.can import CanPort, FrameHeader
from protocols.network_management import (
    COMMUNICATING,
    NODES,
    Event,
    NetworkManager,
    SendPdu,
    State,
    StateChanged,
    Timing,
    identifier,
)

HEADERS: Final = tuple(FrameHeader(identifier(node)) for node in range(NODES))
#: The node number of the car around the climate control.
REST_BUS_NODE: Final = NODES - 1


class NetworkNode:
    """One node's network management on its port, from `start` to `stop`."""

    def __init__(
        self,
        port: CanPort,
        *,
        node: int,
        wanted: Callable[[], bool],
        may_speak: Callable[[], bool] = lambda: True,
        asleep: Callable[[], None] | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._header = HEADERS[node]
        self._wanted = wanted
        self._may_speak = may_speak
        self._asleep = asleep
        self._core = NetworkManager(node, timing)
        self._timer = Timer(self._loop, self._timeout)
        self._stops: list[Callable[[], None]] = []
        self._wake_up: WakeUp | None = None
        self._started = False

    @property
    def state(self) -> State:
        return self._core.state

    @property
    def communicating(self) -> bool:
        """Whether the node may send its other messages; without network management it may."""
        return not self._started or self._core.state in COMMUNICATING

    def start(self) -> None:
        """The node is awake: it says so."""
        self._started = True
        self._stops = [self._port.listen(self._receive, *HEADERS)]
        self._act(self._core.wake(now=self._loop.time()))
        self.poll()

    def stop(self) -> None:
        """Silent and deaf from here on."""
        self._started = False
        for stop in self._stops:
            stop()
        self._stops = []
        self._timer.cancel()
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None

    def poll(self) -> None:
        """Ask now whether the node needs its wire; it is also asked at every PDU."""
        if self._started:
            self._act(self._core.set_requested(self._wanted(), now=self._loop.time()))

    def _timeout(self) -> None:
        self.poll()
        if self._started:
            self._act(self._core.handle_timeout(now=self._loop.time()))

    def _receive(self, _: FrameHeader, data: bytes, now: float) -> None:
        self._act(self._core.receive(data, now=now))

    def _woken(self) -> None:
        self._wake_up = None
        self._act(self._core.wake(now=self._loop.time()))

    def _act(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case SendPdu(data):
                    if self._may_speak():  # else silenced by 28; the node's own state goes on
                        self._port.send(self._header, (data,))
                case StateChanged(state):
                    self._changed(state)
        if self._started:
            self._timer.set(self._core.next_deadline())

    def _changed(self, state: State) -> None:
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        if state is not State.BUS_SLEEP:
            return
        if self._asleep is not None:
            self._asleep()
        else:
            self._wake_up = WakeUp(self._port, self._woken)


class WakeUp:
    """A transceiver that sleeps: it calls back once, at the first frame of any node."""

    def __init__(self, port: CanPort, woken: Callable[[], None]) -> None:
        self._woken: Callable[[], None] | None = woken
        self._stop = port.listen(self._hear)

    def cancel(self) -> None:
        self._woken = None
        self._stop()

    def _hear(self, _: FrameHeader, __: bytes, ___: float) -> None:
        woken, self._woken = self._woken, None
        if woken is not None:
            self._stop()
            woken()
