import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

import clock
import dbc
from ecu_sim.ecus import ecu_names
from ecu_sim.node import Mode
from ecu_sim.vehicle import VehicleError
from protocols.can import FrameHeader
from protocols.can.bits import frame_ns
from protocols.network_management import NODES, identifier
from tests.support.ecu import VIN, RawTester
from tests.support.programming import expect
from tests.support.vehicle import built_image, new_vehicle, open_tester, running

NETWORK_MANAGEMENT = frozenset(identifier(node) for node in range(NODES))


def test_a_vehicle_boots_all_its_ecus_each_in_its_own_time(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path) as vehicle:
            assert {node.mode for node in vehicle.nodes.values()} == {Mode.APPLICATION}
            assert asyncio.get_running_loop().time() == pytest.approx(0.8)

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("wire", ["comfort", "thermal"])
def test_every_message_of_a_wire_appears_with_the_period_of_its_database(
    tmp_path: Path, wire: str
) -> None:
    heard: dict[int, list[float]] = defaultdict(list)

    async def drive() -> None:
        async with running(tmp_path) as vehicle:
            await asyncio.sleep(1.0)
            vehicle.can_port(wire, "logger").listen(
                lambda header, _, now: heard[header.identifier].append(now)
            )
            await asyncio.sleep(10.0)

    clock.run(drive(), virtual=True)
    databases = {"comfort": ["hvac_comfort", "vehicle"], "thermal": ["hvac_thermal", "vehicle"]}
    messages = [message for name in databases[wire] for message in dbc.load(name).messages]
    assert heard.keys() - NETWORK_MANAGEMENT == {message.frame_id for message in messages}
    for message in messages:
        assert message.cycle_time is not None
        assert len(heard[message.frame_id]) == pytest.approx(10_000 / message.cycle_time, abs=1)


def test_the_load_of_a_wire_is_that_of_the_frames_on_it(tmp_path: Path) -> None:
    busy_ns: list[int] = []

    async def drive() -> dict[str, float]:
        async with running(tmp_path) as vehicle:

            def hear(header: FrameHeader, data: bytes, _at_s: float) -> None:
                busy_ns.append(frame_ns(header, data, bit_rate=500_000, data_bit_rate=2_000_000))

            vehicle.can_port("comfort", "logger").listen(hear)
            await asyncio.sleep(100.0)
            return vehicle.bus_loads()

    loads = clock.run(drive(), virtual=True)
    assert loads.keys() == {"comfort", "thermal"}
    assert 0.01 < loads["thermal"] < 0.1
    assert loads["comfort"] == pytest.approx(sum(busy_ns) / 100e9, rel=0.01)


@pytest.mark.parametrize("ecu", ["ccu", "blower", "ecomp"])
def test_a_raw_tester_reads_identification_from_what_runs(tmp_path: Path, ecu: str) -> None:
    async def drive() -> None:
        async with running(tmp_path, ecu) as vehicle:
            tester = open_tester(vehicle, ecu)
            node = vehicle.nodes[ecu]
            expected = {
                0xF188: "TST-SW-1",
                0xF189: "1.0.0",
                0xF195: "test",
                0xF18C: node.hardware.identity.serial,
                0xF190: VIN,
                0xF191: node.ecu.hardware_identifier,
            }
            for did, text in expected.items():
                answer = await tester.ask(b"\x22" + did.to_bytes(2))
                assert answer == b"\x62" + did.to_bytes(2) + text.encode()
            tester.close()

    clock.run(drive(), virtual=True)


