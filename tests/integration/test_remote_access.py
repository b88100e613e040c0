"""An engineer's own tester reaches the edge node by way of cloud and gateway, on loopback."""

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from doipclient import DoIPClient  # type: ignore[attr-defined]  # the library types nothing
from doipclient.connectors import DoIPClientUDSConnector
from udsoncan.client import Client
from udsoncan.common.DidCodec import AsciiCodec
from udsoncan.exceptions import NegativeResponseException

from canota.cli.client import Operator
from canota.cli.exits import CommandError, Exit
from canota.cli.vehicle import registration
from canota.identities import as_rows
from canota.remote_tester import RemoteSessionOverError, RemoteTester
from cloud.app import CloudOptions, CloudThread
from dbc.vehicle import describe_vehicle
from ecu_sim.app import EcuServer
from protocols.fleet.v1 import remote_access_pb2 as pb
from tests.support.cloud import on_a_loop
from tests.support.ecu import DIAGNOSTICS_MASTER, VIN
from tests.support.serving import served
from vehicle_gateway.app import Gateway
from vehicle_gateway.assembly import GatewayOptions
from vehicle_gateway.wires.uri import UriLinks

EDGE, CCU, TESTER = 0x1000, 0x1010, 0x0E80
READ, FULL = pb.REMOTE_SCOPE_READ, pb.REMOTE_SCOPE_FULL

T = TypeVar("T")


@dataclass(slots=True)
class Bench:
    """A cloud in its thread, ECUs on sockets and a gateway, all in real time."""

    cloud: CloudThread
    operator: Operator
    ecus: EcuServer

    async def ask(self, call: Callable[[Operator], T]) -> T:
        return await asyncio.to_thread(call, self.operator)

    async def create(
        self, *, scope: int = READ, seconds: int = 60
    ) -> pb.CreateRemoteSessionResponse:
        return await self.ask(
            lambda operator: operator.create_remote_session(
                VIN, operator="eve", purpose="the flap sticks", scope=scope, seconds=seconds
            )
        )

    async def state(self, name: str) -> pb.RemoteSession:
        return await self.ask(lambda operator: operator.remote_session(name))

    async def recorded(self, name: str) -> list[dict[str, object]]:
        content = await self.ask(lambda operator: operator.recording(name))
        return [json.loads(line) for line in content.splitlines()]


@asynccontextmanager
async def bench(folder: Path, *, edge: bool = True) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        cloud = CloudThread(CloudOptions(state_directory=folder / "cloud", poll_s=0.1))
        await asyncio.to_thread(cloud.start)
        stack.push_async_callback(asyncio.to_thread, cloud.stop)
        operator = stack.enter_context(Operator(cloud.target))
        ecus = await stack.enter_async_context(served(folder / "ecus", "ccu"))
        made = registration(VIN, "bench", as_rows(ecus.vehicle.identities()), source="test")
        await asyncio.to_thread(operator.create_vehicle, made)
        whole = describe_vehicle()
        wire = whole.ecus["ccu"].wire
        description = replace(
            whole, ecus={"ccu": whole.ecus["ccu"]}, wires={wire: whole.wires[wire]}
        )
        links = UriLinks({wire: ecus.endpoints[wire], "edge": ecus.doors["edge node"]})
        stack.push_async_callback(links.close)
        await links.open()
        now = asyncio.get_running_loop().time()
        gateway = Gateway(
            GatewayOptions(
                vin=VIN,
                cloud=cloud.target,
                state_directory=folder / "gateway",
                description=description,
                diagnostics_master=DIAGNOSTICS_MASTER,
                start_date=datetime.now(UTC) - timedelta(seconds=now),  # noqa: TID251 real time
                poll_s=0.1,
                edge_node=(lambda: links.stream("edge")) if edge else None,
                rng=random.Random(1),  # noqa: S311 repeats
            ),
            links,
        )
        running = asyncio.create_task(gateway.run())
        try:
            yield Bench(cloud, operator, ecus)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def connect_tester(
    one: Bench, created: pb.CreateRemoteSessionResponse
) -> AsyncIterator[tuple[RemoteTester, "asyncio.Task[None]"]]:
    """The engineer's end, ready for testers."""
    tester = RemoteTester(
        one.cloud.target,
        name=created.session.name,
        token=created.tester_token,
        vin=VIN,
        entity_address=EDGE,
    )
    running = asyncio.create_task(tester.run("127.0.0.1", 0))
    ready = asyncio.create_task(tester.ready.wait())
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        yield tester, running
    finally:
        for task in (running, ready):
            task.cancel()
        await asyncio.gather(running, ready, return_exceptions=True)


