"""How the car around the climate control obeys the gateway's interlock (`GW_Interlock`).

It fails safe: what was told last holds, also when the gateway falls silent. It is let go when the
gateway says so, or, for a car whose gateway is dead, when ignition is switched off and on again
after ten minutes of silence. A car that moves is never stopped: the interlock takes hold of it
only while it stands in park.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ecu_sim.signals import Heard, header_of
from protocols.can import CanPort, FrameHeader

_DATABASE: Final = "gateway"
_MESSAGE: Final = "GW_Interlock"
#: Silence of the gateway, in seconds, after which switching ignition off and on lets the car go.
SILENCE_S: Final = 600.0


class Car(Protocol):
    """What the interlock acts on: signals of the car, by name."""

    def set(self, signal: str, value: float) -> None: ...
    def value(self, signal: str) -> float: ...


class ObeyedInterlock:
    """Holds the car while it is told to, and its high voltage off while that is asked for."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ports: Mapping[str, CanPort], car: Car
    ) -> None:
        self._loop = loop
        self._ports = tuple(ports.values())
        self._car = car
        self._header = header_of(_DATABASE, _MESSAGE)
        self._heard = Heard(_DATABASE, _MESSAGE)
        self._stops: list[Callable[[], None]] = []
        self._counter: float | None = None
        #: Ignition was switched off while the gateway had been silent for long enough.
        self._letting_go = False
        #: High voltage before it was switched off on request; None: it was not.
        self._high_voltage: float | None = None

    @property
    def engaged(self) -> bool:
        return self._car.value("DriveInhibited") == 1.0

    def start(self) -> None:
        self._stops = [port.listen(self._receive, self._header) for port in self._ports]

    def stop(self) -> None:
        for stop in self._stops:
            stop()
        self._stops = []

    def refuses(self, signal: str, value: float) -> bool:
        """Whether this would drive a car that is held."""
        wish = {"Speed": value > 0.0, "Gear": value != 0.0}.get(signal, False)
        return wish and self.engaged

    def ignition(self, *, on: bool) -> None:
        """Terminal 15 was switched."""
        if not on:
            at_s = self._heard.at
            self._letting_go = at_s is not None and self._loop.time() - at_s >= SILENCE_S
        elif self._letting_go:
            self._letting_go = False
            self._release()

    def _receive(self, header: FrameHeader, payload: bytes, now: float) -> None:
        before = self._counter
        self._heard.receive(header, payload, now)
        self._counter = self._heard.value("AliveCounter")
        if self._counter is None or self._counter == before:
            return  # too short, repeated, or the same frame on another wire
        match self._heard.value("DriveInhibit"):
            case 1.0 if self._stands():
                self._engage(off=self._heard.value("HighVoltageOff") == 1.0)
            case 0.0:
                self._release()

    def _stands(self) -> bool:
        return self.engaged or (self._car.value("Speed") == 0.0 and self._car.value("Gear") == 0.0)

    def _engage(self, *, off: bool) -> None:
        if not self.engaged:
            self._car.set("DriveRefused", 0.0)
            self._car.set("DriveInhibited", 1.0)
        # A car that is being charged keeps its high voltage.
        if off and self._high_voltage is None and self._car.value("Charging") != 1.0:
            self._high_voltage = self._car.value("HighVoltage")
            self._car.set("HighVoltage", 0.0)

    def _release(self) -> None:
        if self.engaged:
            self._car.set("DriveInhibited", 0.0)
            self._car.set("DriveRefused", 0.0)
        if self._high_voltage is not None:
            if self._car.value("HighVoltage") == 0.0:
                self._car.set("HighVoltage", self._high_voltage)
            self._high_voltage = None
