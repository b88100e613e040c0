"""Wireshark's dissectors, which know nothing of us, read whole flashes off the simulated wires.

Checksums and sequence numbers are checked on every packet, and what Wireshark reads of DoIP is
compared, field by field, with the bytes that went through the gateway's own streams.
"""

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doipclient.client import DoIPClient

import clock
from dbc import EcuDescription, describe_vehicle
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture
from ecu_sim.bus.faults import WireFaults
from ecu_sim.ecus import ecu_names
from ecu_sim.vehicle import Vehicle
from protocols.can import FrameHeader
from protocols.doip import messages as m
from protocols.doip.decoder import DoipDecoder, HeaderFault
from protocols.doip.messages import (
    VERSION_DISCOVERY,
    DiagnosticMessage,
    Message,
    PayloadType,
    encode,
)
from protocols.stream import ByteStream
from recording import Channel as WireChannel
from recording.recorder import Recorder
from tests.support.cli import canota
from tests.support.ecu import DIAGNOSTICS_MASTER, VIN, application, small_image
from tests.support.flashing import NONCE, START, SimLinks, plainly_flashed
from tests.support.logs import recorder
from tests.support.serving import served
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

#: By UDP before anything else: anybody, this VIN, another VIN.
IDENTIFICATIONS = (
    m.VehicleIdentificationRequest(),
    m.VehicleIdentificationRequest(vin=VIN.encode()),
    m.VehicleIdentificationRequest(vin=b"WVWZZZ1KZAW000001"),
)
#: tshark's word for a checksum that it has checked.
GOOD = "1"
#: What Wireshark says of the life of every connection, and nothing worse.
CHAT, NOTE = 0x0020_0000, 0x0040_0000

#: (service id, whether it is an answer) -> how many; a refusal counts as service 3F.
Services = Counter[tuple[int, bool]]


class CountedChannel:
    """A channel (`vehicle_gateway.wires.Channel`) that keeps count of services."""

    def __init__(self, channel: Channel, services: Services) -> None:
        self._channel = channel
        self._services = services
        self.longest_request = channel.longest_request

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

    def wake(self) -> None:
        """It never sleeps."""

    async def broadcast(self, request: bytes) -> float:
        at_s = await self._wire.broadcast(request)
        self._services[request[0], False] += 1
        return at_s

    async def close(self) -> None:
        await self._wire.close()


class CountedTesters(gateway.Testers):
    def __init__(self, links: SimLinks) -> None:
        super().__init__(plainly_flashed(), links)
        self.services: Services = Counter()

    def _open(self, name: str) -> Wire:
        return CountedWire(super()._open(name), self.services)


def new_image(ecu: str, version: tuple[int, int, int]) -> bytes:
    return small_image(ecu, application() + PADDING, version=version)


