"""Every timer of the UDS server, just before its limit and at it, on the bench's clock.

ISO-TP's timers have the same in `test_isotp_endpoint`, S3 with all that starts and stops it in
`test_diagnostics_s3`, and the docs list them all: a row there without a case here is an error.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecu_sim.diagnostics import SendUnsegmented, ServerEvent
from ecu_sim.ecus import all_ecu_names, ecu_type
from ecu_sim.node import Mode
from protocols.editions import UdsEdition
from protocols.uds import Session
from protocols.uds.enums import RoutineId
from protocols.uds.rules import (
    EVERY_CONTROL,
    EXTENDED,
    EventRules,
    RoutineRule,
    ServerRules,
    SpecialRules,
    TimingRules,
    two_slot_application,
)
from tests.support.any_ecu import running_ecu
from tests.support.data import data_rules
from tests.support.diagnostics import ERASE_S, Bench, BenchDevice, hexes

#: A millisecond: what the server's times are given in.
TICK_S = 0.001
RULES = two_slot_application(
    special=SpecialRules(events=EventRules()),
    more_routines={RoutineId.OUTPUT_SWEEP: RoutineRule(sessions=EXTENDED, controls=EVERY_CONTROL)},
)
OLD_RULES = two_slot_application(
    special=SpecialRules(events=EventRules(), timing=TimingRules()), edition=UdsEdition.E2013
)


@dataclass(frozen=True, kw_only=True)
class Timer:
    limit_s: float
    #: Brings a bench to the moment from which the time runs.
    begin: Callable[[Bench], object]
    #: Whether it is over, seen by asking, or by what has come since.
    over: Callable[[Bench, list[ServerEvent]], bool]
    rules: ServerRules = RULES
    device: Callable[[], BenchDevice] = field(default=BenchDevice)


def _says(answer: str) -> Callable[[Bench, list[ServerEvent]], bool]:
    return lambda _, events: any(text.startswith(answer) for text in hexes(events))


def _sends(_: Bench, events: list[ServerEvent]) -> bool:
    return any(isinstance(event, SendUnsegmented) for event in events)


def _has_seed(bench: Bench, _: list[ServerEvent]) -> bool:
    bench.ask("1003")
    answer = bench.ask("2701")
    assert answer == "7f2737" or answer.startswith("6701")
    return answer.startswith("6701")


def _unlocked(bench: Bench) -> None:
    bench.ask("1003")
    bench.unlock()


def _erases(bench: Bench) -> None:
    _unlocked(bench)
    bench.tell("3101ff00")


def _erases_past_p2(bench: Bench) -> None:
    _erases(bench)
    assert _says("7f3178")(bench, [event for _, event in bench.run(0.04)])


def _wrong_keys(count: int) -> Callable[[Bench], None]:
    def begin(bench: Bench) -> None:
        for number in range(count):
            bench.ask("1003")
            if bench.ask("2701") == "7f2737":
                bench.run(10.0 * 2 ** (number - 3))
                bench.ask("1003")
                bench.ask("2701")
            told = bench.tell(b"\x27\x02" + bytes(16))
            begun = bench.now
            told += [event for _, event in bench.run(0.0005)]
            assert hexes(told) == ["7f2735" if number < 2 else "7f2736"]
            bench.now = begun

    return begin


def _powered_on(bench: Bench) -> None:
    _wrong_keys(3)(bench)
    bench.run(9.0)
    bench.restart()


def _periodic(mode: int) -> Callable[[Bench], None]:
    def begin(bench: Bench) -> None:
        bench.device.data[0x0102] = b"\x07"
        bench.ask("1003")
        assert bench.ask(bytes([0x2A, mode, 0x02])) == "6a"

    return begin


def _window(code: int) -> Callable[[Bench], None]:
    def begin(bench: Bench) -> None:
        assert bench.ask(f"8603{code:02x}f18822f188").startswith("c6")
        assert bench.ask("860502").startswith("c6")

    return begin


def _watches(bench: Bench) -> None:
    _window(0x02)(bench)
    bench.device.data[0xF188] = b"changed"


def _timer_event(schedule: int) -> Callable[[Bench], None]:
    def begin(bench: Bench) -> None:
        assert bench.ask(f"860202{schedule:02x}22f190").startswith("c6")
        assert bench.ask("860502").startswith("c6")

    return begin


def _routine(bench: Bench) -> None:
    bench.ask("1003")
    assert bench.ask("31010220") == "710102200100"


def _block_waits(bench: Bench) -> None:
    _unlocked(bench)
    assert bench.ask("34004400001000000000c0").startswith("74")
    for number in (1, 2):
        assert bench.ask(bytes([0x36, number]) + bytes(64)) == f"760{number}"
    assert bench.tell(b"\x36\x03" + bytes(64)) == []


def _given(bench: Bench) -> None:
    bench.ask("1003")
    assert bench.ask("830401f40064") == "c304"
    bench.unlock()
    bench.tell("3101ff00")


#: Row of the docs' table of times -> its cases.
TIMERS: dict[str, dict[str, Timer]] = {
    "P2, P2*": {
        "P2": Timer(limit_s=0.04, begin=_erases, over=_says("7f3178")),
        "P2*": Timer(limit_s=4.0, begin=_erases_past_p2, over=_says("7f3178")),
        "P2 as 83 has set it": Timer(
            limit_s=0.4, begin=_given, over=_says("7f3178"), rules=OLD_RULES
        ),
        "a job's end": Timer(limit_s=ERASE_S, begin=_erases, over=_says("7101ff00")),
        "a block in the buffer": Timer(
            limit_s=0.2,
            begin=_block_waits,
            over=_says("7603"),
            device=lambda: BenchDevice(program_s=0.2),
        ),
    },
    "S3": {
        "extended session": Timer(
            limit_s=5.0,
            begin=lambda bench: bench.ask("1003"),
            over=lambda bench, _: bench.session() == Session.DEFAULT,
        )
    },
    "delay of 27": {
        "third wrong key": Timer(limit_s=10.0, begin=_wrong_keys(3), over=_has_seed),
        "fourth wrong key": Timer(limit_s=20.0, begin=_wrong_keys(4), over=_has_seed),
        "tenth wrong key": Timer(limit_s=640.0, begin=_wrong_keys(10), over=_has_seed),
        "power-on": Timer(limit_s=10.0, begin=_powered_on, over=_has_seed),
    },
    "31's steps": {
        "a routine that runs on": Timer(
            limit_s=1.0,
            begin=_routine,
            over=lambda bench, _: bench.ask("31030220") == "710302200101",
        )
    },
    "2A": {
        name: Timer(limit_s=period_s, begin=_periodic(mode), over=_sends, rules=data_rules())
        for name, mode, period_s in (("slow", 1, 1.0), ("medium", 2, 0.2), ("fast", 3, 0.05))
    },
    "86's window": {
        "short": Timer(limit_s=10.0, begin=_window(0x03), over=_says("c603")),
        "medium": Timer(limit_s=60.0, begin=_window(0x04), over=_says("c603")),
        "long": Timer(limit_s=600.0, begin=_window(0x05), over=_says("c603")),
    },
    "86's look": {
        "a change": Timer(limit_s=0.1, begin=_watches, over=_says("62f188")),
    },
    "86 02": {
        name: Timer(
            limit_s=period_s, begin=_timer_event(schedule), over=_says("62f190"), rules=OLD_RULES
        )
        for name, schedule, period_s in (("slow", 1, 1.0), ("medium", 2, 0.2), ("fast", 3, 0.05))
    },
}
CASES = {f"{row}: {name}": case for row, cases in TIMERS.items() for name, case in cases.items()}
#: Rows of the docs whose cases are elsewhere.
ELSEWHERE = {"N_As, N_Ar", "N_Bs", "N_Br", "N_Cs", "N_Cr", "boot"}


@pytest.mark.parametrize("name", CASES)
def test_a_timer_is_not_over_a_tick_before_its_limit_and_is_over_at_it(name: str) -> None:
    timer = CASES[name]
    bench = Bench(timer.rules, timer.device())
    timer.begin(bench)
    before = [event for _, event in bench.run(timer.limit_s - TICK_S)]
    assert not timer.over(bench, before)
    after = [event for _, event in bench.run(TICK_S)]
    assert timer.over(bench, after)


def test_the_docs_list_every_timer() -> None:
    page = Path(__file__).parents[2] / "docs/explanation/diagnostic-server.md"
    _, table = page.read_text("utf-8").split("## Times\n")
    rows = re.findall(r"^\| ([^|]+?) \|", table.replace("\\", ""), flags=re.MULTILINE)
    assert set(rows[1:]) - {"---"} == TIMERS.keys() | ELSEWHERE


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_an_ecu_is_silent_for_its_boot_time_and_no_longer(tmp_path: Path, ecu: str) -> None:
    with running_ecu(tmp_path, ecu) as (runner, node):

        async def boots() -> None:
            node.kill()
            node.power_on()
            await asyncio.sleep(ecu_type(ecu).boot_s - TICK_S)
            assert node.mode is Mode.BOOTING
            await asyncio.sleep(TICK_S)
            await node.booted()
            assert node.mode in {Mode.APPLICATION, Mode.BOOTLOADER}

        runner.run(boots())
