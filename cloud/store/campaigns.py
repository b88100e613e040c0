"""Rows of campaigns and their assignments."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, Update, and_, func, select

from cloud.fleet.campaigns import (
    NOT_UNDER_WAY,
    OPEN_STATES,
    Assignment,
    Campaign,
    CampaignState,
    Change,
    EcuProgress,
    Outcome,
    Phase,
    Withdrawal,
    answered,
)
from cloud.fleet.errors import AlreadyExistsError, NotFoundError, PreconditionError
from cloud.fleet.names import campaign_name, vehicle_name
from cloud.fleet.releases import Image
from cloud.fleet.verdicts import VehicleVerdict, Verdict, judge_vehicle
from cloud.store import releases, tables, vehicles
from cloud.store.now import from_microseconds
from cloud.store.rows import AnyRow, Page, from_us, page_of, to_us

#: Makes the nonce of one assignment from campaign and VIN.
NewNonce = Callable[[str, str], bytes]

#: Verdict at the start -> phase, outcome.
_AT_START: Final = {
    Verdict.UPDATE: (Phase.OFFERED, Outcome.UNSPECIFIED),
    Verdict.UP_TO_DATE: (Phase.DONE, Outcome.UPDATED),
    Verdict.REFUSED: (Phase.DONE, Outcome.REFUSED),
}
_UP_TO_DATE: Final = "every ECU that the release has an image for ran it already"


def create(
    connection: Connection,
    *,
    campaign_id: str,
    release_id: str,
    vins: Sequence[str],
    now: datetime,
) -> Campaign:
    """Make a draft; an empty `campaign_id` takes the next free one of the release.

    `NotFoundError` names an unknown release or VIN, `AlreadyExistsError` a campaign that exists.
    """
    releases.get(connection, release_id)
    known = {vehicle.vin for vehicle in vehicles.get_many(connection, vins)}
    for vin in vins:
        if vin not in known:
            raise NotFoundError("vehicle", vehicle_name(vin))
    campaign_id = campaign_id or _next_id(connection, release_id)
    if exists(connection, campaign_id):
        raise AlreadyExistsError("campaign", campaign_name(campaign_id), "there is one by this id")
    connection.execute(
        tables.campaign.insert(),
        {
            "campaign_id": campaign_id,
            "release_id": release_id,
            "state": int(CampaignState.DRAFT),
            "created_us": to_us(now),
        },
    )
    connection.execute(
        tables.assignment.insert(),
        [
            {
                "campaign_id": campaign_id,
                "vin": vin,
                "position": position,
                "phase": int(Phase.UNSPECIFIED),
                "outcome": int(Outcome.UNSPECIFIED),
                "reason": "",
                "nonce": b"",
                "progress_sequence": -1,
            }
            for position, vin in enumerate(vins)
        ],
    )
    return get(connection, campaign_id)


def get(connection: Connection, campaign_id: str) -> Campaign:
    """Return one campaign; `NotFoundError` names it."""
    row = connection.execute(
        tables.campaign.select().where(tables.campaign.c.campaign_id == campaign_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError("campaign", campaign_name(campaign_id))
    return _campaign(connection, row)


def list_page(connection: Connection, *, after: str | None, size: int) -> Page[Campaign]:
    """Return campaigns, newest first, those older than the key `after`."""
    query = tables.campaign.select().order_by(tables.campaign.c.sequence.desc()).limit(size + 1)
    if after is not None:
        query = query.where(tables.campaign.c.sequence < int(after))
    rows = connection.execute(query).all()
    return page_of([(str(row.sequence), _campaign(connection, row)) for row in rows], size=size)


def verdicts(connection: Connection, campaign_id: str) -> tuple[VehicleVerdict, ...]:
    """Judge every vehicle of a campaign, in the campaign's order; changes nothing."""
    campaign = get(connection, campaign_id)
    return _verdicts(connection, campaign, [one.vin for one in campaign.assignments])


def _verdicts(
    connection: Connection, campaign: Campaign, vins: Sequence[str]
) -> tuple[VehicleVerdict, ...]:
    release = releases.get(connection, campaign.release_id)
    known = {vehicle.vin: vehicle for vehicle in vehicles.get_many(connection, vins)}

    def find_image(hardware_id: str, image_sha256: bytes) -> Image | None:
        return releases.find_image(connection, hardware_id, image_sha256)

    return tuple(
        judge_vehicle(
            replace(known[vin], campaign_id=None)
            if known[vin].campaign_id == campaign.campaign_id
            else known[vin],
            release,
            find_image=find_image,
        )
        for vin in vins
    )


