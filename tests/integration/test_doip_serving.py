"""A served vehicle's DoIP entities: addresses, announcements, TLS for all, and what is refused."""

import asyncio
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

import clock
from canota.cli.exits import Exit
from ecu_sim.app import EcuServer, ServeOptions, TlsOptions
from ecu_sim.diagnostics.doip_certificates import dev_certificates, make_dev_certificates
from ecu_sim.diagnostics.doip_server import serve_doip
from ecu_sim.vehicle import VehicleError, VehicleOptions
from protocols.doip import messages as m
from protocols.doip.decoder import decode_datagram
from protocols.doip.messages import encode
from tests.support.cli import canota
from tests.support.doip import DoipTester, needs_ipv6
from tests.support.ecu import DIAGNOSTICS_MASTER, IMAGE_PUBLIC_KEY, VIN
from tests.support.vehicle import small_images
from vehicle_gateway.wires import tcp
from vehicle_gateway.wires.tls import TlsFiles
from vehicle_gateway.wires.tls import connect as connect_tls
from vehicle_gateway.wires.uri import DoipTarget, parse

REAR, EDGE, CCU, TESTER = 0x1031, 0x1000, 0x1010, 0x0E80


def options(
    directory: Path,
    *,
    tls: TlsOptions | None = None,
    doip_hosts: tuple[str, ...] = (),
    announce_to: tuple[tuple[str, int], ...] = (),
) -> ServeOptions:
    ecus = ("ccu", "rear")
    return ServeOptions(
        vehicle=VehicleOptions(
            vin=VIN,
            state_directory=directory,
            ecus=ecus,
            image_public_keys=(IMAGE_PUBLIC_KEY,),
            diagnostics_master=DIAGNOSTICS_MASTER,
        ),
        factory_images={ecu: image for ecu, image in small_images().items() if ecu in ecus},
        tls=tls,
        doip_hosts=doip_hosts,
        announce_to=announce_to,
    )


def port_of(uri: str) -> int:
    target = parse(f"{uri}?ca=any" if uri.startswith("doips") else uri)
    assert isinstance(target, DoipTarget)
    return target.port


