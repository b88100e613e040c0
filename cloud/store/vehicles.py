"""Rows of vehicles and their ECUs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from cloud.fleet.campaigns import NOT_UNDER_WAY, OPEN_STATES
from cloud.fleet.errors import AlreadyExistsError, NotFoundError
from cloud.fleet.names import vehicle_name
from cloud.fleet.vehicles import Ecu, Vehicle, replaced
from cloud.store import tables
from cloud.store.now import from_microseconds
from cloud.store.rows import AnyRow, Page, from_us, page_of, to_us

#: SQL takes a bounded number of parameters in one statement.
_BATCH = 500


def insert(connection: Connection, vehicle: Vehicle) -> Vehicle:
    """Register a vehicle; `AlreadyExistsError` if the VIN is taken."""
    row = {"vin": vehicle.vin, "model": vehicle.model, "created_us": to_us(vehicle.create_time)}
    try:
        connection.execute(tables.vehicle.insert(), row)
    except IntegrityError as error:
        raise AlreadyExistsError(
            "vehicle", vehicle_name(vehicle.vin), "a vehicle with this VIN is registered"
        ) from error
    connection.execute(
        tables.ecu.insert(),
        [
            {"vin": vehicle.vin, "position": position, **_ecu_row(ecu)}
            for position, ecu in enumerate(vehicle.ecus)
        ],
    )
    return vehicle


def get(connection: Connection, vin: str) -> Vehicle:
    """Return one vehicle; `NotFoundError` names it."""
    found = get_many(connection, [vin])
    if not found:
        raise NotFoundError("vehicle", vehicle_name(vin))
    return found[0]


def get_many(connection: Connection, vins: Sequence[str]) -> tuple[Vehicle, ...]:
    """Return those of the vehicles that exist, ordered by VIN."""
    rows: list[AnyRow] = []
    for start in range(0, len(vins), _BATCH):
        part = vins[start : start + _BATCH]
        rows += connection.execute(_SELECT.where(tables.vehicle.c.vin.in_(part))).all()
    return _vehicles(connection, sorted(rows, key=lambda row: row[0]))


def list_page(connection: Connection, *, after: str | None, size: int) -> Page[Vehicle]:
    """Return vehicles ordered by VIN, those behind `after`."""
    query = _SELECT.order_by(tables.vehicle.c.vin).limit(size + 1)
    if after is not None:
        query = query.where(tables.vehicle.c.vin > after)
    vehicles = _vehicles(connection, connection.execute(query).all())
    return page_of([(vehicle.vin, vehicle) for vehicle in vehicles], size=size)


def check_in(
    connection: Connection,
    vin: str,
    *,
    now: datetime,
    update: Callable[[Ecu], Ecu],
) -> Vehicle:
    """Note that a vehicle was seen and what its ECUs run; `NotFoundError` if it is unknown."""
    vehicle = get(connection, vin)
    connection.execute(
        tables.vehicle.update().where(tables.vehicle.c.vin == vin).values(last_seen_us=to_us(now))
    )
    ecus = tuple(update(ecu) for ecu in vehicle.ecus)
    save_ecus(connection, vin, [new for new in ecus if new not in vehicle.ecus])
    return replace(vehicle, last_seen_time=now, ecus=ecus)


def replace_ecu(
    connection: Connection, vin: str, name: str, *, serial_number: str, public_key: bytes
) -> Vehicle:
    """Register another part in the place of an ECU; `NotFoundError` names what is missing."""
    ecu = get(connection, vin).ecu(name)
    if ecu is None:
        raise NotFoundError("ecu", f"{vehicle_name(vin)}/ecus/{name}")
    part = replaced(ecu, serial_number=serial_number, public_key=public_key)
    save_ecus(connection, vin, [part])
    return get(connection, vin)


def save_ecus(connection: Connection, vin: str, ecus: Iterable[Ecu]) -> None:
    for ecu in ecus:
        connection.execute(
            tables.ecu.update()
            .where(tables.ecu.c.vin == vin, tables.ecu.c.name == ecu.name)
            .values(_ecu_row(ecu))
        )


_SELECT = select(
    tables.vehicle.c.vin,
    tables.vehicle.c.model,
    tables.vehicle.c.created_us,
    tables.vehicle.c.last_seen_us,
)


def _vehicles(connection: Connection, rows: Sequence[AnyRow]) -> tuple[Vehicle, ...]:
    vins = [row.vin for row in rows]
    ecus: dict[str, list[Ecu]] = {vin: [] for vin in vins}
    busy: dict[str, str] = {}
    for start in range(0, len(vins), _BATCH):
        part = vins[start : start + _BATCH]
        for row in connection.execute(
            tables.ecu.select().where(tables.ecu.c.vin.in_(part)).order_by(tables.ecu.c.position)
        ):
            ecus[row.vin].append(_ecu(row))
        busy.update(_busy(connection, part))
    return tuple(
        Vehicle(
            vin=row.vin,
            model=row.model,
            ecus=tuple(ecus[row.vin]),
            create_time=from_microseconds(row.created_us),
            last_seen_time=from_us(row.last_seen_us),
            campaign_id=busy.get(row.vin),
        )
        for row in rows
    )


def _busy(connection: Connection, vins: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(
        select(tables.assignment.c.vin, tables.assignment.c.campaign_id)
        .join_from(
            tables.assignment,
            tables.campaign,
            tables.campaign.c.campaign_id == tables.assignment.c.campaign_id,
        )
        .where(
            tables.assignment.c.vin.in_(vins),
            tables.assignment.c.phase.notin_(NOT_UNDER_WAY),
            tables.campaign.c.state.in_(OPEN_STATES),
        )
    )
    return {row.vin: row.campaign_id for row in rows}


def _ecu_row(ecu: Ecu) -> dict[str, object]:
    return {
        "name": ecu.name,
        "hardware_id": ecu.hardware_id,
        "serial_number": ecu.serial_number,
        "public_key": ecu.public_key,
        "wire": ecu.wire,
        "single_slot": ecu.single_slot,
        "application_base": ecu.application_base,
        "slot_size": ecu.slot_size,
        "software_number": ecu.software_number,
        "software_version": ecu.software_version,
        "supplier_version": ecu.supplier_version,
        "image_sha256": ecu.image_sha256,
        "intended_sha256": ecu.intended_sha256,
        "reported_hardware_id": ecu.reported_hardware_id,
        "reported_serial_number": ecu.reported_serial_number,
        "inventory_error": ecu.inventory_error,
        "inventory_us": to_us(ecu.inventory_time),
    }


def _ecu(row: AnyRow) -> Ecu:
    return Ecu(
        name=row.name,
        hardware_id=row.hardware_id,
        serial_number=row.serial_number,
        public_key=row.public_key,
        wire=row.wire,
        single_slot=row.single_slot,
        application_base=row.application_base,
        slot_size=row.slot_size,
        software_number=row.software_number,
        software_version=row.software_version,
        supplier_version=row.supplier_version,
        image_sha256=row.image_sha256,
        intended_sha256=row.intended_sha256,
        reported_hardware_id=row.reported_hardware_id,
        reported_serial_number=row.reported_serial_number,
        inventory_error=row.inventory_error,
        inventory_time=from_us(row.inventory_us),
    )
