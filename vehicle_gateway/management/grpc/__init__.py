"""Check-ins, progress and reports over fleet.v1's `GatewayService`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from protocols.fleet.v1 import campaigns_pb2, gateway_pb2, gateway_pb2_grpc
from vehicle_gateway.calls import Caller, CallError, RefusedError, UnavailableError, deadline_s
from vehicle_gateway.diagnostics.orders import JobResult, SignalBatch
from vehicle_gateway.management import (
    CheckIn,
    ManagementError,
    Snapshot,
    UnreachableError,
    Withdrawal,
)
from vehicle_gateway.management.grpc.messages import (
    PHASES,
    batch_message,
    check_in_of,
    gap_message,
    inventory_message,
    progress_message,
    report_message,
    result_message,
    snapshot_message,
    withdrawal_of,
)
from vehicle_gateway.outbox import Outbox, OutboxError, Parcel, gap_of
from vehicle_gateway.update import Inventory, Progress
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.vehicle import Phase

_LOG = logging.getLogger(__name__)

#: Bound of one call in seconds, by gRPC; what it sends may take longer on a slow line.
_PROGRESS_S: Final = 5.0
#: Seconds between two progress messages, and the longest pause while the cloud does not answer.
_PROGRESS_PERIOD_S: Final = 1.0
_PROGRESS_LONGEST_S: Final = 60.0


class GrpcManagement:
    """`Management` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, outbox: Outbox) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._caller = caller
        self._outbox = outbox
        self._delivering = asyncio.Lock()

    async def check_in(
        self, inventory: Iterable[Inventory], *, unfinished_campaign: str
    ) -> CheckIn:
        """See `Management.check_in`; `UnreachableError` while the cloud is away."""
        request = gateway_pb2.CheckInRequest(
            vin=self._caller.vin,
            ecus=[inventory_message(one) for one in inventory],
            unfinished_campaign=unfinished_campaign,
        )

        async def act() -> gateway_pb2.CheckInResponse:
            return await self._stub.CheckIn(
                request, timeout=deadline_s(request.ByteSize()), metadata=self._caller.metadata()
            )

        try:
            return check_in_of(await self._caller.call("check-in", act))
        except UnavailableError as error:
            raise UnreachableError(str(error)) from error
        except CallError as error:
            raise ManagementError(str(error)) from error

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        message = snapshot_message(snapshot, vin=self._caller.vin)
        self._outbox.put("snapshot", snapshot.id, message.SerializeToString(deterministic=True))

    def keep_report(self, report: UpdateReport) -> None:
        message = report_message(report, vin=self._caller.vin)
        key = report.campaign.rpartition("/")[2]
        self._outbox.put("report", key, message.SerializeToString(deterministic=True))

    def keep_batch(self, batch: SignalBatch) -> None:
        message = batch_message(batch)
        key = f"{batch.subscription.rpartition('/')[2]}-{batch.time_us}"
        self._outbox.put("live", key, message.SerializeToString(deterministic=True))

    def keep_result(self, result: JobResult) -> None:
        message = result_message(result, vin=self._caller.vin)
        key = result.job.rpartition("/")[2]
        self._outbox.put("result", key, message.SerializeToString(deterministic=True))

    def holds_result(self, job_id: str) -> bool:
        return any((one.kind, one.key) == ("result", job_id) for one in self._outbox.waiting())

    async def deliver(self) -> tuple[Parcel, ...]:
        """See `Management.deliver`; what the cloud refuses for good is kept apart and logged."""
        async with self._delivering:
            return await self._deliver()

    async def _deliver(self) -> tuple[Parcel, ...]:
        for parcel in self._outbox.waiting():
            try:
                await self._send(parcel)
            except FileNotFoundError:
                continue  # it had to make room while another one was on its way
            except UnavailableError as error:
                _LOG.info("outbox_waits parcel=%s cause=%s", parcel.file_name, error)
                self._outbox.put_back(parcel)
                break
            except (RefusedError, DecodeError, OutboxError) as error:
                _LOG.error("outbox_refused parcel=%s cause=%s", parcel.file_name, error)
                self._outbox.reject(parcel)
            else:
                self._outbox.delivered(parcel)
        return self._outbox.waiting()

    async def _send(self, parcel: Parcel) -> None:
        content = self._outbox.take(parcel)
        vin = self._caller.vin
        how: dict[str, Any] = {  # Any: what gRPC takes besides a request
            "timeout": deadline_s(len(content)),
            "metadata": self._caller.metadata(),
        }
        act: Callable[[], Awaitable[object]]
        match parcel.kind:
            case "snapshot":
                upload = gateway_pb2.UploadSnapshotRequest(vin=vin, sequence=parcel.number)
                upload.snapshot.ParseFromString(content)
                act = partial(self._stub.UploadSnapshot, upload, **how)
            case "live":
                signals = gateway_pb2.UploadSignalsRequest(vin=vin, sequence=parcel.number)
                signals.batch.ParseFromString(content)
                act = partial(self._stub.UploadSignals, signals, **how)
            case "result":
                result = gateway_pb2.SubmitDiagnosticResultRequest()
                result.ParseFromString(content)
                result.sequence = parcel.number
                act = partial(self._stub.SubmitDiagnosticResult, result, **how)
            case "gap":
                gap = gap_message(gap_of(content), vin=vin, number=parcel.number)
                act = partial(self._stub.ReportGap, gap, **how)
            case _:
                submit = gateway_pb2.SubmitReportRequest(vin=vin)
                submit.report.ParseFromString(content)
                act = partial(self._submit, submit, **how)
        await self._caller.call(parcel.kind, act)

    async def _submit(
        self,
        request: gateway_pb2.SubmitReportRequest,
        **how: Any,  # noqa: ANN401 what gRPC takes besides a request
    ) -> None:
        judged = await self._stub.SubmitReport(request, **how)
        _LOG.info(
            "report_judged campaign=%s outcome=%s reason=%s",
            request.report.campaign,
            campaigns_pb2.Outcome.Name(judged.outcome),
            judged.reason,
        )