def start(
    connection: Connection, campaign_id: str, *, now: datetime, new_nonce: NewNonce
) -> Campaign:
    """Offer the release to every vehicle whose verdict allows it; the others are done.

    A vehicle's older campaigns are taken back where it has not committed; while one of them is
    under way, the vehicle waits. `PreconditionError` if the campaign was started before.
    """
    campaign = get(connection, campaign_id)
    if campaign.state is not CampaignState.DRAFT:
        raise PreconditionError(
            "CAMPAIGN_IS_DRAFT", campaign_name(campaign_id), "was started before"
        )
    connection.execute(
        tables.campaign.update()
        .where(tables.campaign.c.campaign_id == campaign_id)
        .values(state=int(CampaignState.RUNNING), started_us=to_us(now))
    )
    for verdict in verdicts(connection, campaign_id):
        # A vehicle that would be refused anyway goes on with what it has.
        refused = verdict.verdict is Verdict.REFUSED
        if refused or _supersede(connection, verdict.vin, campaign_id, now=now):
            _assign(connection, campaign, verdict, now=now, new_nonce=new_nonce)
        else:
            _wait(connection, campaign_id, verdict.vin, now=now)
    finish_if_done(connection, campaign_id, now=now)
    return get(connection, campaign_id)


def cancel(connection: Connection, campaign_id: str, *, now: datetime) -> Campaign:
    """Take the release back from every vehicle that has not committed; again changes nothing.

    `PreconditionError` if the campaign has finished, or if every vehicle that is not done has
    committed: it names them.
    """
    campaign = get(connection, campaign_id)
    if campaign.cancel_time is not None:
        return campaign
    name = campaign_name(campaign_id)
    if campaign.finished:
        raise PreconditionError("CAMPAIGN_IS_OPEN", name, "has finished")
    left = [one for one in campaign.assignments if one.phase is not Phase.DONE]
    if all(one.committed for one in left):
        vins = ", ".join(one.vin for one in left)
        raise PreconditionError(
            "NOT_COMMITTED", name, f"{vins} has committed: it goes forward, and nothing goes back"
        )
    connection.execute(
        tables.campaign.update()
        .where(tables.campaign.c.campaign_id == campaign_id)
        .values(state=int(CampaignState.CANCELLING), cancelled_us=to_us(now))
    )
    for assignment in left:
        _withdraw(connection, campaign_id, assignment, now=now)
    finish_if_done(connection, campaign_id, now=now)
    return get(connection, campaign_id)


def superseded(connection: Connection, campaign_id: str) -> tuple[str, ...]:
    """Return the campaigns from which this one has taken vehicles."""
    query = select(tables.assignment.c.campaign_id).where(
        tables.assignment.c.superseded_by == campaign_id
    )
    return tuple(connection.execute(query.distinct()).scalars())


def _supersede(connection: Connection, vin: str, newer: str, *, now: datetime) -> bool:
    """Take the vehicle's older campaigns back; return whether none is under way any more."""
    query = _of_vehicle(vin).where(
        tables.campaign.c.campaign_id != newer,
        tables.assignment.c.phase.notin_([Phase.UNSPECIFIED, Phase.DONE]),
    )
    for row in connection.execute(query).all():
        older = get_assignment(connection, row.campaign_id, vin)
        _withdraw(connection, row.campaign_id, replace(older, superseded_by=newer), now=now)
    return current(connection, vin) is None


def _withdraw(
    connection: Connection, campaign_id: str, assignment: Assignment, *, now: datetime
) -> None:
    """Take the release back: at once where the vehicle cannot have begun."""
    if assignment.withdrawal is not Withdrawal.UNSPECIFIED:
        return
    requested = answered(Withdrawal.REQUESTED, assignment.phase, assignment.outcome)
    connection.execute(
        _update_assignment(campaign_id, assignment.vin).values(
            withdrawal=int(requested),
            superseded_by=assignment.superseded_by,
            updated_us=to_us(now),
        )
    )
    if not assignment.under_way or assignment.offer_time is None:
        _end_unbegun(connection, campaign_id, assignment, now=now)


