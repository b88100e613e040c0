"""Rows of diagnostic plans, and of what gateways had to drop."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from cloud.fleet.diagnostic_plans import Gap, KnownGap, Plan
from cloud.fleet.errors import PreconditionError
from cloud.fleet.names import diagnostic_plan_name
from cloud.store import documents, tables, vehicles
from cloud.store.now import from_microseconds
from cloud.store.rows import Page, page_of, to_us

#: Ranges in one query; SQLite takes a thousand terms.
_RANGES = 200
#: Gaps that are kept of one vehicle: the oldest go.
_GAPS = 1000


def get(connection: Connection, vin: str) -> Plan:
    """Return a vehicle's plan, one that asks for nothing if none was set; `NotFoundError`."""
    vehicles.get(connection, vin)
    document = connection.execute(
        select(tables.diagnostic_plan.c.document).where(tables.diagnostic_plan.c.vin == vin)
    ).scalar_one_or_none()
    return Plan() if document is None else documents.load(Plan, document)


def change(
    connection: Connection,
    vin: str,
    update: Callable[[Plan], Plan],
    *,
    revision: int,
    now: datetime,
) -> Plan:
    """Set what `update` makes of the plan.

    `PreconditionError` if `revision` is not 0 and not the stored one; `NotFoundError`.
    """
    stored = get(connection, vin)
    if revision not in {0, stored.revision}:
        raise PreconditionError(
            "PLAN_IS_AS_READ",
            diagnostic_plan_name(vin),
            f"has revision {stored.revision} by now, not {revision}",
        )
    plan = replace(update(stored), revision=stored.revision + 1, update_time=now)
    table = tables.diagnostic_plan
    connection.execute(table.delete().where(table.c.vin == vin))
    connection.execute(table.insert(), {"vin": vin, "document": documents.dump(plan)})
    return plan


def insert_gap(connection: Connection, vin: str, gap: Gap, *, now: datetime) -> None:
    """Keep what a gateway had to drop; the same number again takes the place of the first."""
    vehicles.get(connection, vin)
    table = tables.diagnostic_gap
    connection.execute(table.delete().where(table.c.vin == vin, table.c.number == gap.number))
    connection.execute(
        table.insert(),
        {
            "vin": vin,
            "number": gap.number,
            "received_us": to_us(now),
            "document": documents.dump(gap),
        },
    )
    oldest_kept = connection.execute(
        select(table.c.number)
        .where(table.c.vin == vin)
        .order_by(table.c.number.desc())
        .offset(_GAPS - 1)
        .limit(1)
    ).scalar_one_or_none()
    if oldest_kept is not None:
        connection.execute(table.delete().where(table.c.vin == vin, table.c.number < oldest_kept))


def list_gaps(
    connection: Connection, vin: str, *, after_key: str | None, size: int
) -> Page[KnownGap]:
    """Return a vehicle's gaps, newest first, those behind the key."""
    vehicles.get(connection, vin)
    table = tables.diagnostic_gap
    query = table.select().where(table.c.vin == vin).order_by(table.c.number.desc())
    if after_key is not None:
        query = query.where(table.c.number < int(after_key))
    rows = connection.execute(query.limit(size + 1)).all()
    found = []
    for row in rows:
        gap = documents.load(Gap, row.document)
        found.append(
            (
                str(row.number),
                KnownGap(
                    gap=gap,
                    arrived=_arrived(connection, vin, gap),
                    receive_time=from_microseconds(row.received_us),
                ),
            )
        )
    return page_of(found, size=size)


def _arrived(connection: Connection, vin: str, gap: Gap) -> int:
    """Messages of a gap that were thought to be lost, and are here."""
    table = {"snapshot": tables.snapshot, "live": tables.signal_batch}.get(gap.kind)
    if table is None:
        return 0
    found = 0
    for start in range(0, len(gap.ranges), _RANGES):
        found += connection.execute(
            select(func.count())
            .select_from(table)
            .where(
                table.c.vin == vin,
                or_(
                    *(
                        table.c.number.between(one.first, one.last)
                        for one in gap.ranges[start : start + _RANGES]
                    )
                ),
            )
        ).scalar_one()
    return min(found, gap.count)
