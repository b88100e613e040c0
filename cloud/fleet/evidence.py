"""What a vehicle's evidence proves: inventories at check-in, and the end of an update.

A gateway's word is not evidence. What an ECU runs is known only from the statement of its boot
loader: the digest of the active slot, signed over a nonce with the key that was registered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cloud.fleet.campaigns import Assignment, Change, Outcome
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.releases import Notice
from cloud.fleet.vehicles import Ecu, Vehicle
from protocols.uds import slot_digest

#: Bytes: less could be guessed or come twice.
NONCE_MINIMUM: Final = 16
#: The step of a report behind which a vehicle only goes forward.
_COMMIT: Final = "commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """A boot loader's own statement of the image in its active slot."""

    nonce: bytes
    image_sha256: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuInventory:
    """What a gateway says that an ECU runs."""

    ecu: str
    error: str = ""
    hardware_id: str = ""
    serial_number: str = ""
    software_number: str = ""
    software_version: str = ""
    supplier_version: str = ""
    read_back: ReadBack | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuResult:
    """What a gateway says of one ECU at the end of an update; durations in seconds."""

    ecu: str
    hardware_id: str
    wire: str
    version_before: str
    version_after: str
    software_number_after: str
    supplier_version_after: str
    image_sha256: bytes
    image_bytes: int
    read_back: ReadBack | None
    transfer_s: float
    bound_s: float
    staging_s: float
    out_of_use_s: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    start: datetime
    duration: timedelta
    ecu: str
    step: str
    detail: str
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRecord:
    """One comparison of a precondition, as the gateway judged it."""

    time: datetime
    #: `waiting` or `cleared`.
    occasion: str
    origin: str
    condition: str
    verdict: str
    signal: str
    message: str
    source: str
    value: str
    value_time: datetime | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    """What the driver said to a release."""

    time: datetime
    answer: str
    defer_until: datetime | None
    release_sha256: bytes
    notice: Notice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """A gateway's account of one update."""

    campaign_id: str
    release_id: str
    outcome: Outcome
    reason: str
    start_time: datetime | None
    finish_time: datetime | None
    ecus: tuple[EcuResult, ...] = ()
    steps: tuple[Step, ...] = ()
    conditions: tuple[ConditionRecord, ...] = ()
    consents: tuple[ConsentRecord, ...] = ()
    #: Identifiers within the vehicle; None if none was taken.
    snapshot_before: str | None = None
    snapshot_after: str | None = None
    #: What the gateway counted to the cloud and from it for this campaign.
    bytes_sent: int = 0
    bytes_received: int = 0

    def result(self, ecu: str) -> EcuResult | None:
        return next((result for result in self.ecus if result.ecu == ecu), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuJudgement:
    ecu: str
    #: The boot loader proved, over our nonce, that it runs the offered image.
    read_back: bool
    #: What the boot loader proved to run, whatever it is; None without a proof.
    proved_sha256: bytes | None
    #: Why `read_back` is false; empty if it is true.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the cloud holds to be true."""

    outcome: Outcome
    reason: str
    ecus: tuple[EcuJudgement, ...]


def proves(ecu: Ecu, read_back: ReadBack, *, nonce: bytes) -> str:
    """Return why a read-back proves nothing, or an empty string if it does."""
    if read_back.nonce != nonce:
        return "the read-back is signed over another nonce"
    if len(nonce) < NONCE_MINIMUM:
        return f"the nonce has {len(nonce)} bytes; at least {NONCE_MINIMUM}"
    verified = slot_digest.verify(
        ecu.public_key,
        read_back.signature,
        hardware_id=ecu.hardware_id,
        serial=ecu.serial_number,
        nonce=nonce,
        sha256=read_back.image_sha256,
    )
    return "" if verified else "the signature of the read-back does not verify"


def take_inventory(ecu: Ecu, inventory: EcuInventory, *, now: datetime) -> Ecu:
    """Return the ECU as it stands after a check-in; an unproved digest is not kept."""
    if not inventory.error:
        ecu = replace(
            ecu,
            reported_hardware_id=inventory.hardware_id,
            reported_serial_number=inventory.serial_number,
        )
    error = _inventory_error(ecu, inventory)
    if error:
        return replace(ecu, inventory_error=error, inventory_time=now)
    read_back = inventory.read_back
    proved = read_back is not None and not proves(ecu, read_back, nonce=read_back.nonce)
    runs = read_back.image_sha256 if read_back is not None and proved else None
    return replace(
        ecu,
        software_number=inventory.software_number,
        software_version=inventory.software_version,
        supplier_version=inventory.supplier_version,
        image_sha256=runs,
        intended_sha256=runs or ecu.intended_sha256,
        inventory_error="",
        inventory_time=now,
    )


def _inventory_error(ecu: Ecu, inventory: EcuInventory) -> str:
    if inventory.error:
        return f"could not be read: {inventory.error}"
    if inventory.hardware_id != ecu.hardware_id:
        return f"reports hardware {inventory.hardware_id!r}, registered is {ecu.hardware_id!r}"
    if inventory.serial_number != ecu.serial_number:
        return (
            f"reports serial number {inventory.serial_number!r}, "
            f"registered is {ecu.serial_number!r}"
        )
    return ""


def judge_report(report: UpdateReport, assignment: Assignment, vehicle: Vehicle) -> Judgement:
    """Say how an update really ended; `InvalidFieldError` if the report does not say how."""
    ecus = tuple(
        _judge_ecu(change, report.result(change.ecu), vehicle, nonce=assignment.nonce)
        for change in assignment.changes
    )
    match report.outcome:
        case Outcome.UNSPECIFIED:
            raise InvalidFieldError("report.outcome", "a report says how the update ended")
        case Outcome.UPDATED:
            against = [f"{ecu.ecu}: {ecu.reason}" for ecu in ecus if not ecu.read_back]
        case Outcome.ROLLED_BACK | Outcome.REFUSED:
            against = _not_as_before(assignment.changes, ecus)
        case Outcome.FAILED_SAFE:
            against = []
    if not against:
        return Judgement(outcome=report.outcome, reason=report.reason, ecus=ecus)
    claim = report.outcome.name.lower().replace("_", " ")
    said = f" (the vehicle's reason: {report.reason})" if report.reason else ""
    return Judgement(
        outcome=Outcome.FAILED_SAFE,
        reason=f"the vehicle says {claim}, but {'; '.join(against)}{said}",
        ecus=ecus,
    )


def _judge_ecu(
    change: Change, result: EcuResult | None, vehicle: Vehicle, *, nonce: bytes
) -> EcuJudgement:
    ecu = vehicle.ecu(change.ecu)
    reason, proved = "", None
    if ecu is None:
        reason = "the vehicle has no such ECU"
    elif result is None:
        reason = "the report does not speak of it"
    elif result.read_back is None:
        reason = "nothing was read back"
    elif not (reason := proves(ecu, result.read_back, nonce=nonce)):
        proved = result.read_back.image_sha256
        if proved != change.image.image_sha256:
            reason = (
                f"it runs an image with SHA-256 {proved.hex()[:16]}..., "
                f"not {change.image.image_sha256.hex()[:16]}..."
            )
    return EcuJudgement(ecu=change.ecu, read_back=not reason, proved_sha256=proved, reason=reason)


def _not_as_before(changes: Sequence[Change], ecus: Sequence[EcuJudgement]) -> list[str]:
    """Return what is proved to run although it did not run before."""
    against = []
    for change, judged in zip(changes, ecus, strict=True):
        proved = judged.proved_sha256
        unchanged = change.image.image_sha256 == change.sha256_before
        if proved is None or (
            proved == change.sha256_before and (unchanged or not judged.read_back)
        ):
            continue
        if change.sha256_before is not None or judged.read_back:
            against.append(
                f"{judged.ecu}: it proves an image with SHA-256 {proved.hex()[:16]}..., "
                "which is not what it ran before"
            )
    return against


def after_report(
    vehicle: Vehicle, report: UpdateReport, judgement: Judgement, *, now: datetime
) -> tuple[Ecu, ...]:
    """Return the ECUs whose software is known anew from a judged report.

    What a committed update could not prove is what the ECU should run all the same.
    """
    changed = []
    committed = any(step.step == _COMMIT and not step.failed for step in report.steps)
    for judged in judgement.ecus:
        ecu, result = vehicle.ecu(judged.ecu), report.result(judged.ecu)
        if ecu is None or result is None:
            continue
        if judged.proved_sha256 is None:
            if committed:
                changed.append(replace(ecu, intended_sha256=result.image_sha256))
            continue
        changed.append(
            replace(
                ecu,
                software_number=result.software_number_after,
                software_version=result.version_after,
                supplier_version=result.supplier_version_after,
                image_sha256=judged.proved_sha256,
                intended_sha256=judged.proved_sha256,
                inventory_error="",
                inventory_time=now,
            )
        )
    return tuple(changed)
