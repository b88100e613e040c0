"""Flashing at wire speed: the gateway's engine programs an ECU whose memory takes no time.

Everything on the way is the real thing: the gateway's tester and transfer engine, ISO-TP or DoIP at
both ends, the simulated wire bit by bit, the ECU's node, boot loader, UDS server and flash.

real_time_ratio  transferred bytes per second of real time, over what the wire carries at best: on
                 CAN full consecutive frames of this very data, on Ethernet full TCP segments. 1.0
                 is never reached, for flow control, answers and first frames take their time too
virtual_factor   simulated seconds per second of one processor core (CPU time: what others take of a
                 shared machine does not count) for the whole sequence (session, key, erase, plan,
                 download) on the virtual clock; the best of three, each with an image of its own
..._10_silent    the same beside so many nodes that listen to other identifiers, ..._100_silent
..._logged       the same with the wire's cyclic signals and a pcapng file of every frame
..._logged_busy  the same with a rest of the car that keeps the wire busy for 40 % of the time
core_share       CPU seconds per second of real time, gateway and ECU and wire together
"""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import clock
from benchmarks.bench_ecu import BIT_RATE, NAME, REQUEST_ID, BenchEcu, Programmed, program
from benchmarks.company import Company
from ecu_sim.bus import CanWire, EthernetWire
from ecu_sim.bus.ethernet import wire_bytes
from protocols.can import CanPort
from protocols.can.bits import NS_PER_S, burst_ns
from protocols.ip_frames import SEGMENT
from protocols.isotp import first_and_rest
from protocols.stream import ByteStream
from vehicle_gateway.wires import LinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    ecu: BenchEcu
    #: Bytes that the wire carries in about a second.
    bytes_per_s: int


#: The longest requests whose last frame is full; on DoIP a mebibyte of data in each.
CASES: Final = (
    Case(name="can_500k", ecu=BenchEcu(kind="can", max_block_length=4095), bytes_per_s=30_000),
    Case(
        name="canfd_2m",
        ecu=BenchEcu(kind="canfd", fast_bit_rate=2_000_000, max_block_length=65515),
        bytes_per_s=181_000,
    ),
    Case(
        name="canfd_5m",
        ecu=BenchEcu(kind="canfd", fast_bit_rate=5_000_000, max_block_length=65515),
        bytes_per_s=355_000,
    ),
    Case(
        name="doip_100base_t1",
        ecu=BenchEcu(
            kind="doip",
            fast_bit_rate=100_000_000,
            max_block_length=0x10_0002,
            memory_size=0x800_0000,
            page_size=0x400,
        ),
        bytes_per_s=11_870_000,
    ),
)
#: Seconds on the wire per case in real time, and simulated ones in virtual time. Ethernet carries
#: so much that its memory is full after ten.
_REAL_S, _VIRTUAL_S = 40, 60
_QUICK_REAL_S, _QUICK_VIRTUAL_S = 9, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    done: Programmed
    #: Bytes per second in full consecutive frames or full segments.
    limit_bytes_per_s: float

    @property
    def ratio(self) -> float:
        """Transferred bytes over what the wire would have carried at best meanwhile."""
        return self.done.image_bytes / self.done.transfer_s / self.limit_bytes_per_s


#: Share of the time that the rest of a car keeps a busy wire's bits going.
_BUSY: Final = 0.4
#: Each virtual figure is the best of so many runs.
_VIRTUAL_RUNS: Final = 3


def run(*, quick: bool) -> dict[str, dict[str, float]]:
    """Measure every case; takes about three minutes, or under 50 s if `quick`."""
    real_s, virtual_s = (_QUICK_REAL_S, _QUICK_VIRTUAL_S) if quick else (_REAL_S, _VIRTUAL_S)
    return {case.name: _measure(case, real_s=real_s, virtual_s=virtual_s) for case in CASES}


def _measure(case: Case, *, real_s: int, virtual_s: int) -> dict[str, float]:
    real = clock.run(measure(case, seconds=real_s), virtual=False)
    return {
        "real_time_ratio": round(real.ratio, 4),
        "core_share": round(real.done.cpu_s / real.done.wall_s, 4),
        **_virtual_factors(case, seconds=virtual_s),
    }


