"""ReportService: builds the report's model from the store and sends what the renderers make."""

import asyncio
from collections.abc import AsyncIterator

from grpc import aio
from sqlalchemy import Connection

from cloud.fleet.campaigns import Assignment, Campaign, Change, Outcome, Phase
from cloud.fleet.diagnostics import Snapshot
from cloud.fleet.errors import InvalidFieldError, PreconditionError
from cloud.fleet.evidence import EcuJudgement, EcuResult
from cloud.fleet.names import campaign_id_of, campaign_name
from cloud.fleet.vehicles import Vehicle
from cloud.reports import RENDERERS, model
from cloud.store import campaigns, releases, reports, snapshots, vehicles
from cloud.store.reports import JudgedReport
from cloud.store.store import Store
from protocols.fleet.v1 import reports_pb2
from protocols.fleet.v1.reports_pb2_grpc import ReportServiceServicer

#: Bytes in one message.
CHUNK_SIZE = 256 * 1024
_FORMATS = {
    reports_pb2.REPORT_FORMAT_HTML: "html",
    reports_pb2.REPORT_FORMAT_JSON: "json",
    reports_pb2.REPORT_FORMAT_CSV: "csv",
}
_OUTCOMES = {
    Outcome.UNSPECIFIED: model.Outcome.PENDING,
    Outcome.UPDATED: model.Outcome.UPDATED,
    Outcome.ROLLED_BACK: model.Outcome.ROLLED_BACK,
    Outcome.REFUSED: model.Outcome.REFUSED,
    Outcome.FAILED_SAFE: model.Outcome.FAILED_SAFE,
}


class ReportService(ReportServiceServicer):
    """`clock` and `seed` are told in every report: "virtual" or "real", and the run's seed."""

    def __init__(self, store: Store, *, clock: str, seed: int | None) -> None:
        self._store = store
        self._clock = clock
        self._seed = seed

    async def ExportReport(  # noqa: N802 the service's word
        self,
        request: reports_pb2.ExportReportRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[reports_pb2.ExportReportResponse]:
        campaign_id = campaign_id_of(request.campaign, field="campaign")
        if (name := _FORMATS.get(request.format)) is None:
            raise InvalidFieldError("format", f"{request.format} is none of HTML, JSON and CSV")
        report = await self._store.database.read(
            build_report, campaign_id, clock=self._clock, seed=self._seed
        )
        content = await asyncio.to_thread(RENDERERS[name], report)
        for start in range(0, len(content), CHUNK_SIZE):
            yield reports_pb2.ExportReportResponse(chunk=content[start : start + CHUNK_SIZE])


def build_report(
    connection: Connection, campaign_id: str, *, clock: str, seed: int | None
) -> model.CampaignReport:
    """Return all that is known of a campaign; `PreconditionError` while no vehicle is done."""
    campaign = campaigns.get(connection, campaign_id)
    if not any(assignment.phase is Phase.DONE for assignment in campaign.assignments):
        raise PreconditionError(
            "A_VEHICLE_HAS_FINISHED", campaign_name(campaign_id), "no vehicle has finished yet"
        )
    release = releases.get(connection, campaign.release_id)
    judged = reports.of_campaign(connection, campaign_id)
    known = {
        vehicle.vin: vehicle
        for vehicle in vehicles.get_many(connection, [one.vin for one in campaign.assignments])
    }
    return model.CampaignReport(
        campaign_id=campaign_id,
        release_id=campaign.release_id,
        release_version=release.version,
        release_description=release.description,
        clock=clock,
        seed=seed,
        create_time=campaign.create_time,
        start_time=campaign.start_time,
        finish_time=campaign.finish_time,
        vehicles=tuple(
            _vehicle(connection, campaign, assignment, known[assignment.vin], judged)
            for assignment in campaign.assignments
        ),
    )


def _vehicle(
    connection: Connection,
    campaign: Campaign,
    assignment: Assignment,
    vehicle: Vehicle,
    judged: dict[str, JudgedReport],
) -> model.VehicleReport:
    found = judged.get(assignment.vin)
    report = found.report if found else None
    judgements = {one.ecu: one for one in found.judgement.ecus} if found else {}
    return model.VehicleReport(
        vin=assignment.vin,
        model=vehicle.model,
        outcome=_OUTCOMES[assignment.outcome],
        reason=assignment.reason,
        start=(report.start_time if report else None) or campaign.start_time,
        finish=report.finish_time if report else assignment.update_time,
        bytes_sent=report.bytes_sent if report else 0,
        bytes_received=report.bytes_received if report else 0,
        ecus=tuple(
            _ecu(
                change,
                vehicle,
                result=report.result(change.ecu) if report else None,
                judgement=judgements.get(change.ecu),
            )
            for change in assignment.changes
        ),
        before=_snapshot(connection, vehicle.vin, report.snapshot_before if report else None),
        after=_snapshot(connection, vehicle.vin, report.snapshot_after if report else None),
        steps=tuple(
            model.Step(
                start=step.start,
                seconds=step.duration.total_seconds(),
                ecu=step.ecu,
                step=step.step,
                detail=step.detail,
                failed=step.failed,
            )
            for step in (report.steps if report else ())
        ),
        conditions=report.conditions if report else (),
        consents=report.consents if report else (),
    )


def _ecu(
    change: Change,
    vehicle: Vehicle,
    *,
    result: EcuResult | None,
    judgement: EcuJudgement | None,
) -> model.EcuUpdate:
    ecu = vehicle.ecu(change.ecu)
    stated = result.read_back.image_sha256.hex() if result and result.read_back else ""
    return model.EcuUpdate(
        name=change.ecu,
        hardware_id=change.image.hardware_id,
        wire=ecu.wire if ecu else "",
        single_slot=ecu.single_slot if ecu else False,
        version_before=(result.version_before if result else "") or change.version_before,
        version_after=result.version_after if result else "",
        software_number_after=result.software_number_after if result else "",
        supplier_version_after=result.supplier_version_after if result else "",
        read_back=judgement.read_back if judgement else False,
        read_back_sha256=stated,
        image_sha256=change.image.image_sha256.hex(),
        image_bytes=change.image.image_size,
        transfer_seconds=result.transfer_s if result else 0.0,
        bound_seconds=result.bound_s if result else 0.0,
        staging_seconds=result.staging_s if result else 0.0,
        out_of_use_seconds=result.out_of_use_s if result else 0.0,
        error=result.error if result else "",
    )


def _snapshot(connection: Connection, vin: str, snapshot_id: str | None) -> Snapshot | None:
    if snapshot_id is None:
        return None
    return snapshots.find(connection, vin, snapshot_id)
