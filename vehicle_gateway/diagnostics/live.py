"""Follows the signals of one order, on the wires and in the ECUs, and hands them on in batches."""

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from difflib import get_close_matches
from typing import Final

from dbc import EcuDescription
from protocols.uds import MalformedResponseError, requests, responses
from vehicle_gateway.diagnostics import SignalSeries
from vehicle_gateway.diagnostics.orders import SignalBatch, SignalOrder
from vehicle_gateway.diagnostics.signals import SignalRecorder
from vehicle_gateway.diagnostics.state import VehicleState
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.testers import Testers

_LOG = logging.getLogger(__name__)

#: Seconds of one batch, at least.
BATCH_S: Final = 5.0
#: What an order may ask for at most, whatever the cloud lets through.
MAX_SIGNALS: Final = 32
MAX_REMAINING_S: Final = 3600.0
LEAST_PERIOD_S: Final = 0.1
LEAST_IDENTIFIER_PERIOD_S: Final = 1.0
_IDENTIFIER: Final = re.compile(r"([a-z0-9][a-z0-9_-]{0,31}):([0-9A-Fa-f]{4})", re.ASCII)
#: Longest record of a data identifier that is read as a number, in bytes.
_NUMBER_BYTES: Final = 8


class Follower:
    """One order, from now to its end."""

    def __init__(
        self,
        order: SignalOrder,
        *,
        recorders: Sequence[SignalRecorder],
        testers: Testers,
        state: VehicleState,
        now_us: Callable[[], int],
    ) -> None:
        self._order = order
        self._testers = testers
        self._state = state
        self._now_us = now_us
        self._paused = False
        self._stopped = asyncio.Event()
        self._errors: dict[str, str] = {}
        self._period_s = max(order.period_s, LEAST_PERIOD_S)
        names = order.signals[:MAX_SIGNALS]
        self._errors.update(
            dict.fromkeys(order.signals[MAX_SIGNALS:], f"more than {MAX_SIGNALS} signals")
        )
        self._identifiers = self._known_identifiers(names)
        self._buses = self._tapped([name for name in names if ":" not in name], recorders)
        self._read: dict[str, list[tuple[float, float]]] = {}

    def pause(self) -> None:
        """Read no ECU; the signals of the wires come on."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def stop(self) -> None:
        """End with a last batch soon."""
        self._stopped.set()

    async def batches(self) -> AsyncIterator[SignalBatch]:
        """Every `BATCH_S` seconds or each period what came since, until the order's end."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + min(self._order.remaining_s, MAX_REMAINING_S)
        since_s = loop.time()
        reading = asyncio.create_task(self._read_identifiers(), name="follow identifiers")
        try:
            over = False
            while not over:
                until_s = min(ends_s, loop.time() + max(BATCH_S, self._period_s))
                try:
                    async with asyncio.timeout_at(until_s):
                        await self._stopped.wait()
                except TimeoutError:
                    pass
                over = self._stopped.is_set() or loop.time() >= ends_s
                yield self._batch(since_s, loop.time(), last=over)
                since_s = math.nextafter(loop.time(), math.inf)
        finally:
            reading.cancel()
            for recorder, _ in self._buses:
                recorder.stop()
            await asyncio.gather(reading, return_exceptions=True)

    def _batch(self, since_s: float, until_s: float, *, last: bool) -> SignalBatch:
        series = [
            one
            for recorder, wanted in self._buses
            for one in recorder.window(since_s, until_s)
            if (one.message, one.signal) in wanted
        ]
        series += [
            self._series_of(name, samples)
            for name, samples in sorted(self._read.items())
            if samples
        ]
        self._read = {}
        errors, self._errors = self._errors, {}
        return SignalBatch(
            subscription=self._order.subscription,
            time_us=self._now_us(),
            loop_time_s=until_s,
            series=tuple(series),
            errors=tuple(sorted(errors.items())),
            last=last,
        )

    def _tapped(
        self, names: Sequence[str], recorders: Sequence[SignalRecorder]
    ) -> list[tuple[SignalRecorder, frozenset[tuple[str, str]]]]:
        """A recorder of its own for each wire that has some of the signals."""
        wanted: dict[int, set[tuple[str, str]]] = {}
        for name in names:
            found = _places(name, recorders)
            messages = {message for _, message, _ in found}
            if len(messages) > 1:
                choices = " or ".join(sorted(f"{message}.{name}" for message in messages))
                self._errors[name] = f"two messages have it: {choices}"
            elif not found:
                self._errors[name] = _unknown(name, recorders)
            else:
                index, message, signal = found[0]
                wanted.setdefault(index, set()).add((message, signal))
        capacity = math.ceil(2 * max(BATCH_S, self._period_s) / self._period_s) + 1
        return [
            (
                recorders[index].narrowed(
                    frozenset(message for message, _ in signals),
                    period_s=self._period_s,
                    capacity=capacity,
                ),
                frozenset(signals),
            )
            for index, signals in sorted(wanted.items())
        ]

    def _known_identifiers(self, names: Sequence[str]) -> dict[str, tuple[EcuDescription, int]]:
        known = {}
        for name in names:
            if (form := _IDENTIFIER.fullmatch(name)) is None:
                continue
            ecu = self._testers.vehicle.ecus.get(form[1])
            if ecu is None:
                self._errors[name] = f"no ECU {form[1]!r} in this vehicle"
            else:
                known[name] = ecu, int(form[2], 16)
        return known

    async def _read_identifiers(self) -> None:
        loop = asyncio.get_running_loop()
        period_s = max(self._period_s, LEAST_IDENTIFIER_PERIOD_S)
        due_s = loop.time()
        while self._identifiers:
            for name, (ecu, did) in self._identifiers.items():
                await self._read_one(name, ecu, did)
            due_s = max(due_s + period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    async def _read_one(self, name: str, ecu: EcuDescription, did: int) -> None:
        if self._paused or not self._state.in_use:
            self._errors[name] = (
                "not read now: an update activates, or a tester is at work"
                if self._paused
                else "the vehicle is parked"
            )
            return
        try:
            answer = await self._testers.tester(ecu.name).request(requests.read_data(did))
            record = responses.decode_data(answer, did)
        except (WireError, MalformedResponseError) as error:
            self._errors[name] = str(error)
            return
        if not 0 < len(record) <= _NUMBER_BYTES:
            self._errors[name] = f"{len(record)} bytes are no number"
            return
        scaling = ecu.scalings.get(did)
        value = float(int.from_bytes(record, "big", signed=scaling is not None and scaling.signed))
        if scaling is not None:
            value *= scaling.scale
        self._read.setdefault(name, []).append((asyncio.get_running_loop().time(), value))

    def _series_of(self, name: str, samples: list[tuple[float, float]]) -> SignalSeries:
        ecu, did = self._identifiers[name]
        scaling = ecu.scalings.get(did)
        return SignalSeries(
            wire=ecu.wire,
            message=ecu.name,
            signal=ecu.data_identifiers.get(did, f"{did:04X}"),
            unit="" if scaling is None else scaling.unit,
            times_s=tuple(at_s for at_s, _ in samples),
            values=tuple(value for _, value in samples),
        )


def _places(name: str, recorders: Sequence[SignalRecorder]) -> list[tuple[int, str, str]]:
    """(recorder, message, signal) of every signal of that name; the first wire of a message."""
    message_name, _, signal_name = name.rpartition(".")
    found: dict[str, tuple[int, str, str]] = {}
    for index, recorder in enumerate(recorders):
        for message in recorder.messages:
            if message_name in {"", message.name} and any(
                signal.name == signal_name for signal in message.signals
            ):
                found.setdefault(message.name, (index, message.name, signal_name))
    return list(found.values())


def _unknown(name: str, recorders: Sequence[SignalRecorder]) -> str:
    known = {
        spelled
        for recorder in recorders
        for message in recorder.messages
        for signal in message.signals
        for spelled in (signal.name, f"{message.name}.{signal.name}")
    }
    near = get_close_matches(name, known, n=1)
    return f"no such signal in this vehicle{f'; did you mean {near[0]}?' if near else ''}"
