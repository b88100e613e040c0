"""report.csv: one row for each vehicle and ECU, for spreadsheets."""

import csv
import io
from typing import Final

from cloud.reports.model import CampaignReport, EcuUpdate, VehicleReport

_COLUMNS: Final = (
    "campaign",
    "release",
    "vin",
    "outcome",
    "reason",
    "ecu",
    "hardware_id",
    "wire",
    "version_before",
    "version_after",
    "read_back",
    "image_sha256",
    "image_bytes",
    "transfer_seconds",
    "bound_seconds",
    "staging_seconds",
    "out_of_use_seconds",
    "error",
)
#: A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def render_csv(report: CampaignReport) -> bytes:
    """Render RFC 4180 in UTF-8; a vehicle without ECU results has one row, its ECU cells empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for vehicle in report.vehicles:
        head = (report.campaign_id, report.release_id, vehicle.vin, vehicle.outcome, vehicle.reason)
        for tail in _tails(vehicle):
            writer.writerow([harmless(cell) for cell in head + tail])
    return out.getvalue().encode()


def _tails(vehicle: VehicleReport) -> list[tuple[str, ...]]:
    if not vehicle.ecus:
        return [("",) * 13]
    return [_ecu(ecu) for ecu in vehicle.ecus]


def _ecu(ecu: EcuUpdate) -> tuple[str, ...]:
    return (
        ecu.name,
        ecu.hardware_id,
        ecu.wire,
        ecu.version_before,
        ecu.version_after,
        "true" if ecu.read_back else "false",
        ecu.image_sha256,
        str(ecu.image_bytes),
        f"{ecu.transfer_seconds:.6f}",
        f"{ecu.bound_seconds:.6f}",
        f"{ecu.staging_seconds:.6f}",
        f"{ecu.out_of_use_seconds:.6f}",
        ecu.error,
    )


def harmless(cell: str) -> str:
    """Keep a spreadsheet from taking a text for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
