"""The interlock: a cyclic message that asks the vehicle not to be driven, and for high voltage off.

It is sent on every wire that has it while it is engaged, and for a second after its release, so
that whoever obeys it hears so. A gateway that dies falls silent, which releases nothing: the
vehicle holds what it was told last.
"""

import asyncio
import logging
from typing import Final

from dbc import load
from protocols.can import CanPort, FrameHeader
from vehicle_gateway.wires import LinkError

_LOG = logging.getLogger(__name__)

DATABASE: Final = "gateway"
MESSAGE: Final = "GW_Interlock"
_COUNTS: Final = 16
#: Frames that say "released".
_RELEASES: Final = 10


class CanInterlock:
    """`Interlock` by `GW_Interlock`; says nothing before it is told anything."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ports: list[CanPort] = []
        self._message = load(DATABASE).get_message_by_name(MESSAGE)
        self._header = FrameHeader(self._message.frame_id)
        self._period_s = (self._message.cycle_time or 100) / 1000
        self._engaged: bool | None = None
        self._counter = 0
        self._releases_left = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, port: CanPort) -> None:
        self._ports.append(port)

    def hold(self, *, engaged: bool) -> None:
        """From the next frame on, which goes out now."""
        if engaged is self._engaged:
            return
        _LOG.info("interlock engaged=%s", engaged)
        self._engaged = engaged
        self._releases_left = _RELEASES
        if self._timer is not None:
            self._timer.cancel()
        self._send()

    def stop(self) -> None:
        """Fall silent, as a gateway does that loses its power."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._counter = (self._counter + 1) % _COUNTS
        engaged = int(self._engaged is True)
        payload = self._message.encode(
            {
                "DriveInhibit": engaged,
                "HighVoltageOff": engaged,
                "AliveCounter": self._counter,
            }
        )
        for port in self._ports:
            try:
                port.send(self._header, (payload,))
            except LinkError as error:  # The next frame is due in a moment.
                _LOG.debug("interlock_not_sent cause=%s", error)
        self._releases_left -= 0 if engaged else 1
        self._timer = None
        if engaged or self._releases_left > 0:
            self._timer = self._loop.call_later(self._period_s, self._send)
