"""Where an ECU's values come from and go to: cabin model, signals heard, application outputs."""

from collections.abc import Callable, Mapping
from typing import Protocol

from ecu_sim.ecus import BusOff, Constant, EcuType, OutputOf, Plant, Signal, Silence, Source
from ecu_sim.plant import Cabin
from ecu_sim.signals import Heard, header_of, is_available
from protocols.can import CanPort, FrameHeader
from protocols.uds.routine_status import Precondition

#: What 0203 and 10 02 look at besides the application's own inputs.
SPEED = Signal("vehicle", "VEH_Motion", "Speed", 0.0)
SUPPLY = Signal("vehicle", "VEH_Power", "BatteryVoltage", 13.5)
#: While it is on, an ECU keeps its wire awake.
IGNITION = Signal("vehicle", "VEH_Power", "Terminal15", 1.0)
GEAR = Signal("vehicle", "VEH_Motion", "Gear", 0.0)
PARK = 0.0
#: km/h and V.
STANDSTILL_BELOW = 3.0
LOWEST_SUPPLY = 11.0
HIGHEST_SUPPLY = 16.0
#: Seconds of silence after which what was heard counts no more.
MISSING_AFTER_S = 2.0


class CanController(Protocol):
    """The error state of an ECU's CAN controller."""

    @property
    def bus_off(self) -> bool: ...

    @property
    def bus_offs(self) -> int:
        """How often it has been bus-off."""
        ...


