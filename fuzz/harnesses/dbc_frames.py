"""Frames of any content under a database's identifiers are numbers, or are passed over.

On both ends: what the gateway records, and what an ECU hears.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import dbc
from ecu_sim.signals import Heard
from fuzz import Draw, Harness
from protocols.can import FrameHeader, Receive, ReceiveRun, Sent
from vehicle_gateway.diagnostics.signals import SignalRecorder

_DATABASES: Final = ("gateway", "hvac_comfort", "hvac_thermal", "vehicle")
_MESSAGES: Final = tuple((name, one) for name in _DATABASES for one in dbc.load(name).messages)


class _Port:
    """Implements `protocols.can.CanPort`: the listener is told what the input says."""

    def __init__(self) -> None:
        self.hear: Receive | None = None

    def send(
        self,
        header: FrameHeader,
        payloads: Sequence[bytes],  # noqa: ARG002 the port's arguments
        sent: Sent | None = None,  # noqa: ARG002 as above
    ) -> None:
        raise AssertionError(f"nobody sends here: {header}")

    def listen(
        self,
        receive: Receive,
        *headers: FrameHeader,  # noqa: ARG002 the port's arguments
        receive_run: ReceiveRun | None = None,  # noqa: ARG002 as above
    ) -> Callable[[], None]:
        self.hear = receive
        return lambda: None


def prove(data: bytes) -> None:
    draw, port, now = Draw(data), _Port(), 0.0
    recorder = SignalRecorder("comfort", port, _DATABASES, capacity=64)
    if port.hear is None:
        raise AssertionError("nobody listens")
    heard: set[int] = set()
    while draw:
        chosen = draw.byte() % len(_MESSAGES)
        _, message = _MESSAGES[chosen]
        header = FrameHeader(message.frame_id, extended=message.is_extended_frame)
        payload = draw.take(min(draw.byte(), 64))
        now += 0.5
        port.hear(header, payload, now)
        heard.add(chosen)
        _hear(chosen, payload, now)
    for series in recorder.window(0.0, now):
        if len(series.times_s) != len(series.values) or not all(map(math.isfinite, series.values)):
            raise AssertionError(f"{series.signal}: {series.values}")
    for chosen in heard:
        for signal in _MESSAGES[chosen][1].signals:
            recorder.latest(_MESSAGES[chosen][1].name, signal.name)


def _hear(chosen: int, payload: bytes, now: float) -> None:
    database, message = _MESSAGES[chosen]
    ear = Heard(database, message.name)
    ear.receive(FrameHeader(message.frame_id), payload, now)
    for signal in message.signals:
        value = ear.value(signal.name)
        if value is not None and not math.isfinite(value):
            raise AssertionError(f"{message.name}.{signal.name} is {value}")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"".join(
            bytes((number, one.length)) + bytes(range(one.length))
            for number, (_, one) in enumerate(_MESSAGES)
        ),
        b"".join(bytes((number, 3)) + b"\xff" * 3 for number in range(len(_MESSAGES))),
    ),
)
