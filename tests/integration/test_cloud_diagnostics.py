"""Diagnostic plans, jobs, signals and gaps in a running cloud, over real gRPC."""

import asyncio
from collections.abc import AsyncIterable, Callable
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from protocols.fleet.v1 import (
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    diagnostics_pb2,
    gateway_pb2,
)
from tests.support.cloud import VIN, Client, on_a_loop, refusal, running_cloud, snapshot

VEHICLE = f"vehicles/{VIN}"
PLAN = f"{VEHICLE}/diagnosticPlan"
State = diagnostic_jobs_pb2.DiagnosticJobState
Job = diagnostic_jobs_pb2.DiagnosticJob
SUCCEEDED = diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_SUCCEEDED


def _seconds(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))


def sweep(**changes: object) -> Job:
    routine = Job.Routine(ecu="blower", routine_identifier=0x0220, run_time=_seconds(60))
    return Job(routine=routine, **changes)  # type: ignore[arg-type]  # any of its fields


async def create(
    client: Client, job: Job | None = None, *, request_id: str = ""
) -> diagnostic_jobs_pb2.DiagnosticJob:
    request = diagnostics_pb2.CreateDiagnosticJobRequest(
        parent=VEHICLE, diagnostic_job=job or sweep(), request_id=request_id
    )
    return await client.diagnostics.CreateDiagnosticJob(request)


async def job_of(client: Client, name: str) -> diagnostic_jobs_pb2.DiagnosticJob:
    request = diagnostics_pb2.GetDiagnosticJobRequest(name=name)
    return await client.diagnostics.GetDiagnosticJob(request)


async def finish(client: Client, job: str, state: State.ValueType = SUCCEEDED) -> None:
    result = diagnostic_jobs_pb2.DiagnosticJobResult(
        state=state,
        detail="done",
        exchanges=[
            diagnostic_jobs_pb2.DiagnosticExchange(
                ecu="blower", request=b"\x31\x01\x02\x20", response=b"\x71", offset=_seconds(0.25)
            )
        ],
        conditions=[diagnostic_jobs_pb2.ConditionFinding(condition="standstill", met=True)],
    )
    await client.gateway.SubmitDiagnosticResult(
        gateway_pb2.SubmitDiagnosticResultRequest(vin=VIN, job=job, result=result)
    )