def test_the_compressor_is_also_reached_at_its_29_bit_address(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ecomp") as vehicle:
            port = vehicle.can_port("thermal", "tester")
            tester = RawTester.canfd(port, 0x18DA20F1, 0x18DAF120, extended=True)
            await expect(tester, "22 F1 91", "62 f1 91 45 43 50 2d 33")
            tester.close()

    clock.run(drive(), virtual=True)


def test_the_rear_zone_is_read_over_doip(tmp_path: Path) -> None:
    async def drive() -> bytes:
        async with running(tmp_path, "rear") as vehicle:
            stream = await vehicle.connect("rear")
            # Routing activation of tester 0E80, then 22 F189 to 1031.
            await stream.send(bytes.fromhex("02FD0005 00000007 0E80 00 00000000"))
            await stream.send(bytes.fromhex("02FD8001 00000007 0E80 1031 22F189"))
            received = b""
            while b"\x62\xf1\x89" not in received:
                received += await stream.receive()
            await stream.close()
            return received

    received = clock.run(drive(), virtual=True)
    assert received.endswith(b"\x10\x31\x0e\x80\x62\xf1\x891.0.0")


def test_a_doip_connection_ends_with_the_reset_and_is_refused_until_the_boot(
    tmp_path: Path,
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "rear") as vehicle:
            stream = await vehicle.connect("rear")
            node = vehicle.nodes["rear"]
            node.kill()
            assert await stream.receive() == b""
            with pytest.raises(ConnectionRefusedError, match="rear"):
                await vehicle.connect("rear")
            node.power_on()
            await node.booted()
            again = await vehicle.connect("rear")
            await stream.close()
            await again.close()

    clock.run(drive(), virtual=True)


def test_communication_control_silences_the_ecu_and_never_the_rest_bus(tmp_path: Path) -> None:
    async def drive() -> None:
        heard: set[int] = set()

        async with running(tmp_path, "ccu") as vehicle:
            port = vehicle.can_port("comfort", "logger")
            port.listen(lambda header, _, __: heard.add(header.identifier))
            tester = open_tester(vehicle, "ccu")
            functional = FrameHeader(0x7DF)
            port.send(functional, (bytes.fromhex("02 10 83 CC CC CC CC CC"),))
            port.send(functional, (bytes.fromhex("03 28 83 01 CC CC CC CC"),))
            await asyncio.sleep(0.2)
            heard.clear()
            await asyncio.sleep(2.0)
            assert heard - NETWORK_MANAGEMENT == {0x0C0, 0x1A0, 0x2C0, 0x3A0}
            assert heard & NETWORK_MANAGEMENT == {0x510, 0x53F}  # not silenced by 01
            await expect(tester, "10 01", "50 01 00 32 01 f4")
            await asyncio.sleep(0.2)
            assert heard >= {0x210, 0x310}
            tester.close()

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize(
    ("control", "sends", "listens"),
    [
        ("28 01 01", False, True),
        ("28 02 01", True, False),
        ("28 03 01", False, False),
        # Network management only: these ECUs have none, and their normal messages go on.
        ("28 03 02", True, True),
    ],
)
def test_communication_control_stops_what_it_names(
    tmp_path: Path, control: str, *, sends: bool, listens: bool
) -> None:
    async def drive() -> None:
        heard: set[int] = set()

        async with running(tmp_path, "ccu") as vehicle:
            port = vehicle.can_port("comfort", "logger")
            port.listen(lambda header, _, __: heard.add(header.identifier))
            tester = open_tester(vehicle, "ccu")
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await expect(tester, control, f"68 {control[3:5]}")
            vehicle.rest_bus.set("Speed", 50.0)
            heard.clear()
            await asyncio.sleep(0.5)
            assert (0x210 in heard) is sends
            moving = "01 01 02" if listens else "00 00"
            await expect(tester, "31 01 02 03", f"71 01 02 03 {moving}")
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_scenario_value_of_the_rest_bus_is_on_the_wire_and_stops_programming(
    tmp_path: Path,
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "blower") as vehicle:
            tester = open_tester(vehicle, "blower")
            vehicle.rest_bus.set("Speed", 50.0)
            await asyncio.sleep(0.1)
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await expect(tester, "31 01 02 03", "71 01 02 03 01 01 02")
            await expect(tester, "10 02", "7f 10 88")
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_fault_of_the_flashed_software_is_a_dtc_that_survives_the_power(tmp_path: Path) -> None:
    images = {ecu: built_image(ecu, "1.0.0") for ecu in ("ccu", "blower", "ecomp")}

    async def drive() -> tuple[bytes, bytes]:
        async with running(tmp_path, *images, images=images) as vehicle:
            await asyncio.sleep(150.0)
            tester = open_tester(vehicle, "ccu")
            before = await tester.ask(bytes.fromhex("19 02 08"))
            node = vehicle.nodes["ccu"]
            node.power_off()
            await asyncio.sleep(1.0)
            node.power_on()
            await node.booted()
            after = await tester.ask(bytes.fromhex("19 02 08"))
            tester.close()
            return before, after

    before, after = clock.run(drive(), virtual=True)
    assert before[3:6] == bytes.fromhex("9A0100")
    assert after[3:6] == bytes.fromhex("9A0100")
    # Another operation cycle: the test has not completed in it yet.
    assert after[6] & 0x48 == 0x48


def test_version_2_settles_where_version_1_stays_too_warm(tmp_path: Path) -> None:
    async def drive(version: str) -> tuple[float, bytes]:
        images = {ecu: built_image(ecu, version) for ecu in ecu_names()}
        async with running(tmp_path / version, images=images) as vehicle:
            await asyncio.sleep(180.0)
            tester = open_tester(vehicle, "ccu")
            answer = await tester.ask(bytes.fromhex("19 02 08"))
            tester.close()
            return vehicle.cabin.cabin_temperature_c, answer

    warm, faults = clock.run(drive("1.0.0"), virtual=True)
    settled, none = clock.run(drive("2.0.0"), virtual=True)
    assert warm - 22.0 > 2.0
    assert faults[3:6] == bytes.fromhex("9A0100")
    assert abs(settled - 22.0) < 0.5
    assert none == bytes.fromhex("59 02 FF")


def test_two_runs_with_one_seed_put_the_same_frames_on_the_wire(tmp_path: Path) -> None:
    async def drive(directory: Path) -> list[tuple[float, int, bytes]]:
        frames: list[tuple[float, int, bytes]] = []
        async with running(directory) as vehicle:
            port = vehicle.can_port("comfort", "logger")
            port.listen(lambda header, data, now: frames.append((now, header.identifier, data)))
            tester = open_tester(vehicle, "ccu")
            await tester.ask(bytes.fromhex("10 03"))
            await tester.ask(bytes.fromhex("27 01"))
            await asyncio.sleep(2.0)
            tester.close()
        return frames

    first = clock.run(drive(tmp_path / "a"), virtual=True)
    assert first == clock.run(drive(tmp_path / "b"), virtual=True)


def test_what_cannot_be_built_is_named(tmp_path: Path) -> None:
    async def drive() -> None:
        with pytest.raises(VehicleError, match=r"toaster.*blower, ccu"):
            new_vehicle(tmp_path, "toaster")
        vehicle = new_vehicle(tmp_path, "blower")
        with pytest.raises(VehicleError, match=r"blower.*131073.*131072"):
            vehicle.provision("blower", bytes(0x2_0001))
        with pytest.raises(VehicleError, match="ccu"):
            vehicle.provision("ccu", b"")
        with pytest.raises(VehicleError, match="thermal"):
            vehicle.can_port("thermal", "tester")
        await vehicle.stop()
        (tmp_path / "blower.flash").write_bytes(b"short")
        with pytest.raises(VehicleError, match=r"blower\.flash: 5 bytes"):
            new_vehicle(tmp_path, "blower")

    clock.run(drive(), virtual=True)
