"""Reads the ECUs by the vehicle's plan and follows signals, beside all else that is going on."""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from protocols.uds import MalformedResponseError, requests, responses
from vehicle_gateway.diagnostics import EcuDiagnostics
from vehicle_gateway.diagnostics.live import Follower
from vehicle_gateway.diagnostics.orders import Orders, Plan, SignalBatch, SignalOrder
from vehicle_gateway.diagnostics.reader import read_ecu
from vehicle_gateway.diagnostics.state import VehicleState
from vehicle_gateway.outbox import OutboxError
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.testers import Testers

_LOG = logging.getLogger(__name__)

#: A vehicle that is not used now, or an update that activates, is looked at again after so long.
_LATER_S: Final = 5.0


class Keeping(Protocol):
    """Where readings and signals go."""

    def keep_reading(
        self, occasion: str, snapshot: str, time_us: int, ecus: Sequence[EcuDiagnostics]
    ) -> None:
        """Have it on disk for the cloud; raises `OutboxError`."""

    def keep_batch(self, batch: SignalBatch) -> None:
        """Have it on disk for the cloud; raises `OutboxError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What the plan asks for now."""

    reading: bool
    look: bool


class Schedule:
    """When the plan's next reading and the next look for changes are due; loop time throughout."""

    def __init__(self, plan: Plan, *, now_s: float, since_reading_s: float = math.inf) -> None:
        """`since_reading_s`: how long ago the last reading by schedule was."""
        self.plan = plan
        self._reading_s = math.inf
        self._look_s = math.inf
        if plan.period_s:
            self._reading_s = now_s + max(0.0, plan.period_s - since_reading_s)
        if plan.change_interval_s:
            self._look_s = now_s

    def next_s(self) -> float:
        return min(self._reading_s, self._look_s)

    def due(self, *, now_s: float) -> Due:
        return Due(reading=now_s >= self._reading_s, look=now_s >= self._look_s)

    def done(self, due: Due, *, now_s: float) -> None:
        """Set the next times; readings that were missed meanwhile are not made up for."""
        if due.reading:
            self._reading_s = now_s + self.plan.period_s
        if due.look:
            self._look_s = now_s + self.plan.change_interval_s

    def later(self, *, now_s: float) -> None:
        """Nothing can be done now: what is due comes up again."""
        self._reading_s = max(self._reading_s, now_s + _LATER_S)
        self._look_s = max(self._look_s, now_s + _LATER_S)