def _end_unbegun(
    connection: Connection, campaign_id: str, assignment: Assignment, *, now: datetime
) -> None:
    finish_assignment(
        connection,
        campaign_id,
        assignment.vin,
        outcome=Outcome.REFUSED,
        reason=f"{assignment.withdrawal_reason} before the vehicle had begun",
        now=now,
    )


def _wait(connection: Connection, campaign_id: str, vin: str, *, now: datetime) -> None:
    connection.execute(
        _update_assignment(campaign_id, vin).values(phase=int(Phase.WAITING), updated_us=to_us(now))
    )


def next_offer(
    connection: Connection, vin: str, *, now: datetime, new_nonce: NewNonce
) -> tuple[tuple[Campaign, Assignment] | None, set[str]]:
    """Return what a vehicle that has nothing under way is offered, and which campaigns changed.

    What was taken back from it has ended then: it had not begun. A campaign that waited for that
    is judged now, by the inventory that has just come; one that was offered and not begun ends
    where another part has come into the vehicle since.
    """
    changed: set[str] = set()
    while (found := current(connection, vin)) is not None:
        campaign, assignment = found
        if (assignment.withdrawal, assignment.phase) != (Withdrawal.REQUESTED, Phase.OFFERED):
            break  # Begun, and the gateway knows of it no more: it takes it up and goes back.
        _end_unbegun(connection, campaign.campaign_id, assignment, now=now)
        changed.add(campaign.campaign_id)
    if found is None and (waiting := _waiting(connection, vin)) is not None:
        for verdict in _verdicts(connection, waiting, [vin]):
            _assign(connection, waiting, verdict, now=now, new_nonce=new_nonce)
        finish_if_done(connection, waiting.campaign_id, now=now)
        changed.add(waiting.campaign_id)
        found = current(connection, vin)
    if found is not None and (reason := _other_part(connection, *found)):
        finish_assignment(
            connection,
            found[0].campaign_id,
            vin,
            outcome=Outcome.REFUSED,
            reason=reason,
            now=now,
        )
        changed.add(found[0].campaign_id)
        found = None
    if found is not None and found[1].offer_time is None:
        connection.execute(
            _update_assignment(found[0].campaign_id, vin).values(offered_us=to_us(now))
        )
    return found, changed


def _other_part(connection: Connection, campaign: Campaign, assignment: Assignment) -> str:
    """Why what is offered is not for the parts that are in the vehicle now; empty if it is.

    One that does not answer at the moment is waited for.
    """
    vehicle = vehicles.get(connection, assignment.vin)
    is_other = any(
        ecu.reported_serial_number not in {"", ecu.serial_number}
        or ecu.reported_hardware_id not in {"", ecu.hardware_id}
        for ecu in vehicle.ecus
    )
    if assignment.phase is not Phase.OFFERED or not is_other:
        return ""
    (verdict,) = _verdicts(connection, campaign, [assignment.vin])
    return "; ".join(verdict.reasons) if verdict.verdict is Verdict.REFUSED else ""


def _waiting(connection: Connection, vin: str) -> Campaign | None:
    row = connection.execute(
        _of_vehicle(vin).where(tables.assignment.c.phase == Phase.WAITING)
    ).first()
    return None if row is None else _campaign(connection, row, with_assignments=False)


def _of_vehicle(vin: str) -> Select[Any]:
    """The campaigns that are open and have this vehicle, oldest first."""
    return (
        select(tables.campaign)
        .join(
            tables.assignment,
            tables.campaign.c.campaign_id == tables.assignment.c.campaign_id,
        )
        .where(tables.assignment.c.vin == vin, tables.campaign.c.state.in_(OPEN_STATES))
        .order_by(tables.campaign.c.sequence)
    )


def _assign(
    connection: Connection,
    campaign: Campaign,
    verdict: VehicleVerdict,
    *,
    now: datetime,
    new_nonce: NewNonce,
) -> None:
    phase, outcome = _AT_START[verdict.verdict]
    offered = phase is Phase.OFFERED
    reason = _UP_TO_DATE if verdict.verdict is Verdict.UP_TO_DATE else "; ".join(verdict.reasons)
    connection.execute(
        _update_assignment(campaign.campaign_id, verdict.vin).values(
            phase=int(phase),
            outcome=int(outcome),
            reason="" if offered else reason,
            nonce=new_nonce(campaign.campaign_id, verdict.vin) if offered else b"",
            updated_us=to_us(now),
        )
    )
    if offered:
        connection.execute(
            tables.change.insert(),
            [
                {
                    "campaign_id": campaign.campaign_id,
                    "vin": verdict.vin,
                    "position": position,
                    "release_id": campaign.release_id,
                    **_change_row(connection, change),
                }
                for position, change in enumerate(verdict.changes)
            ],
        )


