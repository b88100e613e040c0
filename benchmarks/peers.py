"""The same flash by other people's testers and by ours, in turn, on the same ECU.

The ECU runs in a process of its own, its memory takes no time: on CAN 500 kbit/s and CAN FD
5 Mbit/s behind the socket bridge at the wire's pace, over DoIP on a loopback TCP connection without
a pace.

ratio            our bytes per second over theirs, from 34 to the answer to 37
ours_bytes_per_s, theirs_bytes_per_s
cpu_ratio        CPU seconds of the tester's process, theirs over ours
"""

import asyncio
import multiprocessing
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter, process_time
from typing import Final

import can
import isotp
import udsoncan.configs
from doipclient.client import DoIPClient
from doipclient.connectors import DoIPClientUDSConnector
from udsoncan.client import Client
from udsoncan.common.MemoryLocation import MemoryLocation
from udsoncan.connections import BaseConnection, PythonIsoTpConnection
from udsoncan.typing import ClientConfig

import clock
from benchmarks.bench_ecu import BASE, BIT_RATE, MASTER, NAME, REQUEST_ID, RESPONSE_ID, SERIAL
from benchmarks.bench_ecu import BenchEcu as Ecu
from benchmarks.bench_ecu import program as program_with_ours
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.diagnostics.doip_server import serve_doip
from protocols.uds.security_access import compute_key, derive_key
from vehicle_gateway.wires.uri import UriLinks

_HOST: Final = "127.0.0.1"
_TESTER: Final = 0x0E00
#: Of the whole sequence and of single answers; nothing here takes nearly so long.
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    ecu: Ecu
    #: Bytes of the image, in full and in a quick run.
    size: int
    quick_size: int
    #: Opens their tester on the ECU at this port.
    connect: Callable[[int, Ecu], Iterator[Client]]
    uri: str


@dataclass(frozen=True, slots=True)
class _Took:
    wall_s: float
    cpu_s: float


def run(*, quick: bool) -> dict[str, dict[str, float]]:
    """Measure every peer; about a minute and a half, 20 s if `quick`."""
    return {
        name: measure(peer, size=peer.quick_size if quick else peer.size)
        for name, peer in PEERS.items()
    }


def measure(peer: Peer, *, size: int) -> dict[str, float]:
    """Program an image of `size` bytes with their tester, then with ours."""
    image = peer.ecu.image(size)
    with _served(peer.ecu, image) as port:
        theirs = _flash_with_theirs(peer, port, image)
    with _served(peer.ecu, image) as port:
        ours = _flash_with_ours(peer, port, image)
    return {
        "ratio": round(theirs.wall_s / ours.wall_s, 2),
        "cpu_ratio": round(theirs.cpu_s / ours.cpu_s, 2),
        "ours_bytes_per_s": round(len(image) / ours.wall_s),
        "theirs_bytes_per_s": round(len(image) / theirs.wall_s),
    }


def _flash_with_ours(peer: Peer, port: int, image: bytes) -> _Took:
    async def flash() -> _Took:
        links = await UriLinks({NAME: peer.uri.format(port=port)}).open()
        try:
            done = await program_with_ours(peer.ecu, links, image)
        finally:
            await links.close()
        return _Took(done.transfer_s, done.transfer_cpu_s)

    return clock.run(flash(), virtual=False)


def _flash_with_theirs(peer: Peer, port: int, image: bytes) -> _Took:
    for client in peer.connect(port, peer.ecu):
        client.change_session(2)
        client.unlock_security_access(1)
        where = MemoryLocation(BASE, len(image), 32, 32)
        client.start_routine(0xFF00, bytes([0x44]) + BASE.to_bytes(4) + len(image).to_bytes(4))
        start = perf_counter(), process_time()
        answer = client.request_download(where)
        if answer is None:
            raise RuntimeError("udsoncan suppressed the answer to 34")
        block = answer.service_data.max_length - 2
        for number, at in enumerate(range(0, len(image), block), 1):
            client.transfer_data(number % 256, image[at : at + block])
        client.request_transfer_exit()
        return _Took(perf_counter() - start[0], process_time() - start[1])
    raise AssertionError("connect yields once")