class HeardStream:
    """A stream (`protocols.stream.ByteStream`) that keeps what goes through it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.sent = b""
        self.received = b""

    async def receive(self) -> bytes:
        data = await self._stream.receive()
        self.received += data
        return data

    async def send(self, data: bytes) -> None:
        self.sent += data
        await self._stream.send(data)

    async def close(self) -> None:
        await self._stream.close()


class HeardLinks(SimLinks):
    """Links that keep the byte streams of all their connections, in their order."""

    def __init__(self, vehicle: Vehicle, heard: list[HeardStream]) -> None:
        super().__init__(vehicle)
        self._heard = heard

    async def stream(self, wire: str) -> ByteStream:
        stream = HeardStream(await super().stream(wire))
        self._heard.append(stream)
        return stream


def flash(
    directory: Path, file: Path, ecu: str, heard: list[HeardStream] | None = None
) -> Services:
    """Program 2.0.0 as the gateway does, up to the confirmed trial; what was said meanwhile.

    On DoIP a tester also looks for the vehicle first; `heard` gets the streams of connections.
    """
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
                if description.wire == "rear":
                    for question in IDENTIFICATIONS:
                        await vehicle.ask_all("rear", encode(question, version=VERSION_DISCOVERY))
                links = HeardLinks(vehicle, [] if heard is None else heard)
                async with CountedTesters(links) as testers:
                    updater = updaters(
                        testers, diagnostics_master=DIAGNOSTICS_MASTER, start_date=START
                    )[ecu]
                    await updater.stage(job, resume_from=0, progress=lambda _: None)
                    await updater.activate(job, resume_from=0, progress=lambda _: None)
                    await updater.confirm(job)
                    after = await updater.inventory(NONCE)
                    assert after.software_version == "2.0.0"
                # The third announcement after the reset comes last.
                await asyncio.sleep(2.0)
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
    for check in ("ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"):
        command += ["-o", f"{check}:TRUE"]
    command += ["-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 a fixed program, our own file
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        yield line.split("\t")


@pytest.mark.parametrize("ecu", ecu_names())
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


def test_doip_is_tcp_as_it_would_be_on_a_wire(tmp_path: Path) -> None:
    """Handshake, acknowledgements and ends of every connection; the streams are the real bytes."""
    file, heard = tmp_path / "flash.pcapng", list[HeardStream]()
    flash(tmp_path / "state", file, "rear", heard)
    rows = list(
        dissect(
            file,
            ["rear"],
            "tcp.stream",
            "ip.src",
            "tcp.flags",
            "tcp.seq",
            "tcp.ack",
            "tcp.payload",
            "ip.checksum.status",
            "tcp.checksum.status",
            "tcp.analysis.flags",
            "_ws.expert.severity",
            "frame.time_epoch",
            "frame.interface_name",
        )
    )
    ethernet = [row for row in rows if row[11] == "rear"]
    assert [row[10] for row in ethernet] == sorted(row[10] for row in ethernet)
    assert {row[6] for row in ethernet} == {GOOD}
    tcp = [row for row in ethernet if row[0]]
    assert {row[7] for row in tcp} == {GOOD}
    assert {row[8] for row in tcp} == {""}, "a sequence number that Wireshark did not expect"
    connections = [
        [row for row in tcp if row[0] == name] for name in dict.fromkeys(row[0] for row in tcp)
    ]
    # While the ECU boots it hangs up at once: nothing was said then.
    spoken = iter(heard)
    assert sum(any(row[5] for row in its) for its in connections) == len(heard) > 1
    for its in connections:
        stream = next(spoken) if any(row[5] for row in its) else HeardStream(heard[0])
        caller = its[0][1]
        # Handshake, and nothing else opens; each end is told once, and all is acknowledged.
        assert [int(row[2], 0) for row in its[:3]] == [0x002, 0x012, 0x010]
        assert [(row[3], row[4]) for row in its[:3]] == [("0", "0"), ("0", "1"), ("1", "1")]
        assert sum(int(row[2], 0) & 0x002 > 0 for row in its) == 2
        assert [row[1] == caller for row in its if int(row[2], 0) & 0x001].count(True) == 1
        assert [row[1] == caller for row in its if int(row[2], 0) & 0x001].count(False) == 1
        for from_caller, expected in ((True, stream.sent), (False, stream.received)):
            mine = [row for row in its if (row[1] == caller) == from_caller]
            carried = b"".join(bytes.fromhex(row[5]) for row in mine)
            assert carried == expected
            others = [row for row in its if (row[1] == caller) != from_caller]
            assert int(others[-1][4]) == 1 + len(expected) + 1
        # A flash sends thousands of bytes one way: every second segment is acknowledged.
        bare = [row for row in its[3:] if not row[5] and int(row[2], 0) == 0x010]
        full = [row for row in its if len(row[5]) == 2 * 1460]
        assert len(bare) >= len(full) // 2
    assert any(len(row[5]) == 2 * 1460 for row in tcp)
    worst = {int(one, 0) for row in ethernet for one in row[9].split(",") if one}
    assert worst <= {CHAT, NOTE}


def test_wireshark_reads_of_doip_what_was_said(tmp_path: Path) -> None:
    """Every field of every message, against our decoder on the bytes of the gateway's streams."""
    file, heard = tmp_path / "flash.pcapng", list[HeardStream]()
    flash(tmp_path / "state", file, "rear", heard)
    said = [
        message
        for stream in heard
        for data in (stream.sent, stream.received)
        for message in DoipDecoder().receive(data)
        if not isinstance(message, HeaderFault)
    ]
    found = list(_messages(file, "tcp"))
    # Each connection's requests in their order, then its answers, as above.
    order = {at: (number, back) for number, back, at in _ordered(found)}
    told = [found[at].fields for at in sorted(order, key=lambda at: (*order[at], at))]
    assert told == [_fields(message) for message in said]
    services = {message.user_data[0] for message in said if isinstance(message, DiagnosticMessage)}
    assert services >= {0x10, 0x11, 0x22, 0x27, 0x2E, 0x31, 0x34, 0x36, 0x37, 0x3E, 0x7F, 0x76}
    blocks = [row for row in told if row.get("uds.sid") == 0x36 and not row["uds.reply"]]
    image = new_image("rear", (2, 0, 0))
    assert sum(int(row["doip.length"]) - 6 for row in blocks) == len(image)


