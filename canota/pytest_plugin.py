"""The pytest plugin: it costs nothing until a test asks for one of its fixtures."""

# ruff: noqa: PLC0415 every pytest run loads this file: the bench is imported when a test asks
# Every run of pytest in an environment that has canota loads this module; all else is imported
# where a fixture needs it.

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canota.bench import BenchOptions
    from canota.testing import (
        BenchCloud,
        BenchEcu,
        BenchFaults,
        BenchGateway,
        BenchVehicle,
        BenchWire,
        Setup,
        VirtualClock,
    )

MARKER: Final = "canota"
#: The clock of a test that has one.
_CLOCK: Final = pytest.StashKey["VirtualClock"]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(ecus, ecu, images, seed, traffic, ...): what the test's bench is to be; "
        "the fields of canota.testing.Setup",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """An `async def` test that has the clock runs on it."""
    clock = pyfuncitem.stash.get(_CLOCK, None)
    if clock is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    clock.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> "Iterator[VirtualClock]":
    """The time of the bench: it stands still between a test's calls."""
    from canota.testing.clock import VirtualClock

    with VirtualClock() as clock:
        request.node.stash[_CLOCK] = clock
        yield clock


@pytest.fixture
def canota_setup(request: pytest.FixtureRequest) -> "Setup":
    """What the markers say; to be overridden where a bench follows from something else."""
    from canota.testing.setup import Setup, SetupError

    arguments: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        if marker.args:
            pytest.fail(f"@pytest.mark.{MARKER} takes arguments by name only", pytrace=False)
        arguments |= marker.kwargs
    try:
        return Setup.of(arguments)
    except SetupError as error:
        pytest.fail(str(error), pytrace=False)  # the marker is to blame, and no line of ours


@pytest.fixture
def bench_options(canota_setup: "Setup", tmp_path: Path) -> "BenchOptions":
    """Where the bench keeps its state: a directory of the test's own."""
    return canota_setup.options(tmp_path / "bench")


@pytest.fixture
def vehicle(virtual_clock: "VirtualClock", bench_options: "BenchOptions") -> "BenchVehicle":
    """The simulated vehicle, every ECU on."""
    from canota.bench import running_vehicle
    from canota.testing.vehicle import bench_vehicle
    from ecu_sim.vehicle import VehicleError

    try:
        running = virtual_clock.enter(running_vehicle(bench_options))
    except VehicleError as error:
        pytest.fail(f"the bench does not start: {error}", pytrace=False)
    return bench_vehicle(virtual_clock, running)


@pytest.fixture
def ecu(vehicle: "BenchVehicle", canota_setup: "Setup") -> "BenchEcu":
    """The marker's `ecu`, or the first of its `ecus`."""
    return vehicle.ecu(canota_setup.one_ecu)


@pytest.fixture
def wire(ecu: "BenchEcu") -> "BenchWire":
    """The wire that `ecu` is on."""
    return ecu.wire


@pytest.fixture
def faults(virtual_clock: "VirtualClock", vehicle: "BenchVehicle") -> "Iterator[BenchFaults]":
    """What goes wrong with the ECUs, until the end of the test."""
    from canota.testing.vehicle import BenchFaults

    faults = BenchFaults(virtual_clock, vehicle)
    yield faults
    faults.end()


@pytest.fixture
def cloud(virtual_clock: "VirtualClock", bench_options: "BenchOptions") -> "Iterator[BenchCloud]":
    """A real cloud, on loopback, whose calendar is the clock's."""
    from canota.bench import running_cloud
    from canota.cli.client import Operator
    from canota.testing.cloud import BenchCloud

    began_us = round(bench_options.start_date.timestamp() * 1e6)

    def time_us() -> int:
        return began_us + round(virtual_clock.now_s * 1e6)

    running = virtual_clock.enter(running_cloud(bench_options))
    with Operator(running.target, time_us=time_us) as operator:
        yield BenchCloud(running, operator, bench_options)


@pytest.fixture
def gateway(
    virtual_clock: "VirtualClock",
    bench_options: "BenchOptions",
    cloud: "BenchCloud",
    vehicle: "BenchVehicle",
) -> "BenchGateway":
    """The vehicle's real gateway; the cloud knows the vehicle and the release that it runs."""
    from canota.bench import gateway_of
    from canota.testing.cloud import BenchGateway, introduce

    progress: list[Any] = []
    running = virtual_clock.enter(
        gateway_of(bench_options, vehicle.simulation, cloud.target, on_progress=progress.append)
    )
    introduce(virtual_clock, cloud, vehicle.simulation, running, bench_options)
    return BenchGateway(virtual_clock, running, progress)
