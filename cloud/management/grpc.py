"""GatewayService, the managing half: check in, progress, snapshots, final reports."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from grpc import aio
from sqlalchemy import Connection

from cloud.fleet.campaigns import advance, answered
from cloud.fleet.diagnostic_jobs import check_result
from cloud.fleet.diagnostic_plans import check_batch, check_gap
from cloud.fleet.diagnostics import check_snapshot
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.evidence import EcuInventory, take_inventory
from cloud.fleet.names import (
    campaign_id_of,
    check_vin,
    diagnostic_job_of,
    signal_subscription_of,
)
from cloud.fleet.remote import RemoteState
from cloud.fleet.vehicles import Ecu
from cloud.messages.campaigns import from_phase, from_progress, to_outcome
from cloud.messages.diagnostic_jobs import from_result, to_job
from cloud.messages.diagnostic_plans import from_batch, from_gap, to_orders
from cloud.messages.diagnostics import from_snapshot
from cloud.messages.evidence import from_inventory, from_report, to_offer, to_withdrawal
from cloud.messages.remote import to_session_offer
from cloud.messages.times import to_duration
from cloud.store import (
    campaigns,
    diagnostic_jobs,
    diagnostic_plans,
    releases,
    remote_sessions,
    reports,
    signals,
    snapshots,
    vehicles,
)
from cloud.store.campaigns import NewNonce
from cloud.store.store import Store
from protocols.fleet.v1 import gateway_pb2

_log = logging.getLogger(__name__)

_SEQUENCE_LIMIT: Final = 1 << 63


class GatewayManagement:
    """`poll_s`: seconds until a vehicle shall check in again."""

    def __init__(self, store: Store, *, poll_s: float, new_nonce: NewNonce) -> None:
        self._store = store
        self._poll_s = poll_s
        self._new_nonce = new_nonce

    async def CheckIn(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.CheckInRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.CheckInResponse:
        vin = check_vin(request.vin, field="vin")
        unfinished = request.unfinished_campaign
        if unfinished:
            unfinished = campaign_id_of(unfinished, field="unfinished_campaign")
        reported = [
            from_inventory(message, field=f"ecus[{index}]")
            for index, message in enumerate(request.ecus)
        ]
        inventories = {inventory.ecu: inventory for inventory in reported}
        if len(inventories) != len(request.ecus):
            raise InvalidFieldError("ecus", "an ECU is named twice")
        answer, changed = await self._store.database.write(
            _check_in,
            vin,
            inventories,
            unfinished=unfinished,
            now=self._store.clock.now(),
            new_nonce=self._new_nonce,
        )
        for campaign_id in changed:
            self._store.changes.notify(campaign_id)
        answer.next_check_in.CopyFrom(to_duration(self._poll_s))
        return answer

    async def ReportProgress(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.ReportProgressRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.ReportProgressResponse:
        campaign_id = campaign_id_of(request.campaign, field="campaign")
        check_vin(request.vin, field="vin")
        if request.sequence >= _SEQUENCE_LIMIT:
            raise InvalidFieldError("sequence", f"{request.sequence}; below 2^63")
        withdrawal = await self._store.database.write_passing(
            _progress, campaign_id, request, now=self._store.clock.now()
        )
        self._store.changes.notify(campaign_id)
        return gateway_pb2.ReportProgressResponse(withdrawal=withdrawal)

    async def UploadSnapshot(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.UploadSnapshotRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.UploadSnapshotResponse:
        vin = check_vin(request.vin, field="vin")
        snapshot = check_snapshot(from_snapshot(request.snapshot, vin=vin))
        await self._store.database.write(
            snapshots.insert,
            snapshot,
            now=self._store.clock.now(),
            number=_number(request.sequence),
        )
        return gateway_pb2.UploadSnapshotResponse()

    async def SubmitDiagnosticResult(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.SubmitDiagnosticResultRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.SubmitDiagnosticResultResponse:
        vin = check_vin(request.vin, field="vin")
        named_vin, job_id = diagnostic_job_of(request.job, field="job")
        _check_own(named_vin, vin, request.job, field="job")
        await self._store.database.write(
            diagnostic_jobs.finish,
            vin,
            job_id,
            check_result(from_result(request.result, vin=vin)),
            now=self._store.clock.now(),
        )
        return gateway_pb2.SubmitDiagnosticResultResponse()

    async def UploadSignals(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.UploadSignalsRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.UploadSignalsResponse:
        vin = check_vin(request.vin, field="vin")
        name = request.batch.subscription
        named_vin, identifier = signal_subscription_of(name, field="batch.subscription")
        _check_own(named_vin, vin, name, field="batch.subscription")
        await self._store.database.write(
            signals.insert_batch,
            vin,
            identifier,
            check_batch(from_batch(request.batch)),
            number=_number(request.sequence),
        )
        self._store.changes.notify(name)
        return gateway_pb2.UploadSignalsResponse()

    async def ReportGap(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.ReportGapRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.ReportGapResponse:
        vin = check_vin(request.vin, field="vin")
        gap = check_gap(from_gap(request.gap, vin=vin))
        now = self._store.clock.now()
        await self._store.database.write(diagnostic_plans.insert_gap, vin, gap, now=now)
        return gateway_pb2.ReportGapResponse()

    async def SubmitReport(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.SubmitReportRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.SubmitReportResponse:
        vin = check_vin(request.vin, field="vin")
        report = from_report(request.report, vin=vin)
        outcome, reason = await self._store.database.write(
            reports.submit, vin, report, now=self._store.clock.now()
        )
        self._store.changes.notify(report.campaign_id)
        return gateway_pb2.SubmitReportResponse(outcome=to_outcome(outcome), reason=reason)


def _check_in(
    connection: Connection,
    vin: str,
    inventories: Mapping[str, EcuInventory],
    *,
    unfinished: str,
    now: datetime,
    new_nonce: NewNonce,
) -> tuple[gateway_pb2.CheckInResponse, set[str]]:
    def update(ecu: Ecu) -> Ecu:
        inventory = inventories.get(ecu.name)
        return ecu if inventory is None else take_inventory(ecu, inventory, now=now)

    vehicle = vehicles.check_in(connection, vin, now=now, update=update)
    for name in inventories.keys() - {ecu.name for ecu in vehicle.ecus}:
        _log.warning("inventory-of-unregistered-ecu vin=%s ecu=%s", vin, name)
    orders = to_orders(
        diagnostic_plans.get(connection, vin), signals.fetch(connection, vin, now=now), vin
    )
    answer = gateway_pb2.CheckInResponse(diagnostic_orders=orders)
    if unfinished:
        assignment = campaigns.get_assignment(connection, unfinished, vin)
        withdrawal = to_withdrawal(unfinished, assignment)
        if withdrawal is not None:
            answer.withdrawal.CopyFrom(withdrawal)
        return answer, set()
    found, changed = campaigns.next_offer(connection, vin, now=now, new_nonce=new_nonce)
    remote = remote_sessions.waiting_or_open(connection, vin, now=now)
    if remote is not None and remote.state is RemoteState.WAITING:
        answer.remote_session.CopyFrom(to_session_offer(remote, now=now))
    if found is None:
        # While a vehicle updates, its jobs wait here, where they can be taken back.
        jobs = diagnostic_jobs.fetch(connection, vin, now=now)
        answer.diagnostic_jobs.extend(to_job(job) for job in jobs)
        return answer, changed
    campaign, assignment = found
    release = releases.get(connection, campaign.release_id)
    answer.offer.CopyFrom(to_offer(campaign, assignment, release))
    return answer, changed


def _number(sequence: int) -> int | None:
    """The gateway's number of a message, None where it does not number."""
    if sequence >= _SEQUENCE_LIMIT:
        raise InvalidFieldError("sequence", f"{sequence}; below 2^63")
    return sequence or None


def _check_own(named_vin: str, vin: str, name: str, *, field: str) -> None:
    if named_vin != vin:
        raise InvalidFieldError(field, f"{name!r} is not of vehicle {vin}")


def _progress(
    connection: Connection,
    campaign_id: str,
    request: gateway_pb2.ReportProgressRequest,
    *,
    now: datetime,
) -> gateway_pb2.CampaignWithdrawal | None:
    vehicles.get(connection, request.vin)
    assignment = campaigns.get_assignment(connection, campaign_id, request.vin)
    reported = from_phase(request.phase, field="phase")
    progress = from_progress(request.ecus)
    if request.sequence <= assignment.progress_sequence or not assignment.under_way:
        return to_withdrawal(campaign_id, assignment)
    phase = advance(assignment.phase, reported)
    withdrawal = answered(assignment.withdrawal, phase, assignment.outcome)
    campaigns.save_progress(
        connection,
        campaign_id,
        request.vin,
        phase=phase,
        withdrawal=withdrawal,
        sequence=request.sequence,
        ecus=progress,
        now=now,
    )
    return to_withdrawal(campaign_id, replace(assignment, withdrawal=withdrawal))