def test_wireshark_reads_discovery_and_the_announcements_after_a_reset(tmp_path: Path) -> None:
    file = tmp_path / "flash.pcapng"
    flash(tmp_path / "state", file, "rear")
    found = list(_messages(file, "udp"))
    who = [(its.source[0], its.target) for its in found]
    tester, entity = "198.51.100.1", ("198.51.100.2", 13400)
    asked = [its for its in found if its.source[0] == tester]
    assert [its.fields["doip.type"] for its in asked] == [1, 3, 3]
    assert {its.target for its in asked} == {("255.255.255.255", 13400)}
    assert {its.fields["doip.version"] for its in asked} == {0xFF}
    answers = [its for its in found if its.source == entity and its.target[0] == tester]
    # Two of the three; each to the port that asked.
    assert [its.target for its in answers] == [its.source for its in asked[:2]]
    announced = [its for its in found if its.target == ("255.255.255.255", 13400)][len(asked) :]
    assert len(announced) >= 3
    assert len(found) == len(asked) + len(answers) + len(announced), who
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(announced[-3:])]
    assert gaps == pytest.approx([0.5, 0.5], abs=1e-6)
    for its in (*answers, *announced):
        assert its.fields | {"doip.eid": 0, "doip.gid": 0} == {
            "doip.version": 3,
            "doip.inverse": 0xFC,
            "doip.type": 4,
            "doip.length": 33,
            "doip.vin": VIN,
            "doip.logical_address": 0x1031,
            "doip.eid": 0,
            "doip.gid": 0,
            "doip.futher_action": 0,
            "doip.sync_status": 0,
        }
        assert int(its.fields["doip.eid"]) >> 40 == int(its.fields["doip.gid"]) >> 40 == 0x02


Fields = dict[str, int | str]


@dataclass(frozen=True)
class DoipLayer:
    """One DoIP message as Wireshark reads it, with the UDS message inside."""

    stream: int
    at_s: float
    source: tuple[str, int]
    target: tuple[str, int]
    fields: Fields


def _ordered(found: Sequence[DoipLayer]) -> Iterator[tuple[int, bool, int]]:
    for at, its in enumerate(found):
        yield its.stream, its.source[1] == 13400, at


#: What is compared of Wireshark's many fields; how each reads.
NUMBERS = (
    *("doip.version", "doip.inverse", "doip.type", "doip.length", "doip.logical_address"),
    *("doip.futher_action", "doip.sync_status", "doip.source_address", "doip.target_address"),
    *("doip.activation_type", "doip.reserved_iso", "doip.tester_logical_address"),
    *("doip.response_code", "doip.diag_ack_code", "uds.sid", "uds.reply", "uds.dsc.type"),
    *("uds.er.type", "uds.sa.type", "uds.rdbi.data_identifier", "uds.wdbi.data_identifier"),
    *("uds.rc.type", "uds.rc.identifier", "uds.rd.memory_address", "uds.rd.memory_size"),
    *("uds.rd.max_number_of_block_length", "uds.td.block_sequence_counter", "uds.err.sid"),
    "uds.err.code",
)
BYTES = (
    *("doip.eid", "doip.gid", "uds.sa.seed", "uds.sa.key", "uds.rdbi.data_record"),
    *("uds.dsc.parameter_record", "uds.wdbi.data_record"),
)
TEXTS = ("doip.vin",)


