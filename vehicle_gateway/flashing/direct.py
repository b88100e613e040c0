"""Programs one ECU from a file: no cloud, no journal, any wire.

An ECU of a vehicle's description is reached and timed as that says; one that is nobody's is
described by its sequence file and the command line.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from dbc import EcuDescription, VehicleDescription, WireDescription
from vehicle_gateway.flashing.firmware_file import LoaderParts
from vehicle_gateway.flashing.load import Load, LoadError, Part
from vehicle_gateway.flashing.perform import Performance, StepSink
from vehicle_gateway.flashing.sequence import (
    CONFIRM,
    REVERT,
    SELF_TEST,
    STAGE,
    Addressing,
    Sequence,
)
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.update import ProgressSink, TransferFigures, UpdateError

#: Names of the wire and, where nobody has told one, of the ECU.
WIRE: Final = "wire"
_NAME: Final = "ecu"
_NONCE_BYTES: Final = 32


class TargetError(Exception):
    """An ECU that cannot be reached with what was told; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a programming did."""

    ecu: str
    sequence: str
    parts: tuple[Part, ...] = field(repr=False)
    #: What the ECU said of itself, by name.
    before: Mapping[str, str]
    after: Mapping[str, str]
    figures: TransferFigures
    #: Whether the ECU itself has said which image runs; False where it has no such routine.
    proved: bool


def reached_over(vehicle: VehicleDescription, ecu: str, *, doip: bool) -> VehicleDescription:
    """A vehicle of which `ecu` is reached over its own wire, or behind a DoIP edge node."""
    described = vehicle.ecus.get(ecu)
    if described is None:
        raise TargetError(f"no ECU {ecu!r}; there are: {', '.join(vehicle.ecus)}")
    wire = vehicle.wires[described.wire]
    if doip and wire.kind != "doip":
        wire = replace(wire, kind="doip", bit_rate=100_000_000, functional_id=_ALL_ON_DOIP)
    elif not doip and wire.kind == "doip":
        raise TargetError(f"{ecu} is on DoIP, not on CAN")
    return replace(vehicle, wires={**vehicle.wires, wire.name: wire})


def described_by(
    vehicle: VehicleDescription,
    sequence: Sequence,
    addressing: Addressing,
    *,
    name: str,
    doip: bool,
) -> VehicleDescription:
    """A vehicle of one ECU that only its sequence and `addressing` tell of.

    `vehicle` gives the identifiers of routines that the sequence gives none to.
    """
    name = name or _NAME
    if doip and addressing.ecu_address is None:
        raise TargetError("no logical address: --address, or ecu_address in [addressing]")
    if not doip and (addressing.request_id is None or addressing.response_id is None):
        raise TargetError("no CAN identifiers: --tx and --rx, or [addressing] in the sequence")
    functional = addressing.functional_address if doip else addressing.functional_id
    extended = addressing.extended_ids or (addressing.request_id or 0) > _ELEVEN_BITS
    if functional is None:
        functional = _ALL_ON_DOIP if doip else _ALL_ON_CAN[extended]
    can = "canfd" if addressing.fd else "can"
    wire = WireDescription(
        name=WIRE,
        kind="doip" if doip else can,
        bit_rate=addressing.bit_rate or (100_000_000 if doip else 500_000),
        data_bit_rate=(addressing.data_bit_rate or 2_000_000) if addressing.fd else 0,
        functional_id=functional,
        functional_extension=addressing.functional_extension,
    )
    ecu = EcuDescription(
        name=name,
        hardware_id="",
        wire=WIRE,
        request_id=addressing.request_id or 0,
        response_id=addressing.response_id or 0,
        extended_ids=extended,
        request_extension=addressing.request_extension,
        response_extension=addressing.response_extension,
        logical_address=addressing.ecu_address or 0,
        single_slot=sequence.single_slot,
        staging_area=sequence.staging_area,
        application_base=0,
        slot_size=1 << 32,
        sector_size=0x1000,
        page_size=1,
        erase_s=0.0,
        program_s=0.0,
        max_block_length=0,
        security_level=1,
        p2_s=0.05,
        p2_star_s=5.0,
        s3_s=5.0,
        boot_s=0.5,
        dtcs={},
        data_identifiers={},
    )
    return replace(
        vehicle,
        wires={WIRE: wire},
        ecus={name: ecu},
        tester_address=addressing.tester_address or _TESTER_ON_DOIP,
    )


_ELEVEN_BITS: Final = 0x7FF
_ALL_ON_CAN: Final = {False: 0x7DF, True: 0x18DB_33F1}
_ALL_ON_DOIP: Final = 0xE400
#: First of the addresses that external test equipment has (ISO 13400-2).
_TESTER_ON_DOIP: Final = 0x0E80


def check_fits(parts: tuple[Part, ...], ecu: EcuDescription) -> None:
    """`LoadError` for what is not within the ECU's application area."""
    start, end = ecu.application_base, ecu.application_base + ecu.slot_size
    for part in parts:
        stop = part.address + len(part.data)
        if part.address < start or stop > end:
            raise LoadError(
                f"0x{part.address:08X} to 0x{stop:08X} is not within 0x{start:08X} to 0x{end:08X}"
                f" of {ecu.name}"
            )


