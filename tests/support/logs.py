"""Logs of simulated wires, written and read for a test, and a wire that a command can reach."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import clock
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import channels_of
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.interface import InterfacedWire
from recording import Channel, Record
from recording.reading import LogReader
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from tests.support.flashing import START


def recorder(path: Path, wires: Mapping[str, CanWire | InterfacedWire | EthernetWire]) -> Recorder:
    """A log that begins at loop time 0."""
    return Recorder(path, channels_of(wires), start_ns=since_epoch_ns(START))


def read(path: Path) -> tuple[list[Channel], list[Record]]:
    """All of a log."""
    with LogReader(path) as reader:
        records = list(reader)
        return reader.channels, records


@contextmanager
def served_wire(prepare: Callable[[CanWire], None]) -> Iterator[str]:
    """The URI of a wire called `bench` that runs in a thread, in real time."""
    ready: Future[str] = Future()
    over = threading.Event()

    async def main() -> None:
        wire = CanWire(
            "bench",
            bit_rate=500_000,
            data_bit_rate=2_000_000,
            loop=asyncio.get_running_loop(),
        )
        prepare(wire)
        server = await serve_bridge(wire, "127.0.0.1", 0)
        try:
            ready.set_result(f"can://bridge/127.0.0.1:{server.port}/bench")
            await asyncio.to_thread(over.wait)
        finally:
            await server.close()
            wire.close()

    thread = threading.Thread(target=clock.run, args=(main(),), kwargs={"virtual": False})
    thread.start()
    try:
        yield ready.result(10)
    finally:
        over.set()
        thread.join()
