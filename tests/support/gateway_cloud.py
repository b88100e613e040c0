"""`GatewayService` in a thread, with faults as values: what the gateway does when a cloud fails."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from protocols.fleet.v1 import (
    campaigns_pb2,
    diagnostic_plans_pb2,
    gateway_pb2,
    gateway_pb2_grpc,
)


@dataclass
class ScriptedCloud(gateway_pb2_grpc.GatewayServiceServicer):
    """Serves these files, notes what it gets, and fails as told."""

    files: dict[bytes, bytes] = field(default_factory=dict)
    #: Each Download takes one: the bytes after which the connection breaks.
    break_after: list[int] = field(default_factory=list)
    #: Each Download takes one: it sends other bytes than asked for.
    corrupt: int = 0
    chunk: int = 1000
    #: Each call takes one and fails with it.
    failures: list[grpc.StatusCode] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    received: list[object] = field(default_factory=list)
    gaps: list[diagnostic_plans_pb2.DiagnosticGap] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def Download(  # noqa: N802 the service's name
        self, request: gateway_pb2.DownloadRequest, context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.DownloadResponse]:
        self._fail(context)
        self.offsets.append(request.offset)
        content = self.files.get(request.file_sha256)
        if content is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not offered to this vehicle")
        if self.corrupt:
            self.corrupt -= 1
            content = bytes(byte ^ 1 for byte in content)
        ends_at = len(content)
        if self.break_after:
            ends_at = request.offset + self.break_after.pop(0)
        for at in range(request.offset, len(content), self.chunk):
            if at >= ends_at:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
            yield gateway_pb2.DownloadResponse(offset=at, data=content[at : at + self.chunk])

    def UploadSnapshot(  # noqa: N802 the service's name
        self, request: gateway_pb2.UploadSnapshotRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.UploadSnapshotResponse:
        self._fail(context)
        self.received.append(request.snapshot.name)
        return gateway_pb2.UploadSnapshotResponse()

    def SubmitDiagnosticResult(  # noqa: N802 the service's name
        self, request: gateway_pb2.SubmitDiagnosticResultRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.SubmitDiagnosticResultResponse:
        self._fail(context)
        self.received.append(request.job)
        return gateway_pb2.SubmitDiagnosticResultResponse()

    def UploadSignals(  # noqa: N802 the service's name
        self, request: gateway_pb2.UploadSignalsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.UploadSignalsResponse:
        self._fail(context)
        self.received.append(request.batch.subscription)
        return gateway_pb2.UploadSignalsResponse()

    def ReportGap(  # noqa: N802 the service's name
        self, request: gateway_pb2.ReportGapRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReportGapResponse:
        self._fail(context)
        self.received.append(request.gap.name)
        self.gaps.append(request.gap)
        return gateway_pb2.ReportGapResponse()

    def SubmitReport(  # noqa: N802 the service's name
        self, request: gateway_pb2.SubmitReportRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.SubmitReportResponse:
        self._fail(context)
        self.received.append(request.report.campaign)
        return gateway_pb2.SubmitReportResponse(outcome=campaigns_pb2.OUTCOME_UPDATED)

    def CheckIn(  # noqa: N802 the service's name
        self, request: gateway_pb2.CheckInRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.CheckInResponse:
        self._fail(context)
        self.received.append(request.vin)
        return gateway_pb2.CheckInResponse()

    def ReportProgress(  # noqa: N802 the service's name
        self, request: gateway_pb2.ReportProgressRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReportProgressResponse:
        self._fail(context)
        self.received.append(request.sequence)
        return gateway_pb2.ReportProgressResponse()

    def _fail(self, context: grpc.ServicerContext) -> None:
        times = [str(value) for key, value in context.invocation_metadata() if "time-us" in key]
        self.metadata += times
        if self.failures:
            context.abort(self.failures.pop(0), "as told")


@contextmanager
def scripted(cloud: ScriptedCloud) -> Iterator[str]:
    """Serve it; gives its `host:port`."""
    with futures.ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(cloud, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