def _config() -> ClientConfig:
    def key(level: int, seed: bytes, params: object) -> bytes:
        del params
        secret = derive_key(MASTER, SERIAL, level)
        return compute_key(secret, level=level, ecu_id=SERIAL, seed=seed)

    config = udsoncan.configs.default_client_config.copy()
    config.update(
        {
            "security_algo": key,
            "request_timeout": _PATIENCE_S,
            "p2_timeout": _PATIENCE_S,
            "use_server_timing": False,
        }
    )
    return config


def _can_isotp(port: int, ecu: Ecu) -> Iterator[Client]:
    """can-isotp's stack on python-can, as its documentation sets it up for udsoncan."""
    parameters = {
        "blocksize": 0,
        "stmin": 0,
        "tx_padding": 0xCC,
        "max_frame_size": ecu.max_block_length,
        "blocking_send": True,
    }
    if ecu.fd:
        parameters |= {"can_fd": True, "bitrate_switch": True, "tx_data_length": 64}
    address = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=REQUEST_ID, rxid=RESPONSE_ID)
    with can.Bus(interface="canota", channel=f"tcp://{_HOST}:{port}/{NAME}") as bus:
        notifier = can.Notifier(bus, [])
        try:
            stack = isotp.NotifierBasedCanStack(bus, notifier, address=address, params=parameters)
            with Client(PythonIsoTpConnection(stack), config=_config()) as client:
                yield client
        finally:
            notifier.stop()


def _doipclient(port: int, ecu: Ecu) -> Iterator[Client]:
    doip = DoIPClient(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        _HOST,
        ecu.type().logical_address,
        client_logical_address=_TESTER,
        tcp_port=port,
        udp_port=port,
    )
    connection: BaseConnection = DoIPClientUDSConnector(doip)  # type: ignore[no-untyped-call]  # the same
    try:
        with Client(connection, config=_config()) as client:
            yield client
    finally:
        doip.close()  # type: ignore[no-untyped-call]  # the same


PEERS: Final = {
    "udsoncan_can_isotp": Peer(
        ecu=Ecu(kind="can", max_block_length=4095),
        size=600_000,
        quick_size=90_000,
        connect=_can_isotp,
        uri=f"can://bridge/{_HOST}:{{port}}/{NAME}",
    ),
    "udsoncan_can_isotp_fd_5m": Peer(
        ecu=Ecu(kind="canfd", fast_bit_rate=5_000_000, max_block_length=65515),
        size=4_000_000,
        quick_size=700_000,
        connect=_can_isotp,
        uri=f"can://bridge/{_HOST}:{{port}}/{NAME}",
    ),
    "doipclient": Peer(
        ecu=Ecu(kind="doip", fast_bit_rate=100_000_000, max_block_length=65535, page_size=0x400),
        size=12_000_000,
        quick_size=3_000_000,
        connect=_doipclient,
        uri=f"doip://{_HOST}:{{port}}",
    ),
}


@contextmanager
def _served(ecu: Ecu, image: bytes) -> Iterator[int]:
    """The ECU in a process of its own, at this port; afterwards its flash must hold `image`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(ecu, len(image), theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
        ours.send("stop")
        if ours.recv() != zlib.crc32(image):
            raise RuntimeError("what is in the ECU's flash is not what was sent")
    finally:
        ours.close()
        process.join()


def _serve(ecu: Ecu, size: int, pipe: Connection) -> None:
    clock.run(_serve_until_told(ecu, size, pipe), virtual=False)


async def _serve_until_told(ecu: Ecu, size: int, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    cells = bytearray(b"\xff" * ecu.memory_size)
    told = asyncio.Event()
    loop.add_reader(pipe.fileno(), told.set)  # also when the other process is gone
    wire = CanWire(NAME, bit_rate=BIT_RATE, data_bit_rate=ecu.fast_bit_rate, loop=loop)
    node = ecu.node(None if ecu.kind == "doip" else wire.port(NAME), cells)
    node.power_on()
    await node.booted()
    if ecu.kind == "doip":
        server = await serve_doip(node.serve_stream, node.answer_datagram)
        port, stop = server.tcp_port, server.stop
    else:
        bridge = await serve_bridge(wire, _HOST, 0)
        port, stop = bridge.port, bridge.close
    pipe.send(port)
    await told.wait()
    loop.remove_reader(pipe.fileno())
    await stop()
    node.power_off()
    await node.closed()
    wire.close()
    pipe.send(zlib.crc32(cells[:size]))
