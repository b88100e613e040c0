"""DBC messages as an ECU sends and hears them; unchanged content is not coded twice."""

import math
from collections.abc import Mapping

from cantools.database.can import Message
from cantools.database.can import Signal as DbcSignal

import dbc
from protocols.can import FrameHeader


def header_of(database: str, message: str) -> FrameHeader:
    """Identifier and format of a message; an FD message switches its bit rate as its DBC says."""
    found = _message(database, message)
    fast = found.dbc is not None and "CANFD_BRS" in found.dbc.attributes
    return FrameHeader(
        found.frame_id, extended=found.is_extended_frame, fd=found.is_fd, bit_rate_switch=fast
    )


def period_s_of(database: str, message: str) -> float:
    """Cycle time in seconds; `ValueError` for a message that has none."""
    period_ms = _message(database, message).cycle_time
    if not period_ms:
        raise ValueError(f"dbc/{database}.dbc: {message} has no cycle time")
    return period_ms / 1000


def start_value(signal: DbcSignal) -> float:
    """The physical value that a signal has before anyone sets it."""
    return float((signal.raw_initial or 0) * signal.scale + signal.offset)


class Encoder:
    """Physical values of one message -> data bytes, limited to what each signal can carry."""

    def __init__(self, database: str, message: str) -> None:
        self._message = _message(database, message)
        self._values: dict[str, float] = {}
        self._payload = b""

    def encode(self, values: Mapping[str, float]) -> bytes:
        if self._values != values or not self._payload:
            self._values = dict(values)
            self._payload = self._message.encode(
                {signal.name: _limited(signal, values) for signal in self._message.signals},
                strict=False,  # the limits are ours, see `_limited`
            )
        return self._payload


class Heard:
    """The newest frame of one message, decoded when it is asked for."""

    def __init__(self, database: str, message: str) -> None:
        self._message = _message(database, message)
        self._payload: bytes | None = None
        self._decoded: Mapping[str, float] | None = None
        #: Loop time in seconds of the newest frame, None if there was none.
        self.at: float | None = None

    def receive(self, _header: FrameHeader, payload: bytes, now: float) -> None:
        self.at = now
        if payload != self._payload:
            self._payload, self._decoded = payload, None

    def value(self, signal: str) -> float | None:
        """Physical value, None if nothing was heard or the frame is too short to hold it."""
        if self._payload is None or len(self._payload) < self._message.length:
            return None
        if self._decoded is None:
            self._decoded = {
                name: float(value)
                for name, value in self._message.decode_simple(
                    self._payload, decode_choices=False
                ).items()
                if isinstance(value, int | float)
            }
        return self._decoded.get(signal)


def is_available(database: str, message: str, signal: str, heard: Heard) -> bool:
    """Whether the newest frame has a value of the signal within its limits."""
    value = heard.value(signal)
    found = _message(database, message).get_signal_by_name(signal)
    low = -math.inf if found.minimum is None else float(found.minimum)
    high = math.inf if found.maximum is None else float(found.maximum)
    return value is not None and low <= value <= high


def _limited(signal: DbcSignal, values: Mapping[str, float]) -> float:
    value = values.get(signal.name)
    if value is None or value != value:  # noqa: PLR0124 NaN: the start value is sent
        return start_value(signal)
    if value in _named(signal):
        return value  # "not available" lies outside of the limits
    low = value if signal.minimum is None else max(value, signal.minimum)
    return low if signal.maximum is None else min(low, signal.maximum)


def _named(signal: DbcSignal) -> set[float]:
    """Physical values that have a name."""
    return {float(raw * signal.scale + signal.offset) for raw in signal.choices or ()}


def _message(database: str, message: str) -> Message:
    return dbc.load(database).get_message_by_name(message)
