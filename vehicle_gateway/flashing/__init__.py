"""How one ECU is programmed over UDS: flash sequences behind the port `EcuUpdater`."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dbc import EcuDescription, VehicleDescription
from vehicle_gateway.flashing.encoding import DownloadCipher
from vehicle_gateway.flashing.key_hook import HookKeys, parse_hook
from vehicle_gateway.flashing.keys import DerivedKeys, Keys
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.sequence import Sequence, SequenceError
from vehicle_gateway.flashing.sequence_file import load_sequence, packaged
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.updater import SequenceUpdater
from vehicle_gateway.update import EcuUpdater
from vehicle_gateway.wires.testers import Testers


def sequence_of(ecu: EcuDescription) -> Sequence:
    """The sequence that an ECU's description names, or the one for its number of slots."""
    name = ecu.sequence or _packaged_for(ecu)
    found = packaged()[name] if name in packaged() else load_sequence(Path(name))
    if found.single_slot is not ecu.single_slot:
        slots = "one slot" if found.single_slot else "two slots"
        raise SequenceError(f"{name}: for {slots}, which {ecu.name} does not have")
    return found


def _packaged_for(ecu: EcuDescription) -> str:
    if ecu.staging_area:
        return "staging_area"
    return "single_slot" if ecu.single_slot else "two_slot"


def described(vehicle: VehicleDescription) -> VehicleDescription:
    """The vehicle, its ECUs with what their sequences know better; errors as of `updaters`."""
    ecus = {ecu.name: sequence_of(ecu).describe(ecu) for ecu in vehicle.ecus.values()}
    return replace(vehicle, ecus=ecus)


def keys_of(sequence: Sequence) -> Keys | None:
    """The keys of the hook that a sequence names; None if it names none."""
    if not sequence.key:
        return None
    return HookKeys(
        hook=parse_hook(sequence.key, folder=sequence.folder),
        variant=sequence.variant,
        options=sequence.key_options,
        by_serial=sequence.key_by_serial,
    )


def updaters(
    testers: Testers,
    *,
    diagnostics_master: bytes,
    start_date: datetime,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    pace: Pace | None = None,
) -> dict[str, EcuUpdater]:
    """One updater per ECU of the vehicle, by name.

    `SequenceError` or `KeyHookError` for an ECU whose own sequence cannot be used.
    `start_date` is the date at loop time 0: the fingerprint carries a date. `random_bytes` begin
    the counters of encrypted downloads; `pace` may hold all of them.
    """
    cipher = DownloadCipher(diagnostics_master, random_bytes)
    found: dict[str, EcuUpdater] = {}
    for ecu in testers.vehicle.ecus.values():
        sequence = sequence_of(ecu)
        site = Site(
            ecu=sequence.describe(ecu),
            sequence=sequence,
            testers=testers,
            keys=keys_of(sequence) or DerivedKeys(diagnostics_master),
            start_date=start_date,
            cipher=cipher,
            pace=pace,
        )
        found[ecu.name] = SequenceUpdater(site)
    return found


__all__ = ["SequenceUpdater", "Site", "described", "keys_of", "sequence_of", "updaters"]
