"""A whole update of the simulated car, beside a rest of the car that keeps its wires busy.

The bench of `canota demo`: cloud, gateway, and every ECU with its own memory times and block
sizes, on the virtual clock; every CAN wire is kept busy for 40 % of the time by others.

bound_ratio        the least over the ECUs of computed bound over measured time, from 34 to the
                   answer to 37. The bound is that of `vehicle_gateway.flashing.bound`, on a wire
                   that has what the others leave: their frames are counted, not guessed. Above
                   1 where others fill the time in which this ECU writes and wants no wire
out_of_use_s       from the first activation to the last confirmation, the whole car
out_of_use_bound_s ten seconds, and the bound of the ECUs that are programmed while it stands
worst_cycle_shift  while images are staged, the largest deviation of any cyclic frame from its
                   cycle, over the cycle
busiest_wire       share of the time in which the busiest CAN wire was not free while it was flashed
"""

import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import clock
import dbc
from canota.bench import ECUS, FACTORY_VERSION, Bench, BenchOptions, release_files
from dbc.vehicle import EcuDescription, describe_vehicle
from ecu_sim.bus import BusLoad, CanWire
from ecu_sim.signals import header_of, period_s_of
from ecu_sim.traffic import plan
from firmware import dev_keys, image_path
from protocols.can import FrameHeader
from protocols.firmware.formats import detect
from protocols.uds import requests
from protocols.uds.data_formats import DataFormat
from vehicle_gateway.flashing.bound import BoundCalculator, WireTime, block_size, wire_time
from vehicle_gateway.flashing.encoding import DownloadCipher, Encoded, best, encoded
from vehicle_gateway.update import Progress

LOAD: Final = 0.40
_VIN: Final = "WCANHVAC000000001"
_CAMPAIGN: Final = "benchmark"
_NEW: Final = "2.0.0"
#: Budget of the car's time out of use, beside the single-slot ECUs' own bound.
_OUT_OF_USE_S: Final = 10.0
_STAGING: Final = frozenset({"erasing", "transferring", "verifying"})


@dataclass(frozen=True, slots=True)
class SharedWireTime:
    """A wire of which others take their part, on the average."""

    alone: WireTime
    #: What they leave, 0.0 to 1.0.
    free: float

    def exchange_s(self, request: bytes, answer: bytes) -> float:
        return self.alone.exchange_s(request, answer) / self.free


