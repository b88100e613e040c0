"""Rows of signal subscriptions and of the batches that came."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from cloud.fleet.diagnostic_plans import (
    BATCHES_LIMIT,
    ENDED,
    OPEN_LIMIT,
    Batch,
    Subscription,
    SubscriptionState,
    Wanted,
)
from cloud.fleet.errors import LimitError, NotFoundError, PreconditionError
from cloud.fleet.names import signal_subscription_name, vehicle_name
from cloud.store import documents, tables, vehicles
from cloud.store.rows import Page, page_of, to_us

_TABLE = tables.signal_subscription
_BATCHES = tables.signal_batch
#: A subscription that nobody fetched ends after so long, and one that runs so long after its end,
#: should its last batch not come.
_PATIENCE: Final = timedelta(days=1)
#: Subscriptions of one vehicle whose batches are kept: those of the oldest go.
_KEPT: Final = 50


def create(
    connection: Connection, vin: str, wanted: Wanted, *, request_id: str, now: datetime
) -> Subscription:
    """Have a vehicle send signals, or answer with what this `request_id` made.

    `NotFoundError` names an unknown VIN, `LimitError` a vehicle with too many.
    """
    vehicles.get(connection, vin)
    if request_id:
        document = connection.execute(
            select(_TABLE.c.document).where(_TABLE.c.vin == vin, _TABLE.c.request_id == request_id)
        ).scalar_one_or_none()
        if document is not None:
            return documents.load(Subscription, document)
    if len(_open(connection, vin, now)) >= OPEN_LIMIT:
        raise LimitError(vehicle_name(vin), f"{OPEN_LIMIT} subscriptions have not ended yet")
    number = (
        1
        + connection.execute(
            select(func.count()).select_from(_TABLE).where(_TABLE.c.vin == vin)
        ).scalar_one()
    )
    subscription = Subscription(
        vin=vin,
        subscription_id=f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{number}",
        wanted=wanted,
        state=SubscriptionState.WAITING,
        create_time=now,
    )
    connection.execute(
        _TABLE.insert(),
        {
            "vin": vin,
            "subscription_id": subscription.subscription_id,
            "request_id": request_id or None,
            "state": int(subscription.state),
            "document": documents.dump(subscription),
        },
    )
    _forget(connection, vin)
    return subscription


def get(connection: Connection, vin: str, subscription_id: str) -> Subscription:
    """Return a subscription; `NotFoundError` names it."""
    document = connection.execute(
        select(_TABLE.c.document).where(
            _TABLE.c.vin == vin, _TABLE.c.subscription_id == subscription_id
        )
    ).scalar_one_or_none()
    if document is None:
        name = signal_subscription_name(vin, subscription_id)
        raise NotFoundError("signal subscription", name)
    return documents.load(Subscription, document)


def list_page(
    connection: Connection, vin: str, *, after_key: str | None, size: int
) -> Page[Subscription]:
    """Return a vehicle's subscriptions, newest first, those behind the key."""
    vehicles.get(connection, vin)
    query = _TABLE.select().where(_TABLE.c.vin == vin).order_by(_TABLE.c.sequence.desc())
    if after_key is not None:
        query = query.where(_TABLE.c.sequence < int(after_key))
    rows = connection.execute(query.limit(size + 1)).all()
    return page_of(
        [(str(row.sequence), documents.load(Subscription, row.document)) for row in rows],
        size=size,
    )


def cancel(connection: Connection, vin: str, subscription_id: str) -> Subscription:
    """End a subscription; one that has ended stays as it is."""
    subscription = get(connection, vin, subscription_id)
    if subscription.state not in ENDED:
        subscription = replace(subscription, state=SubscriptionState.CANCELLED)
        _save(connection, subscription)
    return subscription


def fetch(
    connection: Connection, vin: str, *, now: datetime
) -> Sequence[tuple[Subscription, timedelta]]:
    """What the gateway has to send, and for how long yet; its time begins when it gets it."""
    handed = []
    for subscription in _open(connection, vin, now):
        running = subscription
        if running.state is SubscriptionState.WAITING:
            running = replace(running, state=SubscriptionState.RUNNING, start_time=now)
            _save(connection, running)
        ends = running.expire_time
        if ends is not None and ends > now:
            handed.append((running, ends - now))
    return handed


