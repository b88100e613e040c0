"""A sequence says how its ECU is reached: every addressing of ISO 15765-2, and DoIP."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

import clock
from dbc import describe_vehicle
from ecu_sim.app import EcuServer, ServeOptions, TlsOptions
from ecu_sim.bus.can import CanWire
from ecu_sim.diagnostics.doip_certificates import make_dev_certificates
from ecu_sim.transport import Addresses, IsoTpBinding
from ecu_sim.vehicle import VehicleOptions
from firmware import dev_keys, image_path
from protocols.can import CanPort, FrameHeader
from protocols.isotp import IsoTpParameters
from protocols.stream import ByteStream
from tests.support import foreign_files
from tests.support.cli import Ended, canota
from tests.support.ecu import VIN
from tests.support.flashing import image as flashing_image
from tests.support.foreign_ecu import FLASH_AT, foreign_key, node_of
from tests.support.foreign_files import PROGRAM
from vehicle_gateway.flashing import described, updaters
from vehicle_gateway.flashing.direct import described_by
from vehicle_gateway.flashing.sequence import SequenceError
from vehicle_gateway.flashing.sequence_file import read_sequence
from vehicle_gateway.update import UpdateJob
from vehicle_gateway.wires import testers as wires

REAR, TESTER = 0x1031, 0x0E80
SEQUENCE = 'name = "x"\n[program]\nsteps = [{ step = "sending", download = "image" }]\n'


@dataclass
class Links:
    """One simulated wire, whatever it is called."""

    wire: CanWire

    def can(self, wire: str) -> CanPort:
        del wire
        return self.wire.port("gateway")

    async def stream(self, wire: str) -> ByteStream:
        raise AssertionError(wire)


@pytest.mark.parametrize(
    ("told", "request_id", "response_id", "extensions", "functional"),
    [
        (
            "request_id = 0x7B1\nresponse_id = 0x7B9",
            *(FrameHeader(0x7B1), FrameHeader(0x7B9), (None, None)),
            (FrameHeader(0x7DF), None),
        ),
        (
            'request_id = 0x101\nresponse_id = 0x102\nbits = "29"\nfunctional_id = 0x100',
            *(FrameHeader(0x101, extended=True), FrameHeader(0x102, extended=True)),
            (None, None),
            (None, None),
        ),
        (
            'kind = "normal_fixed"\ntarget = 0x28',
            *(FrameHeader(0x18DA_28F1, extended=True), FrameHeader(0x18DA_F128, extended=True)),
            (None, None),
            (FrameHeader(0x18DB_33F1, extended=True), None),
        ),
        (
            'kind = "extended"\nrequest_id = 0x6F1\nresponse_id = 0x628\ntarget = 0x28',
            *(FrameHeader(0x6F1), FrameHeader(0x628), (0x28, 0xF1)),
            (FrameHeader(0x7DF), 0x33),
        ),
        (
            'kind = "mixed"\nrequest_id = 0x7B1\nresponse_id = 0x7B9\nextension = 0x55',
            *(FrameHeader(0x7B1), FrameHeader(0x7B9), (0x55, 0x55)),
            (FrameHeader(0x7DF), 0x55),
        ),
        (
            'kind = "mixed"\ntarget = 0x28\nextension = 0x55',
            *(FrameHeader(0x18CE_28F1, extended=True), FrameHeader(0x18CE_F128, extended=True)),
            (0x55, 0x55),
            (FrameHeader(0x18CD_33F1, extended=True), 0x55),
        ),
    ],
    ids=["normal", "29 bits", "normal fixed", "extended", "mixed 11", "mixed 29"],
)
def test_an_ecu_is_asked_and_answers_in_its_addressing(
    told: str,
    request_id: FrameHeader,
    response_id: FrameHeader,
    extensions: tuple[int | None, int | None],
    functional: tuple[FrameHeader | None, int | None],
) -> None:
    sequence = read_sequence(f"{SEQUENCE}[addressing]\n{told}\n", name="x.toml")
    vehicle = described_by(
        describe_vehicle(), sequence, sequence.addressing, name="ecu", doip=False
    )
    asked: list[bytes] = []
    #: Both hear, the first one answers.
    ends: list[IsoTpBinding] = []

    def bound(wire: CanWire, header: FrameHeader, to: int | None, own: int | None) -> IsoTpBinding:
        def answer(message: bytes) -> None:
            asked.append(message)
            ends[0].send(bytes([message[0] + 0x40]) + message[1:] + b"VIN of seventeen.")

        parameters = IsoTpParameters(tx_address_extension=own, rx_address_extension=to)
        addresses = Addresses(request=header, response=response_id)
        return IsoTpBinding(wire.port("ecu"), addresses, parameters, answer)

    async def main() -> bytes:
        wire = CanWire("wire", bit_rate=500_000, loop=asyncio.get_running_loop())
        to, own = extensions
        physical = bound(wire, request_id, to, own)
        ends.append(physical)
        everyone = None if functional[0] is None else bound(wire, functional[0], functional[1], own)
        async with wires.Testers(vehicle, Links(wire)) as testers:
            answer = await testers.tester("ecu").request(bytes.fromhex("22 F1 90 F1 91 F1 92"))
            if everyone is not None:
                told = await testers.functional("wire").request(bytes.fromhex("22 F1 90"))
                assert told == {"ecu": bytes.fromhex("62 F1 90") + b"VIN of seventeen."}
                everyone.close()
        physical.close()
        wire.close()
        return answer

    answer = clock.run(main(), virtual=True)
    assert answer == bytes.fromhex("62 F1 90 F1 91 F1 92") + b"VIN of seventeen."
    assert len(asked) == (1 if functional[0] is None else 2)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ('kind = "extended"\nrequest_id = 1\nresponse_id = 2', "target is missing, for kind"),
        (
            "request_id = 1\nresponse_id = 2\ntarget = 3",
            r"addressing.target: not with",
        ),
        ('request_id = 0x800\nresponse_id = 2\nbits = "11"', "more than 11 bits"),
        ('kind = "mixed"\nextension = 1', "target, or request_id and response_id, is missing"),
        ('kind = "mixed"\nextension = 1\nrequest_id = 1', "response_id is missing"),
        ('kind = "doip"', "ecu_address is missing"),
    ],
)
def test_what_is_missing_in_an_addressing_is_named(told: str, said: str) -> None:
    with pytest.raises(SequenceError, match=said):
        read_sequence(f"{SEQUENCE}[addressing]\n{told}\n", name="x.toml")


def test_an_ecu_on_doip_is_programmed_over_tls_by_its_address(tmp_path: Path) -> None:
    files = make_dev_certificates(tmp_path / "tls", entities=[REAR], testers=[TESTER])
    tls = TlsOptions(
        certificate=files.entity.certificate,
        key=files.entity.key,
        client_ca=files.authority,
        required=True,
    )
    options = ServeOptions(
        vehicle=VehicleOptions(
            vin=VIN,
            state_directory=tmp_path / "ecus",
            ecus=("rear",),
            image_public_keys=(dev_keys().image_public_key,),
            diagnostics_master=dev_keys().diagnostics_master,
        ),
        factory_images={"rear": flashing_image("rear", "1.0.0")},
        tls=tls,
    )
    secret = tmp_path / "secret.txt"
    secret.write_text(dev_keys().diagnostics_master.hex(), encoding="ascii")
    image = str(image_path("rear", "2.0.0"))

    async def main() -> Ended:
        async with EcuServer(options) as server:
            query = f"ca={files.authority}&certificate={files.tester.certificate}"
            uri = f"{server.doors['rear over TLS']}?{query}&key={files.tester.key}"
            arguments = ("--wire", uri, "--address", "0x1031", "--sequence", "two_slot")
            more = ("--master-key", str(secret), "--json")
            return await asyncio.to_thread(canota, "gateway", "flash", image, *arguments, *more)

    ended = clock.run(main(), virtual=False)
    assert ended.code == 0, ended.err
    assert ended.json["after"]["software_version"] == "2.0.0"


VEHICLE = """model = "somebody's"
tester_address = 0x0E80
[routines]
erase_memory = 1
check_memory = 2
check_dependencies = 3
check_preconditions = 4
activate = 5
confirm = 6
revert = 7
self_test = 8
slot_digest = 9
[wires.bench]
kind = "can"
bit_rate = 500_000
functional_id = 0x7DF
[ecus.brakes]
hardware_id = "BRK-1"
wire = "bench"
request_id = 0x7B1
response_id = 0x7B9
logical_address = 1
single_slot = true
sequence = "brakes.toml"
application_base = 0x00A00000
slot_size = 0x10000
sector_size = 0x1000
page_size = 0x80
erase_s = 0.02
program_s = 0.0005
max_block_length = 514
security_level = 1
p2_s = 0.05
p2_star_s = 5.0
s3_s = 5.0
boot_s = 0.2
[ecus.brakes.dtcs]
[ecus.brakes.data_identifiers]
"""


def test_an_update_programs_an_ecu_by_the_sequence_that_the_vehicle_names(tmp_path: Path) -> None:
    foreign_files.write(tmp_path)
    (tmp_path / "vehicle.toml").write_text(VEHICLE, encoding="utf-8")
    vehicle = described(describe_vehicle(tmp_path / "vehicle.toml"))
    job = UpdateJob(
        ecu="brakes",
        image=PROGRAM,
        address=FLASH_AT,
        image_sha256=sha256(PROGRAM).digest(),
        version="2",
        nonce=bytes(16),
        before_sha256=bytes(32),
    )

    async def main() -> bytes:
        wire = CanWire("bench", bit_rate=500_000, loop=asyncio.get_running_loop())
        node = node_of(foreign_files.ecu_of(tmp_path), wire.port("ecu"), key=foreign_key)
        node.power_on()
        await node.booted()
        async with wires.Testers(vehicle, Links(wire)) as testers:
            found = updaters(
                testers, diagnostics_master=bytes(32), start_date=datetime(2026, 6, 1, tzinfo=UTC)
            )
            await found["brakes"].activate(job, resume_from=0, progress=lambda _note: None)
        node.power_off()
        wire.close()
        return node.flash["program"].read(0, len(PROGRAM))

    assert clock.run(main(), virtual=True) == PROGRAM


def test_a_sequence_for_another_number_of_slots_is_refused(tmp_path: Path) -> None:
    foreign_files.write(tmp_path)
    text = VEHICLE.replace("single_slot = true", "single_slot = false")
    (tmp_path / "vehicle.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SequenceError, match=r"brakes\.toml: for one slot, which brakes does not"):
        described(describe_vehicle(tmp_path / "vehicle.toml"))