def test_every_entity_announces_itself_three_times(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(5)

        async def drive() -> list[int]:
            target = ("127.0.0.1", ear.getsockname()[1])
            async with EcuServer(options(tmp_path, announce_to=(target,))):
                heard = [await asyncio.to_thread(ear.recv, 100) for _ in range(6)]
            found = [decode_datagram(its) for its in heard]
            assert all(isinstance(its, m.VehicleAnnouncement) for its in found)
            return sorted(
                its.logical_address for its in found if isinstance(its, m.VehicleAnnouncement)
            )

        assert clock.run(drive(), virtual=False) == [EDGE] * 3 + [REAR] * 3


@needs_ipv6
def test_one_port_serves_both_families_by_tcp_and_udp(tmp_path: Path) -> None:
    async def drive() -> None:
        async with EcuServer(options(tmp_path, doip_hosts=("::1",))) as server:
            for uri, address in (
                (server.endpoints["rear"], REAR),
                (server.doors["edge node"], EDGE),
            ):
                for host in ("127.0.0.1", "::1"):
                    stream = await tcp.connect("doip", host, port_of(uri))
                    tester = DoipTester(stream)
                    assert await tester.activate() == 0x10
                    await tester.close()
                    found = await asyncio.to_thread(identify, host, port_of(uri))
                    assert found.logical_address == address

    clock.run(drive(), virtual=False)


def identify(host: str, port: int) -> m.VehicleAnnouncement:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.sendto(encode(m.VehicleIdentificationRequest(), version=0xFF), (host, port))
        found = decode_datagram(asking.recv(100))
        assert isinstance(found, m.VehicleAnnouncement)
        return found


def test_with_tls_required_every_entity_refuses_plain_tcp_and_routes_over_tls(
    tmp_path: Path,
) -> None:
    files = make_dev_certificates(tmp_path / "tls", entities=[REAR, EDGE], testers=[TESTER])
    tls = TlsOptions(
        certificate=files.entity.certificate,
        key=files.entity.key,
        client_ca=files.authority,
        required=True,
    )
    shown = TlsFiles(
        authority=files.authority, certificate=files.tester.certificate, key=files.tester.key
    )

    async def drive() -> None:
        async with EcuServer(options(tmp_path / "ecus", tls=tls)) as server:
            for plain, secure, target in (
                (server.endpoints["rear"], server.doors["rear over TLS"], REAR),
                (server.doors["edge node"], server.doors["edge over TLS"], CCU),
            ):
                refused = DoipTester(await tcp.connect(plain, "127.0.0.1", port_of(plain)))
                assert await refused.activate() == 0x07
                await refused.close()
                stream = await connect_tls(secure, "127.0.0.1", port_of(secure), shown)
                tester = DoipTester(stream, TESTER)
                assert await tester.activate() == 0x10
                assert await tester.ask("22 f1 89", target) == "62 f1 89 31 2e 30 2e 30"
                await tester.close()

    clock.run(drive(), virtual=False)


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    files = dev_certificates(tmp_path)
    tls = TlsOptions(certificate=files.entity.certificate, key=files.entity.key)

    async def drive() -> None:
        with pytest.raises(VehicleError, match=r"TLS: .*entity\.dev-only\.pem"):
            async with EcuServer(options(tmp_path / "ecus", tls=tls)):
                raise AssertionError("it served")

    clock.run(drive(), virtual=False)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_in_either_protocol_is_refused(kind: socket.SocketKind) -> None:
    async def drive() -> None:
        async def accept(_: object) -> None:
            """Nobody comes."""

        with closing(socket.socket(socket.AF_INET, kind)) as taken:
            taken.bind(("127.0.0.1", 0))
            if kind is socket.SOCK_STREAM:
                taken.listen()
            with pytest.raises(OSError, match="in use"):
                await serve_doip(accept, lambda _: [], port=taken.getsockname()[1])

    clock.run(drive(), virtual=False)


def test_an_identification_is_answered_after_the_wait_that_is_drawn() -> None:
    async def drive() -> float:
        async def accept(_: object) -> None:
            """Nobody comes."""

        loop = asyncio.get_running_loop()
        server = await serve_doip(accept, lambda data: [data], answer_wait=lambda: 0.2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asked = loop.time()
            asking.sendto(b"?", ("127.0.0.1", server.udp_port))
            assert await asyncio.to_thread(asking.recv, 10) == b"?"
        await server.stop()
        return loop.time() - asked

    assert clock.run(drive(), virtual=False) >= 0.2


# The commands


def test_the_certificates_say_that_they_are_for_development_and_keys_are_private(
    tmp_path: Path,
) -> None:
    ended = canota("ecus", "certificates", str(tmp_path), "--tester", "0E80", "--tester", "0F00")
    assert ended.code == 0
    assert "for development only" in ended.out
    files = dev_certificates(tmp_path)
    for path in (files.authority, files.entity.certificate, files.tester.certificate):
        assert ".dev-only." in path.name
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        assert "DEV ONLY" in certificate.subject.rfc4514_string()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "urn:canota:doip:0E80",
        "urn:canota:doip:0F00",
    ]
    for key in (files.entity.key, files.tester.key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", VIN, "--announce", "nobody"], "--announce nobody: ADDRESS:PORT expected"),
        (["serve", VIN, "--announce", "::1:0"], "--announce ::1:0: a port is 1 to 65535"),
        (["serve", VIN, "--tls-only"], "need --tls"),
        (["serve", VIN, "--tls-port", "edge=1"], "need --tls"),
        (["serve", VIN, "--tls", ".", "--tls-port", "lin=1"], "--tls-port lin=1: WIRE=PORT"),
        (["certificates", "x", "--tester", "tester"], "--tester tester: four hex digits"),
        (["certificates", "x", "--tester", "10000"], "--tester 10000: four hex digits"),
    ],
)
def test_what_is_typed_wrong_is_said_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = canota("ecus", *arguments)
    assert ended.code == Exit.USAGE
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