class PlanFile:
    """The plan and the time of the last reading by it, over restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Plan, int]:
        """What was saved; a plan that asks for nothing where there is none that can be read."""
        try:
            values = json.loads(self._path.read_bytes())
            plan = values["plan"]
            return Plan(**{**plan, "ecus": tuple(plan["ecus"])}), int(values["last_reading_us"])
        except FileNotFoundError:
            return Plan(), 0
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            # The cloud sends it again at the next check-in.
            _LOG.warning("plan_unreadable file=%s cause=%s", self._path, error)
            return Plan(), 0

    def save(self, plan: Plan, last_reading_us: int) -> None:
        part = self._path.with_name(f"{self._path.name}.part~")
        values = {"plan": asdict(plan), "last_reading_us": last_reading_us}
        try:
            part.write_text(json.dumps(values), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:
            _LOG.warning("plan_not_saved file=%s cause=%s", self._path, error)


class Observer:
    """Runs as long as the gateway is open; `pause` at any time, from any callback."""

    def __init__(
        self,
        *,
        testers: Testers,
        follower: Callable[[SignalOrder], Follower],
        state: VehicleState,
        keeping: Keeping,
        deliver: Callable[[], Awaitable[None]],
        now_us: Callable[[], int],
        plan_file: PlanFile,
    ) -> None:
        self._testers = testers
        self._make_follower = follower
        self._state = state
        self._keeping = keeping
        self._deliver = deliver
        self._now_us = now_us
        self._file = plan_file
        plan, self._last_reading_us = plan_file.load()
        self._schedule = self._scheduled(plan)
        self._paused = False
        self._changed = asyncio.Event()
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        #: ECU -> (code, masked status) as the last look or reading found them.
        self._seen: dict[str, frozenset[tuple[int, int]]] = {}
        self._followers: dict[str, tuple[Follower, asyncio.Task[None]]] = {}
        #: Orders that have ended here and that the cloud may still name.
        self._ended: set[str] = set()

    @property
    def plan(self) -> Plan:
        return self._schedule.plan

    def pause(self) -> None:
        """Ask no ECU anything until `resume`; a reading under way is given up."""
        self._paused = True
        for follower, _ in self._followers.values():
            follower.pause()
        if self._reading is not None:
            self._reading.cancel()

    def resume(self) -> None:
        self._paused = False
        for follower, _ in self._followers.values():
            follower.resume()
        self._changed.set()

    def take(self, orders: Orders) -> None:
        """What a check-in brought: the plan, and the signals to follow from now on."""
        plan = orders.plan or Plan()
        if plan != self.plan:
            _LOG.info("plan_changes revision=%d", plan.revision)
            self._seen.clear()
            self._schedule = self._scheduled(plan)
            self._file.save(plan, self._last_reading_us)
            self._changed.set()
        wanted = {order.subscription: order for order in orders.signals}
        for name, (follower, _) in self._followers.items():
            if name not in wanted:
                follower.stop()
        self._ended &= wanted.keys()
        for name, order in wanted.items():
            if name not in self._followers and name not in self._ended:
                follower = self._make_follower(order)
                if self._paused:
                    follower.pause()
                task = asyncio.create_task(self._follow(name, follower), name=f"follow {name}")
                self._followers[name] = follower, task

    async def run(self) -> None:
        """Until cancelled."""
        delivering = asyncio.create_task(self._deliver_news(), name="diagnostics delivery")
        try:
            while True:
                await self._turn()
        finally:
            tasks = [delivering, *(task for _, task in self._followers.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def take_reading(self, occasion: str, snapshot: str, ecus: Sequence[str]) -> None:
        """Read these ECUs now, one after the other; raises `OutboxError`."""
        found = []
        for name in ecus:
            found.append(await read_ecu(self._testers, name))
            self._note(found[-1])
        self._keeping.keep_reading(occasion, snapshot, self._now_us(), found)
        self._news.set()

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._changed.clear()
        next_s = self._schedule.next_s()
        try:
            async with asyncio.timeout_at(None if math.isinf(next_s) else next_s):
                await self._changed.wait()
        except TimeoutError:
            pass
        schedule = self._schedule
        due = schedule.due(now_s=loop.time())
        if not due.reading and not due.look:
            return
        if self._paused or not (schedule.plan.wake or self._state.in_use):
            schedule.later(now_s=loop.time())
            return
        self._reading = asyncio.create_task(self._carry_out(schedule.plan, due), name="diagnostics")
        try:
            await asyncio.wait({self._reading})
        finally:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._reading.cancelled():
            schedule.later(now_s=loop.time())
            return
        if error := self._reading.exception():
            _LOG.error("reading_failed cause=%s", error)
        schedule.done(due, now_s=loop.time())

    async def _carry_out(self, plan: Plan, due: Due) -> None:
        ecus = [name for name in plan.ecus or self._testers.vehicle.ecus if self._has(name)]
        if due.reading:
            now_us = self._now_us()
            await self.take_reading("on_schedule", f"schedule-{now_us}", ecus)
            self._last_reading_us = now_us
            self._file.save(plan, now_us)
            return
        changed = [name for name in ecus if await self._has_changed(name, plan.status_mask)]
        if changed:
            await self.take_reading("on_change", f"change-{self._now_us()}", changed)

    def _has(self, name: str) -> bool:
        return name in self._testers.vehicle.ecus

    async def _has_changed(self, ecu: str, mask: int) -> bool:
        """One request, 19 02: whether the codes with these status bits are others than before.

        An ECU that does not answer has not changed: the next whole reading says so.
        """
        try:
            answer = await self._testers.tester(ecu).request(requests.read_dtcs(mask))
            codes = _masked(((one.code, one.status) for one in responses.decode_dtcs(answer)), mask)
        except (WireError, MalformedResponseError) as error:
            _LOG.info("look_failed ecu=%s cause=%s", ecu, error)
            return False
        return codes != self._seen.get(ecu, frozenset())

    def _note(self, reading: EcuDiagnostics) -> None:
        if not reading.error:
            codes = ((one.code, one.status) for one in reading.dtcs)
            self._seen[reading.ecu] = _masked(codes, self.plan.status_mask)

    def _scheduled(self, plan: Plan) -> Schedule:
        since_us = self._now_us() - self._last_reading_us
        return Schedule(
            plan,
            now_s=asyncio.get_running_loop().time(),
            since_reading_s=since_us / 1_000_000 if self._last_reading_us else math.inf,
        )

    async def _follow(self, name: str, follower: Follower) -> None:
        try:
            async for batch in follower.batches():
                try:
                    self._keeping.keep_batch(batch)
                except OutboxError as error:
                    _LOG.error("batch_lost subscription=%s cause=%s", name, error)
                self._news.set()
        finally:
            self._ended.add(name)
            del self._followers[name]

    async def _deliver_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._deliver()


def _masked(codes: Iterable[tuple[int, int]], mask: int) -> frozenset[tuple[int, int]]:
    """Codes with those of the status bits that count; without codes that have none of them."""
    return frozenset((code, status & mask) for code, status in codes if status & mask)