def _virtual_factors(case: Case, *, seconds: int) -> dict[str, float]:
    # No two runs flash the same image: what is worked out once for one block is not kept for two.
    numbers = count(1)
    with tempfile.TemporaryDirectory(prefix="canota-benchmark-") as folder:
        return {
            f"virtual_factor{name}": round(
                max(
                    _virtual_factor(case, company, seconds=seconds, number=next(numbers))
                    for _ in range(_VIRTUAL_RUNS)
                ),
                1,
            )
            for name, company in _companies(case, Path(folder) / "flash.pcapng").items()
        }


def _companies(case: Case, log: Path) -> dict[str, Company]:
    """Who else is on the wire, by the ending of the figure's name."""
    if case.ecu.kind == "doip":
        return {"": Company()}
    return {
        "": Company(),
        "_10_silent": Company(silent=10),
        "_100_silent": Company(silent=100),
        "_logged": Company(cyclic=True, log=log),
        "_logged_busy": Company(cyclic=True, load=_BUSY, log=log),
    }


def _virtual_factor(case: Case, company: Company, *, seconds: int, number: int) -> float:
    flash = measure(case, seconds=seconds, company=company, number=number)
    done = clock.run(flash, virtual=True).done
    return done.loop_s / done.cpu_s


async def measure(
    case: Case, *, seconds: float, company: Company | None = None, number: int = 0
) -> Measured:
    """Program an image (of that number) that takes about so long on the wire, into an empty ECU."""
    image = case.ecu.image(round(case.bytes_per_s * seconds), number=number)
    cells = bytearray(b"\xff" * case.ecu.memory_size)
    links = _Links(case.ecu, cells, company or Company())
    links.node.power_on()
    await links.node.booted()
    try:
        done = await program(case.ecu, links, image)
    finally:
        links.node.power_off()
        await links.node.closed()
        links.close()
    if cells[: len(image)] != image:
        raise RuntimeError(f"{case.name}: what is in the ECU's flash is not what was sent")
    return Measured(done=done, limit_bytes_per_s=_limit(case, done.requests))


def _limit(case: Case, requests: Sequence[bytes]) -> float:
    if case.ecu.kind == "doip":
        return case.ecu.fast_bit_rate / 8 * SEGMENT / wire_bytes(SEGMENT)
    return consecutive_frame_limit(case.ecu, requests)


def consecutive_frame_limit(ecu: BenchEcu, requests: Sequence[bytes]) -> float:
    """Payload of all full consecutive frames of these requests over their time on the wire."""
    length = 64 if ecu.fd else 8
    payload = time_ns = 0
    for request in requests:
        _, rest = first_and_rest(request, length)
        if frames := rest[:-1]:  # without the last one, which may be padded
            rates = {"bit_rate": BIT_RATE, "data_bit_rate": ecu.fast_bit_rate}
            time_ns += int(burst_ns(ecu.header(REQUEST_ID), frames, **rates).sum())
            payload += (length - 1) * len(frames)
    return payload * NS_PER_S / time_ns


class _Links:
    """The ECU and the wire to it (`vehicle_gateway.wires.Links`)."""

    def __init__(self, ecu: BenchEcu, cells: bytearray, company: Company) -> None:
        loop = asyncio.get_running_loop()
        self._can: CanWire | None = None
        self._ethernet: EthernetWire | None = None
        if ecu.kind == "doip":
            self._ethernet = EthernetWire(bit_rate=ecu.fast_bit_rate, loop=loop)
        else:
            rates = {"bit_rate": BIT_RATE, "data_bit_rate": ecu.fast_bit_rate}
            self._can = CanWire(NAME, **rates, loop=loop)
        port = None if self._can is None else self._can.port(NAME)
        self.node = ecu.node(port, cells)
        self._company = ExitStack()
        if self._can is not None:
            self._company.enter_context(company.on(self._can))

    def can(self, wire: str) -> CanPort:
        if self._can is None:
            raise LinkError(f"{wire}: not a CAN wire")
        return self._can.port("gateway")

    async def stream(self, wire: str) -> ByteStream:
        if self._ethernet is None:
            raise LinkError(f"{wire}: not an Ethernet wire")
        ours, theirs = self._ethernet.connect()
        self.node.attach_stream(theirs)
        return ours

    def close(self) -> None:
        self._company.close()
        if self._can is not None:
            self._can.close()