def connected(port: int, address: int = TESTER) -> Any:  # noqa: ANN401 the library types nothing
    return DoIPClient(  # type: ignore[no-untyped-call]  # the same
        "127.0.0.1", CCU, client_logical_address=address, tcp_port=port, udp_port=port
    )


@contextmanager
def uds_client(port: int, address: int = TESTER) -> Iterator[Client]:
    """udsoncan on doipclient, both as they come."""
    doip = connected(port, address)
    config: Any = {"data_identifiers": {0xF189: AsciiCodec(5), 0xF190: AsciiCodec(17)}}
    connector = DoIPClientUDSConnector(doip)  # type: ignore[no-untyped-call]  # the same
    try:
        with Client(connector, request_timeout=5, config=config) as client:
            yield client
    finally:
        doip.close()


def read_dids(port: int, address: int = TESTER) -> dict[int, str]:
    with uds_client(port, address) as client:
        return dict(client.read_data_by_identifier([0xF189, 0xF190]).service_data.values)


@on_a_loop
async def test_an_unmodified_tester_reads_through_cloud_and_gateway_and_all_is_recorded(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as one:
        created = await one.create()
        assert created.session.state == pb.REMOTE_SESSION_STATE_WAITING
        async with connect_tester(one, created) as (tester, running):
            assert tester.address is not None, running
            port = tester.address[1]
            assert (await asyncio.to_thread(read_dids, port))[0xF190] == VIN
            # And again, on a connection of its own; two at once.
            twice = await asyncio.gather(
                *(asyncio.to_thread(read_dids, port, TESTER + other) for other in (1, 2))
            )
            assert [values[0xF190] for values in twice] == [VIN, VIN]
            assert await asyncio.to_thread(discovered, port) == (VIN, EDGE)
            live = await one.state(created.session.name)
            assert live.state == pb.REMOTE_SESSION_STATE_OPEN
            assert live.bytes_from_vehicle > live.bytes_to_vehicle > 0
        ended = await one.ask(
            lambda operator: operator.revoke_remote_session(created.session.name, operator="eve")
        )
        assert (ended.operator, ended.purpose) == ("eve", "the flap sticks")
        assert ended.state == pb.REMOTE_SESSION_STATE_ENDED
        assert ended.bytes_from_vehicle >= live.bytes_from_vehicle
        assert ended.HasField("vehicle_time")
        assert ended.HasField("tester_time")
        content = await one.ask(lambda operator: operator.recording(created.session.name))
        assert hashlib.sha256(content).digest() == ended.recording_sha256
        assert len(content) == ended.recording_bytes
        lines = await one.recorded(created.session.name)
        said = [line for line in lines if line.get("type") == "DiagnosticMessage"]
        requests = [line["user_data"] for line in said if line["to"] == "vehicle"]
        assert requests == ["22f189f190"] * 3
        answers = [line for line in said if line["to"] == "tester"]
        assert all(line["source_address"] == f"{CCU:04X}" for line in answers)
        assert [str(line["user_data"])[:6] for line in answers] == ["62f189"] * 3
        assert [str(line["time"]) for line in lines] == sorted(str(line["time"]) for line in lines)
        (listed,) = await one.ask(lambda operator: list(operator.remote_sessions(VIN)))
        assert listed == ended


def discovered(port: int) -> tuple[str, int]:
    """doipclient's own discovery, by UDP."""
    doip = connected(port)
    try:
        found = doip.request_vehicle_identification()
        return found.vin, found.logical_address
    finally:
        doip.close()


@on_a_loop
async def test_a_session_that_reads_lets_nothing_else_through_and_one_in_full_does(
    tmp_path: Path,
) -> None:
    def extended_and_reset(port: int) -> None:
        with uds_client(port) as client:
            client.change_session(3)
            client.ecu_reset(1)

    async with bench(tmp_path) as one:
        created = await one.create()
        async with connect_tester(one, created) as (tester, _):
            assert tester.address is not None
            with pytest.raises(NegativeResponseException, match="SecurityAccessDenied"):
                await asyncio.to_thread(extended_and_reset, tester.address[1])
        await ended_of(one, created)
        created = await one.create(scope=FULL)
        async with connect_tester(one, created) as (tester, _):
            assert tester.address is not None
            await asyncio.to_thread(extended_and_reset, tester.address[1])


async def ended_of(one: Bench, created: pb.CreateRemoteSessionResponse) -> pb.RemoteSession:
    """The session once it has ended."""
    while True:
        session = await one.state(created.session.name)
        if session.state == pb.REMOTE_SESSION_STATE_ENDED:
            return session


@on_a_loop
async def test_a_session_ends_with_its_time_at_both_sides(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        created = await one.create(seconds=2)
        async with connect_tester(one, created) as (tester, running):
            assert tester.address is not None
            reader, writer = await asyncio.open_connection(*tester.address)
            with pytest.raises(RemoteSessionOverError, match="its time was over"):
                await running
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            with pytest.raises(OSError, match="Connect"):
                await asyncio.open_connection(*tester.address)
        ended = await ended_of(one, created)
        assert ended.end_reason == "its time was over"
        assert ended.end_time.ToDatetime() - ended.create_time.ToDatetime() < timedelta(seconds=4)


@on_a_loop
async def test_a_session_is_one_at_a_time_needs_its_token_and_can_be_revoked(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as one:
        created = await one.create()
        with pytest.raises(CommandError, match="eve has it until") as refused:
            await one.create()
        assert refused.value.code is Exit.REFUSED
        stranger = pb.CreateRemoteSessionResponse(session=created.session, tester_token=b"guess")
        async with connect_tester(one, stranger) as (_, running):
            with pytest.raises(RemoteSessionOverError, match="there is no such remote session"):
                await running
        async with connect_tester(one, created) as (tester, running):
            assert tester.ready.is_set()
            async with connect_tester(one, created) as (_, second):
                with pytest.raises(RemoteSessionOverError, match="tester is there already"):
                    await second
            await one.ask(
                lambda operator: operator.revoke_remote_session(
                    created.session.name, operator="mallory"
                )
            )
            with pytest.raises(RemoteSessionOverError, match="revoked by mallory"):
                await running
        assert (await ended_of(one, created)).end_reason == "revoked by mallory"
        await one.create()


@on_a_loop
async def test_a_gateway_without_a_way_to_the_edge_node_says_so(tmp_path: Path) -> None:
    async with bench(tmp_path, edge=False) as one:
        created = await one.create()
        async with connect_tester(one, created) as (_, running):
            with pytest.raises(RemoteSessionOverError, match="knows no DoIP edge node"):
                await running


@on_a_loop
async def test_a_session_in_full_ends_when_the_vehicle_drives(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        created = await one.create(scope=FULL)
        async with connect_tester(one, created) as (tester, running):
            assert tester.ready.is_set()
            one.ecus.vehicle.rest_bus.set("Speed", 30.0)
            with pytest.raises(RemoteSessionOverError, match="not met: Speed == 0"):
                await running


@pytest.mark.parametrize(
    ("field", "value"), [("operator", " "), ("purpose", ""), ("scope", 0), ("seconds", 0)]
)
@on_a_loop
async def test_a_session_without_who_why_what_or_how_long_is_refused(
    field: str, value: object, tmp_path: Path
) -> None:
    cloud = CloudThread(CloudOptions(state_directory=tmp_path))
    await asyncio.to_thread(cloud.start)
    try:
        with Operator(cloud.target) as operator:
            wanted = {"operator": "eve", "purpose": "why", "scope": READ, "seconds": 60}
            with pytest.raises(CommandError, match="duration" if field == "seconds" else field):
                await asyncio.to_thread(
                    lambda: operator.create_remote_session(VIN, **{**wanted, field: value})  # type: ignore[arg-type]  # one is wrong
                )
    finally:
        await asyncio.to_thread(cloud.stop)
