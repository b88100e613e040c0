"""GatewayService, the managing half: check in, progress, snapshots, final reports."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from grpc import aio
from sqlalchemy import Connection

from cloud.fleet.campaigns import advance
from cloud.fleet.diagnostics import check_snapshot
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.evidence import EcuInventory, take_inventory
from cloud.fleet.names import campaign_id_of, check_vin
from cloud.fleet.vehicles import Ecu
from cloud.messages.campaigns import from_phase, from_progress, to_outcome
from cloud.messages.diagnostics import from_snapshot
from cloud.messages.evidence import from_inventory, from_report, to_offer
from cloud.messages.times import to_duration
from cloud.store import campaigns, releases, reports, snapshots, vehicles
from cloud.store.store import Store
from protocols.fleet.v1 import gateway_pb2

_log = logging.getLogger(__name__)

_SEQUENCE_LIMIT: Final = 1 << 63


class GatewayManagement:
    """`poll_s`: seconds until a vehicle shall check in again."""

    def __init__(self, store: Store, *, poll_s: float) -> None:
        self._store = store
        self._poll_s = poll_s

    async def CheckIn(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.CheckInRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.CheckInResponse:
        vin = check_vin(request.vin, field="vin")
        if request.unfinished_campaign:
            campaign_id_of(request.unfinished_campaign, field="unfinished_campaign")
        reported = [
            from_inventory(message, field=f"ecus[{index}]")
            for index, message in enumerate(request.ecus)
        ]
        inventories = {inventory.ecu: inventory for inventory in reported}
        if len(inventories) != len(request.ecus):
            raise InvalidFieldError("ecus", "an ECU is named twice")
        offer = await self._store.database.write(
            _check_in, vin, inventories, now=self._store.clock.now()
        )
        return gateway_pb2.CheckInResponse(offer=offer, next_check_in=to_duration(self._poll_s))

    async def ReportProgress(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.ReportProgressRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> gateway_pb2.ReportProgressResponse:
        campaign_id = campaign_id_of(request.campaign, field="campaign")
        check_vin(request.vin, field="vin")
        if request.sequence >= _SEQUENCE_LIMIT:
            raise InvalidFieldError("sequence", f"{request.sequence}; below 2^63")
        await self._store.database.write_passing(
            _progress, campaign_id, request, now=self._store.clock.now()
        )
        self._store.changes.notify(campaign_id)
        return gateway_pb2.ReportProgressResponse()

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
    connection: Connection, vin: str, inventories: Mapping[str, EcuInventory], *, now: datetime
) -> gateway_pb2.Offer | None:
    def update(ecu: Ecu) -> Ecu:
        inventory = inventories.get(ecu.name)
        return ecu if inventory is None else take_inventory(ecu, inventory, now=now)

    vehicle = vehicles.check_in(connection, vin, now=now, update=update)
    for name in inventories.keys() - {ecu.name for ecu in vehicle.ecus}:
        _log.warning("inventory-of-unregistered-ecu vin=%s ecu=%s", vin, name)
    if (found := campaigns.current(connection, vin)) is None:
        return None
    campaign, assignment = found
    release = releases.get(connection, campaign.release_id)
    return to_offer(campaign, assignment, release_version=release.version)


def _progress(
    connection: Connection,
    campaign_id: str,
    request: gateway_pb2.ReportProgressRequest,
    *,
    now: datetime,
) -> None:
    vehicles.get(connection, request.vin)
    assignment = campaigns.get_assignment(connection, campaign_id, request.vin)
    reported = from_phase(request.phase, field="phase")
    progress = from_progress(request.ecus)
    if request.sequence <= assignment.progress_sequence or not assignment.under_way:
        return
    campaigns.save_progress(
        connection,
        campaign_id,
        request.vin,
        phase=advance(assignment.phase, reported),
        sequence=request.sequence,
        ecus=progress,
        now=now,
    )