@on_a_loop
async def test_a_job_is_fetched_and_ends_with_the_first_result_that_comes(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        made = await create(client)
        assert made.state == State.DIAGNOSTIC_JOB_STATE_QUEUED
        for _ in range(2):  # an answer may get lost: it is offered until its result has come
            (offered,) = (await client.check_in()).diagnostic_jobs
            assert offered.name == made.name
            assert offered.routine == made.routine
        assert (await job_of(client, made.name)).state == State.DIAGNOSTIC_JOB_STATE_FETCHED
        await finish(client, made.name)
        await finish(client, made.name, State.DIAGNOSTIC_JOB_STATE_FAILED)
        ended = await job_of(client, made.name)
        assert ended.state == SUCCEEDED
        assert ended.result.exchanges[0].offset.ToTimedelta().total_seconds() == 0.25
        assert ended.result.conditions[0].condition == "standstill"
        assert not (await client.check_in()).diagnostic_jobs


@on_a_loop
async def test_the_same_request_makes_one_job(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        first = await create(client, request_id="mine")
        assert (await create(client, request_id="mine")).name == first.name
        assert (await create(client)).name != first.name
        assert (await create(client, request_id="other")).name != first.name
        request = diagnostics_pb2.ListDiagnosticJobsRequest(parent=VEHICLE, page_size=2)
        page = await client.diagnostics.ListDiagnosticJobs(request)
        request.page_token = page.next_page_token
        rest = await client.diagnostics.ListDiagnosticJobs(request)
        assert [len(page.diagnostic_jobs), len(rest.diagnostic_jobs)] == [2, 1]
        assert rest.diagnostic_jobs[0].name == first.name


@on_a_loop
async def test_a_job_is_taken_back_only_before_the_gateway_has_it(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        early, late = await create(client), await create(client)
        request = diagnostics_pb2.CancelDiagnosticJobRequest(name=early.name)
        cancelled = await client.diagnostics.CancelDiagnosticJob(request)
        assert cancelled.state == State.DIAGNOSTIC_JOB_STATE_CANCELLED
        assert [one.name for one in (await client.check_in()).diagnostic_jobs] == [late.name]
        request = diagnostics_pb2.CancelDiagnosticJobRequest(name=late.name)
        refused = await refusal(client.diagnostics.CancelDiagnosticJob(request))
        assert refused.code is StatusCode.FAILED_PRECONDITION
        assert "fetched" in refused.message


@on_a_loop
async def test_a_job_whose_time_is_over_is_not_handed_out(tmp_path: Path) -> None:
    async with running_cloud(tmp_path, virtual_clock=True) as client:
        await client.register()
        made = await create(client)
        (metadata,) = [("canota-time-us", str(made.expire_time.ToMicroseconds() + 1))]
        answer = await client.gateway.CheckIn(
            gateway_pb2.CheckInRequest(vin=VIN), metadata=(metadata,)
        )
        assert not answer.diagnostic_jobs
        assert (await job_of(client, made.name)).state == State.DIAGNOSTIC_JOB_STATE_EXPIRED


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (Job(), "diagnostic_job.action"),
        (Job(routine=Job.Routine(ecu="", routine_identifier=1)), "diagnostic_job.routine.ecu"),
        (
            Job(routine=Job.Routine(ecu="ccu", routine_identifier=0x10000)),
            "diagnostic_job.routine.routine_identifier",
        ),
        (
            Job(routine=Job.Routine(ecu="ccu", run_time=_seconds(601))),
            "diagnostic_job.routine.run_time",
        ),
        (
            Job(output_control=Job.OutputControl(ecu="ccu", hold_time=_seconds(1))),
            "diagnostic_job.output_control.control_state",
        ),
        (
            Job(output_control=Job.OutputControl(ecu="ccu", control_state=b"1")),
            "diagnostic_job.output_control.hold_time",
        ),
        (Job(clear_dtcs=Job.ClearDtcs(group=1 << 24)), "diagnostic_job.clear_dtcs.group"),
        (Job(take_snapshot=Job.TakeSnapshot(ecus=["a", "a"])), "diagnostic_job.take_snapshot.ecus"),
        (sweep(expire_time=Timestamp(seconds=1)), "diagnostic_job.expire_time"),
        (sweep(expire_time=Timestamp(seconds=1 << 34)), "diagnostic_job.expire_time"),
    ],
)
def test_a_job_that_cannot_be_is_refused_by_its_field(tmp_path: Path, job: Job, field: str) -> None:
    @on_a_loop
    async def main() -> None:
        async with running_cloud(tmp_path) as client:
            await client.register()
            refused = await refusal(create(client, job))
            assert refused.code is StatusCode.INVALID_ARGUMENT
            assert refused.message.startswith(field)

    main()


@on_a_loop
async def test_a_queue_of_jobs_is_bounded(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        for _ in range(50):
            await create(client)
        assert (await refusal(create(client))).code is StatusCode.RESOURCE_EXHAUSTED
        assert len((await client.check_in()).diagnostic_jobs) == 8


@on_a_loop
async def test_a_plan_reaches_the_vehicle_and_two_operators_do_not_overwrite_each_other(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        assert not (await client.check_in()).diagnostic_orders.HasField("plan")
        request = diagnostics_pb2.GetDiagnosticPlanRequest(name=PLAN)
        plan = await client.diagnostics.GetDiagnosticPlan(request)
        assert plan.revision == 0
        plan = diagnostic_plans_pb2.DiagnosticPlan(
            name=PLAN, period=_seconds(3600), change_interval=_seconds(30), ecus=["ccu"]
        )
        change = diagnostics_pb2.UpdateDiagnosticPlanRequest(diagnostic_plan=plan)
        first = await client.diagnostics.UpdateDiagnosticPlan(change)
        assert (first.revision, first.status_mask) == (1, 0x08)
        assert (await client.check_in()).diagnostic_orders.plan == first

        change.diagnostic_plan.wake = True
        change.diagnostic_plan.revision = 1
        change.update_mask.CopyFrom(FieldMask(paths=["wake"]))
        change.diagnostic_plan.ClearField("period")
        second = await client.diagnostics.UpdateDiagnosticPlan(change)
        assert (second.wake, second.period, second.revision) == (True, first.period, 2)
        refused = await refusal(client.diagnostics.UpdateDiagnosticPlan(change))
        assert refused.code is StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda plan: plan.period.FromSeconds(59), "diagnostic_plan.period"),
        (lambda plan: plan.change_interval.FromSeconds(4), "diagnostic_plan.change_interval"),
        (lambda plan: setattr(plan, "status_mask", 0x100), "diagnostic_plan.status_mask"),
        (lambda plan: plan.ecus.append("../x"), "diagnostic_plan.ecus[0]"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_its_field(
    tmp_path: Path,
    change: Callable[[diagnostic_plans_pb2.DiagnosticPlan], None],
    field: str,
) -> None:
    @on_a_loop
    async def main() -> None:
        plan = diagnostic_plans_pb2.DiagnosticPlan(name=PLAN)
        change(plan)
        async with running_cloud(tmp_path) as client:
            await client.register()
            request = diagnostics_pb2.UpdateDiagnosticPlanRequest(diagnostic_plan=plan)
            refused = await refusal(client.diagnostics.UpdateDiagnosticPlan(request))
            assert refused.message.startswith(field)

    main()


async def subscribe(
    client: Client, *signals: str, period_s: float = 1.0, request_id: str = ""
) -> diagnostic_plans_pb2.SignalSubscription:
    wanted = diagnostic_plans_pb2.SignalSubscription(
        signals=signals or ("CabinTemperature",), period=_seconds(period_s), duration=_seconds(60)
    )
    request = diagnostics_pb2.CreateSignalSubscriptionRequest(
        parent=VEHICLE, signal_subscription=wanted, request_id=request_id
    )
    return await client.diagnostics.CreateSignalSubscription(request)


def batch(name: str, at_s: int, *, last: bool = False) -> gateway_pb2.UploadSignalsRequest:
    series = diagnostics_pb2.SignalSeries(
        wire="comfort",
        message="CCU_Status",
        signal="CabinTemperature",
        offsets_seconds=[-1.0, 0.0],
        values=[21.0, float(at_s)],
    )
    found = diagnostics_pb2.SignalBatch(
        subscription=name, time=Timestamp(seconds=at_s), series=[series], last=last
    )
    return gateway_pb2.UploadSignalsRequest(vin=VIN, batch=found, sequence=100 + at_s)


@on_a_loop
async def test_a_watch_shows_batches_as_they_come_each_once_until_the_last(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        made = await subscribe(client)
        (order,) = (await client.check_in()).diagnostic_orders.subscriptions
        assert order.subscription.name == made.name
        assert 59 < order.remaining.ToTimedelta().total_seconds() <= 60
        await client.gateway.UploadSignals(batch(made.name, 5))
        request = diagnostics_pb2.WatchSignalsRequest(name=made.name)
        watch = aiter(client.diagnostics.WatchSignals(request))
        seen = [await anext(watch)]
        for at_s, last in ((5, False), (10, False), (10, False), (15, True)):
            await client.gateway.UploadSignals(batch(made.name, at_s, last=last))
        seen += [one async for one in watch]
        assert [one.series[0].values[-1] for one in seen] == [5, 10, 15]
        state = diagnostic_plans_pb2.SIGNAL_SUBSCRIPTION_STATE_FINISHED
        get = diagnostics_pb2.GetSignalSubscriptionRequest(name=made.name)
        assert (await client.diagnostics.GetSignalSubscription(get)).state == state
        assert not (await client.check_in()).diagnostic_orders.subscriptions


@on_a_loop
async def test_a_cancelled_subscription_ends_its_watch_and_is_ordered_no_more(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        made = await subscribe(client, request_id="mine")
        assert (await subscribe(client, request_id="mine")).name == made.name
        request = diagnostics_pb2.WatchSignalsRequest(name=made.name)
        watching = asyncio.create_task(_all(client.diagnostics.WatchSignals(request)))
        await client.check_in()
        await client.diagnostics.CancelSignalSubscription(
            diagnostics_pb2.CancelSignalSubscriptionRequest(name=made.name)
        )
        assert await watching == []
        assert not (await client.check_in()).diagnostic_orders.subscriptions
        for _ in range(8):
            await subscribe(client)
        assert (await refusal(subscribe(client))).code is StatusCode.RESOURCE_EXHAUSTED


async def _all(
    watch: AsyncIterable[diagnostics_pb2.SignalBatch],
) -> list[diagnostics_pb2.SignalBatch]:
    return [one async for one in watch]


@pytest.mark.parametrize(
    ("signals", "period_s", "field"),
    [
        (("Cabin Temperature",), 1.0, "signal_subscription.signals[0]"),
        (("a", "a"), 1.0, "signal_subscription.signals"),
        (("a",), 0.05, "signal_subscription.period"),
        (("blower:0111",), 0.5, "signal_subscription.period"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused_by_its_field(
    tmp_path: Path, signals: tuple[str, ...], period_s: float, field: str
) -> None:
    @on_a_loop
    async def main() -> None:
        async with running_cloud(tmp_path) as client:
            await client.register()
            refused = await refusal(subscribe(client, *signals, period_s=period_s))
            assert refused.message.startswith(field)

    main()


@on_a_loop
async def test_what_was_dropped_is_listed_less_what_has_arrived_nevertheless(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        upload = gateway_pb2.UploadSnapshotRequest(vin=VIN, snapshot=snapshot("a"), sequence=7)
        await client.gateway.UploadSnapshot(upload)
        for count in (2, 3):
            gap = diagnostic_plans_pb2.DiagnosticGap(
                name=f"{VEHICLE}/diagnosticGaps/9",
                kind="snapshot",
                count=count,
                bytes=100,
                ranges=[
                    diagnostic_plans_pb2.SequenceRange(first=5, last=5),
                    diagnostic_plans_pb2.SequenceRange(first=7, last=8),
                ],
            )
            await client.gateway.ReportGap(gateway_pb2.ReportGapRequest(vin=VIN, gap=gap))
        request = diagnostics_pb2.ListDiagnosticGapsRequest(parent=VEHICLE)
        (listed,) = (await client.diagnostics.ListDiagnosticGaps(request)).diagnostic_gaps
        assert (listed.count, listed.arrived, listed.kind) == (3, 1, "snapshot")


@on_a_loop
async def test_a_gateway_speaks_for_its_own_vehicle_alone(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        other = "WCANHVAC000000002"
        await client.register(other)
        made = await create(client)
        result = diagnostic_jobs_pb2.DiagnosticJobResult(state=SUCCEEDED)
        request = gateway_pb2.SubmitDiagnosticResultRequest(vin=other, job=made.name, result=result)
        refused = await refusal(client.gateway.SubmitDiagnosticResult(request))
        assert refused.code is StatusCode.INVALID_ARGUMENT
        signals = batch((await subscribe(client)).name, 5)
        signals.vin = other
        refused = await refusal(client.gateway.UploadSignals(signals))
        assert refused.code is StatusCode.INVALID_ARGUMENT


@on_a_loop
async def test_of_a_vehicles_readings_the_newest_are_kept_and_those_of_updates_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.store.snapshots._KEPT", 3)
    async with running_cloud(tmp_path) as client:
        await client.register()
        for number, name in enumerate(("before", "a", "b", "c", "d", "e", "c")):
            reading = snapshot(name, seconds=number)
            if name == "before":
                reading.campaign = "campaigns/spring"
            await client.gateway.UploadSnapshot(
                gateway_pb2.UploadSnapshotRequest(vin=VIN, snapshot=reading)
            )
        listed = await client.diagnostics.ListSnapshots(
            diagnostics_pb2.ListSnapshotsRequest(parent=VEHICLE)
        )
        kept = {one.name.rpartition("/")[2] for one in listed.snapshots}
        assert kept == {"before", "c", "d", "e"}
