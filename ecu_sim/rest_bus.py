"""The car around the climate control: cyclic messages that nothing silences.

Values are physical; a scenario sets them with `set`.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import dbc
from ecu_sim.interlock import ObeyedInterlock
from ecu_sim.network import REST_BUS_NODE, NetworkNode
from ecu_sim.periodic import Periodic
from ecu_sim.signals import Encoder, header_of, period_s_of, start_value
from ecu_sim.traffic import CyclicFrame, Traffic
from protocols.can import CanPort

_LOG = logging.getLogger(__name__)

DATABASE: Final = "vehicle"
_IGNITION: Final = "Terminal15"


def signal_limits() -> dict[str, tuple[float, float]]:
    """Signal that can be set -> its lowest and highest physical value."""
    return {
        signal.name: (
            -math.inf if signal.minimum is None else float(signal.minimum),
            math.inf if signal.maximum is None else float(signal.maximum),
        )
        for message in dbc.load(DATABASE).messages
        for signal in message.signals
    }


class RestBus:
    """Sends every message of `vehicle.dbc` on every wire, each with its own period.

    While terminal 15 is on it keeps the wires awake; off, it sleeps when all others on a wire do.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ports: Mapping[str, CanPort],
        *,
        traffic: Mapping[str, Sequence[CyclicFrame]] | None = None,
    ) -> None:
        """`traffic` is what else there is on a wire, by its name."""
        networks = {
            name: NetworkNode(port, node=REST_BUS_NODE, wanted=self._ignition_on)
            for name, port in ports.items()
        }
        self._networks = tuple((port, networks[name]) for name, port in ports.items())
        self._traffic = [
            Traffic(loop, ports[name], frames, may_send=partial(_communicates, networks[name]))
            for name, frames in (traffic or {}).items()
        ]
        messages = dbc.load(DATABASE).messages
        self._encoders = {message.name: Encoder(DATABASE, message.name) for message in messages}
        self._values = {
            message.name: {signal.name: start_value(signal) for signal in message.signals}
            for message in messages
        }
        self._message_of = {
            signal.name: message.name for message in messages for signal in message.signals
        }
        self._headers = {m.name: header_of(DATABASE, m.name) for m in messages}
        self.interlock = ObeyedInterlock(loop, ports, self)
        self._timers = [
            Periodic(loop, period_s_of(DATABASE, name), partial(self.send, name))
            for name in self._values
        ]

    def set(self, signal: str, value: float) -> None:
        """From the next cycle on; `KeyError` names the signal if there is none.

        Under the interlock the car stays in park and stands: a wish to drive is refused, which
        `DriveRefused` shows.
        """
        if self.interlock.refuses(signal, value):
            _LOG.warning("drive_refused signal=%s value=%g", signal, value)
            signal, value = "DriveRefused", 1.0
        self._values[self._message_of[signal]][signal] = value
        if signal == _IGNITION:
            self.interlock.ignition(on=value >= 0.5)
            for _, network in self._networks:
                network.poll()

    def value(self, signal: str) -> float:
        return self._values[self._message_of[signal]][signal]

    def start(self) -> None:
        self.interlock.start()
        for _, network in self._networks:
            network.start()
        for timer in self._timers:
            timer.start()
        for traffic in self._traffic:
            traffic.start()

    def stop(self) -> None:
        self.interlock.stop()
        for _, network in self._networks:
            network.stop()
        for timer in self._timers:
            timer.stop()
        for traffic in self._traffic:
            traffic.stop()

    def send(self, message: str) -> None:
        payload = self._encoders[message].encode(self._values[message])
        for port, network in self._networks:
            if network.communicating:
                port.send(self._headers[message], (payload,))

    def _ignition_on(self) -> bool:
        return self.value(_IGNITION) >= 0.5


def _communicates(network: NetworkNode) -> bool:
    return network.communicating
