"""GatewayService, the managing half: check in, progress, snapshots, final reports."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from grpc import aio
from sqlalchemy import Connection

from cloud.fleet.campaigns import advance, answered
from cloud.fleet.diagnostics import check_snapshot
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.evidence import EcuInventory, take_inventory
from cloud.fleet.names import campaign_id_of, check_vin
from cloud.fleet.vehicles import Ecu
from cloud.messages.campaigns import from_phase, from_progress, to_outcome
from cloud.messages.diagnostics import from_snapshot
from cloud.messages.evidence import from_inventory, from_report, to_offer, to_withdrawal
from cloud.messages.times import to_duration
from cloud.store import campaigns, releases, reports, snapshots, vehicles
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
        await self._store.database.write(snapshots.insert, snapshot, now=self._store.clock.now())
        return gateway_pb2.UploadSnapshotResponse()

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
    if unfinished:
        assignment = campaigns.get_assignment(connection, unfinished, vin)
        withdrawal = to_withdrawal(unfinished, assignment)
        return gateway_pb2.CheckInResponse(withdrawal=withdrawal), set()
    found, changed = campaigns.next_offer(connection, vin, now=now, new_nonce=new_nonce)
    if found is None:
        return gateway_pb2.CheckInResponse(), changed
    campaign, assignment = found
    release = releases.get(connection, campaign.release_id)
    offer = to_offer(campaign, assignment, release_version=release.version)
    return gateway_pb2.CheckInResponse(offer=offer), changed


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
