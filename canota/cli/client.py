"""An operator's end of fleet.v1: calls with deadlines, errors as one line and an exit code."""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from canota.cli.exits import CommandError, Exit
from protocols.fleet.v1 import (
    campaigns_pb2,
    campaigns_pb2_grpc,
    conditions_pb2,
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    diagnostics_pb2,
    diagnostics_pb2_grpc,
    releases_pb2,
    releases_pb2_grpc,
    remote_access_pb2,
    remote_access_pb2_grpc,
    reports_pb2,
    reports_pb2_grpc,
    vehicles_pb2,
    vehicles_pb2_grpc,
)

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any

#: Seconds for one answer, and for a whole upload or download.
ANSWER_S: Final = 20.0
STREAM_S: Final = 600.0
_CHUNK: Final = 256 * 1024
_PAGE: Final = 500
_OPTIONS: Final = (("grpc.max_receive_message_length", 64 * 1024 * 1024),)

_EXITS: Final[dict[grpc.StatusCode, Exit]] = {
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: Exit.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.UNREACHABLE,
    grpc.StatusCode.INVALID_ARGUMENT: Exit.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.REFUSED,
    grpc.StatusCode.ALREADY_EXISTS: Exit.REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exit.REFUSED,
    grpc.StatusCode.OUT_OF_RANGE: Exit.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Exit.REFUSED,
    grpc.StatusCode.DATA_LOSS: Exit.FAILED,
}

