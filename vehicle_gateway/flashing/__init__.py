"""How one ECU is programmed over UDS: the sequences behind `vehicle_gateway.update.EcuUpdater`."""

from datetime import datetime

from vehicle_gateway.flashing.single_slot import SingleSlotUpdater
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.two_slot import TwoSlotUpdater
from vehicle_gateway.update import EcuUpdater
from vehicle_gateway.wires.testers import Testers


def updaters(
    testers: Testers, *, diagnostics_master: bytes, start_date: datetime
) -> dict[str, EcuUpdater]:
    """One updater per ECU of the vehicle, by name.

    `start_date` is the date at loop time 0: the fingerprint carries a date.
    """
    found: dict[str, EcuUpdater] = {}
    for ecu in testers.vehicle.ecus.values():
        site = Site(
            ecu=ecu, testers=testers, diagnostics_master=diagnostics_master, start_date=start_date
        )
        found[ecu.name] = SingleSlotUpdater(site) if ecu.single_slot else TwoSlotUpdater(site)
    return found


__all__ = ["SingleSlotUpdater", "Site", "TwoSlotUpdater", "updaters"]
