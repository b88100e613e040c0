"""A running ECU, every layer of it, under requests that nobody would send."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

import clock
from ecu_sim.ecus import EcuType
from ecu_sim.node import Mode
from tests.integration.test_services_engineering import extended, unlock
from tests.support.programming import expect
from tests.support.vehicle import running

#: All but 10, 11, 31 and 34: what resets or erases is not asked for here.
_SERVICES = (0x22, 0x23, 0x24, 0x2A, 0x2C, 0x2E, 0x2F, 0x35, 0x36, 0x37, 0x3D)


def _request(rng: random.Random, ecu: EcuType) -> bytes:
    """A service, and behind it what might fit and what does not."""
    dids = [*ecu.data_identifiers, *ecu.engineering_identifiers, 0xF300, 0xF301, 0xF2F0]
    starts = [region.start for region in ecu.data.memory] or [0x1000]
    ends = [region.start + region.size for region in ecu.data.memory] or [0x1000]
    pieces = {
        "did": lambda: rng.choice(dids).to_bytes(2),
        "range": lambda: (
            b"\x24"
            + (rng.choice(starts + ends) + rng.randint(-4, 64)).to_bytes(4)
            + rng.choice([1, 2, 16, 4094, 4095, 65535]).to_bytes(2)
        ),
        "small": lambda: bytes([rng.randrange(5)]),
        "any": lambda: rng.randbytes(rng.randrange(8)),
    }
    body = b"".join(pieces[rng.choice(list(pieces))]() for _ in range(rng.randrange(5)))
    return bytes([rng.choice(_SERVICES)]) + body


@pytest.mark.parametrize(
    ("ecu", "level"),
    [
        ("ccu", 0),
        ("ccu", 1),
        ("ccu", 3),
        ("blower", 0),
        ("blower", 1),
        ("flap", 0),
        ("flap", 1),
        ("ecomp", 1),
        ("ecomp", 3),
    ],
)
def test_a_running_ecu_answers_each_request_and_goes_on(
    tmp_path: Path, ecu: str, level: int
) -> None:
    rng = random.Random(f"{ecu}/{level}")  # noqa: S311 repeats with its seed
    failures: list[dict[str, Any]] = []  # what asyncio tells of a callback that raised

    async def drive() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failures.append(context)
        )
        async with running(tmp_path, ecu) as vehicle:
            node = vehicle.nodes[ecu]
            tester = await extended(vehicle, ecu)
            if level:
                await unlock(tester, node, level)
            for _ in range(400):
                request = _request(rng, node.ecu)
                answer = await tester.ask(request)
                if answer[0] == 0x7F:
                    assert (len(answer), answer[1]) == (3, request[0]), request.hex(" ")
                else:
                    assert answer[0] == request[0] + 0x40, request.hex(" ")
            assert node.mode is Mode.APPLICATION
            assert (node.watchdog_resets, node.boots) == (0, 1)
            await expect(tester, "22 F1 86", "62 f1 86 03")
            tester.close()

    clock.run(drive(), virtual=True)
    assert failures == []
