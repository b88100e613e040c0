"""The virtual loop: hours in no time, holds in one order, and no spinning."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

import pytest

from clock import Timer, VirtualLoop, held, is_virtual, run

T = TypeVar("T")


def virtually(main: Coroutine[object, object, T]) -> T:
    return run(main, virtual=True)


def virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def real_work(gate: threading.Event) -> None:
    """A result that comes from a thread of its own, when the gate opens."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        gate.wait(10)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=work)
    thread.start()
    await done
    thread.join()


def test_a_day_of_timers_passes_at_once_and_in_order() -> None:
    async def main() -> list[tuple[float, str]]:
        seen: list[tuple[float, str]] = []

        async def tick(name: str, every: float) -> None:
            for _ in range(24):
                await asyncio.sleep(every)
                seen.append((asyncio.get_running_loop().time(), name))

        await asyncio.gather(tick("hour", 3600.0), tick("minutes", 60.0))
        return seen

    seen = virtually(main())
    assert seen[-1] == (24 * 3600.0, "hour")
    assert [time for time, _ in seen] == sorted(time for time, _ in seen)


@pytest.mark.parametrize("others", range(8))
def test_timers_of_one_moment_are_called_as_they_were_set_whatever_else_there_is(
    others: int,
) -> None:
    async def main() -> list[int]:
        loop, seen = asyncio.get_running_loop(), list[int]()
        for number in range(8):
            if number < others:
                loop.call_at(1.0 - number / 10, lambda: None)
            loop.call_at(2.0, seen.append, number)
        await asyncio.sleep(3.0)
        return seen

    assert virtually(main()) == list(range(8))


def test_time_starts_at_zero_and_a_sleep_takes_at_most_one_nanosecond_more() -> None:
    delays = (0.1, 0.2, 1e-9, 1 / 3)

    async def main() -> list[int]:
        loop = virtual_loop()
        times = [loop.now_ns]
        for delay in delays:
            await asyncio.sleep(delay)
            times.append(loop.now_ns)
        return times

    times = virtually(main())
    assert times[0] == 0
    for before, after, delay in zip(times, times[1:], delays, strict=False):
        assert delay * 1e9 - 1e-3 <= after - before <= delay * 1e9 + 1.001


@pytest.mark.parametrize("virtual", [True, False])
def test_a_loop_knows_its_kind(virtual: bool) -> None:  # noqa: FBT001 a parameter
    async def main() -> bool:
        return is_virtual(asyncio.get_running_loop())

    assert run(main(), virtual=virtual) is virtual


def test_no_virtual_time_passes_inside_a_hold() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        ticker = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(1)
        before = loop.time()
        async with held("cloud"):
            gate.set()
            await real_work(gate)
        after = loop.time()
        await ticker
        return before, after

    assert virtually(main()) == (1.0, 1.0)


def released_in_order(finishing: list[str]) -> list[str]:
    """Three overlapping holds whose real work ends in the given order; the order of release."""

    async def main() -> list[str]:
        order: list[str] = []
        gates = {name: threading.Event() for name in ("a", "b", "c")}
        finished: asyncio.Queue[str] = asyncio.Queue()

        async def call(name: str) -> None:
            async with held(name):
                await real_work(gates[name])
                finished.put_nowait(name)
            order.append(name)

        async def director() -> None:
            async with held("director"):
                for name in finishing:
                    gates[name].set()
                    assert await finished.get() == name

        tasks = [asyncio.create_task(call(name)) for name in ("b", "c", "a")]
        await asyncio.gather(*tasks, director(), asyncio.sleep(60))
        return order

    return virtually(main())


@pytest.mark.parametrize("finishing", [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]])
def test_overlapping_holds_are_left_in_the_order_of_names(finishing: list[str]) -> None:
    assert released_in_order(finishing) == ["a", "b", "c"]


def test_a_hold_inside_a_hold_of_the_task_or_its_children_prolongs_it() -> None:
    async def main() -> float:
        async def child() -> None:
            async with held("child"):
                await asyncio.to_thread(os.getpid)

        ticker = asyncio.create_task(asyncio.sleep(5))
        async with held("outer"), held("inner"):
            await asyncio.gather(child(), child())
        now = asyncio.get_running_loop().time()
        await ticker
        return now

    assert virtually(main()) == 0.0


def test_a_child_that_outlives_its_hold_keeps_the_clock_standing() -> None:
    async def main() -> float:
        gate = threading.Event()
        started = asyncio.Event()

        async def child() -> float:
            async with held("child"):
                started.set()
                await real_work(gate)
                return asyncio.get_running_loop().time()

        async with held("parent"):
            task = asyncio.create_task(child())
            await started.wait()
            gate.set()
        return await task

    assert virtually(main()) == 0.0


def test_a_job_in_a_thread_holds_the_clock_and_its_timeout_never_fires() -> None:
    async def main() -> float:
        gate = threading.Event()
        threading.Timer(0.05, gate.set).start()
        assert await asyncio.wait_for(asyncio.to_thread(gate.wait, 10), 3600)
        return asyncio.get_running_loop().time()

    assert virtually(main()) == 0.0


