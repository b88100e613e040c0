"""U-codes: what an ECU stores when its controller was bus-off or a partner fell silent.

Each fault is made on the simulated wire, and read by a tester from the ECU: fault detection counter
(debouncing), status bits, freeze frame.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import clock
from ecu_sim.bus import CanWire, WireFaults
from ecu_sim.vehicle import Vehicle
from tests.support.ecu import RawTester
from tests.support.vehicle import built_image, open_tester, running

#: Fails, failed in this cycle and since the last clear, pending, confirmed.
FAILS = 0x2F
#: The same, but not now.
FAILED = 0x2E
#: Passed in this cycle, never failed.
PASSED = 0x00
EVERY = frozenset(range(100_000))
#: Tries after which a controller is bus-off: TEC + 8 each, above 255.
TRIES_TO_BUS_OFF = 32
BUS_OFF = {"ccu": "d1 41 88", "blower": "d1 46 88", "flap": "d1 4d 88", "ecomp": "d1 4a 88"}
SILENT = {"ccu": "d1 40 87", "blower": "d1 45 87", "flap": "d1 4c 87", "ecomp": "d1 4b 87"}
STEP_S = 0.1


@dataclass
class Scene:
    vehicle: Vehicle
    ecu: str
    tester: RawTester

    @property
    def wire(self) -> CanWire:
        wire = self.vehicle.wires[self.vehicle.nodes[self.ecu].ecu.wire]
        assert isinstance(wire, CanWire)
        return wire

    async def ask(self, request: str) -> bytes:
        return await self.tester.ask(bytes.fromhex(request))

    async def status(self, code: str) -> int:
        listed = (await self.ask("19 0a"))[3:]
        found = {listed[at : at + 3].hex(" "): listed[at + 3] for at in range(0, len(listed), 4)}
        return found[code]

    async def counter(self, code: str) -> int:
        """The fault detection counter on its way, 0 where 19 14 does not list the code."""
        listed = (await self.ask("19 14"))[2:]
        found = {listed[at : at + 3].hex(" "): listed[at + 3] for at in range(0, len(listed), 4)}
        return found.get(code, 0)

    def fault(self, tries: frozenset[int]) -> None:
        """Let these tries of the ECU to send a frame be corrupted."""
        self.wire.begin_faults(WireFaults(senders=frozenset({self.ecu}), corrupted=tries))


def _on(directory: Path, ecu: str, *others: str, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def drive() -> None:
        images = {name: built_image(name, "1.0.0") for name in (ecu, *others)}
        async with running(directory, ecu, *others, images=images) as vehicle:
            tester = open_tester(vehicle, ecu)
            await asyncio.sleep(8.0)
            await test(Scene(vehicle, ecu, tester))
            tester.close()

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("ecu", BUS_OFF)
def test_an_ecu_that_was_bus_off_tells_so_when_it_is_back(tmp_path: Path, ecu: str) -> None:
    async def test(on: Scene) -> None:
        code = BUS_OFF[ecu]
        assert await on.status(code) == PASSED
        on.fault(EVERY)
        await asyncio.sleep(1.0)
        on.wire.begin_faults(None)
        await asyncio.sleep(0.5)
        assert await on.status(code) == FAILS
        await asyncio.sleep(1.0)
        assert await on.status(code) == FAILED
        # The freeze frame: each live value with its identifier, of the first failure.
        live = on.vehicle.nodes[ecu].ecu.live_values
        frame = await on.ask(f"19 04 {code} 01")
        head = bytes.fromhex(f"59 04 {code}") + bytes([FAILED, 0x01, len(live)])
        assert frame.startswith(head)
        at = len(head)
        for did, value in live.items():
            assert frame[at : at + 2] == did.to_bytes(2)
            at += 2 + value.length
        assert at == len(frame)
        assert (await on.ask(f"19 06 {code} 01"))[-2:] == bytes([0x01, 0x01])

    _on(tmp_path, ecu, test=test)


def test_one_bus_off_is_debounced(tmp_path: Path) -> None:
    async def test(on: Scene) -> None:
        code = BUS_OFF["ccu"]
        on.fault(frozenset(range(TRIES_TO_BUS_OFF)))
        seen = set[int]()
        for _ in range(40):
            await asyncio.sleep(STEP_S / 4)
            seen.add(await on.counter(code))
        assert on.wire.bus_offs("ccu") == 1
        assert seen == {0, 64}
        assert await on.status(code) == PASSED
        assert (await on.ask(f"19 04 {code} 01"))[5:] == bytes([PASSED])

    _on(tmp_path, "ccu", test=test)


def test_a_bus_off_that_lasts_is_stored_over_its_end(tmp_path: Path) -> None:
    """And the silence of the others, whom it cannot hear, is none of its findings."""

    async def test(on: Scene) -> None:
        on.wire.begin_faults(
            WireFaults(corrupted=EVERY, senders=frozenset({"ccu"}), recovery=False)
        )
        await asyncio.sleep(5.0)
        on.wire.begin_faults(None)
        on.wire.ask_recovery("ccu")
        await asyncio.sleep(2.0)
        assert await on.status(BUS_OFF["ccu"]) == FAILED
        assert await on.status(SILENT["ccu"]) == PASSED

    _on(tmp_path, "ccu", "blower", test=test)


def _hush(on: Scene, *, on_again: bool) -> None:
    """The partner stops, or sends again."""
    if on.ecu == "ecomp":
        (on.vehicle.rest_bus.start if on_again else on.vehicle.rest_bus.stop)()
        return
    partner = on.vehicle.nodes["blower" if on.ecu == "ccu" else "ccu"]
    (partner.power_on if on_again else partner.kill)()


@pytest.mark.parametrize(
    ("ecu", "earliest_s", "latest_s"),
    [
        # Silent for 2 s, the monitor's 0.5 s, four results of a step each; less one period.
        ("ccu", 2.6, 3.1),
        # Silent for 2 s, the monitor's 0.5 s.
        ("blower", 2.3, 2.7),
        ("flap", 2.3, 2.7),
        # Five periods of 0.2 s, four results.
        ("ecomp", 1.1, 1.6),
    ],
)
def test_a_silent_partner_is_told_after_its_time_and_not_before(
    tmp_path: Path, ecu: str, earliest_s: float, latest_s: float
) -> None:
    async def test(on: Scene) -> None:
        code = SILENT[ecu]
        assert await on.status(code) == PASSED
        _hush(on, on_again=False)
        await asyncio.sleep(earliest_s)
        assert await on.status(code) == PASSED
        await asyncio.sleep(latest_s - earliest_s)
        assert await on.status(code) == FAILS
        assert (await on.ask(f"19 04 {code} 01"))[6] == 0x01
        _hush(on, on_again=True)
        await asyncio.sleep(2.0)
        assert await on.status(code) == FAILED

    others = {"ccu": ("blower",), "blower": ("ccu",), "flap": ("ccu",), "ecomp": ()}[ecu]
    _on(tmp_path, ecu, *others, test=test)


@pytest.mark.parametrize("control", ["28 03 01", "28 02 01"])
def test_an_ecu_that_28_has_made_deaf_misses_nobody(tmp_path: Path, control: str) -> None:
    async def test(on: Scene) -> None:
        await on.ask("10 03")
        await on.ask(control)
        _hush(on, on_again=False)
        await asyncio.sleep(4.0)
        assert await on.status(SILENT["ecomp"]) == PASSED
        await asyncio.sleep(0.5)
        await on.ask("28 00 01")
        await asyncio.sleep(1.0)
        assert await on.status(SILENT["ecomp"]) == PASSED
        await asyncio.sleep(0.5)
        assert await on.status(SILENT["ecomp"]) == FAILS

    _on(tmp_path, "ecomp", test=test)


def test_with_85_02_nothing_is_stored(tmp_path: Path) -> None:
    async def test(on: Scene) -> None:
        await on.ask("10 03")
        await on.ask("85 02")
        on.fault(EVERY)
        await asyncio.sleep(1.0)
        on.wire.begin_faults(None)
        await asyncio.sleep(1.0)
        assert await on.status(BUS_OFF["ccu"]) == PASSED

    _on(tmp_path, "ccu", test=test)
