"""Wireless diagnostics: readings of the whole vehicle on their way into the outbox."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from protocols.uds import MalformedResponseError
from vehicle_gateway.diagnostics import EcuDiagnostics
from vehicle_gateway.diagnostics.orders import SignalBatch
from vehicle_gateway.diagnostics.reader import clear_dtcs, read_ecu
from vehicle_gateway.diagnostics.signals import SignalRecorder
from vehicle_gateway.management import ManagementError, Snapshot
from vehicle_gateway.management.grpc import GrpcManagement
from vehicle_gateway.outbox import OutboxError
from vehicle_gateway.update import UpdateError
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.testers import Testers

_LOG = logging.getLogger(__name__)

#: Seconds of signals before a reading that belongs to no update.
_SIGNALS_AROUND_S: Final = 60.0


class WirelessDiagnostics:
    """`VehicleDiagnostics`: reads the whole vehicle and hands it to the outbox."""

    def __init__(
        self,
        *,
        testers: Testers,
        recorders: tuple[SignalRecorder, ...],
        management: GrpcManagement,
        now_us: Callable[[], int],
        window_s: float,
    ) -> None:
        self._testers = testers
        self._recorders = recorders
        self._management = management
        self._now_us = now_us
        self._window_s = window_s

    async def record(self, occasion: str, *, campaign: str, snapshot: str) -> None:
        async with asyncio.TaskGroup() as group:
            reading = [
                group.create_task(read_ecu(self._testers, name), name=f"diagnostics {name}")
                for name in self._testers.vehicle.ecus
            ]
        now_s = asyncio.get_running_loop().time()
        taken = Snapshot(
            id=snapshot,
            occasion=occasion,
            campaign=campaign,
            time_us=self._now_us(),
            loop_time_s=now_s,
            ecus=tuple(task.result() for task in reading),
            signals=tuple(
                series
                for recorder in self._recorders
                for series in recorder.window(now_s - self._window_s, now_s)
            ),
        )
        try:
            self._management.keep_snapshot(taken)
        except OutboxError as error:
            raise UpdateError(ecu="", step="diagnostics", cause=str(error)) from error

    def keep_reading(
        self, occasion: str, snapshot: str, time_us: int, ecus: Sequence[EcuDiagnostics]
    ) -> None:
        """`observer.Keeping`: a reading that belongs to no update."""
        now_s = asyncio.get_running_loop().time()
        self._management.keep_snapshot(
            Snapshot(
                id=snapshot,
                occasion=occasion,
                campaign="",
                time_us=time_us,
                loop_time_s=now_s,
                ecus=tuple(ecus),
                signals=tuple(
                    series
                    for recorder in self._recorders
                    for series in recorder.window(now_s - _SIGNALS_AROUND_S, now_s)
                ),
            )
        )

    def keep_batch(self, batch: SignalBatch) -> None:
        """`observer.Keeping`."""
        self._management.keep_batch(batch)

    async def deliver(self) -> None:
        """Send what is kept now; what cannot be sent waits for the next check-in."""
        try:
            await self._management.deliver()
        except (OSError, ManagementError, OutboxError) as error:
            _LOG.warning("not_delivered cause=%s", error)

    async def clear_dtcs(self) -> None:
        async with asyncio.TaskGroup() as group:
            clearing = [
                group.create_task(self._clear(name), name=f"clear {name}")
                for name in self._testers.vehicle.ecus
            ]
        if failed := [cause for task in clearing if (cause := task.result())]:
            raise UpdateError(ecu="", step="clearing DTCs", cause="; ".join(failed))

    async def _clear(self, name: str) -> str:
        try:
            await clear_dtcs(self._testers.tester(name))
        except (WireError, MalformedResponseError) as error:
            return str(error)
        return ""
