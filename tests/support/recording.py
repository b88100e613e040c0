"""What testers and ECUs said to each other, read off the wires by somebody who only listens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dbc import describe_vehicle
from ecu_sim.ecus import WIRES, ecu_type
from ecu_sim.vehicle import Vehicle, VehicleOptions
from firmware import dev_keys
from protocols.can import FrameHeader
from protocols.doip.decoder import DoipDecoder
from protocols.doip.messages import DiagnosticMessage
from protocols.stream import ByteStream
from protocols.uds import requests, responses
from protocols.uds.security_access import compute_key, derive_key
from tests.support.flashing import START, VIN, Bench, SimLinks, image
from vehicle_gateway.flashing import updaters
from vehicle_gateway.wires.testers import Testers


@dataclass(slots=True)
class Exchange:
    """A request, and every answer to it: 78 too."""

    request: bytes
    answers: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Recording:
    """The exchanges with one ECU, requests to everyone included."""

    exchanges: list[Exchange] = field(default_factory=list)
    #: Answers that no request asked for.
    unasked: list[bytes] = field(default_factory=list)

    def asked(self, request: bytes) -> None:
        self.exchanges.append(Exchange(request))

    def answered(self, answer: bytes) -> None:
        """By its service: a tester present to everyone may come between the two."""
        service = answer[1] if answer[0] == 0x7F else answer[0] - 0x40
        for exchange in reversed(self.exchanges):
            if exchange.request[0] == service:
                exchange.answers.append(answer)
                return
        self.unasked.append(answer)

    @property
    def services(self) -> set[int]:
        return {exchange.request[0] for exchange in self.exchanges}


@dataclass(slots=True)
class _Reassembly:
    """ISO-TP as a listener needs it: whole messages out of one identifier's frames."""

    done: Callable[[bytes], None]
    _data: bytearray = field(default_factory=bytearray)
    _length: int = 0

    def frame(self, _header: FrameHeader, data: bytes, _at_s: float) -> None:
        match data[0] >> 4:
            case 0x0:
                length, start = (data[0] & 0xF, 1) if data[0] else (data[1], 2)
                self.done(data[start : start + length])
            case 0x1:
                short = (data[0] & 0xF) << 8 | data[1]
                length, start = (short, 2) if short else (int.from_bytes(data[2:6]), 6)
                self._length, self._data = length, bytearray(data[start:])
            case 0x2:
                self._data += data[1:]
                if len(self._data) >= self._length:
                    self.done(bytes(self._data[: self._length]))


class _RecordedStream:
    """A DoIP connection that notes the diagnostic messages of both directions."""

    def __init__(self, stream: ByteStream, recording: Recording) -> None:
        self._stream = stream
        self._recording = recording
        self._out, self._in = DoipDecoder(), DoipDecoder()

    async def receive(self) -> bytes:
        data = await self._stream.receive()
        for message in self._in.receive(data):
            if isinstance(message, DiagnosticMessage):
                self._recording.answered(message.user_data)
        return data

    async def send(self, data: bytes) -> None:
        for message in self._out.receive(data):
            if isinstance(message, DiagnosticMessage):
                self._recording.asked(message.user_data)
        await self._stream.send(data)

    async def close(self) -> None:
        await self._stream.close()


class _RecordedLinks(SimLinks):
    def __init__(self, vehicle: Vehicle, recording: Recording) -> None:
        super().__init__(vehicle)
        self.recording = recording

    async def stream(self, wire: str) -> ByteStream:
        return _RecordedStream(await super().stream(wire), self.recording)


def listen(vehicle: Vehicle, ecu: str, recording: Recording) -> None:
    """Note from now on what goes to and from a CAN ECU."""
    kind = ecu_type(ecu)
    port = vehicle.can_port(kind.wire, "recorder")
    everyone = FrameHeader(WIRES[kind.wire].functional_id)
    port.listen(_Reassembly(recording.asked).frame, everyone)
    for address in kind.can_addresses:
        for identifier, note in (
            (address.request_id, recording.asked),
            (address.response_id, recording.answered),
        ):
            header = FrameHeader(identifier, extended=address.extended)
            port.listen(_Reassembly(note).frame, header)


@asynccontextmanager
async def recorded(state: Path, ecu: str) -> AsyncIterator[tuple[Bench, Recording]]:
    """A vehicle of this ECU with version 1.0.0, the gateway's testers, and a listener."""
    keys = dev_keys()
    vehicle = Vehicle(
        VehicleOptions(
            vin=VIN,
            state_directory=state,
            ecus=(ecu,),
            seed=7,
            image_public_keys=(keys.image_public_key,),
            diagnostics_master=keys.diagnostics_master,
            boot_mac_master=keys.boot_mac_master,
        )
    )
    vehicle.provision(ecu, image(ecu, "1.0.0"))
    await vehicle.start()
    recording = Recording()
    if ecu_type(ecu).can_addresses:
        listen(vehicle, ecu, recording)
    try:
        async with Testers(describe_vehicle(), _RecordedLinks(vehicle, recording)) as testers:
            yield (
                Bench(
                    vehicle=vehicle,
                    testers=testers,
                    updaters=updaters(
                        testers, diagnostics_master=keys.diagnostics_master, start_date=START
                    ),
                ),
                recording,
            )
    finally:
        await vehicle.stop()


async def unlock(on: Bench, ecu: str, *, level: int) -> None:
    """Security access by the ECU's own secret."""
    tester = on.testers.tester(ecu)
    identity = on.vehicle.nodes[ecu].hardware.identity
    seed = responses.decode_seed(await tester.request(requests.request_seed(level)), level)
    secret = derive_key(identity.diagnostics_master, identity.serial, level)
    key = compute_key(secret, level=level, ecu_id=identity.serial, seed=seed)
    await tester.request(requests.send_key(level, key))
