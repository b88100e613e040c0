"""Wireshark's dissectors, which know nothing of us, read whole flashes off the simulated wires."""

import asyncio
import hashlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

import clock
from dbc import EcuDescription, describe_vehicle
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture
from ecu_sim.bus.faults import WireFaults
from protocols.can import FrameHeader
from tests.support.cli import canota
from tests.support.ecu import DIAGNOSTICS_MASTER, application, crc_image, signed_image
from tests.support.flashing import NONCE, START, SimLinks
from tests.support.logs import recorder
from tests.support.vehicle import running
from vehicle_gateway.flashing import updaters
from vehicle_gateway.update import UpdateJob
from vehicle_gateway.wires import AnswerReceived, Channel, ChannelEvent, Wire
from vehicle_gateway.wires import testers as gateway

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

#: 32 KiB behind a good module: a custom section of WebAssembly.
PADDING = b"\x00" + b"\xff\xff\x01" + b"\x01x" + bytes(0x7FFF - 2)
#: Wireshark's severities: chat and note below, warning and error from here on.
WARNING = 0x0060_0000

#: (service id, whether it is an answer) -> how many; a refusal counts as service 3F.
Services = Counter[tuple[int, bool]]


class CountedChannel:
    """A channel (`vehicle_gateway.wires.Channel`) that keeps count of services."""

    def __init__(self, channel: Channel, services: Services) -> None:
        self._channel = channel
        self._services = services

    async def send(self, request: bytes) -> float:
        at_s = await self._channel.send(request)
        self._services[request[0], False] += 1
        return at_s

    async def receive(self) -> ChannelEvent:
        event = await self._channel.receive()
        if isinstance(event, AnswerReceived):
            self._services[event.message[0] - 0x40, True] += 1
        return event

    def discard(self) -> None:
        self._channel.discard()


class CountedWire:
    """A wire (`vehicle_gateway.wires.Wire`) whose channels count."""

    def __init__(self, wire: Wire, services: Services) -> None:
        self._wire = wire
        self._services = services
        self._channels: dict[str, CountedChannel] = {}

    def channel(self, ecu: EcuDescription) -> Channel:
        if ecu.name not in self._channels:
            self._channels[ecu.name] = CountedChannel(self._wire.channel(ecu), self._services)
        return self._channels[ecu.name]

    async def broadcast(self, request: bytes) -> float:
        at_s = await self._wire.broadcast(request)
        self._services[request[0], False] += 1
        return at_s

    async def close(self) -> None:
        await self._wire.close()


class CountedTesters(gateway.Testers):
    def __init__(self, links: SimLinks) -> None:
        super().__init__(describe_vehicle(), links)
        self.services: Services = Counter()

    def _open(self, name: str) -> Wire:
        return CountedWire(super()._open(name), self.services)


def new_image(ecu: str, version: tuple[int, int, int]) -> bytes:
    hardware_id = describe_vehicle().ecus[ecu].hardware_id
    if describe_vehicle().ecus[ecu].single_slot:
        return crc_image(application() + PADDING, version=version, hardware_id=hardware_id)
    return signed_image(
        application() + PADDING,
        version=version,
        hardware_id=hardware_id,
        security_counter=version[0],
    )


def flash(directory: Path, file: Path, ecu: str) -> Services:
    """Program 2.0.0 as the gateway does, up to the confirmed trial; what was said meanwhile."""
    description = describe_vehicle().ecus[ecu]
    before, after = new_image(ecu, (1, 0, 0)), new_image(ecu, (2, 0, 0))
    job = UpdateJob(
        ecu=ecu,
        image=after,
        address=description.application_base,
        image_sha256=hashlib.sha256(after).digest(),
        version="2.0.0",
        nonce=NONCE,
        before_sha256=hashlib.sha256(before).digest(),
        present=before if description.single_slot else None,
        present_address=description.application_base,
    )

    async def main() -> Services:
        async with running(directory, ecu, images={ecu: before}) as vehicle:
            with closing(recorder(file, vehicle.wires)) as log:
                capture = Capture(log, vehicle.wires, start_date=START)
                async with CountedTesters(SimLinks(vehicle)) as testers:
                    updater = updaters(
                        testers, diagnostics_master=DIAGNOSTICS_MASTER, start_date=START
                    )[ecu]
                    await updater.stage(job, resume_from=0, progress=lambda _: None)
                    await updater.activate(job, resume_from=0, progress=lambda _: None)
                    await updater.confirm(job)
                    after = await updater.inventory(NONCE)
                    assert after.software_version == "2.0.0"
                await asyncio.sleep(0.1)
                capture.close()
                return testers.services

    return clock.run(main(), virtual=True)