@dataclass(slots=True)
class Cycles:
    """Cyclic frames on one wire, and how far each strays from its cycle."""

    #: Identifier -> cycle time in seconds.
    periods_s: dict[int, float]
    #: When images are on their way; only then deviations count.
    watching: bool = False
    worst: float = 0.0
    worst_identifier: int = 0
    _last_s: dict[int, float] = field(default_factory=dict)

    def receive(self, header: FrameHeader, _data: bytes, at_s: float) -> None:
        identifier = header.identifier
        last_s = self._last_s.get(identifier)
        self._last_s[identifier] = at_s
        if not self.watching or last_s is None:
            return
        period_s = self.periods_s[identifier]
        shift = abs(at_s - last_s - period_s) / period_s
        if shift > self.worst:
            self.worst, self.worst_identifier = shift, identifier

    def watch(self, *, on: bool) -> None:
        """Count, from the next frame of each identifier on, or no more."""
        if on and not self.watching:
            self._last_s.clear()
        self.watching = on


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A wire's counters when so many bytes of an image were in the ECU's hands."""

    bytes_done: int
    load: BusLoad


@dataclass(slots=True)
class Watch:
    """What the gateway says of its progress, and what the wires carry meanwhile."""

    wires: Mapping[str, CanWire]
    cycles: Mapping[str, Cycles]
    #: ECU -> at its first and at its last note of a transfer.
    readings: dict[str, tuple[Reading, Reading]] = field(default_factory=dict)
    _staging: set[str] = field(default_factory=set)
    _activating: bool = False

    def note(self, progress: Progress) -> None:
        wire = self.wires.get(describe_vehicle().ecus[progress.ecu].wire)
        if progress.step == "transferring" and wire is not None:
            reading = Reading(bytes_done=progress.bytes_done, load=wire.load())
            first, _ = self.readings.get(progress.ecu, (reading, reading))
            self.readings[progress.ecu] = (first, reading)
        self._activating = self._activating or progress.step == "activating"
        if self._activating:
            self._staging.clear()
        elif progress.step in _STAGING:
            self._staging.add(progress.ecu)
        else:
            self._staging.discard(progress.ecu)
        wires = {describe_vehicle().ecus[ecu].wire for ecu in self._staging}
        for name, cycles in self.cycles.items():
            cycles.watch(on=name in wires)


def run(*, quick: bool) -> dict[str, float]:
    """One update of all ECUs; of two of them if `quick`."""
    with tempfile.TemporaryDirectory(prefix="canota-benchmark-") as folder:
        ecus = ("ccu", "blower") if quick else ECUS
        return clock.run(_update(Path(folder), ecus), virtual=True)


async def _update(folder: Path, ecus: Sequence[str]) -> dict[str, float]:
    options = BenchOptions(vin=_VIN, directory=folder, seed=1, observe_s=1.0, traffic=LOAD)
    watching: list[Watch] = []

    def note(progress: Progress) -> None:
        for watch in watching:
            watch.note(progress)

    async with Bench(options, on_progress=note) as bench:
        await bench.register()
        files = [
            file for file, ecu in zip(release_files(_NEW, {}), ECUS, strict=True) if ecu in ecus
        ]
        old = release_files(FACTORY_VERSION, {})
        await bench.publish(f"hvac-{FACTORY_VERSION}", FACTORY_VERSION, old)
        await bench.publish(f"hvac-{_NEW}", _NEW, files)
        watch = _listen(bench)
        watching.append(watch)
        await bench.gateway.run_once()
        await bench.ask(lambda it: it.create_campaign(_CAMPAIGN, f"hvac-{_NEW}", [_VIN]))
        await bench.ask(lambda it: it.start_campaign(_CAMPAIGN))
        await bench.gateway.run_once()
        content = await bench.ask(lambda it: it.report(_CAMPAIGN, "json"))
    (vehicle,) = json.loads(content)["vehicles"]
    if vehicle["outcome"] != "updated":
        raise RuntimeError(f"the update ended {vehicle['outcome']}: {vehicle['reason']}")
    return _figures(vehicle, watch)


def _listen(bench: Bench) -> Watch:
    """Hear every cyclic frame of the CAN wires."""
    vehicle = bench.vehicle
    wires = {name: wire for name, wire in vehicle.wires.items() if isinstance(wire, CanWire)}
    cycles: dict[str, Cycles] = {}
    for name, wire in wires.items():
        headers, periods = [], {}
        for database, message in _messages(name):
            header = header_of(database, message)
            headers.append(header)
            periods[header.identifier] = period_s_of(database, message)
        for frame in plan(LOAD, bit_rate=wire.bit_rate, data_bit_rate=wire.data_bit_rate):
            headers.append(frame.header)
            periods[frame.header.identifier] = frame.period_s
        cycles[name] = Cycles(periods)
        wire.port("benchmark").listen(cycles[name].receive, *headers)
    return Watch(wires, cycles)


def _messages(wire: str) -> Iterator[tuple[str, str]]:
    """Databases and messages of a wire; the gateway's own begins and ends with an update."""
    for database in describe_vehicle().wires[wire].databases:
        if database == "gateway":
            continue
        for message in dbc.load(database).messages:
            yield database, message.name


