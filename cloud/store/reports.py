"""Rows of final reports: taken once, judged once, kept with their judgement."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from cloud.fleet.campaigns import Outcome, Phase
from cloud.fleet.errors import NotFoundError, PreconditionError
from cloud.fleet.evidence import Judgement, UpdateReport, after_report, judge_report
from cloud.fleet.names import campaign_name, vehicle_name
from cloud.store import campaigns, documents, tables, vehicles
from cloud.store.rows import to_us


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedReport:
    vin: str
    report: UpdateReport
    judgement: Judgement


def submit(
    connection: Connection, vin: str, report: UpdateReport, *, now: datetime
) -> tuple[Outcome, str]:
    """Judge and keep a report, and end the vehicle's part; return the outcome and its reason.

    A second report changes nothing and gets the first one's answer. `NotFoundError` names an
    unknown campaign or vehicle, `PreconditionError` a campaign that offered it nothing.
    """
    vehicle = vehicles.get(connection, vin)
    assignment = campaigns.get_assignment(connection, report.campaign_id, vin)
    if assignment.phase is Phase.UNSPECIFIED or not assignment.nonce:
        raise PreconditionError(
            "RELEASE_WAS_OFFERED",
            f"{campaign_name(report.campaign_id)}/{vehicle_name(vin)}",
            "the campaign has offered this vehicle nothing",
        )
    if assignment.phase is Phase.DONE and _kept(connection, report.campaign_id, vin):
        return assignment.outcome, assignment.reason
    judgement = judge_report(report, assignment, vehicle)
    connection.execute(
        tables.report.insert(),
        {
            "campaign_id": report.campaign_id,
            "vin": vin,
            "received_us": to_us(now),
            "document": documents.dump(report),
            "judgement": documents.dump(judgement),
        },
    )
    vehicles.save_ecus(connection, vin, after_report(vehicle, report, judgement, now=now))
    campaigns.finish_assignment(
        connection,
        report.campaign_id,
        vin,
        outcome=judgement.outcome,
        reason=judgement.reason,
        now=now,
    )
    return judgement.outcome, judgement.reason


def _kept(connection: Connection, campaign_id: str, vin: str) -> bool:
    """Whether a report ended the vehicle's part; a withdrawal may have ended it without one."""
    query = select(tables.report.c.vin).where(
        tables.report.c.campaign_id == campaign_id, tables.report.c.vin == vin
    )
    return connection.execute(query).one_or_none() is not None


def of_campaign(connection: Connection, campaign_id: str) -> dict[str, JudgedReport]:
    """Return the reports of a campaign by VIN; `NotFoundError` if there is no such campaign."""
    rows = connection.execute(
        select(tables.report).where(tables.report.c.campaign_id == campaign_id)
    ).all()
    if not rows and not campaigns.exists(connection, campaign_id):
        raise NotFoundError("campaign", campaign_name(campaign_id))
    return {
        row.vin: JudgedReport(
            vin=row.vin,
            report=documents.load(UpdateReport, row.document),
            judgement=documents.load(Judgement, row.judgement),
        )
        for row in rows
    }
