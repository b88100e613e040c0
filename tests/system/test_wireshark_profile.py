"""With the vehicle's profile, Wireshark needs no further option to read its wires."""

import asyncio
import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import clock
from dbc import describe_vehicle, load
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S
from recording import CanFrame, Channel
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from tests.support.cli import canota
from tests.support.flashing import START, SimLinks
from tests.support.logs import recorder
from tests.support.vehicle import running
from vehicle_gateway.wires import testers as gateway

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
START_NS = since_epoch_ns(START)
VEHICLE = describe_vehicle()


def dissected(file: Path, folder: Path, *fields: str, only: str = "") -> list[list[str]]:
    """One row of these fields for each packet; tshark has the profile and no other option."""
    command = ["tshark", "-C", "car", "-r", str(file), "-T", "fields"]
    command += [part for field in fields for part in ("-e", field)]
    command += ["-Y", only] if only else []
    done = subprocess.run(  # noqa: S603 a fixed program, our own file
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "WIRESHARK_CONFIG_DIR": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Running as")]
    assert complaints == []
    return [line.split("\t") for line in done.stdout.splitlines()]


def stamp(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * NS_PER_S + int(fraction.ljust(9, "0"))


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wireshark")
    ended = canota("log", "wireshark-profile", str(folder / "profiles" / "car"))
    assert ended.code == 0, ended.err
    assert ended.out.endswith("12 files; choose it in Wireshark, or tshark -C car\n")
    return folder


Heard = list[tuple[str, int, bytes, int]]
#: ECU -> loop times in ns before and after its VIN was read.
Asked = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard, Asked]:
    """A second of the whole car: its capture, and what nodes on its CAN wires heard."""
    folder = tmp_path_factory.mktemp("car")
    file, heard, asked = folder / "car.pcapng", [], {}

    async def main() -> None:
        async with running(folder / "state") as vehicle:
            for name, wire in vehicle.wires.items():
                if isinstance(wire, CanWire):

                    def hear(
                        header: FrameHeader, data: bytes, at_s: float, name: str = name
                    ) -> None:
                        at_ns = START_NS + round(at_s * NS_PER_S)
                        heard.append((name, header.identifier, bytes(data), at_ns))

                    wire.port("listener").listen(hear)
            with closing(recorder(file, vehicle.wires)) as log:
                capture = Capture(log, vehicle.wires, start_date=START)
                loop = asyncio.get_running_loop()
                async with gateway.Testers(VEHICLE, SimLinks(vehicle)) as testers:
                    for ecu in vehicle.nodes:
                        before_ns = START_NS + round(loop.time() * NS_PER_S)
                        await testers.tester(ecu).request(bytes.fromhex("22 F1 90"))
                        asked[ecu] = before_ns, START_NS + round(loop.time() * NS_PER_S)
                    await testers.tester("ccu").request(bytes.fromhex("22 01 01"))
                await asyncio.sleep(1.0)
                capture.close()

    clock.run(main(), virtual=True)
    return file, heard, asked


def test_uds_is_read_on_every_wire_and_the_ecus_have_their_names(
    profile: Path, car: tuple[Path, Heard, Asked]
) -> None:
    file, _, asked = car
    rows = dissected(
        file,
        profile,
        *("frame.interface_name", "frame.time_epoch", "uds.reply", "uds.diag_addr_name"),
        only="uds.rdbi.data_identifier == 0xf190",
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for wire, at, reply, names in rows:
        (ecu,) = set(names.split(",")) - {"tester"}
        assert wire == VEHICLE.ecus[ecu].wire
        found.setdefault(ecu, []).append((str(int(reply, 0)), stamp(at)))
    assert set(found) == set(VEHICLE.ecus)
    for ecu, said in found.items():
        before_ns, after_ns = asked[ecu]
        (_, asked_ns), (_, answered_ns) = said
        assert [reply for reply, _ in said] == ["0", "1"]
        assert before_ns <= asked_ns < answered_ns <= after_ns


def test_can_and_doip_stand_in_one_file_with_the_clocks_stamps(
    profile: Path, car: tuple[Path, Heard, Asked]
) -> None:
    file, heard, _ = car
    fields = ("frame.interface_name", "frame.interface_id", "frame.time_epoch", "can.id", "can.len")
    rows = dissected(file, profile, *fields)
    assert {(row[0], row[1]) for row in rows} == {
        ("comfort", "0"),
        ("thermal", "1"),
        ("rear", "2"),
    }
    stamps = [stamp(row[2]) for row in rows]
    assert stamps == sorted(stamps)
    can = [
        (wire, int(identifier, 0), int(length, 0), stamp(at))
        for wire, _, at, identifier, length in rows
        if identifier
    ]
    expected = [(wire, identifier, len(data), at) for wire, identifier, data, at in heard]
    assert sorted(can) == sorted(expected)
    assert len(can) > 100


def test_long_messages_are_put_together_again(
    profile: Path, car: tuple[Path, Heard, Asked]
) -> None:
    rows = dissected(
        car[0],
        profile,
        "iso15765.reassembled.length",
        only="can.id == 0x7A8 && uds.rdbi.data_identifier == 0xf190",
    )
    assert rows == [["20"]]


def test_signals_have_the_values_of_the_database(
    profile: Path, car: tuple[Path, Heard, Asked]
) -> None:
    file, heard, _ = car
    message = load("hvac_comfort").get_message_by_name("CCU_Status")
    signals = [signal.name for signal in message.signals]
    fields = [f"signal_pdu.CCU_Status.{name}" for name in signals]
    rows = dissected(file, profile, "frame.time_epoch", *fields, only="can.id == 784")
    frames = [(at, data) for _, identifier, data, at in heard if identifier == message.frame_id]
    assert len(rows) == len(frames) > 5
    for (at, *values), (at_ns, data) in zip(rows, frames, strict=True):
        assert stamp(at) == at_ns
        decoded = message.decode(data)
        assert isinstance(decoded, dict)
        assert [float(value) for value in values] == [
            pytest.approx(decoded[name]) for name in signals
        ]


DBC = """\
VERSION ""
BS_:
BU_: A
BO_ 291 Motorola: 8 A
 SG_ Torque : 7|12@0+ (0.5,-10) [0|0] "N\\m" A
 SG_ Mode : 11|4@0+ (1,0) [0|0] "" A
 SG_ Level : 23|16@0- (0.25,0) [0|0] "V" A
BO_ 2566914288 Extended: 8 A
 SG_ Count : 0|16@1- (1,0) [0|0] "" A
 SG_ Short : 20|12@1- (1,0) [0|0] "" A
 SG_ After : 32|8@1+ (1,0) [0|0] "" A
BO_ 292 Muxed: 8 A
 SG_ Kind M : 0|8@1+ (1,0) [0|0] "" A
 SG_ Value m0 : 8|8@1+ (1,0) [0|0] "" A
"""


def test_other_byte_orders_signs_and_identifiers_are_read_too(tmp_path: Path) -> None:
    database = tmp_path / "mine.dbc"
    database.write_text(DBC)
    folder = tmp_path / "profiles" / "car"
    ended = canota("log", "wireshark-profile", str(folder), "--dbc", str(database))
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[1].startswith("Wireshark's table has no place for: ")
    assert ended.out.splitlines()[1].endswith("Extended.Short, Muxed")
    file = tmp_path / "mine.pcapng"
    with closing(Recorder(file, (Channel(name="mine"),), start_ns=START_NS)) as log:
        log.add(
            CanFrame(START_NS, 0, FrameHeader(291), bytes.fromhex("FFE5 FF9C 00000000")),
            CanFrame(
                START_NS + 1,
                0,
                FrameHeader(2566914288 & 0x1FFFFFFF, extended=True),
                bytes.fromhex("FFFF FFFF 07 000000"),
            ),
        )
    names = (
        "Motorola.Torque",
        "Motorola.Mode",
        "Motorola.Level",
        "Extended.Count",
        "Extended.After",
    )
    rows = dissected(file, tmp_path, *(f"signal_pdu.{name}" for name in names))
    assert [[float(value) if value else None for value in row] for row in rows] == [
        [2037.0, 5.0, -25.0, None, None],
        [None, None, None, -1.0, 7.0],
    ]


def test_the_profile_goes_where_wireshark_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRESHARK_CONFIG_DIR", str(tmp_path))
    assert canota("log", "wireshark-profile").code == 0
    assert (tmp_path / "profiles" / "canota" / "preferences").is_file()
    monkeypatch.delenv("WIRESHARK_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert canota("log", "wireshark-profile").code == 0
    assert (tmp_path / "config" / "wireshark" / "profiles" / "canota").is_dir()
    broken = tmp_path / "car.toml"
    broken.write_text("model = 1")
    ended = canota("log", "wireshark-profile", str(tmp_path / "p"), "--description", str(broken))
    assert ended.code == 5
    assert not (tmp_path / "p").exists()
