"""A run against a real gRPC server, on a virtual clock, repeats event for event."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clock import held, run
from tests.support.can import seeded

VEHICLES = ("vehicle-1", "vehicle-2", "vehicle-3", "vehicle-4")


class SlowHealth(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # generated, without types
    """Answers after real waits of its own, so that answers overtake each other."""

    def __init__(self) -> None:
        self._rng = seeded("server")

    async def Check(self, request: object, context: object) -> object:  # noqa: N802 gRPC's name
        del request, context
        await asyncio.sleep(self._rng.uniform(0, 0.004))
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def server_in_a_thread() -> Iterator[int]:
    ports: list[int] = []
    started = threading.Event()
    stop = threading.Event()

    async def serve() -> None:
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(SlowHealth(), server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        started.set()
        await asyncio.to_thread(stop.wait, 60)
        await server.stop(None)

    thread = threading.Thread(target=run, args=(serve(),), kwargs={"virtual": False})
    thread.start()
    try:
        assert started.wait(20)
        yield ports[0]
    finally:
        stop.set()
        thread.join()


async def fleet(port: int) -> list[tuple[float, str, str]]:
    """Vehicles that call the cloud every few virtual minutes, and share one list of events."""
    loop = asyncio.get_running_loop()
    events: list[tuple[float, str, str]] = []

    async def vehicle(name: str, stub: health_pb2_grpc.HealthStub) -> None:
        rng = seeded(name)
        for number in range(12):
            # Whole minutes: calls of several vehicles meet at one virtual instant.
            await asyncio.sleep(60.0 * rng.randint(1, 30))
            before = loop.time()
            async with held(name):
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert loop.time() == before
            events.append((loop.time(), name, f"{number} {answer.status}"))
            await asyncio.to_thread(threading.get_ident)
            events.append((loop.time(), name, "stored"))

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await asyncio.gather(*(vehicle(name, stub) for name in VEHICLES))
    return events


def test_two_runs_with_a_real_cloud_are_equal_event_for_event() -> None:
    with server_in_a_thread() as port:
        first = run(fleet(port), virtual=True)
        second = run(fleet(port), virtual=True)
    assert len(first) == len(VEHICLES) * 24
    assert first[-1][0] > 2 * 3600
    instants = [time for time, _, _ in first]
    assert len(set(instants)) < len(instants) / 2  # calls did meet
    assert first == second
