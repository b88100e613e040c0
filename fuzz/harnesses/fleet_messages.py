"""Any message of a vehicle or an operator becomes fleet values, or is refused by a `FleetError`.

What is no protobuf at all, gRPC refuses before the cloud sees it.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from cloud.fleet.diagnostic_jobs import check_action, check_result
from cloud.fleet.diagnostic_plans import check_batch, check_gap, check_plan, check_wanted
from cloud.fleet.diagnostics import check_snapshot
from cloud.fleet.errors import FleetError
from cloud.fleet.names import (
    campaign_id_of,
    check_vin,
    diagnostic_gap_of,
    diagnostic_job_of,
    diagnostic_plan_of,
    release_id_of,
    signal_subscription_of,
    snapshot_of,
    vin_of,
)
from cloud.fleet.releases import check_announcement
from cloud.fleet.vehicles import check_vehicle
from cloud.messages.campaigns import from_phase, from_progress
from cloud.messages.diagnostic_jobs import from_action, from_result
from cloud.messages.diagnostic_plans import from_batch, from_gap, from_plan, from_wanted
from cloud.messages.diagnostics import from_snapshot
from cloud.messages.evidence import from_inventory, from_report
from cloud.messages.releases import from_header
from cloud.messages.vehicles import from_vehicle
from fuzz import Harness
from protocols.fleet.v1 import (
    campaigns_pb2,
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    diagnostics_pb2,
    gateway_pb2,
    releases_pb2,
    vehicles_pb2,
)

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_VIN: Final = "WCANHVAC000000001"


def _check_in(content: bytes) -> None:
    request = gateway_pb2.CheckInRequest.FromString(content)
    check_vin(request.vin, field="vin")
    for one in request.ecus:
        from_inventory(one, field="ecus")


def _progress(content: bytes) -> None:
    request = gateway_pb2.ReportProgressRequest.FromString(content)
    campaign_id_of(request.campaign, field="campaign")
    from_phase(request.phase, field="phase")
    from_progress(request.ecus)


def _snapshot(content: bytes) -> None:
    message = diagnostics_pb2.DiagnosticSnapshot.FromString(content)
    check_snapshot(from_snapshot(message, vin=_VIN))


def _report(content: bytes) -> None:
    from_report(gateway_pb2.UpdateReport.FromString(content), vin=_VIN)


def _job(content: bytes) -> None:
    check_action(from_action(diagnostic_jobs_pb2.DiagnosticJob.FromString(content)))


def _result(content: bytes) -> None:
    message = diagnostic_jobs_pb2.DiagnosticJobResult.FromString(content)
    check_result(from_result(message, vin=_VIN))


def _plan(content: bytes) -> None:
    check_plan(from_plan(diagnostic_plans_pb2.DiagnosticPlan.FromString(content)))


def _subscription(content: bytes) -> None:
    check_wanted(from_wanted(diagnostic_plans_pb2.SignalSubscription.FromString(content)))


def _batch(content: bytes) -> None:
    check_batch(from_batch(diagnostics_pb2.SignalBatch.FromString(content)))


def _gap(content: bytes) -> None:
    check_gap(from_gap(diagnostic_plans_pb2.DiagnosticGap.FromString(content), vin=_VIN))


def _vehicle(content: bytes) -> None:
    check_vehicle(from_vehicle(vehicles_pb2.Vehicle.FromString(content), now=_NOW))


def _release(content: bytes) -> None:
    header = releases_pb2.CreateReleaseRequest.Header.FromString(content)
    check_announcement(from_header(header), signals={})


def _names(content: bytes) -> None:
    name = content.decode("utf-8", "replace")
    for read in (
        vin_of,
        release_id_of,
        campaign_id_of,
        snapshot_of,
        diagnostic_plan_of,
        diagnostic_job_of,
        signal_subscription_of,
        diagnostic_gap_of,
    ):
        with suppress(FleetError):
            read(name, field="name")


_READERS: Final[tuple[Callable[[bytes], None], ...]] = (
    _check_in,
    _progress,
    _snapshot,
    _report,
    _vehicle,
    _release,
    _names,
    _job,
    _result,
    _plan,
    _subscription,
    _batch,
    _gap,
)


def prove(data: bytes) -> None:
    if not data:
        return
    with suppress(DecodeError, FleetError):
        _READERS[data[0] % len(_READERS)](data[1:])


def _seed(number: int, message: Message) -> bytes:
    return bytes((number,)) + message.SerializeToString(deterministic=True)


_READ_BACK: Final = gateway_pb2.ReadBack(
    nonce=bytes(16), image_sha256=bytes(32), signature=bytes(64)
)
_INVENTORY: Final = gateway_pb2.EcuInventory(
    ecu="ccu", hardware_id="CCU-2", software_version="1.0.0", read_back=_READ_BACK
)
_SNAPSHOT: Final = diagnostics_pb2.DiagnosticSnapshot(
    name=f"vehicles/{_VIN}/snapshots/a1",
    occasion="on_request",
    ecus=[
        diagnostics_pb2.EcuDiagnostics(
            ecu="ccu",
            dtcs=[
                diagnostics_pb2.Dtc(
                    code=0x9A0100,
                    display="B1A01-00",
                    status=0x2F,
                    snapshots=[diagnostics_pb2.DtcRecord(record_number=1, record=b"\1")],
                )
            ],
        )
    ],
    signals=[
        diagnostics_pb2.SignalSeries(
            wire="comfort", message="CCU_Status", signal="S", offsets_seconds=[0.5], values=[1.0]
        )
    ],
)
_REPORT: Final = gateway_pb2.UpdateReport(
    campaign="campaigns/summer",
    release="releases/hvac-2",
    outcome=campaigns_pb2.OUTCOME_UPDATED,
    ecus=[gateway_pb2.EcuResult(ecu="ccu", read_back=_READ_BACK)],
    steps=[gateway_pb2.Step(ecu="ccu", step="stage")],
)
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _seed(0, gateway_pb2.CheckInRequest(vin=_VIN, ecus=[_INVENTORY])),
        _seed(
            1,
            gateway_pb2.ReportProgressRequest(
                vin=_VIN,
                campaign="campaigns/summer",
                phase=campaigns_pb2.PHASE_DOWNLOADING,
                ecus=[campaigns_pb2.EcuProgress(ecu="ccu", bytes_done=5, bytes_total=9)],
            ),
        ),
        _seed(2, _SNAPSHOT),
        _seed(3, _REPORT),
        _seed(
            4,
            vehicles_pb2.Vehicle(
                vin=_VIN,
                model="m",
                ecus=[vehicles_pb2.Ecu(ecu="ccu", hardware_id="CCU-2", public_key=bytes(32))],
            ),
        ),
        _seed(
            5,
            releases_pb2.CreateReleaseRequest.Header(
                release_id="hvac-2",
                version="2.0.0",
                files=[
                    releases_pb2.CreateReleaseRequest.File(
                        hardware_id="CCU-2", file_name="a.hex", file_size=9, file_sha256=bytes(32)
                    )
                ],
            ),
        ),
        b"\x06vehicles/" + _VIN.encode() + b"/snapshots/a1",
        b"\x06campaigns/summer",
        b"\x06vehicles/" + _VIN.encode() + b"/diagnosticGaps/7",
        b"\x06vehicles/" + _VIN.encode() + b"/diagnosticPlan",
        _seed(
            7,
            diagnostic_jobs_pb2.DiagnosticJob(
                output_control=diagnostic_jobs_pb2.DiagnosticJob.OutputControl(
                    ecu="ccu",
                    data_identifier=0x0191,
                    control_state=b"1",
                    hold_time=Duration(seconds=5),
                )
            ),
        ),
        _seed(
            8,
            diagnostic_jobs_pb2.DiagnosticJobResult(
                state=diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_FAILED,
                detail="no",
                exchanges=[diagnostic_jobs_pb2.DiagnosticExchange(ecu="ccu", request=b"1")],
                snapshot=f"vehicles/{_VIN}/snapshots/a1",
            ),
        ),
        _seed(9, diagnostic_plans_pb2.DiagnosticPlan(period=Duration(seconds=60), ecus=["ccu"])),
        _seed(
            10,
            diagnostic_plans_pb2.SignalSubscription(
                signals=["CCU_Status.CabinTemperature", "blower:0111"],
                period=Duration(seconds=1),
                duration=Duration(seconds=60),
            ),
        ),
        _seed(11, diagnostics_pb2.SignalBatch(series=_SNAPSHOT.signals, errors={"a": "b"})),
        _seed(
            12,
            diagnostic_plans_pb2.DiagnosticGap(
                name=f"vehicles/{_VIN}/diagnosticGaps/7",
                kind="live",
                count=1,
                ranges=[diagnostic_plans_pb2.SequenceRange(first=1, last=2)],
            ),
        ),
    ),
    max_length=1024,
)
