"""Numbers and outcomes as people say them."""

from datetime import UTC, datetime
from typing import Final

from cloud.fleet.dtcs import Change, DtcChange
from cloud.reports.changes import changes_of
from cloud.reports.model import CampaignReport, EcuUpdate, Outcome, VehicleReport

#: Outcome -> (heading, what that means).
OUTCOMES: Final[dict[Outcome, tuple[str, str]]] = {
    Outcome.UPDATED: ("Updated", "Every ECU runs the new release, proved by its boot loader."),
    Outcome.ROLLED_BACK: ("Rolled back", "Every ECU runs what it ran before."),
    Outcome.REFUSED: ("Refused", "Nothing was changed."),
    Outcome.FAILED_SAFE: (
        "Stopped in a safe state",
        "The vehicle holds neither release as a whole.",
    ),
    Outcome.PENDING: ("Under way", "The update has not ended yet."),
}

CHANGES: Final[dict[Change, str]] = {
    Change.NEW: "New",
    Change.GONE: "Gone",
    Change.STILL_THERE: "Still there",
    Change.PENDING: "Failing, not confirmed",
    Change.NOT_TESTED: "Not tested yet",
    Change.OWN_RESET: "From our own reset",
    Change.CLEAR: "No fault",
}


def verdict(report: CampaignReport) -> str:
    """Say in one line how a campaign ended."""
    if len(report.vehicles) == 1:
        return vehicle_verdict(report.vehicles[0], report.release_version or report.release_id)
    if not report.vehicles:
        return "No vehicle has reported yet."
    counts = [
        f"{count} {OUTCOMES[outcome][0].lower()}"
        for outcome in OUTCOMES
        if (count := sum(vehicle.outcome is outcome for vehicle in report.vehicles))
    ]
    return f"{len(report.vehicles)} vehicles: {', '.join(counts)}."


def vehicle_verdict(vehicle: VehicleReport, version: str) -> str:
    """Say in one line how the update of one vehicle ended and how that is known."""
    if vehicle.outcome is Outcome.UPDATED:
        proved = sum(ecu.read_back for ecu in vehicle.ecus)
        codes = ", ".join(_codes(changes_of(vehicle)))
        return (
            f"Updated to {version}: {proved} of {plural(len(vehicle.ecus), 'ECU')} "
            f"proved by signed read-back{'; ' if codes else ''}{codes}."
        )
    heading, meaning = OUTCOMES[vehicle.outcome]
    return f"{heading}: {vehicle.reason or meaning}"


def _codes(changes: tuple[DtcChange, ...]) -> list[str]:
    counts = {verdict: sum(one.change is verdict for one in changes) for verdict in Change}
    said = [
        f"{plural(counts[verdict], 'trouble code')} {name}"
        for verdict, name in ((Change.GONE, "gone"), (Change.NEW, "new"))
        if counts[verdict]
    ]
    if not counts[Change.NEW]:
        said.append("none new")
    if counts[Change.NOT_TESTED]:
        said.append(f"{counts[Change.NOT_TESTED]} not tested yet")
    if counts[Change.OWN_RESET]:
        said.append(f"{counts[Change.OWN_RESET]} from the update's own resets")
    return said


def unit(name: str) -> str:
    """Say a signal's unit as people write it; databases keep to ASCII."""
    return {"degC": "\u00b0C", "Cel": "\u00b0C"}.get(name, name)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def seconds(value: float) -> str:
    """Say a duration: `0.35 s`, `12.4 s`, `3 min 05 s`."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02} s"


def moment(time: datetime) -> str:
    """Say a date and time in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Say a number of bytes: `812 B`, `91.4 KiB`, `1.50 MiB`."""
    if count < 1024:
        return f"{count} B"
    if count < 1024 * 1024:
        return f"{count / 1024:.1f} KiB"
    return f"{count / (1024 * 1024):.2f} MiB"


def rate(ecu: EcuUpdate) -> str:
    """Say how fast the image went over; empty if it did not."""
    if ecu.transfer_seconds <= 0:
        return ""
    return f"{size(round(ecu.image_bytes / ecu.transfer_seconds))}/s"
