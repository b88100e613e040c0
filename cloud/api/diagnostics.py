"""DiagnosticsService."""

from grpc import aio

from cloud.api.pages import page_request, page_token
from cloud.fleet.names import snapshot_of, vin_of
from cloud.messages.diagnostics import to_snapshot
from cloud.store import snapshots
from cloud.store.store import Store
from protocols.fleet.v1 import diagnostics_pb2
from protocols.fleet.v1.diagnostics_pb2_grpc import DiagnosticsServiceServicer

_LISTING = "snapshots"


class DiagnosticsService(DiagnosticsServiceServicer):
    def __init__(self, store: Store) -> None:
        self._store = store

    async def ListSnapshots(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.ListSnapshotsRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.ListSnapshotsResponse:
        vin = vin_of(request.parent, field="parent")
        wanted = page_request(request.page_size, request.page_token, listing=_LISTING)
        page = await self._store.database.read(
            snapshots.list_page, vin, after=wanted.after, size=wanted.size
        )
        return diagnostics_pb2.ListSnapshotsResponse(
            # One snapshot with its signals may fill a whole message.
            snapshots=[to_snapshot(snapshot, with_signals=False) for snapshot in page.items],
            next_page_token=page_token(page.next_key, listing=_LISTING),
        )

    async def GetSnapshot(  # noqa: N802 the service's word
        self,
        request: diagnostics_pb2.GetSnapshotRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> diagnostics_pb2.DiagnosticSnapshot:
        vin, snapshot_id = snapshot_of(request.name, field="name")
        snapshot = await self._store.database.read(snapshots.get, vin, snapshot_id)
        return to_snapshot(snapshot, with_signals=True)
