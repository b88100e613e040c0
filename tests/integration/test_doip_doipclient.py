"""doipclient, unmodified, on loopback: every message it has, TLS, IPv6, and the edge node."""

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import udsoncan
from doipclient.client import DoIPClient
from doipclient.connectors import DoIPClientUDSConnector
from udsoncan.client import Client
from udsoncan.configs import default_client_config

import clock
from ecu_sim.app import EcuServer, ServeOptions, TlsOptions
from ecu_sim.diagnostics.doip_certificates import DevCertificates, make_dev_certificates
from ecu_sim.diagnostics.doip_server import DoipServer, serve_doip
from ecu_sim.diagnostics.doip_tls import entity_context
from ecu_sim.vehicle import VehicleOptions
from protocols.doip import messages as m
from protocols.doip.messages import PowerMode, encode
from protocols.doip.settings import ActivationRule, Confirmation
from protocols.uds.rules import two_slot_application
from tests.support.diagnostics import BenchDevice
from tests.support.doip import ECU, EID, SETTINGS, VIN, DoipEcu, needs_ipv6
from tests.support.ecu import DIAGNOSTICS_MASTER, IMAGE_PUBLIC_KEY
from tests.support.vehicle import small_images
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.uri import UriLinks

T = TypeVar("T")
TESTER = 0x0E80


class Bench:
    """What a test changes of the bench ECU, and its sockets while it runs."""

    def __init__(self, server: DoipServer, host: str) -> None:
        self.server = server
        self.host = host

    def client(self, *, secure: ssl.SSLContext | bool = False, **options: Any) -> Any:  # noqa: ANN401 the library types nothing
        port = self.server.tls_port if secure else self.server.tcp_port
        return DoIPClient(  # type: ignore[no-untyped-call]  # the library types nothing
            self.host,
            ECU,
            tcp_port=port,
            udp_port=self.server.udp_port,
            use_secure=secure,
            **{"client_logical_address": TESTER} | options,
        )

    def refused(self, **options: Any) -> int:  # noqa: ANN401 the library types nothing
        """The code of an activation: a client whose constructor fails leaves its sockets open."""
        kind = options.pop("activation_type", 0)
        with self.client(activation_type=None, **options) as client:
            return int(client.request_activation(kind, disable_retry=True).response_code)


def against(
    tester: Callable[[Bench], T],
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    announce_to: tuple[str, int] | None = None,
    power: PowerMode = PowerMode.READY,
    **changes: Any,  # noqa: ANN401 any of the settings
) -> T:
    """Run a blocking tester in a thread against a bench ECU on loopback."""

    async def main() -> T:
        settings = replace(SETTINGS, **changes)
        ecu = DoipEcu(two_slot_application(), BenchDevice(), settings)
        ecu.entity.power_mode = power
        server = await serve_doip(
            ecu.node.serve,
            ecu.node.receive_datagram,
            hosts=(host,),
            tls=tls,
            announce_to=() if announce_to is None else (announce_to,),
        )
        ecu.announce = server.announce
        ecu.node.start(announce_wait_s=0.2)
        try:
            return await asyncio.to_thread(tester, Bench(server, host))
        finally:
            await ecu.stop()
            await server.stop()

    return clock.run(main(), virtual=False)


