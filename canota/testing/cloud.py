"""The cloud and the gateway of a bench test."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canota.bench import FACTORY_VERSION, BenchOptions, register, release_files
from canota.cli.client import Operator
from canota.testing.clock import VirtualClock
from cloud.app import CloudThread
from ecu_sim.vehicle import Vehicle
from vehicle_gateway.app import Gateway
from vehicle_gateway.update import Progress
from vehicle_gateway.update.coordinator import Outcome


class BenchCloud:
    """A real cloud on loopback; the clock stands still while an operator's call goes on."""

    def __init__(self, running: CloudThread, operator: Operator, options: BenchOptions) -> None:
        self.running = running
        #: Every call of the operators' service.
        self.operator = operator
        self._options = options

    @property
    def target(self) -> str:
        """`host:port` of its gRPC."""
        return self.running.target

    def publish(
        self, version: str, files: Mapping[str, Path | str] | None = None, *, name: str = ""
    ) -> str:
        """Publish one of the bench's own releases for the ECUs of the bench; gives its name.

        `files` puts another file in the place of an ECU's own. Versions are those of
        `firmware/images`: 1.0.0 and 2.0.0.
        """
        replaced = {ecu: Path(path) for ecu, path in (files or {}).items()}
        release = name or f"hvac-{version}"
        chosen = release_files(version, replaced, self._options.ecus)
        self.operator.create_release(release, chosen, version=version)
        return release

    def start_campaign(self, name: str, release: str) -> None:
        """Make a campaign that brings `release` to the vehicle, and start it."""
        self.operator.create_campaign(name, release, [self._options.vin])
        self.operator.start_campaign(name)

    def report(self, campaign: str) -> dict[str, Any]:
        """The campaign's report, as its JSON export has it."""
        report: dict[str, Any] = json.loads(self.operator.report(campaign, "json"))
        return report


class BenchGateway:
    """The vehicle's real gateway."""

    def __init__(self, clock: VirtualClock, running: Gateway, progress: list[Progress]) -> None:
        self._clock = clock
        #: For tests that are `async def`.
        self.running = running
        #: All that it has told of its updates, oldest first.
        self.progress = progress

    def run_once(self) -> Outcome | None:
        """Check in once, and carry out what is offered; None if nothing was."""
        return self._clock.run(self.running.run_once())


def introduce(
    clock: VirtualClock,
    cloud: BenchCloud,
    vehicle: Vehicle,
    gateway: Gateway,
    options: BenchOptions,
) -> None:
    """What has happened before a test begins: the vehicle is known, and so is what it runs."""
    register(options, vehicle, cloud.operator)
    cloud.publish(FACTORY_VERSION)
    clock.run(gateway.run_once())
