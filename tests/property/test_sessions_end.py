"""Whatever a tester sends, and breaks off: when it falls silent its session ends."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clock import VirtualLoop
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from protocols.can import CanPort, FrameHeader
from protocols.uds import Session
from tests.support.vehicle import ADDRESSES, new_vehicle, small_images

PHYSICAL, FUNCTIONAL = FrameHeader(ADDRESSES["ccu"][0]), FrameHeader(0x7DF)
#: N_Cr of what was begun, N_Bs of each answer that nobody takes, then S3; erasing takes seconds.
SILENCE_S = 25.0

_FRAMES = (
    "02 10 03",
    "02 10 83",
    "03 22 f1 90",
    "02 3e 80",
    "02 27 01",
    "02 11 03",
    "03 19 02 ff",
    "03 28 03 01",
    "10 14 2e f1 5a 01 02 03",
    "10 08 31 01 ff 00 44 00",
    "21 01 02 03 04 05 06 07",
    "22 01 02 03 04 05 06 07",
    "30 00 00",
    "30 00 7f",
    "30 01 00",
    "31 00 00",
    "32 00 00",
)
frames = st.sampled_from([bytes.fromhex(frame) for frame in _FRAMES]) | st.binary(
    min_size=1, max_size=8
)
steps = st.tuples(st.sampled_from([PHYSICAL, FUNCTIONAL]), frames, st.sampled_from([0.0, 0.2, 1.5]))
#: Header, frame, seconds until the next.
Said = tuple[FrameHeader, bytes, float]


async def _started(directory: Path) -> Vehicle:
    vehicle = new_vehicle(directory, "ccu")
    vehicle.provision("ccu", small_images()["ccu"])
    await vehicle.start()
    return vehicle


async def _session_after(node: EcuNode, port: CanPort, said: Sequence[Said]) -> Session:
    """The session in which the tester falls silent; the one after the silence is the default."""
    await node.booted()
    for header, frame, wait_s in said:
        port.send(header, (frame,))
        await asyncio.sleep(wait_s)
    left = _session(node)
    await asyncio.sleep(SILENCE_S)
    assert _session(node) == Session.DEFAULT
    return left


def test_silence_ends_every_session(tmp_path: Path) -> None:
    left = set[Session]()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        vehicle = runner.run(_started(tmp_path))
        node, port = vehicle.nodes["ccu"], vehicle.can_port("comfort", "tester")

        @given(st.lists(steps, max_size=8))
        @settings(max_examples=15, deadline=None)
        def holds(said: list[Said]) -> None:
            begun = [(PHYSICAL, b"\x02\x10\x03", 0.2), *said]
            left.add(runner.run(_session_after(node, port, begun)))

        holds()
        runner.run(vehicle.stop())
    assert Session.EXTENDED in left


def _session(node: EcuNode) -> Session:
    return Session.DEFAULT if node.program is None else node.program.server.session
