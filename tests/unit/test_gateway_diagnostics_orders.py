"""What the gateway makes of the cloud's orders, what it writes down, and what it goes by."""

import asyncio
import math
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

import clock
from protocols.can import FrameHeader
from protocols.fleet.v1 import (
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    gateway_pb2,
)
from protocols.preconditions import parse
from tests.support.quiet_port import QuietPort
from vehicle_gateway.diagnostics.ledger import Begun, JobLedger, LedgerError
from vehicle_gateway.diagnostics.observer import Due, PlanFile, Schedule
from vehicle_gateway.diagnostics.orders import ClearDtcs, Orders, Plan, Routine
from vehicle_gateway.diagnostics.readings import VehicleReadings
from vehicle_gateway.diagnostics.state import STANDING_IN_PARK, VehicleState, findings, unmet
from vehicle_gateway.management.grpc.messages import orders_of

Job = diagnostic_jobs_pb2.DiagnosticJob


def test_a_job_that_was_begun_is_known_after_a_restart_until_its_end(tmp_path: Path) -> None:
    ledger = JobLedger(tmp_path / "jobs")
    assert not ledger.knows("a")
    begun = Begun(start_us=5, ecu="ccu", output=0x0191)
    ledger.begin("a", begun)
    again = JobLedger(tmp_path / "jobs")
    assert again.knows("a")
    assert again.cut_off() == {"a": begun}
    again.end("a")
    assert again.knows("a")
    assert again.cut_off() == {}


def test_an_ended_job_is_forgotten_once_the_cloud_offers_it_no_more(tmp_path: Path) -> None:
    ledger = JobLedger(tmp_path)
    for job in "abc":
        ledger.begin(job, Begun())
    ledger.end("a")
    ledger.end("b")
    ledger.keep_only({"b"})
    assert [ledger.knows(job) for job in "abc"] == [False, True, True]


def test_a_damaged_entry_still_says_that_the_job_was_begun(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"{")
    ledger = JobLedger(tmp_path)
    assert ledger.knows("a")
    assert ledger.cut_off() == {"a": Begun()}