def insert_batch(
    connection: Connection, vin: str, subscription_id: str, batch: Batch, *, number: int | None
) -> None:
    """Keep a batch; one that is kept already stays as it is.

    `NotFoundError` names the subscription, `PreconditionError` one that has sent too much.
    """
    subscription = get(connection, vin, subscription_id)
    of_it = (_BATCHES.c.vin == vin, _BATCHES.c.subscription_id == subscription_id)
    time_us = to_us(batch.time)
    known = connection.execute(
        select(_BATCHES.c.sequence).where(*of_it, _BATCHES.c.time_us == time_us)
    ).scalar_one_or_none()
    if known is None:
        count = connection.execute(
            select(func.count()).select_from(_BATCHES).where(*of_it)
        ).scalar_one()
        if count >= BATCHES_LIMIT:
            # Not a limit that goes away: a gateway that tried again would be stuck with it.
            raise PreconditionError(
                "SUBSCRIPTION_HAS_ROOM",
                signal_subscription_name(vin, subscription_id),
                f"has {BATCHES_LIMIT} batches already",
            )
        connection.execute(
            _BATCHES.insert(),
            {
                "vin": vin,
                "subscription_id": subscription_id,
                "time_us": time_us,
                "number": number,
                "document": documents.dump(batch),
            },
        )
    if batch.last and subscription.state not in ENDED:
        _save(connection, replace(subscription, state=SubscriptionState.FINISHED))


def batches_after(
    connection: Connection, vin: str, subscription_id: str, *, after: int, size: int
) -> tuple[Subscription, Sequence[tuple[int, Batch]]]:
    """The subscription, and what came behind the row `after`, with the rows' numbers."""
    subscription = get(connection, vin, subscription_id)
    rows = connection.execute(
        select(_BATCHES.c.sequence, _BATCHES.c.document)
        .where(
            _BATCHES.c.vin == vin,
            _BATCHES.c.subscription_id == subscription_id,
            _BATCHES.c.sequence > after,
        )
        .order_by(_BATCHES.c.sequence)
        .limit(size)
    ).all()
    return subscription, [(row.sequence, documents.load(Batch, row.document)) for row in rows]


def _open(connection: Connection, vin: str, now: datetime) -> list[Subscription]:
    """Subscriptions that have not ended, oldest first; those that nobody ends are ended here."""
    documents_found = connection.execute(
        select(_TABLE.c.document)
        .where(_TABLE.c.vin == vin, _TABLE.c.state.notin_([int(state) for state in ENDED]))
        .order_by(_TABLE.c.sequence)
    ).scalars()
    still = []
    for document in documents_found.all():
        subscription = documents.load(Subscription, document)
        if now > (subscription.expire_time or subscription.create_time) + _PATIENCE:
            _save(connection, replace(subscription, state=SubscriptionState.FINISHED))
        else:
            still.append(subscription)
    return still


def _save(connection: Connection, subscription: Subscription) -> None:
    connection.execute(
        _TABLE.update()
        .where(
            _TABLE.c.vin == subscription.vin,
            _TABLE.c.subscription_id == subscription.subscription_id,
        )
        .values(state=int(subscription.state), document=documents.dump(subscription))
    )


def _forget(connection: Connection, vin: str) -> None:
    """Let the batches of old subscriptions go."""
    oldest_kept = connection.execute(
        select(_TABLE.c.sequence)
        .where(_TABLE.c.vin == vin)
        .order_by(_TABLE.c.sequence.desc())
        .offset(_KEPT - 1)
        .limit(1)
    ).scalar_one_or_none()
    if oldest_kept is None:
        return
    old = select(_TABLE.c.subscription_id).where(
        _TABLE.c.vin == vin, _TABLE.c.sequence < oldest_kept
    )
    connection.execute(
        _BATCHES.delete().where(_BATCHES.c.vin == vin, _BATCHES.c.subscription_id.in_(old))
    )