def _figures(vehicle: dict[str, Any], watch: Watch) -> dict[str, float]:
    ratios, single_slot_s = {}, 0.0
    for ecu in vehicle["ecus"]:
        bound_s = _bound_s(ecu["name"], watch)
        ratios[ecu["name"]] = bound_s / ecu["transfer_seconds"]
        if ecu["single_slot"] and not ecu["staging_seconds"]:
            single_slot_s += bound_s
    worst = max(cycles.worst for cycles in watch.cycles.values())
    return {
        "bound_ratio": round(min(ratios.values()), 4),
        "out_of_use_s": round(_out_of_use_s(vehicle["steps"]), 3),
        "worst_cycle_shift": round(worst, 4),
        "out_of_use_bound_s": round(_OUT_OF_USE_S + single_slot_s, 3),
        "busiest_wire": round(max(_loads(watch)), 4),
        **{f"bound_ratio_{ecu}": round(ratio, 4) for ecu, ratio in ratios.items()},
    }


def _loads(watch: Watch) -> Iterator[float]:
    for first, last in watch.readings.values():
        yield last.load.since(first.load)


def _bound_s(name: str, watch: Watch) -> float:
    """The bound of this ECU's download, on the wire that the others left it."""
    vehicle = describe_vehicle()
    ecu = vehicle.ecus[name]
    wire = wire_time(vehicle.wires[ecu.wire], ecu)
    formats = {identifier: DataFormat.parse(text) for identifier, text in ecu.data_formats.items()}
    cipher = DownloadCipher(dev_keys().diagnostics_master, random.Random(name).randbytes)  # noqa: S311 the same in every run
    candidates = [
        _blocks(one, block_size(ecu.max_block_length, ecu.page_size))
        for one in encoded(_image(name), formats, cipher=cipher, serial=name)
    ]
    bounds = [(one, _bound(one, wire, ecu)) for one in candidates]
    chosen = best([(blocks.encoded, seconds) for blocks, seconds in bounds])
    (blocks,) = [one for one in candidates if one.encoded is chosen]
    if name in watch.readings:
        wire = SharedWireTime(wire, _free(watch.readings[name], wire, blocks))
    return _bound(blocks, wire, ecu)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A download as the gateway sends it."""

    encoded: Encoded
    #: Each 36, and the bytes of the image that come out of it.
    requests: list[tuple[bytes, int]]


def _bound(blocks: Blocks, wire: WireTime, ecu: EcuDescription) -> float:
    calculator = BoundCalculator(wire, ecu, address=ecu.application_base)
    for request, size in blocks.requests:
        calculator.add(request, size)
    return calculator.result().total_s


def _free(readings: tuple[Reading, Reading], wire: WireTime, blocks: Blocks) -> float:
    """The share of the wire that was not taken by other frames than the download's own."""
    first, last = readings
    elapsed_s = (last.load.at_ns - first.load.at_ns) * 1e-9
    if not elapsed_s:
        return 1.0 - LOAD  # one note alone: a download of one block
    done, own_s = 0, 0.0
    for request, size in blocks.requests:
        done += size
        if first.bytes_done < done <= last.bytes_done:
            own_s += wire.exchange_s(request, bytes([0x76, request[1]]))
    busy_s = (last.load.busy_ns - first.load.busy_ns) * 1e-9
    return 1.0 - (busy_s - own_s) / elapsed_s


def _blocks(download: Encoded, block: int) -> Blocks:
    counters = (number % 256 for number in count(1))
    decoder = download.decoder()
    chunks = [download.data[at : at + block] for at in range(0, len(download.data), block)]
    return Blocks(
        download,
        [
            (requests.transfer_data(next(counters), chunk), len(decoder.decode(chunk)))
            for chunk in chunks
        ],
    )


def _image(ecu: str) -> bytes:
    path = image_path(ecu, _NEW)
    content = path.read_bytes()
    return detect(path.name, content).decode(content).data


def _out_of_use_s(steps: Sequence[dict[str, Any]]) -> float:
    """From the first activation's begin to the last confirmation's end."""
    begun: float = min(_moment(step) for step in steps if step["step"] == "activate")
    ended: float = max(
        _moment(step) + step["seconds"] for step in steps if step["step"] == "confirm"
    )
    return ended - begun


def _moment(step: dict[str, Any]) -> float:
    return datetime.fromisoformat(step["start_time"]).timestamp()