def dissect(file: Path, ecus: Sequence[str], *fields: str) -> Iterator[list[str]]:
    """One row of these fields per packet; UDS is looked for at these ECUs' addresses."""
    vehicle = describe_vehicle()
    identifiers: set[int] = set()
    for ecu in (vehicle.ecus[name] for name in ecus):
        if vehicle.wires[ecu.wire].kind != "doip":
            functional = vehicle.wires[ecu.wire].functional_id
            identifiers |= {ecu.request_id, ecu.response_id, functional}
    command = ["tshark", "-r", str(file), "-d", "iso15765.subdissector,uds"]
    if identifiers:
        command += ["-o", f"iso15765.can.ids:{','.join(map(str, sorted(identifiers)))}"]
    for check in ("ip.check_checksum", "tcp.check_checksum"):
        command += ["-o", f"{check}:TRUE"]
    command += ["-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 a fixed program, our own file
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        yield line.split("\t")


@pytest.mark.parametrize("ecu", ["ccu", "blower", "ecomp", "rear"])
def test_wireshark_finds_every_service_of_a_flash_and_nothing_malformed(
    tmp_path: Path, ecu: str
) -> None:
    file = tmp_path / "flash.pcapng"
    said = flash(tmp_path / "state", file, ecu)
    found: Services = Counter()
    fields = ("uds.sid", "uds.reply", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message")
    for service, reply, malformed, severities, messages in dissect(file, [ecu], *fields):
        assert not malformed
        assert all(int(one, 0) < WARNING for one in severities.split(",") if one), messages
        if service:
            found[int(service, 0), bool(int(reply, 0))] += 1
    assert said[0x36, False] >= 1
    assert found == said


def test_every_block_is_put_together_again_from_its_frames(tmp_path: Path) -> None:
    file = tmp_path / "flash.pcapng"
    said = flash(tmp_path / "state", file, "ccu")
    rows = list(dissect(file, ["ccu"], "iso15765.reassembled.length", "uds.sid", "uds.reply"))
    blocks = [int(length) for length, *which in rows if which == ["0x36", "0x00"]]
    assert len(blocks) == said[0x36, False]
    assert sum(blocks) == len(new_image("ccu", (2, 0, 0))) + 2 * len(blocks)


def test_every_diagnostic_message_over_doip_is_acknowledged_before_its_answer(
    tmp_path: Path,
) -> None:
    file = tmp_path / "flash.pcapng"
    flash(tmp_path / "state", file, "rear")
    rows = dissect(file, ["rear"], "doip.type", "uds.reply")
    kinds = [(kind, reply) for types, reply in rows for kind in types.split(",") if kind]
    diagnostic = [one for one in kinds if one[0].startswith("0x800")]
    requests = [one for one in diagnostic if one == ("0x8001", "0x00")]
    assert len(requests) > 20
    for request, next_one in pairwise(diagnostic):
        assert (next_one[0] == "0x8002") == (request == ("0x8001", "0x00"))


def test_frames_of_all_wires_stand_on_one_time_line(tmp_path: Path) -> None:
    file = tmp_path / "car.pcapng"

    async def main() -> None:
        async with running(tmp_path / "state") as vehicle:
            with closing(recorder(file, vehicle.wires)) as log:
                capture = Capture(log, vehicle.wires, start_date=START)
                async with gateway.Testers(describe_vehicle(), SimLinks(vehicle)) as testers:
                    for ecu in vehicle.nodes:
                        await testers.tester(ecu).request(bytes.fromhex("22 F1 90"))
                await asyncio.sleep(0.5)
                capture.close()

    clock.run(main(), virtual=True)
    rows = list(dissect(file, ["rear"], "frame.interface_name", "frame.time_epoch"))
    assert {name for name, _ in rows} == {"comfort", "thermal", "rear"}
    times = [stamp for _, stamp in rows]
    assert times == sorted(times)
    assert times[0].startswith(str(int(START.timestamp())))


def test_error_frames_are_recorded_and_the_frame_that_follows_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "faulty.pcapng"

    async def main() -> None:
        wire = CanWire("bench", bit_rate=500_000, loop=asyncio.get_running_loop())
        wire.port("listener").listen(lambda *_: None)
        with closing(recorder(file, {"bench": wire})) as log:
            capture = Capture(log, {"bench": wire}, start_date=START)
            wire.begin_faults(WireFaults(corrupted=frozenset({1})))
            for number in range(3):
                wire.port("sender").send(FrameHeader(0x123), (bytes((number,)),))
            await asyncio.sleep(0.1)
            capture.close()
        wire.close()

    clock.run(main(), virtual=True)
    rows = list(dissect(file, [], "can.flags.err", "can.id", "data.data", "_ws.malformed"))
    assert [row[0] for row in rows] == ["0", "1", "0", "0"]
    assert [row[2] for row in rows if row[0] == "0"] == ["00", "01", "02"]
    assert not any(row[3] for row in rows)


def test_nothing_in_the_capture_of_a_whole_demo_is_malformed(tmp_path: Path) -> None:
    file = tmp_path / "car.pcapng"
    ended = canota("demo", "--report-dir", str(tmp_path), "--capture", str(file))
    assert ended.code == 0, ended.err
    fields = ("frame.interface_name", "uds.sid", "_ws.malformed", "_ws.expert.severity")
    wires_with_uds = set()
    for wire, service, malformed, severities in dissect(
        file, tuple(describe_vehicle().ecus), *fields
    ):
        assert not malformed
        assert all(int(one, 0) < WARNING for one in severities.split(",") if one)
        if service:
            wires_with_uds.add(wire)
    assert wires_with_uds == {"comfort", "thermal", "rear"}
