"""How one ECU is programmed over UDS: flash sequences behind the port `EcuUpdater`."""

from datetime import datetime

from vehicle_gateway.flashing.keys import DerivedKeys
from vehicle_gateway.flashing.sequence_file import packaged
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.updater import SequenceUpdater
from vehicle_gateway.update import EcuUpdater
from vehicle_gateway.wires.testers import Testers


def updaters(
    testers: Testers, *, diagnostics_master: bytes, start_date: datetime
) -> dict[str, EcuUpdater]:
    """One updater per ECU of the vehicle, by name.

    `start_date` is the date at loop time 0: the fingerprint carries a date.
    """
    keys = DerivedKeys(diagnostics_master)
    found: dict[str, EcuUpdater] = {}
    for ecu in testers.vehicle.ecus.values():
        sequence = packaged()["single_slot" if ecu.single_slot else "two_slot"]
        site = Site(
            ecu=sequence.describe(ecu),
            sequence=sequence,
            testers=testers,
            keys=keys,
            start_date=start_date,
        )
        found[ecu.name] = SequenceUpdater(site)
    return found


__all__ = ["SequenceUpdater", "Site", "updaters"]
