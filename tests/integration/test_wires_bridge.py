"""A wire of another process over a real socket: the bridge's two ends, in real time."""

import asyncio
import socket

import pytest

from clock import run
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from protocols.can import FrameHeader
from vehicle_gateway.wires import LinkAwayError, LinkError
from vehicle_gateway.wires.bridge import BridgePort
from vehicle_gateway.wires.tcp import connect
from vehicle_gateway.wires.uri import UriLinks

REQUEST, ANSWER = FrameHeader(0x7A0), FrameHeader(0x7A8)


def test_frames_and_their_confirmations_pass_in_both_directions() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wire = CanWire("comfort", bit_rate=500_000, loop=loop)
        server = await serve_bridge(wire, "127.0.0.1", 0)
        links = UriLinks({"comfort": f"can://bridge/127.0.0.1:{server.port}/comfort"})
        try:
            await links.open()
            here, there = links.can("comfort"), wire.port("ccu")
            heard: asyncio.Queue[bytes] = asyncio.Queue()
            answered: asyncio.Queue[bytes] = asyncio.Queue()
            confirmed: asyncio.Queue[float] = asyncio.Queue()
            there.listen(lambda _header, data, _at_s: heard.put_nowait(data), REQUEST)
            stop = here.listen(lambda _header, data, _at_s: answered.put_nowait(data), ANSWER)
            here.send(REQUEST, [b"one", b"two"], confirmed.put_nowait)
            assert [await heard.get(), await heard.get()] == [b"one", b"two"]
            await confirmed.get()
            while answered.empty():  # the bridge has to be told first what is listened to
                sent: asyncio.Future[float] = loop.create_future()
                there.send(ANSWER, [b"three"], sent.set_result)
                await sent
                await asyncio.sleep(0.01)
            assert answered.get_nowait() == b"three"
            stop()
        finally:
            await links.close()
            await server.close()
            wire.close()

    run(main(), virtual=False)


def test_a_bridge_that_comes_back_is_found_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wire = CanWire("comfort", bit_rate=500_000, loop=loop)
        server = await serve_bridge(wire, "127.0.0.1", 0)
        uri = f"can://bridge/127.0.0.1:{server.port}/comfort"
        port = BridgePort(uri, host="127.0.0.1", port=server.port, wire="comfort", node="gateway")
        await port.open()
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        port.listen(lambda _header, data, _at_s: heard.put_nowait(data), ANSWER)
        await server.close()
        await asyncio.sleep(0.1)
        with pytest.raises(LinkError, match="not connected"):
            port.send(REQUEST, [b"?"])
        server = await serve_bridge(wire, "127.0.0.1", server.port)
        try:
            async with asyncio.timeout(10):
                while heard.empty():
                    await asyncio.sleep(0.05)
                    wire.port("ccu").send(ANSWER, [b"!"])
        finally:
            await port.close()
            await server.close()
            wire.close()

    run(main(), virtual=False)


def test_links_that_nobody_serves_yet_are_opened_once_somebody_does() -> None:
    async def main() -> None:
        wire = CanWire("comfort", bit_rate=500_000, loop=asyncio.get_running_loop())
        server = await serve_bridge(wire, "127.0.0.1", 0)
        links = UriLinks({"comfort": f"can://bridge/127.0.0.1:{server.port}/comfort"})
        await server.close()
        with pytest.raises(LinkAwayError, match="comfort"):
            await links.open()
        server = await serve_bridge(wire, "127.0.0.1", server.port)
        try:
            await links.open()
            links.can("comfort").send(REQUEST, [b"!"])
        finally:
            await links.close()
            await server.close()
            wire.close()

    run(main(), virtual=False)


def test_a_wire_that_the_bridge_does_not_have_is_refused_by_name() -> None:
    async def main() -> LinkError:
        wire = CanWire("comfort", bit_rate=500_000, loop=asyncio.get_running_loop())
        server = await serve_bridge(wire, "127.0.0.1", 0)
        links = UriLinks({"thermal": f"can://bridge/127.0.0.1:{server.port}/thermal"})
        try:
            with pytest.raises(LinkError) as caught:
                await links.open()
            return caught.value
        finally:
            await links.close()
            await server.close()
            wire.close()

    refused = run(main(), virtual=False)
    assert not isinstance(refused, LinkAwayError), "waiting would not help"
    assert str(refused).startswith("can://bridge/127.0.0.1:")
    assert "thermal" in str(refused).split("/thermal", 1)[1]


@pytest.mark.parametrize("uri", ["can://bridge/127.0.0.1:{}/comfort", "doip://127.0.0.1:{}"])
def test_a_port_at_which_nobody_listens_is_said_in_words(uri: str) -> None:
    with socket.socket() as bound:  # not listening: nobody else gets the port meanwhile
        bound.bind(("127.0.0.1", 0))
        where = uri.format(bound.getsockname()[1])

        async def main() -> None:
            links = UriLinks({"wire": where})
            try:
                await links.open()
                if where.startswith("doip"):
                    await connect(where, "127.0.0.1", bound.getsockname()[1])
            finally:
                await links.close()

        with pytest.raises(LinkError) as caught:
            run(main(), virtual=False)
    assert str(caught.value) == f"{where}: nobody listens there"