#: Bytes done so far.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTerms:
    """When vehicles may activate a release, and whether their drivers are asked."""

    preconditions: str = ""
    #: The five fields of `UserNotice`.
    notice: Mapping[str, str] | None = None
    consent_required: bool = False
    #: Seconds; None leaves it to the cloud.
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A firmware file as it is published; `address` places a raw one."""

    hardware_id: str
    path: Path
    content: bytes
    address: int = 0


class Operator:
    """A connection to a cloud; close it, or use it as a context manager.

    Every method raises `CommandError`. `time_us`, where given, says the unix time in microseconds
    that calls carry (a simulated run's own time).
    """

    def __init__(self, target: str, *, time_us: Callable[[], int] | None = None) -> None:
        self.target = target
        self._time_us = time_us
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._vehicles = vehicles_pb2_grpc.VehicleServiceStub(self._channel)
        self._releases = releases_pb2_grpc.ReleaseServiceStub(self._channel)
        self._campaigns = campaigns_pb2_grpc.CampaignServiceStub(self._channel)
        self._diagnostics = diagnostics_pb2_grpc.DiagnosticsServiceStub(self._channel)
        self._remote = remote_access_pb2_grpc.RemoteAccessServiceStub(self._channel)
        self._reports = reports_pb2_grpc.ReportServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    # Vehicles

    def create_vehicle(self, vehicle: vehicles_pb2.Vehicle) -> vehicles_pb2.Vehicle:
        request = vehicles_pb2.CreateVehicleRequest(vehicle=vehicle)
        with self._errors():
            return self._vehicles.CreateVehicle(request, ANSWER_S, self._metadata())

    def vehicle(self, vin: str) -> vehicles_pb2.Vehicle:
        request = vehicles_pb2.GetVehicleRequest(name=f"vehicles/{vin}")
        with self._errors():
            return self._vehicles.GetVehicle(request, ANSWER_S, self._metadata())

    def replace_ecu(
        self, vin: str, ecu: str, *, serial_number: str, public_key: bytes
    ) -> vehicles_pb2.Vehicle:
        request = vehicles_pb2.ReplaceEcuRequest(
            name=f"vehicles/{vin}/ecus/{ecu}", serial_number=serial_number, public_key=public_key
        )
        with self._errors():
            return self._vehicles.ReplaceEcu(request, ANSWER_S, self._metadata())

    def vehicles(self) -> Iterator[vehicles_pb2.Vehicle]:
        token = ""
        while True:
            request = vehicles_pb2.ListVehiclesRequest(page_size=_PAGE, page_token=token)
            with self._errors():
                page = self._vehicles.ListVehicles(request, ANSWER_S, self._metadata())
            yield from page.vehicles
            if not (token := page.next_page_token):
                return

    # Releases

    def create_release(
        self,
        release_id: str,
        files: Sequence[ReleaseFile],
        *,
        version: str,
        description: str = "",
        terms: ReleaseTerms | None = None,
        progress: Progress | None = None,
    ) -> releases_pb2.Release:
        header = releases_pb2.CreateReleaseRequest.Header(
            release_id=release_id,
            version=version,
            description=description,
            files=[
                releases_pb2.CreateReleaseRequest.File(
                    hardware_id=file.hardware_id,
                    file_name=file.path.name,
                    file_size=len(file.content),
                    file_sha256=hashlib.sha256(file.content).digest(),
                    address=file.address,
                )
                for file in files
            ],
        )
        if terms is not None:
            header.preconditions = terms.preconditions
            header.consent_required = terms.consent_required
            if terms.notice is not None:
                header.notice.CopyFrom(conditions_pb2.UserNotice(**terms.notice))
            if terms.wait_s is not None:
                header.wait.FromTimedelta(timedelta(seconds=terms.wait_s))
        parts = _upload(header, files, progress)
        with self._errors():
            return self._releases.CreateRelease(parts, STREAM_S, self._metadata())

    def release(self, release_id: str) -> releases_pb2.Release:
        request = releases_pb2.GetReleaseRequest(name=f"releases/{release_id}")
        with self._errors():
            return self._releases.GetRelease(request, ANSWER_S, self._metadata())

    def releases(self) -> Iterator[releases_pb2.Release]:
        token = ""
        while True:
            request = releases_pb2.ListReleasesRequest(page_size=_PAGE, page_token=token)
            with self._errors():
                page = self._releases.ListReleases(request, ANSWER_S, self._metadata())
            yield from page.releases
            if not (token := page.next_page_token):
                return

    # Campaigns

    def create_campaign(
        self, campaign_id: str, release_id: str, vins: Sequence[str]
    ) -> campaigns_pb2.Campaign:
        request = campaigns_pb2.CreateCampaignRequest(
            campaign_id=campaign_id, release=f"releases/{release_id}", vins=vins
        )
        with self._errors():
            return self._campaigns.CreateCampaign(request, ANSWER_S, self._metadata())

    def campaign(self, campaign_id: str) -> campaigns_pb2.Campaign:
        request = campaigns_pb2.GetCampaignRequest(name=f"campaigns/{campaign_id}")
        with self._errors():
            return self._campaigns.GetCampaign(request, ANSWER_S, self._metadata())

    def campaigns(self) -> Iterator[campaigns_pb2.Campaign]:
        token = ""
        while True:
            request = campaigns_pb2.ListCampaignsRequest(page_size=_PAGE, page_token=token)
            with self._errors():
                page = self._campaigns.ListCampaigns(request, ANSWER_S, self._metadata())
            yield from page.campaigns
            if not (token := page.next_page_token):
                return

    def dry_run(self, campaign_id: str) -> Sequence[campaigns_pb2.VehicleVerdict]:
        request = campaigns_pb2.DryRunCampaignRequest(name=f"campaigns/{campaign_id}")
        with self._errors():
            return self._campaigns.DryRunCampaign(request, ANSWER_S, self._metadata()).verdicts

    def start_campaign(self, campaign_id: str) -> campaigns_pb2.Campaign:
        request = campaigns_pb2.StartCampaignRequest(name=f"campaigns/{campaign_id}")
        with self._errors():
            return self._campaigns.StartCampaign(request, ANSWER_S, self._metadata())

    def cancel_campaign(self, campaign_id: str) -> campaigns_pb2.Campaign:
        request = campaigns_pb2.CancelCampaignRequest(name=f"campaigns/{campaign_id}")
        with self._errors():
            return self._campaigns.CancelCampaign(request, ANSWER_S, self._metadata())

    def watch_campaign(self, campaign_id: str) -> Iterator[campaigns_pb2.Campaign]:
        """The campaign now and after every change, until it has finished."""
        request = campaigns_pb2.WatchCampaignRequest(name=f"campaigns/{campaign_id}")
        with self._errors():
            yield from self._campaigns.WatchCampaign(request, None, self._metadata())

    # Diagnostics and reports

    def snapshot(self, vin: str, snapshot_id: str) -> diagnostics_pb2.DiagnosticSnapshot:
        request = diagnostics_pb2.GetSnapshotRequest(name=f"vehicles/{vin}/snapshots/{snapshot_id}")
        with self._errors():
            return self._diagnostics.GetSnapshot(request, ANSWER_S, self._metadata())

    def snapshots(self, vin: str) -> Iterator[diagnostics_pb2.DiagnosticSnapshot]:
        token = ""
        while True:
            request = diagnostics_pb2.ListSnapshotsRequest(
                parent=f"vehicles/{vin}", page_size=_PAGE, page_token=token
            )
            with self._errors():
                page = self._diagnostics.ListSnapshots(request, ANSWER_S, self._metadata())
            yield from page.snapshots
            if not (token := page.next_page_token):
                return

    def plan(self, vin: str) -> diagnostic_plans_pb2.DiagnosticPlan:
        request = diagnostics_pb2.GetDiagnosticPlanRequest(name=f"vehicles/{vin}/diagnosticPlan")
        with self._errors():
            return self._diagnostics.GetDiagnosticPlan(request, ANSWER_S, self._metadata())

    def set_plan(
        self, plan: diagnostic_plans_pb2.DiagnosticPlan, fields: Sequence[str]
    ) -> diagnostic_plans_pb2.DiagnosticPlan:
        """Change these fields of a vehicle's plan; none: all."""
        request = diagnostics_pb2.UpdateDiagnosticPlanRequest(
            diagnostic_plan=plan, update_mask=FieldMask(paths=fields)
        )
        with self._errors():
            return self._diagnostics.UpdateDiagnosticPlan(request, ANSWER_S, self._metadata())

    def create_job(
        self, vin: str, job: diagnostic_jobs_pb2.DiagnosticJob
    ) -> diagnostic_jobs_pb2.DiagnosticJob:
        request = diagnostics_pb2.CreateDiagnosticJobRequest(
            parent=f"vehicles/{vin}", diagnostic_job=job, request_id=uuid.uuid4().hex
        )
        with self._errors():
            return self._diagnostics.CreateDiagnosticJob(request, ANSWER_S, self._metadata())

    def job(self, vin: str, job_id: str) -> diagnostic_jobs_pb2.DiagnosticJob:
        name = f"vehicles/{vin}/diagnosticJobs/{job_id}"
        request = diagnostics_pb2.GetDiagnosticJobRequest(name=name)
        with self._errors():
            return self._diagnostics.GetDiagnosticJob(request, ANSWER_S, self._metadata())

    def jobs(self, vin: str) -> Iterator[diagnostic_jobs_pb2.DiagnosticJob]:
        token = ""
        while True:
            request = diagnostics_pb2.ListDiagnosticJobsRequest(
                parent=f"vehicles/{vin}", page_size=_PAGE, page_token=token
            )
            with self._errors():
                page = self._diagnostics.ListDiagnosticJobs(request, ANSWER_S, self._metadata())
            yield from page.diagnostic_jobs
            if not (token := page.next_page_token):
                return

    def cancel_job(self, vin: str, job_id: str) -> diagnostic_jobs_pb2.DiagnosticJob:
        name = f"vehicles/{vin}/diagnosticJobs/{job_id}"
        request = diagnostics_pb2.CancelDiagnosticJobRequest(name=name)
        with self._errors():
            return self._diagnostics.CancelDiagnosticJob(request, ANSWER_S, self._metadata())

    def follow(
        self, vin: str, wanted: diagnostic_plans_pb2.SignalSubscription
    ) -> diagnostic_plans_pb2.SignalSubscription:
        request = diagnostics_pb2.CreateSignalSubscriptionRequest(
            parent=f"vehicles/{vin}", signal_subscription=wanted, request_id=uuid.uuid4().hex
        )
        with self._errors():
            return self._diagnostics.CreateSignalSubscription(request, ANSWER_S, self._metadata())

    def watch_signals(self, subscription: str) -> Iterator[diagnostics_pb2.SignalBatch]:
        """Every batch of a subscription, until it has ended."""
        request = diagnostics_pb2.WatchSignalsRequest(name=subscription)
        with self._errors():
            yield from self._diagnostics.WatchSignals(request, None, self._metadata())

    def stop_following(self, subscription: str) -> diagnostic_plans_pb2.SignalSubscription:
        request = diagnostics_pb2.CancelSignalSubscriptionRequest(name=subscription)
        with self._errors():
            return self._diagnostics.CancelSignalSubscription(request, ANSWER_S, self._metadata())

    def gaps(self, vin: str) -> Iterator[diagnostic_plans_pb2.DiagnosticGap]:
        token = ""
        while True:
            request = diagnostics_pb2.ListDiagnosticGapsRequest(
                parent=f"vehicles/{vin}", page_size=_PAGE, page_token=token
            )
            with self._errors():
                page = self._diagnostics.ListDiagnosticGaps(request, ANSWER_S, self._metadata())
            yield from page.diagnostic_gaps
            if not (token := page.next_page_token):
                return

    def report(self, campaign_id: str, format_: str, progress: Progress | None = None) -> bytes:
        """A campaign's report as a file; `format_` is html, json or csv."""
        request = reports_pb2.ExportReportRequest(
            campaign=f"campaigns/{campaign_id}",
            format=reports_pb2.ReportFormat.Value(f"REPORT_FORMAT_{format_.upper()}"),
        )
        content = bytearray()
        with self._errors():
            for part in self._reports.ExportReport(request, STREAM_S, self._metadata()):
                content += part.chunk
                if progress:
                    progress(len(content))
        return bytes(content)

    def create_remote_session(
        self, vin: str, *, operator: str, purpose: str, scope: int, seconds: int
    ) -> remote_access_pb2.CreateRemoteSessionResponse:
        """Ask for a session; the answer alone holds the tester's token."""
        request = remote_access_pb2.CreateRemoteSessionRequest(
            parent=f"vehicles/{vin}",
            operator=operator,
            purpose=purpose,
            scope=remote_access_pb2.RemoteScope.ValueType(scope),
            duration=Duration(seconds=seconds),
        )
        with self._errors():
            return self._remote.CreateRemoteSession(request, ANSWER_S, self._metadata())

    def remote_session(self, name: str) -> remote_access_pb2.RemoteSession:
        request = remote_access_pb2.GetRemoteSessionRequest(name=name)
        with self._errors():
            return self._remote.GetRemoteSession(request, ANSWER_S, self._metadata())

    def remote_sessions(self, vin: str) -> Iterator[remote_access_pb2.RemoteSession]:
        token = ""
        while True:
            request = remote_access_pb2.ListRemoteSessionsRequest(
                parent=f"vehicles/{vin}", page_size=_PAGE, page_token=token
            )
            with self._errors():
                page = self._remote.ListRemoteSessions(request, ANSWER_S, self._metadata())
            yield from page.sessions
            if not (token := page.next_page_token):
                return

    def revoke_remote_session(self, name: str, *, operator: str) -> remote_access_pb2.RemoteSession:
        """End a session; one that has ended is answered as it is."""
        request = remote_access_pb2.RevokeRemoteSessionRequest(name=name, operator=operator)
        with self._errors():
            return self._remote.RevokeRemoteSession(request, ANSWER_S, self._metadata())

    def recording(self, name: str) -> bytes:
        """What was said in a session, as JSON lines."""
        request = remote_access_pb2.DownloadRecordingRequest(name=name)
        with self._errors():
            parts = self._remote.DownloadRecording(request, STREAM_S, self._metadata())
            return b"".join(part.data for part in parts)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("canota-time-us", str(self._time_us())),) if self._time_us else ()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            # Every error that a call raises is that call too; the stubs do not know.
            raise _as_command_error(cast("grpc.Call", error), self.target) from error


