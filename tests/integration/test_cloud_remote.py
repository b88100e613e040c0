"""Remote sessions at the cloud: when there is none, who is told, and what a tunnel holds."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from protocols.fleet.v1 import campaigns_pb2, gateway_pb2, remote_access_pb2_grpc
from protocols.fleet.v1 import remote_access_pb2 as pb
from tests.support.cloud import VIN, Client, on_a_loop, refusal, running_cloud

NAME = "campaigns/2.0.0-1"


def asked(seconds: int = 60) -> pb.CreateRemoteSessionRequest:
    return pb.CreateRemoteSessionRequest(
        parent=f"vehicles/{VIN}",
        operator="eve",
        purpose="why",
        scope=pb.REMOTE_SCOPE_READ,
        duration=Duration(seconds=seconds),
    )


def stub(client: Client) -> Any:  # noqa: ANN401 calls that write, which the stubs do not know
    return remote_access_pb2_grpc.RemoteAccessServiceStub(client.channel)


@on_a_loop
async def test_the_gateway_is_told_when_it_asks_for_work_and_not_while_it_updates(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        await client.register()
        created = await stub(client).CreateRemoteSession(asked())
        busy = await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN))
        offer = busy.remote_session
        assert offer.name == created.session.name
        assert 50 < offer.remaining.seconds <= 60
        assert offer.vehicle_token
        assert offer.vehicle_token != created.tester_token
        await stub(client).RevokeRemoteSession(
            pb.RevokeRemoteSessionRequest(name=offer.name, operator="eve")
        )
        idle = await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN))
        assert not idle.HasField("remote_session")


@on_a_loop
async def test_an_update_that_is_activated_is_left_alone(tmp_path: Path) -> None:
    async with running_cloud(tmp_path) as client:
        await client.offered()
        request = gateway_pb2.ReportProgressRequest(
            vin=VIN, campaign=NAME, sequence=1, phase=campaigns_pb2.PHASE_STAGING
        )
        await client.gateway.ReportProgress(request)
        created = await stub(client).CreateRemoteSession(asked())
        answer = await client.gateway.CheckIn(
            gateway_pb2.CheckInRequest(vin=VIN, unfinished_campaign=NAME)
        )
        assert not answer.HasField("remote_session")
        await stub(client).RevokeRemoteSession(
            pb.RevokeRemoteSessionRequest(name=created.session.name, operator="eve")
        )
        request.phase, request.sequence = campaigns_pb2.PHASE_ACTIVATING, 2
        await client.gateway.ReportProgress(request)
        refused = await refusal(stub(client).CreateRemoteSession(asked()))
        assert refused.code is StatusCode.FAILED_PRECONDITION
        assert refused.precondition().type == "NO_UPDATE"


@on_a_loop
async def test_a_cloud_on_a_simulated_clock_has_no_live_streams(tmp_path: Path) -> None:
    async with running_cloud(tmp_path, virtual_clock=True) as client:
        await client.register()
        refused = await refusal(stub(client).CreateRemoteSession(asked()))
        assert refused.precondition().type == "REAL_TIME"


async def _ends(client: Client) -> tuple[str, Any, Any]:
    """A session's name, and both of its ends, ready."""
    await client.register()
    created = await stub(client).CreateRemoteSession(asked())
    name = created.session.name
    offer = (await client.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN))).remote_session
    vehicle, tester = stub(client).ConnectVehicle(), stub(client).ConnectTester()
    hello = pb.TunnelHello(name=name, token=offer.vehicle_token)
    await vehicle.write(pb.ConnectVehicleRequest(hello=hello))
    hello = pb.TunnelHello(name=name, token=created.tester_token)
    await tester.write(pb.ConnectTesterRequest(hello=hello))
    for end in (vehicle, tester):
        assert (await end.read()).HasField("ready")
    return name, vehicle, tester


def frame(number: int, **content: Any) -> pb.ConnectTesterRequest:  # noqa: ANN401 any of a frame's fields
    return pb.ConnectTesterRequest(frame=pb.TunnelFrame(connection=number, **content))


@on_a_loop
async def test_a_vehicle_that_takes_nothing_holds_the_tester_and_the_cloud_keeps_little(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        name, _, tester = await _ends(client)
        await tester.write(frame(1, begin=pb.TunnelBegin()))
        written = 0

        async def write_without_end() -> None:
            nonlocal written
            while True:
                await tester.write(frame(1, data=bytes(64 * 1024)))
                written += 1

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_without_end(), 2.0)
        assert 0 < written < 200
        session = await stub(client).GetRemoteSession(pb.GetRemoteSessionRequest(name=name))
        assert session.bytes_to_vehicle <= (written + 1) * 64 * 1024


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([frame(1, data=b"x" * 65_537)], "data of connection 1 is out of place"),
        ([frame(1, begin=pb.TunnelBegin())] * 2, "begin of connection 1 is out of place"),
        ([frame(n, begin=pb.TunnelBegin()) for n in range(1, 6)], "more than 4 at once"),
        ([frame(1)], "None of connection 1 is out of place"),
    ],
)
@on_a_loop
async def test_an_end_that_breaks_the_rules_ends_the_session(
    frames: list[pb.ConnectTesterRequest], reason: str, tmp_path: Path
) -> None:
    async with running_cloud(tmp_path) as client:
        _, vehicle, tester = await _ends(client)
        for one in frames:
            await tester.write(one)
        while (response := await vehicle.read()).frame.connection != 0:
            pass
        assert reason in response.frame.end.reason


@on_a_loop
async def test_bytes_of_a_connection_that_is_not_open_go_nowhere_and_are_not_kept(
    tmp_path: Path,
) -> None:
    async with running_cloud(tmp_path) as client:
        name, vehicle, tester = await _ends(client)
        for number in range(2, 100):
            await tester.write(frame(number, data=b"\x02"))
            await tester.write(frame(number, end=pb.TunnelEnd()))
        await tester.write(frame(1, begin=pb.TunnelBegin()))
        first = await vehicle.read()
        assert (first.frame.connection, first.frame.WhichOneof("content")) == (1, "begin")
        session = await stub(client).GetRemoteSession(pb.GetRemoteSessionRequest(name=name))
        assert session.bytes_to_vehicle == 0