def _messages(file: Path, transport: str) -> Iterator[DoipLayer]:
    command = ["tshark", "-r", str(file), "-Y", f"doip && {transport}"]
    command += ["-T", "json", "--no-duplicate-keys"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 a fixed program, our own file
    assert done.returncode == 0, done.stderr
    for packet in json.loads(done.stdout):
        layers = packet["_source"]["layers"]
        ip, ports = layers["ip"], layers[transport]
        inside = iter(_listed(layers.get("uds", [])))
        for layer in _listed(layers["doip"]):
            found = dict(_leaves(layer))
            diagnostic = int(found["doip.type"], 0) == PayloadType.DIAGNOSTIC_MESSAGE
            if diagnostic and int(found["doip.length"]) > 4:
                found |= dict(_leaves(next(inside)))
            numbers: Fields = {its: int(found[its], 0) for its in NUMBERS if its in found}
            texts: Fields = {its: found[its] for its in TEXTS if its in found}
            yield DoipLayer(
                stream=int(ports[f"{transport}.stream"]),
                at_s=float(layers["frame"]["frame.time_epoch"]),
                source=(ip["ip.src"], int(ports[f"{transport}.srcport"])),
                target=(ip["ip.dst"], int(ports[f"{transport}.dstport"])),
                fields=numbers
                | texts
                | {its: int(found[its].replace(":", ""), 16) for its in BYTES if its in found},
            )
        assert next(inside, None) is None


def _listed(layer: Any) -> list[Any]:  # noqa: ANN401 a piece of JSON
    return layer if isinstance(layer, list) else [layer]


def _leaves(layer: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 a piece of JSON
    for name, value in layer.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif isinstance(value, str):
            yield name, value


def _fields(message: Message) -> Fields:
    """The same of a message, from its bytes by the clauses of ISO 13400-2 and 14229-1."""
    raw = encode(message)
    fields: Fields = {
        "doip.version": raw[0],
        "doip.inverse": raw[1],
        "doip.type": int.from_bytes(raw[2:4]),
        "doip.length": len(raw) - 8,
    }
    match message:
        case m.RoutingActivationRequest():
            fields |= {
                "doip.source_address": message.source_address,
                "doip.activation_type": message.activation_type,
                "doip.reserved_iso": 0,
            }
        case m.RoutingActivationResponse():
            fields |= {
                "doip.tester_logical_address": message.source_address,
                "doip.source_address": message.entity_address,
                "doip.response_code": message.code,
                "doip.reserved_iso": 0,
            }
        case m.DiagnosticAcknowledge():
            fields |= {
                "doip.source_address": message.source_address,
                "doip.target_address": message.target_address,
                "doip.diag_ack_code": message.code,
            }
        case DiagnosticMessage():
            fields |= {
                "doip.source_address": message.source_address,
                "doip.target_address": message.target_address,
            } | _uds_fields(message.user_data)
        case _:
            raise AssertionError(message)
    return fields


#: (service, reply) -> field, first byte and end; bit 7 of a sub-function is not of its number.
UDS: dict[tuple[int, bool], tuple[tuple[str, int, int | None], ...]] = {
    (0x10, False): (("uds.dsc.type", 1, 2),),
    (0x10, True): (("uds.dsc.type", 1, 2), ("uds.dsc.parameter_record", 2, None)),
    (0x11, False): (("uds.er.type", 1, 2),),
    (0x11, True): (("uds.er.type", 1, 2),),
    (0x22, False): (("uds.rdbi.data_identifier", 1, 3),),
    (0x22, True): (("uds.rdbi.data_identifier", 1, 3), ("uds.rdbi.data_record", 3, None)),
    (0x27, False): (("uds.sa.type", 1, 2), ("uds.sa.key", 2, None)),
    (0x27, True): (("uds.sa.type", 1, 2), ("uds.sa.seed", 2, None)),
    (0x2E, False): (("uds.wdbi.data_identifier", 1, 3), ("uds.wdbi.data_record", 3, None)),
    (0x2E, True): (("uds.wdbi.data_identifier", 1, 3),),
    (0x31, False): (("uds.rc.type", 1, 2), ("uds.rc.identifier", 2, 4)),
    (0x31, True): (("uds.rc.type", 1, 2), ("uds.rc.identifier", 2, 4)),
    (0x34, False): (("uds.rd.memory_address", 3, 7), ("uds.rd.memory_size", 7, 11)),
    (0x34, True): (("uds.rd.max_number_of_block_length", 2, None),),
    (0x36, False): (("uds.td.block_sequence_counter", 1, 2),),
    (0x36, True): (("uds.td.block_sequence_counter", 1, 2),),
    (0x37, False): (),
    (0x37, True): (),
    (0x3E, False): (),
    (0x3E, True): (),
    (0x3F, True): (("uds.err.sid", 1, 2), ("uds.err.code", 2, 3)),
}


def _uds_fields(data: bytes) -> Fields:
    reply = bool(data[0] & 0x40)
    service = data[0] & ~0x40
    fields: Fields = {"uds.sid": service, "uds.reply": reply}
    for name, start, end in UDS[service, reply]:
        if part := data[start:end]:
            number = int.from_bytes(part)
            fields[name] = number & 0x7F if name.endswith((".type",)) else number
    return fields


def test_a_served_vehicle_records_what_testers_say_by_real_sockets(tmp_path: Path) -> None:
    """doipclient finds the rear zone, asks it and is refused: all of it, and its ends, is there."""
    file = tmp_path / "served.pcapng"
    record = partial(served_recorder, file)

    def tester(port: int) -> None:
        with DoIPClient(  # type: ignore[no-untyped-call]  # the library types nothing
            "127.0.0.1", 0x1031, tcp_port=port, udp_port=port, client_logical_address=0x0E80
        ) as client:
            client.request_vehicle_identification()
            client.send_diagnostic(bytes.fromhex("22 F1 90"))
            assert bytes(client.receive_diagnostic(timeout=5))[3:] == VIN.encode()
            client.send_doip(0x8001, bytes.fromhex("0e80 1031"))
            with pytest.raises(OSError, match=r"NACK Code: 4$"):
                client.read_doip(timeout=5)

    async def main() -> None:
        async with served(tmp_path / "state", "rear", record=record) as server:
            port = int(server.endpoints["rear"].rpartition(":")[2])
            await asyncio.to_thread(tester, port)
            await asyncio.sleep(0.1)

    clock.run(main(), virtual=False)
    asked, answered = (its.fields["doip.type"] for its in _messages(file, "udp"))
    assert (asked, answered) == (0x0001, 0x0004)
    said = [(its.source[1] == 13400, its.fields) for its in _messages(file, "tcp")]
    assert [(back, fields["doip.type"]) for back, fields in said] == [
        (False, 0x0005),
        (True, 0x0006),
        (False, 0x8001),
        (True, 0x8002),
        (True, 0x8001),
        (False, 0x8001),
        (True, 0x0000),
    ]
    assert said[4][1]["uds.rdbi.data_record"] == int.from_bytes(VIN.encode())
    names = ("tcp.flags", "tcp.checksum.status", "tcp.analysis.flags", "_ws.expert.severity")
    rows = [row for row in dissect(file, ["rear"], *names) if row[0]]
    assert {row[1] for row in rows} == {GOOD}
    assert {row[2] for row in rows} == {""}
    assert sum(int(row[0], 0) & 0x001 for row in rows) == 2
    # The one error is the tester's own: a diagnostic message without user data.
    worst = [
        row[3] for row in rows if any(int(one, 0) >= WARNING for one in row[3].split(",") if one)
    ]
    assert len(worst) <= 1


def served_recorder(file: Path, channels: Sequence[WireChannel], start_ns: int) -> Recorder:
    return Recorder(file, channels, start_ns=start_ns)


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