class ProgressReporter:
    """Sends the newest progress now and then, beside the update and never in its way."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        caller: Caller,
        *,
        campaign: str,
        on_withdrawal: Callable[[Withdrawal], None],
    ) -> None:
        """`on_withdrawal` is told what the cloud answers to a progress message."""
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._caller = caller
        self._campaign = campaign
        self._on_withdrawal = on_withdrawal
        self._phase: Phase | None = None
        self._ecus: dict[str, Progress] = {}
        self._sequence = 0
        self._news = asyncio.Event()
        self._stopped = asyncio.Event()

    def phase(self, phase: Phase) -> None:
        self._phase = phase
        self._news.set()

    def progress(self, progress: Progress) -> None:
        self._ecus[progress.ecu] = progress
        self._news.set()

    def stop(self) -> None:
        """Have `run` return when it has sent what is on its way."""
        self._stopped.set()
        self._news.set()

    async def run(self, now_us: Callable[[], int]) -> None:
        """Send until `stop`. A cloud that does not answer is asked less and less often."""
        pause_s = _PROGRESS_PERIOD_S
        while True:
            await self._news.wait()
            if self._stopped.is_set():
                return
            self._news.clear()
            # Rises over restarts too, as long as the gateway's clock does.
            self._sequence = max(self._sequence + 1, now_us())
            try:
                answer = await self._caller.call("progress", self._send, tries=1)
            except CallError as error:
                _LOG.info("progress_lost cause=%s", error)
                pause_s = min(pause_s * 2, _PROGRESS_LONGEST_S)
            else:
                pause_s = _PROGRESS_PERIOD_S
                if (withdrawal := withdrawal_of(answer)) is not None:
                    self._on_withdrawal(withdrawal)
            try:
                async with asyncio.timeout(pause_s):
                    await self._stopped.wait()
            except TimeoutError:
                continue

    async def _send(self) -> gateway_pb2.ReportProgressResponse:
        request = gateway_pb2.ReportProgressRequest(
            vin=self._caller.vin,
            campaign=self._campaign,
            sequence=self._sequence,
            phase=PHASES[self._phase] if self._phase else campaigns_pb2.PHASE_UNSPECIFIED,
            ecus=[progress_message(self._ecus[ecu]) for ecu in sorted(self._ecus)],
        )
        return await self._stub.ReportProgress(
            request, timeout=_PROGRESS_S, metadata=self._caller.metadata()
        )
