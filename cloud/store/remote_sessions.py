"""Rows of remote sessions. They are kept for ever: they are the audit."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from cloud.fleet.campaigns import Phase
from cloud.fleet.errors import AlreadyExistsError, NotFoundError, PreconditionError
from cloud.fleet.names import remote_session_name, vehicle_name
from cloud.fleet.remote import RemoteSession, RemoteState, at
from cloud.store import documents, tables, vehicles
from cloud.store.rows import AnyRow, Page, page_of

_TABLE = tables.remote_session
#: Between these an ECU may run what nobody has confirmed, or be written by its boot loader.
_HANDS_OFF = (Phase.ACTIVATING, Phase.CONFIRMING, Phase.REVERTING)


def create(
    connection: Connection, vin: str, make: Callable[[str], RemoteSession], *, now: datetime
) -> RemoteSession:
    """Keep the session that `make` makes of an identifier.

    `AlreadyExistsError` while there is another one, `PreconditionError` in the midst of an update.
    """
    vehicles.get(connection, vin)
    if (other := waiting_or_open(connection, vin, now=now)) is not None:
        name = remote_session_name(vin, other.session_id)
        raise AlreadyExistsError(
            "remote session",
            name,
            f"{other.operator} has it until {other.expire_time:%H:%M:%S} UTC",
        )
    busy = connection.execute(
        select(tables.assignment.c.campaign_id).where(
            tables.assignment.c.vin == vin,
            tables.assignment.c.phase.in_([int(phase) for phase in _HANDS_OFF]),
        )
    ).first()
    if busy is not None:
        raise PreconditionError(
            "NO_UPDATE",
            vehicle_name(vin),
            f"campaigns/{busy.campaign_id} is being activated in it; ask again when it is done",
        )
    number = (
        1
        + connection.execute(
            select(func.count()).select_from(_TABLE).where(_TABLE.c.vin == vin)
        ).scalar_one()
    )
    session = make(f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{number}")
    connection.execute(
        _TABLE.insert(),
        {
            "vin": vin,
            "session_id": session.session_id,
            "state": int(session.state),
            "document": documents.dump(session),
        },
    )
    return session


def get(connection: Connection, vin: str, session_id: str, *, now: datetime) -> RemoteSession:
    """Return a session as it stands; `NotFoundError` names it."""
    row = connection.execute(
        _TABLE.select().where(_TABLE.c.vin == vin, _TABLE.c.session_id == session_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError("remote session", remote_session_name(vin, session_id))
    return at(_session(row), now)


def change(
    connection: Connection,
    vin: str,
    session_id: str,
    new: Callable[[RemoteSession], RemoteSession],
    *,
    now: datetime,
) -> RemoteSession:
    """Keep what `new` makes of a session; return it."""
    session = new(get(connection, vin, session_id, now=now))
    connection.execute(
        _TABLE.update()
        .where(_TABLE.c.vin == vin, _TABLE.c.session_id == session_id)
        .values(state=int(session.state), document=documents.dump(session))
    )
    return session


def list_page(
    connection: Connection, vin: str, *, after_key: str | None, size: int, now: datetime
) -> Page[RemoteSession]:
    """Return a vehicle's sessions, newest first, those behind the key."""
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
    return page_of([(str(row.sequence), at(_session(row), now)) for row in rows], size=size)


def waiting_or_open(connection: Connection, vin: str, *, now: datetime) -> RemoteSession | None:
    """The vehicle's session that has not ended, if there is one."""
    rows = connection.execute(
        _TABLE.select()
        .where(_TABLE.c.vin == vin, _TABLE.c.state != int(RemoteState.ENDED))
        .order_by(_TABLE.c.sequence)
    ).all()
    sessions = (at(_session(row), now) for row in rows)
    return next((one for one in sessions if one.state is not RemoteState.ENDED), None)


def _session(row: AnyRow) -> RemoteSession:
    return documents.load(RemoteSession, row.document)
