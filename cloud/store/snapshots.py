"""Rows of diagnostic snapshots."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select, tuple_

from cloud.fleet.diagnostics import Snapshot
from cloud.fleet.errors import NotFoundError
from cloud.fleet.names import snapshot_name
from cloud.store import documents, tables, vehicles
from cloud.store.rows import Page, page_of, to_us

#: Snapshots of one vehicle that are kept, of those of updates and of all others alike: however
#: many others a schedule brings, they drive out none that a report stands on.
_KEPT: Final = 1000


def insert(
    connection: Connection, snapshot: Snapshot, *, now: datetime, number: int | None = None
) -> None:
    """Keep a snapshot; one that is kept already stays as it is. `NotFoundError` names the VIN.

    Where there are too many of its kind then, the one that came first goes. `number` is the
    message's by the gateway's count.
    """
    vehicles.get(connection, snapshot.vin)
    if find(connection, snapshot.vin, snapshot.snapshot_id) is not None:
        return
    connection.execute(
        tables.snapshot.insert(),
        {
            "vin": snapshot.vin,
            "snapshot_id": snapshot.snapshot_id,
            "occasion": snapshot.occasion,
            "campaign_id": snapshot.campaign_id,
            "time_us": to_us(snapshot.time),
            "received_us": to_us(now),
            "document": documents.dump(snapshot),
            "number": number,
        },
    )
    _forget(connection, snapshot)


def _forget(connection: Connection, newest: Snapshot) -> None:
    table = tables.snapshot
    campaign = table.c.campaign_id
    others = newest.campaign_id is None
    alike = (table.c.vin == newest.vin, campaign.is_(None) if others else campaign.is_not(None))
    first_to_go = connection.execute(
        select(table.c.sequence)
        .where(*alike)
        .order_by(table.c.sequence.desc())
        .offset(_KEPT)
        .limit(1)
    ).scalar_one_or_none()
    if first_to_go is not None:
        connection.execute(table.delete().where(*alike, table.c.sequence <= first_to_go))


def find(connection: Connection, vin: str, snapshot_id: str) -> Snapshot | None:
    document = connection.execute(
        tables.snapshot.select()
        .with_only_columns(tables.snapshot.c.document)
        .where(tables.snapshot.c.vin == vin, tables.snapshot.c.snapshot_id == snapshot_id)
    ).scalar_one_or_none()
    return None if document is None else documents.load(Snapshot, document)


def get(connection: Connection, vin: str, snapshot_id: str) -> Snapshot:
    """Return a snapshot, `latest` the newest of the vehicle; `NotFoundError` names it."""
    if snapshot_id == "latest":
        newest = list_page(connection, vin, after=None, size=1).items
        snapshot = newest[0] if newest else None
    else:
        snapshot = find(connection, vin, snapshot_id)
    if snapshot is None:
        raise NotFoundError("snapshot", snapshot_name(vin, snapshot_id))
    return snapshot


def list_page(connection: Connection, vin: str, *, after: str | None, size: int) -> Page[Snapshot]:
    """Return a vehicle's snapshots, newest first, those behind the key `after`."""
    vehicles.get(connection, vin)
    table = tables.snapshot
    query = (
        table.select()
        .where(table.c.vin == vin)
        .order_by(table.c.time_us.desc(), table.c.sequence.desc())
        .limit(size + 1)
    )
    if after is not None:
        time_us, sequence = (int(part) for part in after.split(":"))
        query = query.where(tuple_(table.c.time_us, table.c.sequence) < tuple_(time_us, sequence))
    rows = connection.execute(query).all()
    return page_of(
        [(f"{row.time_us}:{row.sequence}", documents.load(Snapshot, row.document)) for row in rows],
        size=size,
    )