# Every message


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "question", [{}, {"eid": EID}, {"vin": VIN}], ids=["plain", "by EID", "by VIN"]
)
def test_it_finds_the_vehicle(question: dict[str, Any], version: int) -> None:
    def tester(bench: Bench) -> tuple[object, ...]:
        with bench.client(protocol_version=version) as client:
            found = client.request_vehicle_identification(**question)
            return found.vin, found.logical_address, bytes(found.eid), found.vin_sync_status

    assert against(tester) == (VIN, ECU, EID, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_it_hears_the_announcements(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as ear:
        ear.bind((host, 0))

        def tester(_: Bench) -> list[int]:
            heard = [
                DoIPClient.await_vehicle_announcement(timeout=5, sock=ear)  # type: ignore[no-untyped-call]  # the library types nothing
                for _ in range(3)
            ]
            return [announcement.logical_address for _, announcement in heard]

        target = (host, ear.getsockname()[1])
        found = against(tester, host=host, announce_to=target, announce_interval_s=0.05)
    assert found == [ECU] * 3


@pytest.mark.parametrize("mode", PowerMode)
def test_it_gets_the_power_mode(mode: PowerMode) -> None:
    def tester(bench: Bench) -> int:
        with bench.client() as client:
            return int(client.request_diagnostic_power_mode().diagnostic_power_mode)

    assert against(tester, power=mode) == mode


@pytest.mark.parametrize("told", [True, False])
def test_it_gets_the_entity_status(told: bool) -> None:  # noqa: FBT001 the parameter
    def tester(bench: Bench) -> tuple[object, ...]:
        with bench.client() as client:
            its = client.request_entity_status()
            return (
                its.node_type,
                its.max_concurrent_sockets,
                its.currently_open_sockets,
                its.max_data_size,
            )

    assert against(tester, tells_max_data_size=told) == (1, 2, 1, 0x1_0000 if told else None)


def test_its_own_alive_check_is_answered_with_the_address_of_the_entity() -> None:
    def tester(bench: Bench) -> object:
        with bench.client() as client:
            return client.request_alive_check().source_address

    assert against(tester) == ECU


def test_it_activates_by_type_and_oem_bytes_and_gets_oem_bytes() -> None:
    oem = 0xCAFE0102
    rule = ActivationRule(key=oem.to_bytes(4), oem=bytes.fromhex("00000007"))

    def tester(bench: Bench) -> tuple[object, ...]:
        with bench.client(activation_type=None) as client:
            without = client.request_activation(0xE1, disable_retry=True)
            shown = client.request_activation(0xE1, vm_specific=oem, disable_retry=True)
            client.send_diagnostic(b"\x3e\x00")
            answer = bytes(client.receive_diagnostic(timeout=5))
            return without.response_code, shown.response_code, shown.vm_specific, answer

    assert against(tester, activations={0xE1: rule}) == (0x04, 0x10, 7, b"\x7e\x00")


def test_it_is_told_when_somebody_has_confirmed() -> None:
    rule = ActivationRule(confirmation=Confirmation(after_s=0.2))

    def tester(bench: Bench) -> list[int]:
        with bench.client(activation_type=None) as client:
            first = client.request_activation(0, disable_retry=True)
            second = client.read_doip(timeout=5)
            return [first.response_code, second.response_code]

    assert against(tester, activations={0: rule}) == [0x11, 0x10]


@pytest.mark.parametrize(
    ("changes", "options", "code"),
    [
        ({}, {"client_logical_address": 0x0123}, 0x00),
        ({}, {"activation_type": 0x55}, 0x06),
        ({"tls_only": True}, {}, 0x07),
        ({"activations": {0: ActivationRule(key=b"abcd")}}, {}, 0x04),
        ({"activations": {0: ActivationRule(confirmation=Confirmation(granted=False))}}, {}, 0x05),
    ],
    ids=["unknown address", "unknown type", "wants TLS", "no authentication", "not confirmed"],
)
def test_it_is_told_why_routing_is_not_activated(
    changes: dict[str, Any], options: dict[str, Any], code: int
) -> None:
    assert against(lambda bench: bench.refused(**options), **changes) == code


def test_a_second_client_with_one_address_is_refused_while_the_first_reads() -> None:
    """doipclient answers an alive check only while it reads."""

    def tester(bench: Bench) -> int:
        with bench.client() as first:
            first.send_diagnostic(b"\x3e\x80")

            async def both() -> int:
                reading = asyncio.create_task(asyncio.to_thread(_read_for_a_second, first))
                refused = await asyncio.to_thread(bench.refused)
                await reading
                return refused

            return asyncio.run(both())

    assert against(tester) == 0x03


def test_a_third_client_is_refused_while_two_read_and_gets_the_place_of_one_that_does_not() -> None:
    """Two testers at a time: all are asked whether they live."""

    def tester(bench: Bench) -> list[int]:
        with bench.client() as first, bench.client(client_logical_address=TESTER + 1) as second:

            async def all_three() -> int:
                reading = [
                    asyncio.create_task(asyncio.to_thread(_read_for_a_second, its))
                    for its in (first, second)
                ]
                third = {"client_logical_address": TESTER + 2}
                refused = await asyncio.to_thread(lambda: bench.refused(**third))
                await asyncio.gather(*reading)
                return refused

            refused = asyncio.run(all_three())
            return [refused, bench.refused(client_logical_address=TESTER + 2)]

    assert against(tester) == [0x01, 0x10]


def test_a_client_may_not_become_another_on_its_socket() -> None:
    def tester(bench: Bench) -> int:
        with bench.client() as client:
            client._client_logical_address = TESTER + 1  # noqa: SLF001 it has no way of its own
            return int(client.request_activation(0, disable_retry=True).response_code)

    assert against(tester) == 0x02


@pytest.mark.parametrize(
    ("payload_type", "payload", "code"),
    [(0x7000, b"", 0x01), (0x0001, b"", 0x01), (0x8001, bytes(0x2_0005), 0x02)],
    ids=["unknown", "for UDP", "too large"],
)
def test_it_reads_the_refusal_of_a_header_and_goes_on(
    payload_type: int, payload: bytes, code: int
) -> None:
    def tester(bench: Bench) -> bytes:
        with bench.client() as client:
            client.send_doip(payload_type, payload)
            with pytest.raises(OSError, match=f"NACK Code: {code}$"):
                client.read_doip(timeout=5)
            client.send_diagnostic(b"\x3e\x00")
            return bytes(client.receive_diagnostic(timeout=5))

    assert against(tester) == b"\x7e\x00"


def test_it_is_told_of_an_address_that_is_not_its_own_and_hung_up_on() -> None:
    def tester(bench: Bench) -> tuple[str, int, bytes]:
        with bench.client() as client:
            client.send_doip(0x8001, bytes.fromhex("0e99 1031 3e00"))
            refused = client.read_doip(timeout=5)
            rest = client._tcp_sock.recv(1)  # noqa: SLF001 the socket itself
            return type(refused).__name__, int(refused.nack_code), rest

    assert against(tester) == ("DiagnosticMessageNegativeAcknowledgement", 2, b"")


def test_it_is_told_of_a_length_that_cannot_be_and_hung_up_on() -> None:
    def tester(bench: Bench) -> bytes:
        with bench.client() as client:
            client.send_doip(0x8001, bytes.fromhex("0e80 1031"))
            with pytest.raises(OSError, match=r"NACK Code: 4$"):
                client.read_doip(timeout=5)
            return bytes(client._tcp_sock.recv(1))  # noqa: SLF001 the socket itself

    assert against(tester) == b""


def _read_for_a_second(client: Any) -> None:  # noqa: ANN401 the library types nothing
    with contextlib.suppress(TimeoutError):
        client.receive_diagnostic(timeout=1)


def test_a_message_for_nobody_is_refused_and_the_next_one_is_not() -> None:
    def tester(bench: Bench) -> bytes:
        with bench.client() as client:
            with pytest.raises(OSError, match="negative acknowledge code: 3"):
                client.send_diagnostic_to_address(0x1234, b"\x3e\x00")
            client.send_diagnostic_to_address(0xE400, b"\x3e\x00")
            return bytes(client.receive_diagnostic(timeout=5))

    assert against(tester) == b"\x7e\x00"


def test_it_connects_again_after_it_was_cut_off() -> None:
    def tester(bench: Bench) -> bytes:
        with bench.client() as client:
            client.reconnect(close_delay=0.1)
            client.send_diagnostic(b"\x3e\x00")
            return bytes(client.receive_diagnostic(timeout=5))

    assert against(tester) == b"\x7e\x00"


@needs_ipv6
def test_over_ipv6_it_finds_activates_and_asks() -> None:
    def tester(bench: Bench) -> tuple[object, bytes]:
        with bench.client() as client:
            client.send_diagnostic(b"\x3e\x00")
            answer = bytes(client.receive_diagnostic(timeout=5))
            return client.request_vehicle_identification().vin, answer

    assert against(tester, host="::1") == (VIN, b"\x7e\x00")


# TLS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    folder = tmp_path_factory.mktemp("certificates")
    return make_dev_certificates(folder, entities=[ECU], testers=[TESTER])


def trusting(files: DevCertificates, *, shows: bool = True) -> ssl.SSLContext:
    """doipclient gives no host name, so a context must not ask for one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(files.authority)
    if shows:
        context.load_cert_chain(files.tester.certificate, files.tester.key)
    return context


def serving(files: DevCertificates, *, mutual: bool = True) -> ssl.SSLContext:
    ca = files.authority if mutual else None
    return entity_context(files.entity.certificate, files.entity.key, client_ca=ca)


def _ask(client: Any) -> bytes:  # noqa: ANN401 the library types nothing
    client.send_diagnostic(b"\x3e\x00")
    return bytes(client.receive_diagnostic(timeout=5))


@pytest.mark.parametrize("mutual", [True, False])
def test_it_asks_over_tls_1_3_alone(files: DevCertificates, mutual: bool) -> None:  # noqa: FBT001 the parameter
    def tester(bench: Bench) -> tuple[object, ...]:
        context = trusting(files, shows=mutual)
        with bench.client(secure=context) as client:
            tls = client._tcp_sock  # noqa: SLF001 where doipclient keeps its socket
            names = tls.getpeercert()["subjectAltName"]
            return tls.version(), names, _ask(client), bench.refused()

    version, names, answer, plain = against(
        tester, tls=serving(files, mutual=mutual), tls_only=True
    )
    assert version == "TLSv1.3"
    assert names == (("URI", "urn:canota:doip:1031"),)
    assert answer == b"\x7e\x00"
    assert plain == 0x07


def test_its_own_default_context_never_gets_a_connection(files: DevCertificates) -> None:
    """`use_secure=True` checks a host name that the library does not give."""

    def tester(bench: Bench) -> None:
        with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
            bench.client(secure=True)

    with pytest.warns(ResourceWarning, match="unclosed"):
        _against_and_collect(tester, serving(files))


def _against_and_collect(tester: Callable[[Bench], None], tls: ssl.SSLContext) -> None:
    """A client whose constructor fails leaves its sockets to the collector."""
    against(tester, tls=tls)
    gc.collect()


def test_what_a_tester_must_show_is_enough_and_nothing_less(
    files: DevCertificates, tmp_path: Path
) -> None:
    foreign = make_dev_certificates(tmp_path, entities=[ECU], testers=[TESTER])
    old = trusting(files)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    contexts = {
        "all of it": trusting(files),
        "TLS 1.2": old,
        "no certificate": trusting(files, shows=False),
        "of a foreign authority": trusting(replace(files, tester=foreign.tester)),
        "an entity's": trusting(replace(files, tester=files.entity)),
    }

    def tester(bench: Bench) -> dict[str, bool]:
        return {name: _is_cut_off(bench, context) for name, context in contexts.items()}

    refused = against(tester, tls=serving(files))
    assert refused == {name: name != "all of it" for name in contexts}


def test_an_address_that_is_not_in_the_certificate_is_not_authenticated(
    files: DevCertificates,
) -> None:
    def tester(bench: Bench) -> list[int]:
        context = trusting(files)
        return [
            bench.refused(secure=context, client_logical_address=address)
            for address in (TESTER, TESTER + 1)
        ]

    assert against(tester, tls=serving(files)) == [0x10, 0x04]


def _is_cut_off(bench: Bench, context: ssl.SSLContext) -> bool:
    """Ask for routing activation: with TLS 1.3 a client hears of a refusal at its first read."""
    request = encode(m.RoutingActivationRequest(source_address=TESTER))
    address = ("127.0.0.1", bench.server.tls_port)
    with socket.create_connection(address, timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as tls:
                tls.sendall(request)
                return tls.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            return True


def test_half_a_handshake_does_not_hold_the_entity(files: DevCertificates) -> None:
    def tester(bench: Bench) -> bytes:
        address = ("127.0.0.1", bench.server.tls_port)
        with socket.create_connection(address, timeout=5) as slow:
            slow.sendall(b"\x16\x03\x01")
            with bench.client(secure=trusting(files)) as client:
                return _ask(client)

    assert against(tester, tls=serving(files)) == b"\x7e\x00"


# The edge node, and the gateway's own link over TLS


def options(directory: Path, *ecus: str, tls: TlsOptions | None = None) -> ServeOptions:
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
    )


def test_udsoncan_through_doipclient_reads_the_ccu_behind_the_edge_node(tmp_path: Path) -> None:
    def read(port: int) -> list[object]:
        config = {
            **default_client_config,
            "data_identifiers": {0xF189: udsoncan.AsciiCodec(5), 0xF190: udsoncan.AsciiCodec(17)},
        }
        doip = DoIPClient(  # type: ignore[no-untyped-call]  # the library types nothing
            "127.0.0.1", 0x1010, tcp_port=port, udp_port=port, client_logical_address=TESTER
        )
        connector = DoIPClientUDSConnector(doip, close_connection=True)  # type: ignore[no-untyped-call]  # the library types nothing
        with Client(connector, request_timeout=5, config=config) as client:  # type: ignore[arg-type]  # a TypedDict
            values = client.read_data_by_identifier([0xF189, 0xF190]).service_data.values
            client.change_session(3)
            return [values[0xF189], values[0xF190], client.get_dtc_by_status_mask(0xFF).positive]

    async def drive() -> list[object]:
        async with EcuServer(options(tmp_path, "ccu")) as server:
            port = int(server.doors["edge node"].rpartition(":")[2])
            return await asyncio.to_thread(read, port)

    assert clock.run(drive(), virtual=False) == ["1.0.0", VIN, True]


def test_a_gateway_opens_its_wire_over_tls_to_the_entity_it_means(tmp_path: Path) -> None:
    files = make_dev_certificates(tmp_path / "tls", entities=[ECU], testers=[0x0F00])
    tls = TlsOptions(
        certificate=files.entity.certificate, key=files.entity.key, client_ca=files.authority
    )
    query = f"?ca={files.authority}&certificate={files.tester.certificate}&key={files.tester.key}"

    async def drive() -> None:
        async with EcuServer(options(tmp_path / "ecus", "rear", tls=tls)) as server:
            uri = server.doors["rear over TLS"] + query
            links = UriLinks({"rear": f"{uri}&entity=1031", "other": f"{uri}&entity=1010"})
            stream = await links.stream("rear")
            await stream.close()
            with pytest.raises(LinkError, match="the certificate is not that of 0x1010"):
                await links.stream("other")

    clock.run(drive(), virtual=False)