def _change_row(connection: Connection, change: Change) -> dict[str, object]:
    present = change.present
    return {
        "ecu": change.ecu,
        "hardware_id": change.image.hardware_id,
        "version_before": change.version_before,
        "sha256_before": change.sha256_before,
        "present_release_id": None if present is None else _release_with(connection, present),
        "present_hardware_id": None if present is None else present.hardware_id,
    }


def _release_with(connection: Connection, image: Image) -> str:
    release_id: str = connection.execute(
        select(tables.image.c.release_id)
        .join(tables.release, tables.release.c.release_id == tables.image.c.release_id)
        .where(
            tables.image.c.image_sha256 == image.image_sha256,
            tables.image.c.hardware_id == image.hardware_id,
        )
        .order_by(tables.release.c.sequence.desc())
        .limit(1)
    ).scalar_one()
    return release_id


def current(connection: Connection, vin: str) -> tuple[Campaign, Assignment] | None:
    """Return the running campaign that a vehicle has not finished, and its part; the oldest."""
    row = connection.execute(
        _of_vehicle(vin).where(tables.assignment.c.phase.notin_(NOT_UNDER_WAY)).limit(1)
    ).one_or_none()
    if row is None:
        return None
    (assignment,) = _assignments(connection, row.campaign_id, vin=vin)
    return _campaign(connection, row, with_assignments=False), assignment


def get_assignment(connection: Connection, campaign_id: str, vin: str) -> Assignment:
    """Return a vehicle's part in a campaign; `NotFoundError` names what is missing."""
    if not exists(connection, campaign_id):
        raise NotFoundError("campaign", campaign_name(campaign_id))
    found = _assignments(connection, campaign_id, vin=vin)
    if not found:
        raise NotFoundError("assignment", f"{campaign_name(campaign_id)}/{vehicle_name(vin)}")
    return found[0]


def offers_file(connection: Connection, vin: str, file_sha256: bytes) -> int | None:
    """Return the size of a file that a running campaign offers to a vehicle, else None."""
    offered = and_(
        tables.image.c.release_id == tables.change.c.release_id,
        tables.image.c.hardware_id == tables.change.c.hardware_id,
    )
    present = and_(
        tables.image.c.release_id == tables.change.c.present_release_id,
        tables.image.c.hardware_id == tables.change.c.present_hardware_id,
    )
    return connection.execute(
        select(tables.image.c.file_size)
        .select_from(tables.change)
        .join(tables.image, offered | present)
        .join(
            tables.assignment,
            and_(
                tables.assignment.c.campaign_id == tables.change.c.campaign_id,
                tables.assignment.c.vin == tables.change.c.vin,
            ),
        )
        .join(
            tables.campaign,
            tables.campaign.c.campaign_id == tables.assignment.c.campaign_id,
        )
        .where(
            tables.change.c.vin == vin,
            tables.image.c.file_sha256 == file_sha256,
            tables.assignment.c.phase.notin_(NOT_UNDER_WAY),
            tables.campaign.c.state.in_(OPEN_STATES),
        )
        .limit(1)
    ).scalar_one_or_none()


def save_progress(
    connection: Connection,
    campaign_id: str,
    vin: str,
    *,
    phase: Phase,
    withdrawal: Withdrawal,
    sequence: int,
    ecus: Sequence[EcuProgress],
    now: datetime,
) -> None:
    connection.execute(
        _update_assignment(campaign_id, vin).values(
            phase=int(phase),
            withdrawal=int(withdrawal),
            progress_sequence=sequence,
            updated_us=to_us(now),
        )
    )
    connection.execute(
        tables.progress.delete().where(
            tables.progress.c.campaign_id == campaign_id, tables.progress.c.vin == vin
        )
    )
    rows = [
        {
            "campaign_id": campaign_id,
            "vin": vin,
            "ecu": ecu.ecu,
            "position": position,
            "step": ecu.step,
            "bytes_done": ecu.bytes_done,
            "bytes_total": ecu.bytes_total,
            "remaining_s": ecu.remaining_s,
        }
        for position, ecu in enumerate(ecus)
    ]
    if rows:
        connection.execute(tables.progress.insert(), rows)