class Values:
    """The inputs and outputs of one ECU between two resets."""

    def __init__(
        self,
        ecu: EcuType,
        cabin: Cabin,
        port: CanPort | None,
        now: Callable[[], float],
        *,
        controller: CanController | None = None,
    ) -> None:
        self._ecu = ecu
        self._cabin = cabin
        self._now = now
        #: From when on messages are waited for, at the earliest.
        self._since = now()
        self._controller = controller
        self._bus_offs = 0 if controller is None else controller.bus_offs
        #: What the application last wrote, and what a tester has put in its place (2F).
        self._outputs = dict.fromkeys(ecu.outputs, 0.0)
        self._overrides: dict[int, float] = {}
        #: How often the application has asked an output for more or less than it can do.
        self.output_violations = 0
        #: Input channel -> what calibration adds to it.
        self.offsets: Mapping[int, float] = {}
        self._heard = {key: Heard(*key) for key in _messages(ecu)} if port is not None else {}
        #: 28 can forbid reception.
        self.reception_enabled: Callable[[], bool] = lambda: True
        #: Network management can rest the whole wire.
        self.communicating: Callable[[], bool] = lambda: True
        self._unlisten = (
            []
            if port is None
            else [
                port.listen(self._hearing(heard), header_of(*key))
                for key, heard in self._heard.items()
            ]
        )

    def close(self) -> None:
        """The ECU stops: deaf, and its motors off."""
        for unlisten in self._unlisten:
            unlisten()
        self._unlisten = []
        for output in self._ecu.outputs.values():
            if output.actuator and not output.holds:
                setattr(self._cabin, output.actuator, 0.0)

    def of(self, source: Source) -> float:
        match source:
            case Plant(sensor):
                return float(getattr(self._cabin, sensor))
            case Signal():
                return self._signal(source)
            case Silence():
                return self._silence(source)
            case BusOff():
                return float(self._was_bus_off())
            case OutputOf(channel, gain):
                return self.output(channel) * gain
            case Constant(value):
                return value

    @property
    def expects_messages(self) -> bool:
        """Whether others' messages should be heard: else their silence is nobody's fault."""
        off = self._controller is not None and self._controller.bus_off
        return self.reception_enabled() and self.communicating() and not off

    def _silence(self, source: Silence) -> float:
        now = self._now()
        if not self.expects_messages:
            self._since = now
        heard = self._heard.get((source.database, source.message))
        at = None if heard is None else heard.at
        return now - (self._since if at is None else max(self._since, at))

    def _was_bus_off(self) -> bool:
        if self._controller is None:
            return False
        before, self._bus_offs = self._bus_offs, self._controller.bus_offs
        return self._controller.bus_off or self._bus_offs != before

    def read(self, channel: int) -> float:
        """An input of the application; one that is not connected reads 0."""
        source = self._ecu.inputs.get(channel)
        return 0.0 if source is None else self.of(source) + self.offsets.get(channel, 0.0)

    def write(self, channel: int, value: float) -> None:
        """An output of the application; one that is not connected drives nothing.

        The output stage holds the value to its range; what is no number is its lower end.
        """
        output = self._ecu.outputs.get(channel)
        if output is None:
            return
        if not output.minimum <= value <= output.maximum:
            self.output_violations += 1
            value = output.maximum if value > output.maximum else output.minimum
        self._outputs[channel] = value
        if output.actuator and channel not in self._overrides:
            setattr(self._cabin, output.actuator, value)

    def output(self, channel: int) -> float:
        """What an output channel drives: the tester's value where there is one."""
        overridden = self._overrides.get(channel)
        return self._outputs.get(channel, 0.0) if overridden is None else overridden

    def override(self, channel: int, value: float | None) -> None:
        """Put a tester's value in the application's place; None gives the output back."""
        if value is None:
            self._overrides.pop(channel, None)
        else:
            self._overrides[channel] = value
        output = self._ecu.outputs[channel]
        if output.actuator:
            setattr(self._cabin, output.actuator, self.output(channel))

    def ignition_on(self) -> bool:
        """Terminal 15 as it was last heard."""
        return self._signal(IGNITION) >= 0.5

    def hindrances(self) -> tuple[Precondition, ...]:
        """What stands in the way of programming now.

        A signal that was never heard since the ECU started takes its default: on a bench there is
        no car around it. One that was heard and is silent now, or not available, is missing.
        """
        missing = [one for one in (SPEED, GEAR, SUPPLY) if self._is_missing(one)]
        supply = self._signal(SUPPLY)
        found = {
            Precondition.VEHICLE_MOVING: (SPEED, self._signal(SPEED) >= STANDSTILL_BELOW),
            Precondition.NOT_IN_PARK: (GEAR, self._signal(GEAR) != PARK),
            Precondition.SUPPLY_VOLTAGE_TOO_LOW: (SUPPLY, supply < LOWEST_SUPPLY),
            Precondition.SUPPLY_VOLTAGE_TOO_HIGH: (SUPPLY, supply > HIGHEST_SUPPLY),
        }
        known = [one for one, (of, hinders) in found.items() if hinders and of not in missing]
        return (*known, *((Precondition.SIGNALS_OF_THE_VEHICLE_MISSING,) if missing else ()))

    def _is_missing(self, source: Signal) -> bool:
        heard = self._heard.get((source.database, source.message))
        if heard is None or heard.at is None:
            return False
        if self._silence(Silence(source.database, source.message)) > MISSING_AFTER_S:
            return True
        return not is_available(source.database, source.message, source.signal, heard)

    def _signal(self, source: Signal) -> float:
        heard = self._heard.get((source.database, source.message))
        value = None if heard is None else heard.value(source.signal)
        return source.default if value is None else value

    def _hearing(self, heard: Heard) -> Callable[[FrameHeader, bytes, float], None]:
        def receive(header: FrameHeader, payload: bytes, now: float) -> None:
            if self.reception_enabled():
                heard.receive(header, payload, now)

        return receive


def _messages(ecu: EcuType) -> set[tuple[str, str]]:
    sources: list[Source] = [
        SPEED,
        SUPPLY,
        *ecu.inputs.values(),
        *(live.source for live in ecu.live_values.values()),
        *(source for message in ecu.cyclic for source in message.signals.values()),
        *(monitor.source for monitor in ecu.wire_monitors.values()),
    ]
    return {
        (source.database, source.message)
        for source in sources
        if isinstance(source, Signal | Silence)
    }
