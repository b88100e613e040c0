"""Who else is on a CAN wire while an ECU is flashed over it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import dbc
from ecu_sim.bus import CanWire
from ecu_sim.bus.capture import Capture, channels_of
from ecu_sim.rest_bus import RestBus
from ecu_sim.signals import Encoder, header_of, period_s_of, start_value
from ecu_sim.traffic import CyclicFrame, plan
from protocols.can import FrameHeader, Receive, ReceiveRun
from recording.recorder import Recorder
from recording.records import since_epoch_ns

#: The virtual clock's date at loop time 0.
_START: Final = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
#: Identifiers that nobody sends on.
_SILENT: Final = 0x600


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A choice of them; none by default."""

    #: Nodes that listen, to identifiers that never come.
    silent: int = 0
    #: Sends the messages of `vehicle.dbc` and of the wire's own database, each in its cycle.
    cyclic: bool = False
    #: Share of the time that further cyclic frames keep the wire busy.
    load: float = 0.0
    #: File that every frame is logged to.
    log: Path | None = None
    #: Called with each frame by itself, or with runs of them where the second is there.
    listener: Receive | None = None
    run_listener: ReceiveRun | None = None

    @contextmanager
    def on(self, wire: CanWire) -> Iterator[None]:
        """They are on the wire meanwhile."""
        stops: list[Callable[[], None]] = []
        for number in range(self.silent):
            header = FrameHeader(_SILENT + number)
            stops.append(wire.port(f"silent {number}").listen(_unheard, header))
        if self.listener is not None:
            stops.append(wire.port("listener").listen(self.listener, receive_run=self.run_listener))
        if self.log is not None:
            wires = {wire.name: wire}
            start_ns = since_epoch_ns(_START)
            recorder = Recorder(self.log, channels_of(wires), start_ns=start_ns)
            capture = Capture(recorder, wires, start_date=_START)
            stops += [capture.close, recorder.close]
        if self.cyclic or self.load:
            car = self._car(wire)
            car.start()
            stops.insert(0, car.stop)
        try:
            yield
        finally:
            for stop in stops:
                stop()

    def _car(self, wire: CanWire) -> RestBus:
        frames: list[CyclicFrame] = []
        if self.cyclic:
            frames += _messages("hvac_thermal" if wire.data_bit_rate else "hvac_comfort")
        rates = {"bit_rate": wire.bit_rate, "data_bit_rate": wire.data_bit_rate}
        frames += plan(self.load, **rates)
        loop = asyncio.get_running_loop()
        return RestBus(loop, {wire.name: wire.port("car")}, traffic={wire.name: frames})


def _messages(database: str) -> Iterator[CyclicFrame]:
    for message in dbc.load(database).messages:
        values = {signal.name: start_value(signal) for signal in message.signals}
        period_s = period_s_of(database, message.name)
        yield CyclicFrame(
            header=header_of(database, message.name),
            data=Encoder(database, message.name).encode(values),
            period_s=period_s,
            offset_s=period_s,
        )


def _unheard(header: FrameHeader, _data: bytes, _at_s: float) -> None:
    raise RuntimeError(f"0x{header.identifier:X} was sent, and nobody is to")
