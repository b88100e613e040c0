"""The socketcand server: python-can's client, unchanged, and bytes by hand."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import can
import pytest

from clock import run
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.faults import WireFaults
from ecu_sim.bus.socketcand import SocketcandServer
from protocols.can import FrameHeader

EPOCH_S = 1_700_000_000.0
REQUEST, ANSWER = FrameHeader(0x100), FrameHeader(0x200)


@dataclass(frozen=True, slots=True)
class Talk:
    """A connection by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, *elements: str) -> None:
        self.writer.write("".join(f"< {element} >" for element in elements).encode())

    async def hear(self) -> str:
        """The next element, without its brackets."""
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(b">"))[1:-1].decode().strip()

    async def ask(self, *elements: str) -> str:
        self.say(*elements)
        return await self.hear()


@dataclass(frozen=True, slots=True)
class Served:
    server: SocketcandServer
    wire: CanWire

    @asynccontextmanager
    async def talk(self, *elements: str) -> AsyncIterator[Talk]:
        """A client that has been greeted, and has said this; each is answered `ok`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        talk = Talk(reader, writer)
        assert await talk.hear() == "hi"
        for element in elements:
            assert await talk.ask(element) == "ok"
        try:
            yield talk
        finally:
            writer.close()


def served(use: Callable[[Served], Awaitable[None]]) -> None:
    """A wire where a node answers 0x100 with 0x200, data reversed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wire = CanWire("bench", bit_rate=500_000, data_bit_rate=2_000_000, loop=loop)
        port = wire.port("echo")

        def answer(header: FrameHeader, data: bytes, _: float) -> None:
            reply = FrameHeader(0x200, fd=header.fd, bit_rate_switch=header.bit_rate_switch)
            port.send(reply, (data[::-1],))

        port.listen(answer, REQUEST)
        server = SocketcandServer({"bench": wire}, epoch_s=EPOCH_S)
        await server.start("127.0.0.1", 0)
        try:
            await use(Served(server, wire))
        finally:
            await server.close()
            wire.close()

    run(main(), virtual=False)


def test_python_cans_client_sends_and_hears_frames_and_error_frames() -> None:
    def tester(port: int) -> list[can.Message]:
        with can.Bus(interface="socketcand", channel="bench", host="127.0.0.1", port=port) as bus:
            bus.send(can.Message(arbitration_id=0x100, is_extended_id=False, data=bytes(range(8))))
            bus.send(can.Message(arbitration_id=0x18DA10F1, is_extended_id=True))
            bus.send(can.Message(arbitration_id=0x100, is_extended_id=False))
            heard: list[can.Message] = []
            while len(heard) < 3 and (message := bus.recv(5.0)):
                heard.append(message)
            return heard

    async def use(served: Served) -> None:
        # The first try of the first frame goes wrong, and is sent again.
        served.wire.begin_faults(WireFaults(corrupted=frozenset({0})))
        extended = asyncio.Event()
        far = served.wire.port("far")
        far.listen(lambda *_: extended.set(), FrameHeader(0x18DA10F1, extended=True))
        loop = asyncio.get_running_loop()
        error, answer, empty = await asyncio.to_thread(tester, served.server.port)
        assert error.is_error_frame
        assert error.arbitration_id == 0x088
        assert (answer.arbitration_id, bytes(answer.data)) == (0x200, bytes(range(8))[::-1])
        assert (empty.arbitration_id, bytes(empty.data)) == (0x200, b"")
        assert 0 < answer.timestamp - EPOCH_S <= loop.time() + 0.01
        assert extended.is_set()

    served(use)


def test_several_clients_are_nodes_that_hear_each_other_and_not_themselves() -> None:
    async def use(served: Served) -> None:
        async with (
            served.talk("open bench", "rawmode") as one,
            served.talk("open bench", "rawmode") as two,
        ):
            one.say("send 123 3 1 2 ff")
            assert re.fullmatch(r"frame 123 17000\d+\.\d{6} 0102FF", await two.hear())
            two.say("send 00000123 0")
            assert re.fullmatch(r"frame 00000123 \S+", await one.hear())

    served(use)


def test_fd_frames_keep_flags_and_data() -> None:
    async def use(served: Served) -> None:
        async with served.talk("open bench", "rawmode") as talk:
            data = " ".join(f"{byte:02x}" for byte in range(12))
            talk.say(f"fdsend 100 1 12 {data}")
            expected = bytes(range(12))[::-1].hex().upper()
            assert re.fullmatch(rf"fdframe 200 01 \S+ {expected}", await talk.hear())
            talk.say("fdsend 100 0 0")
            assert re.fullmatch(r"fdframe 200 00 \S+", await talk.hear())

    served(use)


def test_a_subscription_tells_one_identifier_and_a_filter_its_changes() -> None:
    async def use(served: Served) -> None:
        node = served.wire.port("far")
        async with served.talk("open bench") as talk:
            talk.say("subscribe 0 0 300", "filter 0 0 301 2 F0 00")
            assert await talk.ask("echo") == "echo"
            for identifier, data in (
                (0x300, b"\x01"),
                (0x302, b"\x02"),
                (0x301, b"\x11\x00"),
                (0x301, b"\x12\xff"),  # no bit of the mask
                (0x300, b"\x01"),
                (0x301, b"\x21\x00"),
            ):
                done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
                node.send(FrameHeader(identifier), (data,), done.set_result)
                await done
            heard = [(await talk.hear()).split() for _ in range(4)]
            assert [(one[1], *one[3:]) for one in heard] == [
                ("300", "01"),
                ("301", "11", "00"),
                ("300", "01"),
                ("301", "21", "00"),
            ]
            talk.say("unsubscribe 300")
            assert await talk.ask("echo") == "echo"
            node.send(FrameHeader(0x300), (b"\x03",))
            node.send(FrameHeader(0x301), (b"\x31\x00",))
            assert (await talk.hear()).split()[1] == "301"

    served(use)