def load_for(parts: tuple[Part, ...], loader: LoaderParts) -> Load:
    """What is programmed, with the digest that the ECU has to prove where it can."""
    digest = hashlib.sha256(b"".join(part.data for part in parts)).digest()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return Load(
        parts=parts,
        loader=loader.parts,
        entry=loader.entry,
        loader_format=loader.data_format,
        new_sha256=digest,
        nonce=nonce,
    )


async def flash(
    site: Site,
    load: Load,
    *,
    progress: ProgressSink,
    on_step: StepSink = lambda _step: None,
    arrive_s: float = 5.0,
) -> Report:
    """Program the ECU and have it run the new software; `UpdateError` names ECU and step.

    The ECU has to answer within `arrive_s` at the beginning. An ECU with two slots that does not
    run the new image on trial is told to go back.
    """
    await site.dialogue().wait_for("connecting", limit_s=arrive_s)
    before = await _identification(site)
    figures = TransferFigures()
    figures += await Performance(site, load, progress=progress, on_step=on_step).run(STAGE)
    phase = await site.writing_phase()
    figures += await Performance(site, load, progress=progress, on_step=on_step).run(phase)
    await _prove(site, load, progress, on_step)
    await Performance(site, load, progress=progress, on_step=on_step).run(CONFIRM)
    return Report(
        ecu=site.ecu.name,
        sequence=site.sequence.name,
        parts=load.parts,
        before=before,
        after=await _identification(site),
        figures=figures,
        proved=site.sequence.digest is not None,
    )


async def _prove(site: Site, load: Load, progress: ProgressSink, on_step: StepSink) -> None:
    try:
        await _accept(site, load, progress, on_step)
    except UpdateError as failure:
        if REVERT not in site.sequence.phases:
            raise
        try:
            await Performance(site, load, progress=progress, on_step=on_step).run(REVERT)
        except UpdateError as error:
            cause = f"{failure.cause}; going back: {error.step}: {error.cause}"
            raise UpdateError(ecu=failure.ecu, step=failure.step, cause=cause) from error
        raise


async def _accept(site: Site, load: Load, progress: ProgressSink, on_step: StepSink) -> None:
    """The new image runs and passes its self-test, or `UpdateError`."""
    proves = site.sequence.digest is not None
    if proves and not await site.runs(site.dialogue(), load.new_sha256, load.nonce):
        raise UpdateError(
            ecu=site.ecu.name, step="reading back", cause="does not run the new image"
        )
    await Performance(site, load, progress=progress, on_step=on_step).run(SELF_TEST)


async def _identification(site: Site) -> dict[str, str]:
    """What the ECU says of itself; what it refuses is left out."""
    dialogue = site.dialogue()
    found: dict[str, str] = {}
    for name, did in site.sequence.identification.items():
        record = await dialogue.record_if_known("identifying", did)
        if record is not None:
            found[name] = shown(record)
    return found


def shown(record: bytes) -> str:
    """Text as text, everything else in hexadecimal."""
    text = record.rstrip(b"\0 ").decode("ascii", "replace")
    return text if text.isascii() and text.isprintable() else record.hex(" ").upper()