@pytest.mark.parametrize("job_id", ["../a", "", "a/b", ".a", "x" * 200])
def test_a_job_whose_name_is_no_name_is_not_begun(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(LedgerError):
        JobLedger(tmp_path).begin(job_id, Begun())


def test_a_job_that_cannot_be_written_down_may_not_begin(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_bytes(b"not a folder")
    with pytest.raises(LedgerError, match="jobs"):
        JobLedger(tmp_path / "jobs").begin("a", Begun())


def test_a_schedule_begins_at_once_and_makes_nothing_up_for() -> None:
    schedule = Schedule(Plan(period_s=60, change_interval_s=10), now_s=100.0)
    assert schedule.due(now_s=100) == Due(reading=True, look=True)
    schedule.done(Due(reading=True, look=True), now_s=101)
    assert schedule.next_s() == 111
    assert schedule.due(now_s=110.9) == Due(reading=False, look=False)
    schedule.done(schedule.due(now_s=500), now_s=500)  # the car was parked: one, not six
    assert schedule.next_s() == 510


def test_a_schedule_counts_from_the_last_reading_before_a_restart() -> None:
    schedule = Schedule(Plan(period_s=600), now_s=0.0, since_reading_s=200.0)
    assert schedule.next_s() == 400


def test_without_a_plan_nothing_is_ever_due() -> None:
    assert Schedule(Plan(), now_s=0.0).next_s() == math.inf


def test_what_cannot_be_done_now_comes_up_again() -> None:
    schedule = Schedule(Plan(period_s=60), now_s=0.0)
    schedule.later(now_s=0.0)
    assert not schedule.due(now_s=4.9).reading
    assert schedule.due(now_s=5.0).reading


def test_a_plan_outlives_a_restart_and_a_damaged_file_is_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan = Plan(period_s=60, ecus=("ccu",), status_mask=9, wake=True, revision=3)
    PlanFile(path).save(plan, 7)
    assert PlanFile(path).load() == (plan, 7)
    for content in (b"{", b"[]", b'{"plan": {"what": 1}, "last_reading_us": 0}'):
        path.write_bytes(content)
        assert PlanFile(path).load() == (Plan(), 0)


def _orders(*jobs: Job, **plan: object) -> Orders:
    message = gateway_pb2.CheckInResponse(
        diagnostic_orders=diagnostic_plans_pb2.DiagnosticOrders(
            plan=diagnostic_plans_pb2.DiagnosticPlan(**plan)  # type: ignore[arg-type]  # any field
        ),
        diagnostic_jobs=jobs,
    )
    return orders_of(message)


def test_what_the_cloud_orders_is_held_to_the_gateways_own_bounds() -> None:
    orders = _orders(
        Job(name="a", routine=Job.Routine(ecu="ccu", run_time=Duration(seconds=1 << 40))),
        Job(name="b", routine=Job.Routine(ecu="ccu", routine_identifier=0x10000)),
        Job(name="c"),
        Job(name="d", clear_dtcs=Job.ClearDtcs()),
        Job(name="e", clear_dtcs=Job.ClearDtcs(group=0)),
        Job(name="f", clear_dtcs=Job.ClearDtcs(group=1 << 24)),
        period={"seconds": 1},
        change_interval={"seconds": -5},
        status_mask=0x100,
    )
    assert orders.plan == Plan(period_s=60.0, change_interval_s=0.0, status_mask=0x08)
    assert {job.name: job.action for job in orders.jobs} == {
        "a": Routine(ecu="ccu", routine_identifier=0, run_s=600.0),
        "d": ClearDtcs(),
        "e": ClearDtcs(group=0),
    }


MOTION = FrameHeader(192)
PARKED = bytes(8)


@pytest.mark.parametrize(
    ("frame", "age_s", "met", "words"),
    [
        (b"\0\0\0\0\0\0\0\0", 0.1, True, ""),
        (b"\0\0\x03\0\0\0\0\0", 0.1, False, "Gear == P: is D"),
        (b"\x20\x03\0\0\0\0\0\0", 0.1, False, "Speed == 0 km/h: is 8 km/h"),
        (b"\xff\xff\x0f\0\0\0\0\0", 0.1, False, "not available"),
        (b"\0\0\0\0\0\0\0\0", 2.0, False, "2 s old"),
        (None, 0.0, False, "never received"),
    ],
)
def test_a_value_that_is_missing_stale_or_not_available_lets_nothing_move(
    frame: bytes | None, age_s: float, words: str, *, met: bool
) -> None:
    async def main() -> None:
        port = QuietPort()
        readings = VehicleReadings()
        readings.listen("comfort", port, ["vehicle"])
        if frame is not None:
            port.say(MOTION, frame)
        await asyncio.sleep(age_s)
        evaluation = VehicleState(readings).evaluate(parse(STANDING_IN_PARK))
        assert evaluation.met is met
        assert words in unmet(evaluation)
        assert all(one.met for one in findings(evaluation)) is met

    clock.run(main(), virtual=True)


def test_only_a_vehicle_that_never_tells_of_terminal_15_counts_as_used_without_it() -> None:
    async def main() -> None:
        readings = VehicleReadings()
        assert VehicleState(readings).in_use
        readings.listen("comfort", QuietPort(), ["vehicle"])
        assert not VehicleState(readings).in_use

    clock.run(main(), virtual=True)


def test_wires_that_sleep_are_woken_for_values_which_may_be_those_from_before() -> None:
    async def main() -> None:
        port = QuietPort()
        readings = VehicleReadings()
        readings.listen("comfort", port, ["vehicle"])
        state, condition = VehicleState(readings), parse(STANDING_IN_PARK)
        loop = asyncio.get_running_loop()
        woken: list[float] = []

        def wake() -> None:
            woken.append(loop.time())
            loop.call_later(0.5, port.say, MOTION, PARKED)

        port.say(MOTION, PARKED)
        assert (await state.heard(condition, wake)).met
        assert not woken
        await asyncio.sleep(60.0)
        assert (await state.heard(condition, wake)).met
        assert len(woken) == 1
        assert loop.time() - woken[0] < 1.0

    clock.run(main(), virtual=True)


def test_wires_that_say_nothing_when_woken_are_not_waited_for_without_end() -> None:
    async def main() -> None:
        readings = VehicleReadings()
        readings.listen("comfort", QuietPort(), ["vehicle"])
        found = await VehicleState(readings).heard(parse(STANDING_IN_PARK), lambda: None)
        assert not found.met
        assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.11)

    clock.run(main(), virtual=True)


def test_only_a_frame_that_says_something_else_is_a_change() -> None:
    async def main() -> None:
        port = QuietPort()
        readings = VehicleReadings()
        readings.listen("comfort", port, ["vehicle"])

        async def is_change(frame: bytes) -> bool:
            changed = asyncio.create_task(readings.changed())
            await asyncio.sleep(0.01)
            port.say(MOTION, frame)
            await asyncio.sleep(0.01)
            done = changed.done()
            changed.cancel()
            return done

        driving = bytes((0x64, *PARKED[1:]))
        assert [await is_change(frame) for frame in (PARKED, PARKED, driving, driving)] == [
            True,
            False,
            True,
            False,
        ]

    clock.run(main(), virtual=True)
