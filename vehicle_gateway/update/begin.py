"""How an update begins: what the ECUs say of themselves, and the journal's first entry."""

import asyncio
from collections.abc import Iterable

from dbc.vehicle import VehicleDescription
from vehicle_gateway.update import GATEWAY, EcuUpdater, Inventory, UpdateError
from vehicle_gateway.update.account import Opening
from vehicle_gateway.update.coordinator import EcuPart, EcuState
from vehicle_gateway.update.journal import Entry, Journal, Kind
from vehicle_gateway.update.offer import Offer


def begin(
    journal: Journal,
    *,
    vin: str,
    offer: Offer,
    before: Iterable[Inventory],
    vehicle: VehicleDescription,
    now_us: int,
) -> None:
    """Write the first entry of an update; `before` was read over the offer's nonce."""
    found = {inventory.ecu: inventory for inventory in before}
    parts = []
    for offered in offer.images:
        read_back = found[offered.ecu].read_back if offered.ecu in found else None
        runs = (
            read_back is not None
            and read_back.image_sha256 == offered.image.image_sha256
            and found[offered.ecu].application_runs
        )
        ecu = vehicle.ecus.get(offered.ecu)
        parts.append(
            EcuPart(
                ecu=offered.ecu,
                single_slot=ecu is not None and ecu.single_slot,
                gateway=offered.ecu == GATEWAY,
                state=EcuState.UNCHANGED if runs else EcuState.IDLE,
            )
        )
    opening = Opening(vin=vin, offer=offer, before=tuple(found.values()), parts=tuple(parts))
    journal.append(Entry(kind=Kind.OFFERED, time_us=now_us, fields=opening.fields()))


async def inventories(updaters: Iterable[EcuUpdater], nonce: bytes) -> tuple[Inventory, ...]:
    """What all these ECUs say of themselves, asked at once; one that fails says why."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(inventory_of(updater, nonce), name=f"inventory {updater.ecu}")
            for updater in updaters
        ]
    return tuple(task.result() for task in tasks)


async def inventory_of(updater: EcuUpdater, nonce: bytes) -> Inventory:
    """What one ECU says of itself, or why it does not."""
    try:
        return await updater.inventory(nonce)
    except UpdateError as error:
        return Inventory(ecu=updater.ecu, error=f"{error.step}: {error.cause}")
