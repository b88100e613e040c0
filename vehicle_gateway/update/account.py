"""The account of a finished update, made from its journal alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dbc.vehicle import VehicleDescription
from vehicle_gateway.update import Inventory, TransferFigures
from vehicle_gateway.update.coordinator import EcuPart, EcuState, Outcome, fold, outcome
from vehicle_gateway.update.journal import Entry, JournalError, Kind
from vehicle_gateway.update.offer import Notice, Offer, OfferedImage
from vehicle_gateway.update.records import from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step with its times; `ecu` is empty for the whole vehicle."""

    start_us: int
    duration_us: int
    ecu: str
    step: str
    detail: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRecord:
    """One comparison as it was judged at `time_us`; texts as the journal has them."""

    time_us: int
    #: `waiting`: it was waited for. `cleared`: activation began on it. `refused`: it was not met in
    #: time. `violated`: it was no longer met, and the update turned back.
    occasion: str
    origin: str
    condition: str
    verdict: str
    signal: str
    message: str
    source: str
    value: str
    #: When the value was received; 0 if never.
    value_us: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    time_us: int
    answer: str
    defer_until_us: int
    release_sha256: bytes
    notice: Notice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuResult:
    offered: OfferedImage
    wire: str
    before: Inventory
    #: As read back at the end, whatever the outcome.
    after: Inventory
    figures: TransferFigures
    #: Why this ECU failed; empty if it did not.
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    campaign: str
    release: str
    outcome: Outcome
    #: Names the ECU, step and cause; empty if updated.
    reason: str
    start_us: int
    finish_us: int
    ecus: tuple[EcuResult, ...]
    steps: tuple[Step, ...]
    #: Ids of the snapshots; empty where none could be taken.
    snapshot_before: str
    snapshot_after: str
    #: Bytes that went to the cloud and came from it for this campaign, up to this report.
    bytes_sent: int = 0
    bytes_received: int = 0
    conditions: tuple[ConditionRecord, ...] = ()
    consents: tuple[ConsentRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the journal's first entry says."""

    vin: str
    offer: Offer
    #: What every offered ECU said of itself before the update, over the offer's nonce.
    before: tuple[Inventory, ...]
    parts: tuple[EcuPart, ...]

    def fields(self) -> dict[str, Any]:
        return {"vin": self.vin, "offer": self.offer, "before": self.before, "parts": self._parts()}

    def _parts(self) -> list[dict[str, object]]:
        return [
            {
                "ecu": part.ecu,
                "single_slot": part.single_slot,
                "gateway": part.gateway,
                "unchanged": part.state is EcuState.UNCHANGED,
            }
            for part in self.parts
        ]


def opening_of(entry: Entry) -> Opening:
    """The first entry's meaning; `JournalError` if it has none."""
    try:
        if entry.kind is not Kind.OFFERED:
            raise ValueError(f"begins with {entry.kind.value}")  # noqa: TRY301 one error for all
        return Opening(
            vin=entry.fields["vin"],
            offer=from_json(Offer, entry.fields["offer"]),
            before=tuple(from_json(Inventory, item) for item in entry.fields["before"]),
            parts=tuple(
                EcuPart(
                    ecu=item["ecu"],
                    single_slot=item["single_slot"],
                    gateway=item["gateway"],
                    state=EcuState.UNCHANGED if item["unchanged"] else EcuState.IDLE,
                )
                for item in entry.fields["parts"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(f"the journal's first entry: {error}") from error


#: Entry -> the step that it ends, in words. Its field `started_us` says when it began.
STEPS: Final[Mapping[Kind, str]] = {
    Kind.SNAPSHOT_BEFORE: "diagnostics before",
    Kind.DOWNLOADED: "download",
    Kind.STAGED: "stage",
    Kind.WAITING: "wait for preconditions",
    Kind.CONSENT: "consent",
    Kind.CLEARED: "preconditions and consent",
    Kind.ACTIVATED: "activate",
    Kind.PROVED: "read back",
    Kind.COMMIT: "commit",
    Kind.CONFIRMED: "confirm",
    Kind.REVERTED: "revert",
    Kind.WENT_BACK: "went back by itself",
    Kind.REPLACED: "replaced",
    Kind.LOST: "given up",
    Kind.DTCS_CLEARED: "clear DTCs",
    Kind.SNAPSHOT_AFTER: "diagnostics after",
    Kind.INSPECTED: "inspect",
}


def report(
    entries: Sequence[Entry], vehicle: VehicleDescription, *, finish_us: int
) -> UpdateReport:
    """The report of an update whose entries these are."""
    opening = opening_of(entries[0])
    state = fold(opening.parts, entries[1:])
    result, reason = outcome(state)
    return UpdateReport(
        campaign=opening.offer.campaign,
        release=opening.offer.release,
        outcome=result,
        reason=reason,
        start_us=entries[0].time_us,
        finish_us=finish_us,
        ecus=_ecus(opening, entries, vehicle),
        steps=tuple(step for entry in entries if (step := _step(entry)) is not None),
        snapshot_before=_snapshot(entries, Kind.SNAPSHOT_BEFORE),
        snapshot_after=_snapshot(entries, Kind.SNAPSHOT_AFTER),
        conditions=tuple(one for entry in entries for one in _conditions(entry)),
        consents=tuple(_consent(entry) for entry in entries if entry.kind is Kind.CONSENT),
    )


#: Entry -> why its conditions are told.
OCCASIONS: Final[Mapping[Kind, str]] = {
    Kind.WAITING: "waiting",
    Kind.CLEARED: "cleared",
    Kind.REFUSED: "refused",
    Kind.FAILED: "violated",
}


def _conditions(entry: Entry) -> list[ConditionRecord]:
    if entry.kind not in OCCASIONS:
        return []
    found = entry.fields.get("conditions", [])
    return [
        ConditionRecord(
            time_us=entry.time_us,
            occasion=OCCASIONS[entry.kind],
            value_us=int(one["time_us"]),
            **{
                name: str(one[name])
                for name in (
                    *("origin", "condition", "verdict", "signal"),
                    *("message", "source", "value", "problem"),
                )
            },
        )
        for one in (found if isinstance(found, list) else [])
        # What was met is told once, when it is begun on.
        if entry.kind is Kind.CLEARED or one["verdict"] != "met"
    ]


def _consent(entry: Entry) -> ConsentRecord:
    notice = entry.fields.get("notice")
    return ConsentRecord(
        time_us=entry.time_us,
        answer=str(entry.fields.get("answer", "")),
        defer_until_us=int(entry.fields.get("defer_until_us", 0)),
        release_sha256=bytes.fromhex(str(entry.fields.get("release_sha256", ""))),
        notice=None if notice is None else from_json(Notice, notice),
    )


def _step(entry: Entry) -> Step | None:
    if entry.kind in {Kind.FAILED, Kind.REFUSED}:
        name = str(entry.fields["step"])
    elif entry.kind in STEPS:
        name = STEPS[entry.kind]
    else:
        return None
    start_us = int(entry.fields.get("started_us", entry.time_us))
    return Step(
        start_us=start_us,
        # A restarted gateway may have a clock that begins anew.
        duration_us=max(0, entry.time_us - start_us),
        ecu=entry.ecu,
        step=name,
        detail=str(entry.fields.get("cause", "")),
        failed=entry.kind in {Kind.FAILED, Kind.REFUSED, Kind.LOST, Kind.WENT_BACK, Kind.REPLACED},
    )


def _ecus(
    opening: Opening, entries: Sequence[Entry], vehicle: VehicleDescription
) -> tuple[EcuResult, ...]:
    before = {inventory.ecu: inventory for inventory in opening.before}
    after = dict(before)
    for entry in entries:
        if entry.kind is Kind.INSPECTED:
            inspected = (from_json(Inventory, item) for item in entry.fields["ecus"])
            after.update({inventory.ecu: inventory for inventory in inspected})
    return tuple(
        EcuResult(
            offered=offered,
            wire=vehicle.ecus[offered.ecu].wire if offered.ecu in vehicle.ecus else "",
            before=before.get(offered.ecu, Inventory(ecu=offered.ecu)),
            after=after.get(offered.ecu, Inventory(ecu=offered.ecu)),
            figures=_figures(offered.ecu, entries),
            error=_error(offered.ecu, entries),
        )
        for offered in opening.offer.images
    )


def _figures(ecu: str, entries: Sequence[Entry]) -> TransferFigures:
    """Sums over all tries of this image; writing the old one back counts as time out of use."""
    total = TransferFigures()
    for entry in entries:
        if entry.ecu != ecu or "figures" not in entry.fields:
            continue
        figures = from_json(TransferFigures, entry.fields["figures"])
        if entry.kind is Kind.REVERTED:
            figures = TransferFigures(out_of_use_s=figures.out_of_use_s)
        total += figures
    return total


def _error(ecu: str, entries: Sequence[Entry]) -> str:
    """The newest failure that nothing has made good since."""
    error = ""
    for entry in entries:
        if entry.ecu != ecu:
            continue
        if entry.kind in {Kind.FAILED, Kind.WENT_BACK, Kind.REPLACED}:
            error = f"{entry.fields.get('step', '')}: {entry.fields.get('cause', '')}"
        elif entry.kind is Kind.CONFIRMED:
            error = ""
    return error


def _snapshot(entries: Sequence[Entry], kind: Kind) -> str:
    names = [str(entry.fields.get("snapshot", "")) for entry in entries if entry.kind is kind]
    return names[-1] if names else ""
