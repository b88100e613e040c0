"""Rows of diagnostic jobs: queued once, fetched at check-ins, ended once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from cloud.fleet.diagnostic_jobs import (
    OPEN,
    OPEN_LIMIT,
    PER_CHECK_IN,
    Action,
    Job,
    JobState,
    Result,
    Trigger,
    after,
    at,
    cancelled,
    finished,
)
from cloud.fleet.errors import LimitError, NotFoundError
from cloud.fleet.names import diagnostic_job_name, vehicle_name
from cloud.store import documents, tables, vehicles
from cloud.store.rows import AnyRow, Page, page_of

_TABLE = tables.diagnostic_job


def create(
    connection: Connection,
    vin: str,
    action: Action,
    *,
    expire_time: datetime,
    request_id: str,
    now: datetime,
) -> Job:
    """Queue a job, or answer with the one that this `request_id` made.

    `NotFoundError` names an unknown VIN, `LimitError` a queue that is full.
    """
    vehicles.get(connection, vin)
    if request_id:
        same = connection.execute(
            _TABLE.select().where(_TABLE.c.vin == vin, _TABLE.c.request_id == request_id)
        ).one_or_none()
        if same is not None:
            return at(_job(same), now)
    if len(_open(connection, vin, now)) >= OPEN_LIMIT:
        raise LimitError(vehicle_name(vin), f"{OPEN_LIMIT} jobs wait for their results already")
    number = (
        1
        + connection.execute(
            select(func.count()).select_from(_TABLE).where(_TABLE.c.vin == vin)
        ).scalar_one()
    )
    job = Job(
        vin=vin,
        # The time keeps a gateway's memory of what it has done true where a cloud begins anew.
        job_id=f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{number}",
        state=JobState.QUEUED,
        create_time=now,
        expire_time=expire_time,
        action=action,
    )
    connection.execute(
        _TABLE.insert(),
        {
            "vin": vin,
            "job_id": job.job_id,
            "request_id": request_id or None,
            "state": int(job.state),
            "document": documents.dump(job),
        },
    )
    return job


def get(connection: Connection, vin: str, job_id: str, *, now: datetime) -> Job:
    """Return a job as it stands; `NotFoundError` names it."""
    row = connection.execute(
        _TABLE.select().where(_TABLE.c.vin == vin, _TABLE.c.job_id == job_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError("diagnostic job", diagnostic_job_name(vin, job_id))
    return at(_job(row), now)


def list_page(
    connection: Connection, vin: str, *, after_key: str | None, size: int, now: datetime
) -> Page[Job]:
    """Return a vehicle's jobs, newest first, those behind the key."""
    vehicles.get(connection, vin)
    query = (
        _TABLE.select()
        .where(_TABLE.c.vin == vin)
        .order_by(_TABLE.c.sequence.desc())
        .limit(size + 1)
    )
    if after_key is not None:
        query = query.where(_TABLE.c.sequence < int(after_key))
    rows = connection.execute(query).all()
    return page_of([(str(row.sequence), at(_job(row), now)) for row in rows], size=size)


def cancel(connection: Connection, vin: str, job_id: str, *, now: datetime) -> Job:
    """Take a job back; `PreconditionError` once the gateway has it."""
    job = cancelled(get(connection, vin, job_id, now=now))
    _save(connection, job)
    return job


def fetch(connection: Connection, vin: str, *, now: datetime) -> Sequence[Job]:
    """Hand the oldest open jobs to the gateway; those whose time is over it does not get."""
    handed: list[Job] = []
    for job in _open(connection, vin, now):
        if job.state is JobState.QUEUED and len(handed) < PER_CHECK_IN:
            new = replace(job, state=after(job, Trigger.CHECK_IN), fetch_time=now)
            _save(connection, new)
            handed.append(new)
        elif job.state is JobState.FETCHED and len(handed) < PER_CHECK_IN:
            handed.append(job)
    return handed


def finish(connection: Connection, vin: str, job_id: str, result: Result, *, now: datetime) -> Job:
    """Keep how a job ended; `NotFoundError` if there is none. The first result stays."""
    job = finished(get(connection, vin, job_id, now=now), result)
    _save(connection, job)
    return job


def _open(connection: Connection, vin: str, now: datetime) -> list[Job]:
    """Jobs without a result, oldest first; what has expired is noted."""
    rows = connection.execute(
        _TABLE.select()
        .where(_TABLE.c.vin == vin, _TABLE.c.state.in_([int(state) for state in OPEN]))
        .order_by(_TABLE.c.sequence)
    ).all()
    still = []
    for row in rows:
        stored = _job(row)
        job = at(stored, now)
        if job.state is not stored.state:
            _save(connection, job)
        if job.state in OPEN:
            still.append(job)
    return still


def _save(connection: Connection, job: Job) -> None:
    connection.execute(
        _TABLE.update()
        .where(_TABLE.c.vin == job.vin, _TABLE.c.job_id == job.job_id)
        .values(state=int(job.state), document=documents.dump(job))
    )


def _job(row: AnyRow) -> Job:
    return documents.load(Job, row.document)