def test_jobs_in_threads_end_in_the_order_of_their_calls() -> None:
    async def main() -> list[int]:
        gates = [threading.Event() for _ in range(3)]
        order: list[int] = []

        def job(number: int) -> None:
            # Each waits for the one called after it: they finish in reverse.
            if number < 2:
                gates[number + 1].wait(10)
            gates[number].set()

        async def call(number: int) -> None:
            await asyncio.to_thread(job, number)
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(3)))
        return order

    assert virtually(main()) == [0, 1, 2]


def test_an_error_in_a_thread_and_inside_a_hold_comes_through() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> float:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(fail)
        with pytest.raises(ZeroDivisionError):
            async with held("failing"):
                fail()
        await asyncio.sleep(2)
        return asyncio.get_running_loop().time()

    assert virtually(main()) == 2.0


def test_a_cancelled_hold_lets_the_clock_go() -> None:
    async def main() -> float:
        async def stuck() -> None:
            async with held("stuck"):
                await asyncio.Event().wait()

        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(7)
        return asyncio.get_running_loop().time()

    assert virtually(main()) == 7.0


def test_on_the_real_loop_a_hold_does_nothing() -> None:
    async def main() -> int:
        async with held("anything"), held("more"):
            return await asyncio.to_thread(lambda: 5)

    assert run(main(), virtual=False) == 5


def test_an_idle_virtual_loop_waits_for_real_descriptors() -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 the standard library's signature
        sender = threading.Timer(0.05, theirs.send, (b"hello",))
        with ours, theirs:
            sender.start()
            before = os.times()
            data = await asyncio.get_running_loop().sock_recv(ours, 16)
            after = os.times()
            sender.join()
        assert after.user + after.system - before.user - before.system < 0.04
        return data

    assert virtually(main()) == b"hello"


def test_advance_stops_for_ready_callbacks_earlier_timers_and_holds() -> None:
    async def main() -> None:
        loop = virtual_loop()
        assert loop.advance(100)
        timer = loop.call_at(1e-6, lambda: None)
        assert loop.next_timer() == 1000
        assert loop.advance(999)
        assert not loop.advance(1000)
        timer.cancel()
        loop.call_soon(lambda: None)
        assert not loop.advance(998)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with held("x"):
            assert not loop.advance(2000)
        assert loop.now_ns == 999

    virtually(main())


def fired(script: Callable[[Timer], None]) -> tuple[list[float], int]:
    async def main() -> tuple[list[float], int]:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        timer = Timer(loop, lambda: times.append(loop.time()))
        script(timer)
        await asyncio.sleep(100)
        return times, 0 if timer.deadline is None else 1

    return virtually(main())


@pytest.mark.parametrize(
    ("deadlines", "expected"),
    [
        ([5.0], [5.0]),
        ([5.0, 9.0], [9.0]),
        ([9.0, 5.0], [5.0]),
        ([5.0, None], []),
        ([5.0, None, 7.0], [7.0]),
        ([None], []),
    ],
)
def test_a_timer_fires_once_at_the_deadline_set_last(
    deadlines: list[float | None], expected: list[float]
) -> None:
    def script(timer: Timer) -> None:
        for deadline in deadlines:
            timer.set(deadline)

    assert fired(script) == (expected, 0)


@pytest.mark.parametrize("fraction_ns", [0.1, 0.4, 0.6, 0.9])
def test_a_timer_between_two_nanoseconds_is_never_early(fraction_ns: float) -> None:
    deadline = (5_000_000_000 + fraction_ns) / 1e9

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        timer = Timer(loop, lambda: times.append(loop.time()))
        loop.call_at(5.0, lambda: None)  # wakes the loop just before
        timer.set(deadline)
        await asyncio.sleep(10)
        return times

    (time,) = virtually(main())
    assert 0 <= time - deadline <= 1e-9


def test_a_cancelled_timer_never_fires() -> None:
    def script(timer: Timer) -> None:
        timer.set(5.0)
        timer.cancel()

    assert fired(script) == ([], 0)


@pytest.mark.parametrize("when", [0.1, 0.1234567890123, 1.2345678904999, 253.012345678949])
def test_a_timer_never_runs_before_its_moment(when: float) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        moment: asyncio.Future[float] = loop.create_future()
        loop.call_at(when, lambda: moment.set_result(loop.time()))
        return await moment

    assert when <= virtually(main()) <= when + 1e-9


def test_a_busy_virtual_loop_still_asks_real_descriptors_and_stands_meanwhile() -> None:
    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        heard = asyncio.Event()
        rounds = 0
        with ours, theirs:
            loop.add_reader(ours, heard.set)
            theirs.send(b"hello")
            while not heard.is_set():
                rounds += 1
                await asyncio.sleep(0)
            loop.remove_reader(ours)
        return rounds, loop.time()

    rounds, time_s = virtually(main())
    assert rounds <= 17
    assert time_s == 0.0
