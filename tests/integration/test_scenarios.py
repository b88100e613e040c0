"""Scenarios: read from files, refused with the place, and played on ECUs in virtual time."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from clock import run
from ecu_sim.node import EcuNode, Mode
from ecu_sim.rest_bus import signal_limits
from ecu_sim.scenario import (
    AtTime,
    OnSession,
    OnStep,
    PowerOff,
    Scenario,
    ScenarioError,
    SetSignals,
)
from ecu_sim.scenario.player import Player
from ecu_sim.scenario.reading import Cast, read_scenario
from ecu_sim.vehicle import Vehicle
from protocols.uds.routine_status import Precondition
from tests.support.ecu import RawTester, signed_image
from tests.support.programming import erase, expect, stage, transfer, unlock
from tests.support.vehicle import back_in, open_tester, running

CAST = Cast(ecus=("ccu", "rear"), signals=signal_limits())
IMAGE = signed_image(bytes(range(256)) * 64)
Test = Callable[[Vehicle, EcuNode, RawTester, list[tuple[str, dict[str, Any]]]], Awaitable[None]]


CIRCLE = """
[[step]]
name = "a"
on = { step = "b" }
reset = "ccu"
[[step]]
name = "b"
on = { step = "a" }
reset = "ccu"
"""


def read(text: str) -> Scenario:
    return read_scenario(text, name="bad.toml", cast=CAST)


def play(directory: Path, text: str, test: Test) -> None:
    async def whole() -> None:
        told: list[tuple[str, dict[str, Any]]] = []
        async with running(directory, "ccu", "rear") as vehicle:
            player = Player(
                read(text),
                vehicle.nodes,
                vehicle.rest_bus,
                tell=lambda event, **words: told.append((event, words)),
            )
            player.start()
            tester = open_tester(vehicle, "ccu")
            await test(vehicle, vehicle.nodes["ccu"], tester, told)
            tester.close()
            player.stop()
            assert all(node.faults.begun == () for node in vehicle.nodes.values())

    run(whole(), virtual=True)


def names(told: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [f"{event} {words.get('step', '')}".strip() for event, words in told]


def test_a_fault_begins_at_its_time_and_ends_after_its_time(tmp_path: Path) -> None:
    text = """
    name = "busy for a while"
    [[step]]
    name = "busy"
    at = "10s"
    fault = "ccu:stuck-busy@22"
    for = "5s"
    """

    async def main(
        _vehicle: Vehicle, node: EcuNode, tester: RawTester, told: list[tuple[str, Any]]
    ) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        busy = []
        while loop.time() - begun < 20:
            answer = await tester.ask(bytes.fromhex("22 F1 91"))
            if answer == bytes.fromhex("7F 22 21"):
                busy.append(loop.time() - begun)
            await asyncio.sleep(0.25)
        assert busy[0] == pytest.approx(10.0, abs=0.3)
        assert busy[-1] == pytest.approx(15.0, abs=0.3)
        assert node.faults.begun == ()
        assert told[0] == ("scenario_begins", {"scenario": "busy for a while"})
        assert told[1] == ("step", {"step": "busy", "action": "fault ccu:stuck-busy@22"})
        assert told[2] == ("step_ends", {"step": "busy"})

    play(tmp_path, text, main)


def test_events_of_a_programming_sequence_start_what_goes_wrong(tmp_path: Path) -> None:
    """A session, the second block of a download, and a request that ends it again."""
    text = """
    [[step]]
    name = "slow"
    on = { ecu = "ccu", session = "extended" }
    fault = "ccu:late=200ms@31"

    [[step]]
    name = "supply"
    on = { ecu = "ccu", blocks = 2 }
    power_off = "ccu"
    for = "2s"

    [[step]]
    name = "locked"
    on = { step = "supply" }
    after = "1s"
    fault = "ccu:nrc=33@27"
    until = { ecu = "ccu", request = "27 01", count = 2 }
    """

    async def main(
        _vehicle: Vehicle, node: EcuNode, tester: RawTester, told: list[tuple[str, Any]]
    ) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await unlock(tester, node)
        begun = asyncio.get_running_loop().time()
        await erase(tester, node.ecu.application_base, len(IMAGE))
        assert asyncio.get_running_loop().time() - begun > 0.2
        with pytest.raises((TimeoutError, AssertionError)):
            await transfer(tester, node.ecu.application_base, IMAGE)
        await back_in(node, Mode.APPLICATION)
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "27 01", "7f 27 33")
        await expect(tester, "27 01", "7f 27 33")
        await stage(tester, node, IMAGE)
        assert names(told) == [
            "scenario_begins",
            "step slow",
            "step supply",
            "step locked",
            "step_ends supply",
            "step_ends locked",
        ]

    play(tmp_path, text, main)


def test_an_ecu_is_reset_each_time_that_it_enters_a_mode(tmp_path: Path) -> None:
    text = """
    [[step]]
    on = { ecu = "ccu", mode = "application" }
    repeat = true
    after = "1s"
    reset = "ccu"

    [[step]]
    at = "1s"
    reset = "ccu"
    """

    async def main(
        _vehicle: Vehicle, node: EcuNode, _tester: RawTester, _told: list[tuple[str, Any]]
    ) -> None:
        boots = node.boots
        await asyncio.sleep(0.9)
        assert node.boots == boots
        # Each cycle is a boot and a second.
        await asyncio.sleep(0.2 + 4 * (1.0 + node.ecu.boot_s))
        assert node.boots == boots + 5

    play(tmp_path, text, main)


def test_signals_change_and_go_back_and_a_moving_car_is_not_programmed(tmp_path: Path) -> None:
    text = """
    [[step]]
    at = "1s"
    signals = { Speed = 50, Gear = 1 }
    for = "3s"
    """
    check = bytes.fromhex("31 01 02 03")

    async def main(
        vehicle: Vehicle, _node: EcuNode, tester: RawTester, _told: list[tuple[str, Any]]
    ) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        still = await tester.ask(check)
        await asyncio.sleep(2)
        moving = await tester.ask(check)
        await expect(tester, "3E 00", "7e 00")
        await asyncio.sleep(3)
        assert still == bytes.fromhex("71010203 00 00")
        assert moving == bytes.fromhex("71010203 01 02") + bytes(
            (Precondition.VEHICLE_MOVING, Precondition.NOT_IN_PARK)
        )
        assert await tester.ask(check) == still
        assert vehicle.rest_bus.value("Gear") == 0

    play(tmp_path, text, main)


def test_an_ecu_falls_asleep_and_the_next_frame_boots_it(tmp_path: Path) -> None:
    text = """
    [[step]]
    at = "1s"
    sleep = "ccu"
    """

    async def main(
        _vehicle: Vehicle, node: EcuNode, tester: RawTester, _told: list[tuple[str, Any]]
    ) -> None:
        modes: list[Mode] = []
        node.on_mode.append(modes.append)
        await asyncio.sleep(3)
        # The rest of the car speaks on.
        assert modes == [Mode.ASLEEP, Mode.BOOTING, Mode.APPLICATION]
        await expect(tester, "3E 00", "7e 00")

    play(tmp_path, text, main)


def test_a_fault_that_has_not_ended_does_not_begin_a_second_time(tmp_path: Path) -> None:
    text = """
    [[step]]
    every = "1s"
    fault = "ccu:late=1ms"
    """

    async def main(
        _vehicle: Vehicle, node: EcuNode, _tester: RawTester, _told: list[tuple[str, Any]]
    ) -> None:
        await asyncio.sleep(10.5)
        assert len(node.faults.begun) == 1

    play(tmp_path, text, main)


def test_what_a_file_says_is_what_is_read() -> None:
    scenario = read("""
    name = "all of it"
    [[step]]
    name = "first"
    at = "1s"
    every = "10s"
    power_off = "*"
    until = { ecu = "rear", session = "60" }
    [[step]]
    on = { step = "first" }
    repeat = true
    signals = { Terminal15 = 0 }
    """)
    first, second = scenario.steps
    assert first.trigger == AtTime(at_s=1.0, every_s=10.0)
    assert first.action == PowerOff(ecus=("ccu", "rear"))
    assert first.until == OnSession(ecu="rear", session=0x60)
    assert second.name == "2"
    assert second.trigger == OnStep(step="first")
    assert second.action == SetSignals(values={"Terminal15": 0.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step = 3", "bad.toml: 1 to 256 tables [[step]] expected"),
        ("", "bad.toml: 1 to 256 tables [[step]] expected"),
        ("steps = []", "bad.toml.steps: one of name, step expected"),
        (
            "[[step]]\nat = '1s'",
            "bad.toml: step 1: one of fault, reset, power_off, power_on, sleep",
        ),
        ("[[step]]\nat = 1\nreset = 'ccu'", 'bad.toml: step 1.at: a time such as "300ms", "2s"'),
        ("[[step]]\nreset = 'cc'", "bad.toml: step 1.reset: one of ccu, rear expected"),
        ("[[step]]\nreset = 'ccu'\nfor = '1s'", "bad.toml: step 1.for: reset is not taken back"),
        ("[[step]]\nfault = 'ccu:lat=1s'", "bad.toml: step 1.fault: ccu: lat=1s: no fault 'lat'"),
        (
            "[[step]]\nsignals = { Speed = 999 }",
            "bad.toml: step 1.signals.Speed: a number from 0 to 300 expected",
        ),
        ("[[step]]\nsignals = { Sped = 1 }", "bad.toml: step 1.signals.Sped: one of Speed, Gear"),
        (
            "[[step]]\non = { ecu = 'ccu', request = '3' }\nreset = 'ccu'",
            "bad.toml: step 1.on.request: the first bytes of a request in hex expected",
        ),
        (
            "[[step]]\non = { ecu = 'ccu', mode = 'dead' }\nreset = 'ccu'",
            "bad.toml: step 1.on.mode: one of off, booting, application, boot loader, asleep",
        ),
        (
            "[[step]]\non = { ecu = 'ccu', blocks = 0 }\nreset = 'ccu'",
            "bad.toml: step 1.on.blocks: a whole number from 1 to 1000000 expected",
        ),
        (
            CIRCLE,
            "bad.toml: step 'a' waits for itself",
        ),
        (
            "[[step]]\non = { step = 'x' }\nreset = 'ccu'",
            "bad.toml: step 1.on.step: the name of another step expected",
        ),
        ("[[step]]\nevery = '1ms'\nreset='ccu'", "bad.toml: step 1.every: at least 10ms expected"),
        ("a = [", "bad.toml: "),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(said)):
        read(text)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("fault = 'rear:silent'", "step 1: rear: silent is of CAN frames, and rear is on DoIP"),
        ("sleep = 'rear'", "step 1: rear does not sleep: it has no network management"),
    ],
)
def test_what_an_ecu_cannot_have_is_said_before_anything_begins(
    tmp_path: Path, action: str, said: str
) -> None:
    async def whole() -> None:
        async with running(tmp_path, "ccu", "rear") as vehicle:
            with pytest.raises(ScenarioError, match=said):
                Player(
                    read(f"[[step]]\nat = '1h'\n{action}".replace("1h", "60min")),
                    vehicle.nodes,
                    vehicle.rest_bus,
                    tell=lambda *_, **__: None,
                )

    run(whole(), virtual=True)
