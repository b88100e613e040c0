"""Discovery on the simulated Ethernet wire: announcements, questions to all, their line time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import clock
from ecu_sim.bus.ethernet import EthernetWire, StreamTap
from ecu_sim.vehicle import Vehicle, VehicleError
from protocols.doip import messages as m
from protocols.doip.decoder import decode_datagram
from protocols.doip.messages import VERSION_DISCOVERY, Message, encode
from tests.support.doip import DoipTester
from tests.support.ecu import VIN
from tests.support.vehicle import running

REAR = 0x1031


class Ear:
    """A tap (`ecu_sim.bus.ethernet.WireTap`) that keeps datagrams: end in ns, direction, asker."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bool, int | None, bytes]] = []

    def connected(self, *_handshake_ns: int) -> StreamTap:
        return self

    def carried(self, data: bytes, *, from_caller: bool, at_ns: int) -> None:
        pass

    def ended(self, *, from_caller: bool, at_ns: int) -> None:
        pass

    def datagram(self, data: bytes, *, from_caller: bool, asker: int | None, at_ns: int) -> None:
        self.heard.append((at_ns, from_caller, asker, data))


def drive(directory: Path, scenario: Callable[[Vehicle, Ear], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(directory, "rear") as vehicle:
            wire, ear = vehicle.wires["rear"], Ear()
            assert isinstance(wire, EthernetWire)
            wire.tap = ear
            await asyncio.sleep(5.0)
            ear.heard.clear()
            await scenario(vehicle, ear)

    clock.run(main(), virtual=True)


@pytest.mark.parametrize(("drawn", "wait_s"), [(0x0000, 0.0), (0x8000, 0.25), (0xFFFF, 0.5)])
def test_after_each_boot_the_entity_announces_itself_three_times_after_a_wait(
    tmp_path: Path, drawn: int, wait_s: float
) -> None:
    """A_DoIP_Announce_Wait 0 to 500 ms, three times, every 500 ms; and not before it is asked."""

    async def scenario(vehicle: Vehicle, ear: Ear) -> None:
        loop, node = asyncio.get_running_loop(), vehicle.nodes["rear"]
        others = node.hardware.random_bytes
        object.__setattr__(
            node.hardware,
            "random_bytes",
            lambda count: drawn.to_bytes(2) if count == 2 else others(count),
        )
        tester = DoipTester(await vehicle.connect("rear"))
        assert await tester.activate() == 0x10
        assert await tester.ask("11 01", REAR) == "51 01"
        await tester.close()
        await asyncio.sleep(0.01)
        await node.booted()
        booted = loop.time()
        await asyncio.sleep(10.0)
        times = [at_ns / 1e9 - booted for at_ns, _, _, _ in ear.heard]
        assert times == pytest.approx([wait_s, wait_s + 0.5, wait_s + 1.0], abs=1e-4)
        assert {(caller, asker) for _, caller, asker, _ in ear.heard} == {(False, None)}
        (announced,) = {data for *_, data in ear.heard}
        message = decode_datagram(announced)
        assert isinstance(message, m.VehicleAnnouncement)
        assert (message.vin, message.logical_address) == (VIN.encode(), REAR)

    drive(tmp_path, scenario)


def test_who_is_asked_for_by_all_by_vin_or_by_eid_answers_and_nobody_else(tmp_path: Path) -> None:
    async def scenario(vehicle: Vehicle, ear: Ear) -> None:
        (answer,) = await vehicle.ask_all("rear", question(m.VehicleIdentificationRequest()))
        found = decode_datagram(answer)
        assert isinstance(found, m.VehicleAnnouncement)
        for asked, answers in (
            (m.VehicleIdentificationRequest(vin=VIN.encode()), [answer]),
            (m.VehicleIdentificationRequest(eid=found.eid), [answer]),
            (m.VehicleIdentificationRequest(vin=VIN[::-1].encode()), []),
            (m.VehicleIdentificationRequest(eid=found.gid), []),
        ):
            assert await vehicle.ask_all("rear", question(asked)) == answers
        askers = [asker for _, caller, asker, _ in ear.heard if caller]
        assert askers == [1, 2, 3, 4, 5]
        assert [asker for _, caller, asker, _ in ear.heard if not caller] == [1, 2, 3]
        # Status and power mode come the same way.
        (status,) = await vehicle.ask_all("rear", encode(m.EntityStatusRequest(), version=3))
        assert status[8:11] == bytes((1, 4, 0))
        (mode,) = await vehicle.ask_all("rear", encode(m.PowerModeRequest(), version=3))
        assert mode[8:] == b"\x01"

    drive(tmp_path, scenario)


def test_a_datagram_takes_the_line_time_of_its_frame(tmp_path: Path) -> None:
    """84 bytes at least; UDP and IPv4 headers, Ethernet around them, gap and preamble."""

    async def scenario(vehicle: Vehicle, ear: Ear) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await vehicle.ask_all("rear", question(m.VehicleIdentificationRequest()))
        asked, answered = (at_ns for at_ns, *_ in ear.heard)
        assert asked - round(begin * 1e9) == pytest.approx(84 * 80, abs=1)
        assert answered - asked == pytest.approx((41 + 66) * 80, abs=1)
        assert loop.time() == pytest.approx(answered / 1e9, abs=1e-9)

    drive(tmp_path, scenario)


def test_an_entity_that_is_off_answers_nothing_and_no_other_wire_does(tmp_path: Path) -> None:
    async def scenario(vehicle: Vehicle, ear: Ear) -> None:
        vehicle.nodes["rear"].power_off()
        assert await vehicle.ask_all("rear", question(m.VehicleIdentificationRequest())) == []
        assert len(ear.heard) == 1
        with pytest.raises(VehicleError, match="no DoIP wire 'comfort'"):
            await vehicle.ask_all("comfort", question(m.VehicleIdentificationRequest()))

    drive(tmp_path, scenario)


def question(message: Message) -> bytes:
    return encode(message, version=VERSION_DISCOVERY)