def test_updates_that_come_too_often_are_told_when_their_time_has_come() -> None:
    async def use(served: Served) -> None:
        node = served.wire.port("far")
        async with served.talk("open bench") as talk:
            talk.say("subscribe 0 200000 300")
            assert await talk.ask("echo") == "echo"
            for number in range(5):
                node.send(FrameHeader(0x300), (bytes((number,)),))
            first, second = (await talk.hear()).split(), (await talk.hear()).split()
            assert (first[3], second[3]) == ("00", "04")
            assert float(second[2]) - float(first[2]) >= 0.199

    served(use)


def test_a_cycle_is_sent_until_it_is_deleted_and_takes_new_content() -> None:
    async def use(served: Served) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        served.wire.port("far").listen(lambda _, data, _at: heard.put_nowait(data), REQUEST)
        async with served.talk("open bench") as talk:
            talk.say("add 0 10000 100 1 01")
            assert [await heard.get(), await heard.get()] == [b"\x01"] * 2
            talk.say("update 100 1 02")
            while await heard.get() != b"\x02":
                pass
            talk.say("delete 100", "add 0 0 100 1 03")
            while await heard.get() != b"\x03":
                pass
            assert await talk.ask("echo") == "echo"
            await asyncio.sleep(0.05)
            assert heard.empty()
            assert "nothing of the kind" in await talk.ask("delete 100")

    served(use)


def test_raw_mode_ends_what_bcm_mode_had_set_up_and_the_other_way_round() -> None:
    async def use(served: Served) -> None:
        async with served.talk("open bench") as talk:
            talk.say("add 0 1000 100 0")
            assert await talk.ask("rawmode") == "ok"
            assert "unknown command" in await talk.ask("add 0 1000 100 0")
            assert await talk.ask("bcmmode") == "ok"
            served.wire.port("far").send(FrameHeader(0x300), (b"",))
            assert await talk.ask("echo") == "echo"

    served(use)


@pytest.mark.parametrize(
    "element",
    [
        "send",
        "send 800 0",
        "send 123 9 0 0 0 0 0 0 0 0 0",
        "send 123 2 1",
        "send 123 1 100",
        "send 123 1 -1",
        "send +12 0",
        "fdsend 100 1 9 0 0 0 0 0 0 0 0 0",
        "sendrtr 123 0",
        "subscribe 0 0",
        "subscribe 99999999999999999999999 0 123",
        "add 0 x 123 0",
        "rawmode now",
        "isotpmode",
        "\x80",
        "",
    ],
)
def test_a_wrong_command_is_told_and_the_client_goes_on(element: str) -> None:
    async def use(served: Served) -> None:
        async with served.talk("open bench") as talk:
            assert (await talk.ask(element)).startswith("error ")
            assert await talk.ask("echo") == "echo"

    served(use)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "an element begins with"),
        (b"< open none >", "no bus 'none' here, but bench"),
        (b"<" + b"x" * 5000, "an element of more than 4000 bytes"),
    ],
)
def test_a_client_that_breaks_the_rules_is_told_and_dropped(said: bytes, reason: str) -> None:
    async def use(served: Served) -> None:
        async with served.talk() as talk:
            talk.writer.write(said)
            assert reason in await talk.hear()
            assert await talk.reader.read() == b""

    served(use)


def test_before_a_bus_is_open_nothing_else_is_understood() -> None:
    async def use(served: Served) -> None:
        async with served.talk() as talk:
            for element in ("rawmode", "send 123 0", "echo"):
                assert await talk.ask(element) == "error unknown command"

    served(use)


def test_a_client_that_sends_faster_than_the_wire_loses_nothing() -> None:
    async def use(served: Served) -> None:
        heard: list[int] = []
        all_heard = asyncio.Event()

        def hear(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            heard.append(int.from_bytes(data))
            if len(heard) == 3000:
                all_heard.set()

        served.wire.port("far").listen(hear, FrameHeader(0x101))
        async with served.talk("open bench") as talk:
            talk.say(*(f"send 101 2 {number >> 8:x} {number & 255:x}" for number in range(3000)))
            async with asyncio.timeout(10):
                await all_heard.wait()
        assert heard == list(range(3000))

    served(use)


def test_there_are_only_so_many_clients_and_cycles() -> None:
    async def use(served: Served) -> None:
        async with served.talk("open bench") as talk:
            cycles = [f"add 100 0 {number:08X} 0" for number in range(257)]
            assert await talk.ask(*cycles) == "error 256 are set up already"
            others = [
                await asyncio.open_connection("127.0.0.1", served.server.port) for _ in range(64)
            ]
            answers = [(await reader.readuntil(b">")).decode() for reader, _ in others]
            assert answers == ["< hi >"] * 63 + ["< error 64 clients are here already >"]
            for _, writer in others:
                writer.close()

    served(use)
