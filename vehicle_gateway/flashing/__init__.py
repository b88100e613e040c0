"""How one ECU is programmed over UDS: flash sequences behind the port `EcuUpdater`."""

import secrets
from collections.abc import Callable
from datetime import datetime

from vehicle_gateway.flashing.encoding import DownloadCipher
from vehicle_gateway.flashing.keys import DerivedKeys
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.sequence_file import packaged
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.updater import SequenceUpdater
from vehicle_gateway.update import EcuUpdater
from vehicle_gateway.wires.testers import Testers


def updaters(
    testers: Testers,
    *,
    diagnostics_master: bytes,
    start_date: datetime,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    pace: Pace | None = None,
) -> dict[str, EcuUpdater]:
    """One updater per ECU of the vehicle, by name.

    `start_date` is the date at loop time 0: the fingerprint carries a date. `random_bytes` begin
    the counters of encrypted downloads; `pace` may hold all of them.
    """
    cipher = DownloadCipher(diagnostics_master, random_bytes)
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
            cipher=cipher,
            pace=pace,
        )
        found[ecu.name] = SequenceUpdater(site)
    return found


__all__ = ["SequenceUpdater", "Site", "updaters"]
