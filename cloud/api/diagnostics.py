"""DiagnosticsService."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from grpc import aio

from cloud.api.pages import page_request, page_token
from cloud.fleet.diagnostic_jobs import check_action, expire_time_of
from cloud.fleet.diagnostic_plans import ENDED, Plan, Subscription, check_plan, check_wanted
from cloud.fleet.names import (
    check_printable,
    diagnostic_job_of,
    diagnostic_plan_of,
    signal_subscription_name,
    signal_subscription_of,
    snapshot_of,
    vin_of,
)
from cloud.messages.diagnostic_jobs import from_action, to_job
from cloud.messages.diagnostic_plans import (
    from_plan,
    from_wanted,
    masked,
    to_batch,
    to_gap,
    to_plan,
    to_subscription,
)
from cloud.messages.diagnostics import to_snapshot
from cloud.messages.times import from_timestamp
from cloud.store import diagnostic_jobs, diagnostic_plans, signals, snapshots
from cloud.store.errors import ClosingError
from cloud.store.store import Store
from protocols.fleet.v1 import diagnostic_jobs_pb2, diagnostic_plans_pb2, diagnostics_pb2
from protocols.fleet.v1.diagnostics_pb2_grpc import DiagnosticsServiceServicer

_SNAPSHOTS: Final = "snapshots"
_JOBS: Final = "diagnosticJobs"
_SUBSCRIPTIONS: Final = "signalSubscriptions"
_GAPS: Final = "diagnosticGaps"
#: Batches that a watch reads at once.
_BATCHES: Final = 20
#: A watch waits so long behind the end of a subscription for its last batch.
_LAST_BATCH: Final = timedelta(minutes=2)

_Context = aio.ServicerContext[object, object]


class DiagnosticsService(DiagnosticsServiceServicer):
    def __init__(self, store: Store) -> None:
        self._store = store

    async def ListSnapshots(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.ListSnapshotsRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.ListSnapshotsResponse:
        vin = vin_of(request.parent, field="parent")
        wanted = page_request(request.page_size, request.page_token, listing=_SNAPSHOTS)
        page = await self._store.database.read(
            snapshots.list_page, vin, after=wanted.after, size=wanted.size
        )
        return diagnostics_pb2.ListSnapshotsResponse(
            # One snapshot with its signals may fill a whole message.
            snapshots=[to_snapshot(snapshot, with_signals=False) for snapshot in page.items],
            next_page_token=page_token(page.next_key, listing=_SNAPSHOTS),
        )

    async def GetSnapshot(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.GetSnapshotRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.DiagnosticSnapshot:
        vin, snapshot_id = snapshot_of(request.name, field="name")
        snapshot = await self._store.database.read(snapshots.get, vin, snapshot_id)
        return to_snapshot(snapshot, with_signals=True)

    async def GetDiagnosticPlan(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.GetDiagnosticPlanRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_plans_pb2.DiagnosticPlan:
        vin = diagnostic_plan_of(request.name, field="name")
        return to_plan(await self._store.database.read(diagnostic_plans.get, vin), vin)

    async def UpdateDiagnosticPlan(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.UpdateDiagnosticPlanRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_plans_pb2.DiagnosticPlan:
        message = request.diagnostic_plan
        vin = diagnostic_plan_of(message.name, field="diagnostic_plan.name")
        wanted = from_plan(message)

        def update(stored: Plan) -> Plan:
            return check_plan(masked(stored, wanted, request.update_mask))

        plan = await self._store.database.write(
            diagnostic_plans.change,
            vin,
            update,
            revision=message.revision,
            now=self._store.clock.now(),
        )
        return to_plan(plan, vin)

    async def CreateDiagnosticJob(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.CreateDiagnosticJobRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_jobs_pb2.DiagnosticJob:
        now = self._store.clock.now()
        message = request.diagnostic_job
        expires = (
            from_timestamp(message.expire_time, field="diagnostic_job.expire_time")
            if message.HasField("expire_time")
            else None
        )
        job = await self._store.database.write(
            diagnostic_jobs.create,
            vin_of(request.parent, field="parent"),
            check_action(from_action(message)),
            expire_time=expire_time_of(expires, now=now),
            request_id=check_printable(request.request_id, field="request_id"),
            now=now,
        )
        return to_job(job)

    async def GetDiagnosticJob(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.GetDiagnosticJobRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_jobs_pb2.DiagnosticJob:
        vin, job_id = diagnostic_job_of(request.name, field="name")
        now = self._store.clock.now()
        return to_job(await self._store.database.read(diagnostic_jobs.get, vin, job_id, now=now))

    async def ListDiagnosticJobs(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.ListDiagnosticJobsRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.ListDiagnosticJobsResponse:
        wanted = page_request(request.page_size, request.page_token, listing=_JOBS)
        page = await self._store.database.read(
            diagnostic_jobs.list_page,
            vin_of(request.parent, field="parent"),
            after_key=wanted.after,
            size=wanted.size,
            now=self._store.clock.now(),
        )
        return diagnostics_pb2.ListDiagnosticJobsResponse(
            diagnostic_jobs=[to_job(job) for job in page.items],
            next_page_token=page_token(page.next_key, listing=_JOBS),
        )

    async def CancelDiagnosticJob(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.CancelDiagnosticJobRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_jobs_pb2.DiagnosticJob:
        vin, job_id = diagnostic_job_of(request.name, field="name")
        now = self._store.clock.now()
        job = await self._store.database.write(diagnostic_jobs.cancel, vin, job_id, now=now)
        return to_job(job)

    async def CreateSignalSubscription(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.CreateSignalSubscriptionRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_plans_pb2.SignalSubscription:
        subscription = await self._store.database.write(
            signals.create,
            vin_of(request.parent, field="parent"),
            check_wanted(from_wanted(request.signal_subscription)),
            request_id=check_printable(request.request_id, field="request_id"),
            now=self._store.clock.now(),
        )
        return to_subscription(subscription)

    async def GetSignalSubscription(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.GetSignalSubscriptionRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_plans_pb2.SignalSubscription:
        vin, identifier = signal_subscription_of(request.name, field="name")
        return to_subscription(await self._store.database.read(signals.get, vin, identifier))

    async def ListSignalSubscriptions(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.ListSignalSubscriptionsRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.ListSignalSubscriptionsResponse:
        wanted = page_request(request.page_size, request.page_token, listing=_SUBSCRIPTIONS)
        page = await self._store.database.read(
            signals.list_page,
            vin_of(request.parent, field="parent"),
            after_key=wanted.after,
            size=wanted.size,
        )
        return diagnostics_pb2.ListSignalSubscriptionsResponse(
            signal_subscriptions=[to_subscription(one) for one in page.items],
            next_page_token=page_token(page.next_key, listing=_SUBSCRIPTIONS),
        )

    async def CancelSignalSubscription(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.CancelSignalSubscriptionRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostic_plans_pb2.SignalSubscription:
        vin, identifier = signal_subscription_of(request.name, field="name")
        subscription = await self._store.database.write(signals.cancel, vin, identifier)
        self._store.changes.notify(request.name)
        return to_subscription(subscription)

    async def WatchSignals(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.WatchSignalsRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[diagnostics_pb2.SignalBatch]:
        vin, identifier = signal_subscription_of(request.name, field="name")
        shown = 0
        with self._store.changes.watch(signal_subscription_name(vin, identifier)) as watch:
            while True:
                subscription, batches = await self._store.database.read(
                    signals.batches_after, vin, identifier, after=shown, size=_BATCHES
                )
                for sequence, batch in batches:
                    yield to_batch(batch, vin, identifier)
                    shown = sequence
                if batches:
                    continue
                if self._over(subscription):
                    return
                if self._store.changes.closed:
                    raise ClosingError("the cloud is going down; watch again in a moment")
                await watch.changed()

    def _over(self, subscription: Subscription) -> bool:
        ends = subscription.expire_time
        late = ends is not None and self._store.clock.now() > ends + _LAST_BATCH
        return subscription.state in ENDED or late

    async def ListDiagnosticGaps(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.ListDiagnosticGapsRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.ListDiagnosticGapsResponse:
        vin = vin_of(request.parent, field="parent")
        wanted = page_request(request.page_size, request.page_token, listing=_GAPS)
        page = await self._store.database.read(
            diagnostic_plans.list_gaps, vin, after_key=wanted.after, size=wanted.size
        )
        return diagnostics_pb2.ListDiagnosticGapsResponse(
            diagnostic_gaps=[to_gap(gap, vin) for gap in page.items],
            next_page_token=page_token(page.next_key, listing=_GAPS),
        )
