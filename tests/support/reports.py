"""A report as the demo makes one, without running it."""

from datetime import UTC, datetime, timedelta
from math import exp

from cloud.fleet.diagnostics import DataIdentifier, Dtc, EcuDiagnostics, SignalSeries, Snapshot
from cloud.reports.model import CampaignReport, EcuUpdate, Outcome, Step, VehicleReport

START = datetime(2026, 6, 1, 8, 4, 0, tzinfo=UTC)
VIN = "WCANHVAC000000001"


def dtc(code: int, status: int, text: str = "Cabin temperature control deviation") -> Dtc:
    display = f"{'PCBU'[code >> 22]}{code >> 20 & 3}{code >> 8 & 0xFFF:03X}-{code & 0xFF:02X}"
    return Dtc(code=code, display=display, text=text, status=status)


def snapshot(
    occasion: str, *readings: EcuDiagnostics, settles_at: float = 22.0, at_s: float = 0.0
) -> Snapshot:
    """A reading with 240 s of cabin temperature behind it."""
    offsets = tuple(float(second - 240) for second in range(241))
    cabin = tuple(settles_at + (35.0 - settles_at) * exp(-second / 50) for second in range(241))
    return Snapshot(
        vin=VIN,
        snapshot_id=occasion,
        campaign_id=None,
        occasion=occasion,
        time=START + timedelta(seconds=at_s),
        ecus=readings,
        signals=(
            _series("CabinTemperature", "degC", offsets, cabin),
            _series("Setpoint", "degC", offsets, (22.0,) * len(offsets)),
        ),
    )


def _series(
    signal: str, unit: str, offsets: tuple[float, ...], values: tuple[float, ...]
) -> SignalSeries:
    return SignalSeries(
        wire="comfort",
        message="CCU_Status",
        signal=signal,
        unit=unit,
        offsets_s=offsets,
        values=values,
    )


def ecu(name: str = "ccu", *, read_back: bool = True, error: str = "") -> EcuUpdate:
    hardware_id, wire, size, transfer, bound, out = _ECUS[name]
    return EcuUpdate(
        name=name,
        hardware_id=hardware_id,
        wire=wire,
        single_slot=name == "blower",
        version_before="1.0.0",
        version_after="2.0.0" if read_back else "1.0.0",
        software_number_after=f"{hardware_id}-SW",
        supplier_version_after="2.0.0+1",
        read_back=read_back,
        read_back_sha256=("ab" if read_back else "cd") * 32,
        image_sha256="ab" * 32,
        image_bytes=size,
        transfer_seconds=transfer,
        bound_seconds=bound,
        staging_seconds=0.0 if name == "blower" else transfer + 2.2,
        out_of_use_seconds=out,
        error=error,
    )


_ECUS = {
    "ccu": ("CCU-2", "comfort", 312_440, 12.71, 12.35, 0.35),
    "blower": ("BLW-1", "comfort", 88_120, 6.94, 5.88, 9.4),
    "ecomp": ("ECP-3", "thermal", 604_100, 3.61, 3.4, 0.4),
    "rear": ("RCZ-1", "rear", 1_804_100, 1.61, 1.4, 0.8),
}


def vehicle(
    outcome: Outcome = Outcome.UPDATED, *, vin: str = VIN, reason: str = "", after_s: float = 270.0
) -> VehicleReport:
    updated = outcome is Outcome.UPDATED
    names = ("ccu", "ecomp", "rear", "blower")
    status_after = 0x00 if updated else 0x2F
    return VehicleReport(
        vin=vin,
        model="canota HVAC bench",
        outcome=outcome,
        reason=reason,
        start=START,
        finish=START + timedelta(seconds=61.5),
        ecus=tuple(ecu(name, read_back=updated) for name in names),
        before=snapshot(
            "before_update",
            EcuDiagnostics(
                ecu="ccu", dtcs=(dtc(0x9A0100, 0x2F),), data_identifiers=(_version("1.0.0"),)
            ),
            EcuDiagnostics(ecu="blower", dtcs=(dtc(0xD14587, 0x50, "No communication with ccu"),)),
            settles_at=25.4,
        ),
        after=snapshot(
            "after_update",
            EcuDiagnostics(
                ecu="ccu",
                dtcs=(dtc(0x9A0100, status_after),),
                data_identifiers=(_version("2.0.0"),),
            ),
            EcuDiagnostics(ecu="blower", dtcs=(dtc(0xD14587, 0x50, "No communication with ccu"),)),
            at_s=after_s,
        ),
        steps=_steps(),
    )


def _version(version: str) -> DataIdentifier:
    return DataIdentifier(
        data_identifier=0xF189, text="ECU software version", record=version.encode(), value=version
    )


def _steps() -> tuple[Step, ...]:
    rows = [("", "download", 0.0, 1.8), ("", "read before", 1.8, 0.4)]
    for name, begin, erase in (("ccu", 2.2, 0.8), ("ecomp", 2.2, 1.1), ("rear", 2.2, 1.7)):
        seconds = _ECUS[name][3]
        rows += [(name, "erase", begin, erase), (name, "transfer", begin + erase, seconds)]
        rows.append((name, "check memory", begin + erase + seconds, 0.3))
    rows += [
        ("ccu", "activate", 17.0, 0.6),
        ("blower", "program", 18.5, 9.4),
        ("", "confirm", 29, 1),
    ]
    return tuple(
        Step(start=START + timedelta(seconds=at), seconds=seconds, ecu=name, step=step)
        for name, step, at, seconds in rows
    )


def campaign(*vehicles: VehicleReport) -> CampaignReport:
    return CampaignReport(
        campaign_id="summer-fix",
        release_id="hvac-2.0.0",
        release_version="2.0.0",
        clock="virtual",
        seed=1,
        create_time=START,
        start_time=START,
        finish_time=START + timedelta(seconds=61.5),
        vehicles=vehicles or (vehicle(),),
    )