def finish_assignment(
    connection: Connection,
    campaign_id: str,
    vin: str,
    *,
    outcome: Outcome,
    reason: str,
    now: datetime,
) -> None:
    before = get_assignment(connection, campaign_id, vin).withdrawal
    connection.execute(
        _update_assignment(campaign_id, vin).values(
            phase=int(Phase.DONE),
            outcome=int(outcome),
            reason=reason,
            withdrawal=int(answered(before, Phase.DONE, outcome)),
            updated_us=to_us(now),
        )
    )
    finish_if_done(connection, campaign_id, now=now)


def finish_if_done(connection: Connection, campaign_id: str, *, now: datetime) -> None:
    """Finish a running campaign whose every vehicle is done."""
    open_assignments = connection.execute(
        select(func.count()).where(
            tables.assignment.c.campaign_id == campaign_id,
            tables.assignment.c.phase != Phase.DONE,
        )
    ).scalar_one()
    if open_assignments == 0:
        connection.execute(
            tables.campaign.update()
            .where(
                tables.campaign.c.campaign_id == campaign_id,
                tables.campaign.c.state.in_(OPEN_STATES),
            )
            .values(state=int(CampaignState.FINISHED), finished_us=to_us(now))
        )


def exists(connection: Connection, campaign_id: str) -> bool:
    query = select(tables.campaign.c.sequence).where(tables.campaign.c.campaign_id == campaign_id)
    return connection.execute(query).one_or_none() is not None


def _next_id(connection: Connection, release_id: str) -> str:
    stem = release_id[:50].rstrip(".-")
    number = 1
    while exists(connection, f"{stem}-{number}"):
        number += 1
    return f"{stem}-{number}"


def _update_assignment(campaign_id: str, vin: str) -> Update:
    return tables.assignment.update().where(
        tables.assignment.c.campaign_id == campaign_id, tables.assignment.c.vin == vin
    )


def _campaign(connection: Connection, row: AnyRow, *, with_assignments: bool = True) -> Campaign:
    return Campaign(
        campaign_id=row.campaign_id,
        release_id=row.release_id,
        state=CampaignState(row.state),
        assignments=_assignments(connection, row.campaign_id) if with_assignments else (),
        create_time=from_microseconds(row.created_us),
        start_time=from_us(row.started_us),
        finish_time=from_us(row.finished_us),
        cancel_time=from_us(row.cancelled_us),
    )


def _assignments(
    connection: Connection, campaign_id: str, *, vin: str | None = None
) -> tuple[Assignment, ...]:
    def rows_of(table: Table) -> Sequence[AnyRow]:
        query = table.select().where(table.c.campaign_id == campaign_id).order_by(table.c.position)
        if vin is not None:
            query = query.where(table.c.vin == vin)
        return connection.execute(query).all()

    @cache
    def image(release_id: str, hardware_id: str) -> Image:
        return releases.get_image(connection, release_id, hardware_id)

    changes: dict[str, list[Change]] = {}
    for row in rows_of(tables.change):
        changes.setdefault(row.vin, []).append(_change(row, image))
    progress: dict[str, list[EcuProgress]] = {}
    for row in rows_of(tables.progress):
        progress.setdefault(row.vin, []).append(_progress(row))
    return tuple(
        Assignment(
            vin=row.vin,
            phase=Phase(row.phase),
            outcome=Outcome(row.outcome),
            reason=row.reason,
            nonce=row.nonce,
            changes=tuple(changes.get(row.vin, ())),
            progress=tuple(progress.get(row.vin, ())),
            progress_sequence=row.progress_sequence,
            update_time=from_us(row.updated_us),
            offer_time=from_us(row.offered_us),
            withdrawal=Withdrawal(row.withdrawal),
            superseded_by=row.superseded_by,
        )
        for row in rows_of(tables.assignment)
    )


def _change(row: AnyRow, image: Callable[[str, str], Image]) -> Change:
    return Change(
        ecu=row.ecu,
        image=image(row.release_id, row.hardware_id),
        version_before=row.version_before,
        sha256_before=row.sha256_before,
        present=(
            None
            if row.present_release_id is None
            else image(row.present_release_id, row.present_hardware_id)
        ),
    )


def _progress(row: AnyRow) -> EcuProgress:
    return EcuProgress(
        ecu=row.ecu,
        step=row.step,
        bytes_done=row.bytes_done,
        bytes_total=row.bytes_total,
        remaining_s=row.remaining_s,
    )
