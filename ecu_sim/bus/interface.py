"""A CAN wire of the vehicle that is no simulation: an interface of this machine."""

from collections.abc import Callable

from can_interfaces import InterfaceError
from can_interfaces.uri import parse
from can_interfaces.wire import InterfaceWire
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorCounters, ErrorFrame, ErrorState, Fate
from protocols.can import CanPort
from protocols.can.error_frames import ErrorClass

_FATES = {
    ErrorClass.NO_ACKNOWLEDGEMENT: Fate.UNACKNOWLEDGED,
    ErrorClass.PROTOCOL: Fate.CORRUPTED,
    ErrorClass.BUS_ERROR: Fate.CORRUPTED,
}


class InterfacedWire:
    """Made inside a running loop, in real time. All nodes here share the interface's controller.

    `WireError` if the URI names no interface; `open` raises it too.
    """

    def __init__(self, name: str, uri: str, *, bit_rate: int, data_bit_rate: int = 0) -> None:
        self.name = name
        self.uri = uri
        self.bit_rate = bit_rate
        self.data_bit_rate = data_bit_rate
        self._off = False
        self._error_frame_heard: list[Callable[[ErrorFrame], None]] = []
        try:
            target = parse(uri)
            if own := [option for option in target.options if option.startswith("isotp")]:
                raise WireError(f"wire {name}: {uri}: {own[0]}: ECUs have an ISO-TP of their own")
            self._wire = InterfaceWire(target, error=WireError, lossy=True)
        except InterfaceError as error:
            raise WireError(f"wire {name}: {error}") from error
        self._wire.on_error_frame.append(self._hear_error)

    async def open(self) -> None:
        try:
            await self._wire.open()
        except InterfaceError as error:
            raise WireError(f"wire {self.name}: {error}") from error
        if self.data_bit_rate and not self._wire.carries_fd:
            await self.close()
            raise WireError(
                f"wire {self.name}: {self.uri} carries no CAN FD frames (a vcan does with"
                " `ip link set vcan0 mtu 72`, others with `?fd=true`)"
            )

    async def close(self) -> None:
        await self._wire.close()

    def port(self, node: str) -> CanPort:
        """Access for a node; ports of one name are one node."""
        return self._wire.port(node)

    def error_counters(self, _: str) -> ErrorCounters:
        """All that is known is whether the controller is bus-off."""
        return ErrorCounters(state=ErrorState.BUS_OFF if self._off else ErrorState.ACTIVE)

    def on_error_frame(self, callback: Callable[[ErrorFrame], None]) -> None:
        """Call back at each frame that went wrong on the wire, as far as the driver tells."""
        self._error_frame_heard.append(callback)

    def _hear_error(self, identifier: int, _: bytes, at_s: float) -> None:
        if identifier & (ErrorClass.BUS_OFF | ErrorClass.RESTARTED):
            self._off = not identifier & ErrorClass.RESTARTED
        for kind, fate in _FATES.items():
            if identifier & kind:
                error = ErrorFrame(node="", fate=fate, identifier=0, at_s=at_s)
                for callback in tuple(self._error_frame_heard):
                    callback(error)
                return