def _upload(
    header: releases_pb2.CreateReleaseRequest.Header,
    files: Iterable[ReleaseFile],
    progress: Progress | None,
) -> Iterator[releases_pb2.CreateReleaseRequest]:
    yield releases_pb2.CreateReleaseRequest(header=header)
    done = 0
    for file in files:
        for start in range(0, len(file.content), _CHUNK):
            chunk = file.content[start : start + _CHUNK]
            yield releases_pb2.CreateReleaseRequest(chunk=chunk)
            done += len(chunk)
            if progress:
                progress(done)


def _as_command_error(error: grpc.Call, target: str) -> CommandError:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        because = (error.details() or "no reason given").rpartition(": ")[2]
        message = f"cloud {target} cannot be reached: {because}"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"cloud {target} did not answer in time"
    else:
        message = _detailed(error)
    return CommandError(message, _EXITS.get(code, Exit.FAILED))


def _detailed(error: grpc.Call) -> str:
    """The status message, and what its google.rpc details add to it."""
    message = error.details() or error.code().name.lower()
    status = rpc_status.from_call(error)
    said = [line for detail in (status.details if status else ()) for line in _lines(detail)]
    return "; ".join([message, *(line for line in said if line and line not in message)])


def _lines(detail: "Any") -> Iterator[str]:
    bad_request = error_details_pb2.BadRequest()
    precondition = error_details_pb2.PreconditionFailure()
    resource = error_details_pb2.ResourceInfo()
    if detail.Unpack(bad_request):
        for violation in bad_request.field_violations:
            yield f"{violation.field}: {violation.description}"
    elif detail.Unpack(precondition):
        for failure in precondition.violations:
            yield f"{failure.subject}: {failure.description}"
    elif detail.Unpack(resource):
        yield f"{resource.resource_name}: {resource.description}"
