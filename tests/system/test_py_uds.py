"""py-uds and can-isotp with udsoncan, unchanged, through python-can on a simulated wire."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import can
import pytest
import udsoncan
import udsoncan.configs
from udsoncan.client import Client as UdsoncanClient
from udsoncan.connections import PythonIsoTpConnection

from dbc import EcuDescription, describe_vehicle
from ecu_sim.ecus import ecu_type
from tests.support.ecu import VIN, application, crc_image, signed_image
from tests.support.serving import against, area, channel, checksum, key_for

pytest.importorskip("uds", reason="py-uds is not installed (dependency group interop)")
pytest.importorskip("isotp", reason="can-isotp is not installed (dependency group interop)")

import isotp  # after the check that it is there
from uds.addressing import AddressingType
from uds.can import CanAddressingFormat, CanAddressingInformation, CanVersion
from uds.can.transport_interface import PyCanTransportInterface
from uds.client import Client
from uds.message import UdsMessage
from uds.translator import BASE_TRANSLATOR

pytestmark = [
    pytest.mark.system,
    # py-uds knows the labels of the standard's identifiers only, and says so of others.
    pytest.mark.filterwarnings("ignore:No label defined"),
    # It finds the flow control of its own long request among its answers, and passes it over.
    pytest.mark.filterwarnings("ignore:A CAN packet that does not start"),
]

#: Status of a trouble code whose test has not run, neither in this cycle nor since the last clear.
NOT_TESTED = 0x50
#: 3 KiB behind a good module: a custom section of WebAssembly.
MODULE = application() + b"\x00\xff\x17\x01x" + bytes(0xBFF - 2)
SIGNED = signed_image(MODULE, version=(2, 0, 0), security_counter=2)
SUMMED = crc_image(MODULE, version=(2, 0, 0))


@contextmanager
def opened(uri: str) -> Iterator[can.BusABC]:
    bus = can.Bus(interface="canota", channel=channel(uri))
    try:
        yield bus
    finally:
        bus.shutdown()


class PyUds:
    """A py-uds client for one ECU; every message goes through its translator as well."""

    def __init__(self, bus: can.BusABC, ecu: EcuDescription) -> None:
        wire = describe_vehicle().wires[ecu.wire]
        fd = wire.kind == "canfd"
        self._transport = PyCanTransportInterface(
            network_manager=bus,
            addressing_information=CanAddressingInformation(
                addressing_format=CanAddressingFormat.NORMAL_ADDRESSING,
                rx_physical_params={"can_id": ecu.response_id},
                tx_physical_params={"can_id": ecu.request_id},
                rx_functional_params={"can_id": ecu.response_id},
                tx_functional_params={"can_id": wire.functional_id},
            ),
            can_version=CanVersion.CAN_FD if fd else CanVersion.CLASSIC_CAN,
            bitrate_switch=fd,
            dlc=0xF if fd else 8,
            # Or a short message goes in a long frame, which ISO 15765-2 has receivers ignore.
            use_data_optimization=True,
            min_dlc=8,
        )
        # An answer is looked at when the machine gets round to it.
        self._client = Client(self._transport)
        self._client.p3_client_physical = self._client.p3_client_functional = 1500
        self._client.p2_client_timeout = 1500

    def ask(self, request: str | bytes, *, functional: bool = False) -> bytes:
        """The final answer."""
        payload = bytes.fromhex(request) if isinstance(request, str) else request
        addressing = AddressingType.FUNCTIONAL if functional else AddressingType.PHYSICAL
        message = UdsMessage(payload=payload, addressing_type=addressing)
        _, answers = self._client.send_request_receive_responses(message)
        for said in (message, *answers):
            assert BASE_TRANSLATOR.decode(said)
        return bytes(answers[-1].payload)

    def close(self) -> None:
        if self._transport.notifier is not None:
            self._transport.notifier.stop()


@contextmanager
def py_uds(uri: str, ecu: str) -> Iterator[PyUds]:
    with opened(uri) as bus:
        client = PyUds(bus, describe_vehicle().ecus[ecu])
        try:
            yield client
        finally:
            client.close()


def unlock(client: PyUds, ecu: str) -> None:
    serial = client.ask("22 F1 8C")[3:].decode()
    seed = client.ask("27 01")[2:]
    assert client.ask(b"\x27\x02" + key_for(ecu, serial, seed)) == b"\x67\x02"


@pytest.mark.parametrize("ecu", ["ccu", "ecomp"])
def test_py_uds_reads_sessions_identification_and_trouble_codes(tmp_path: Path, ecu: str) -> None:
    def tester(uri: str) -> None:
        with py_uds(uri, ecu) as client:
            assert client.ask("22 F1 90") == b"\x62\xf1\x90" + VIN.encode()
            assert client.ask("10 03") == bytes.fromhex("50 03 00 32 01 F4")
            assert client.ask("22 F1 86") == bytes.fromhex("62 F1 86 03")
            assert client.ask("3E 00", functional=True) == bytes.fromhex("7E 00")
            assert client.ask("22 12 34") == bytes.fromhex("7F 22 31")
            codes = client.ask("19 0A")
            assert codes[:3] == bytes.fromhex("59 0A FF")
            found = {
                int.from_bytes(codes[at : at + 3]): codes[at + 3] for at in range(3, len(codes), 4)
            }
            assert found.keys() == describe_vehicle().ecus[ecu].dtcs.keys()
            # No monitor of the test's application has come to a result.
            assert {found[code] for code in ecu_type(ecu).application_dtcs} == {NOT_TESTED}

    against(tmp_path, ecu, tester)


def test_py_uds_programs_ccu(tmp_path: Path) -> None:
    base = describe_vehicle().ecus["ccu"].application_base

    def tester(uri: str) -> None:
        with py_uds(uri, "ccu") as client:
            client.ask("10 03")
            unlock(client, "ccu")
            assert client.ask(bytes.fromhex("31 01 FF 00") + area("ccu", SIGNED))[4:] == b"\x00"
            place = base.to_bytes(4) + len(SIGNED).to_bytes(4)
            assert client.ask(b"\x34\x00\x44" + place) == bytes.fromhex("74 20 0F FF")
            assert client.ask(b"\x36\x01" + SIGNED) == b"\x76\x01"
            assert client.ask("37") == b"\x77"
            assert client.ask("31 01 02 02") == bytes.fromhex("71 01 02 02 00")

    against(tmp_path, "ccu", tester)


class Text(udsoncan.DidCodec):
    def decode(self, string_ascii: bytes) -> str:
        return string_ascii.decode()

    def __len__(self) -> int:
        raise udsoncan.DidCodec.ReadAllRemainingData


@contextmanager
def udsoncan_client(uri: str, ecu: str) -> Iterator[UdsoncanClient]:
    """udsoncan's client on can-isotp's stack: its own threads and clocks, from end to end."""
    description = describe_vehicle().ecus[ecu]
    address = isotp.Address(
        isotp.AddressingMode.Normal_11bits,
        txid=description.request_id,
        rxid=description.response_id,
    )
    fd = describe_vehicle().wires[description.wire].kind == "canfd"
    parameters = {
        "blocking_send": True,
        "blocksize": 0,
        "can_fd": fd,
        "bitrate_switch": fd,
        "tx_data_length": 64 if fd else 8,
        "tx_padding": 0xCC,
    }
    config = udsoncan.configs.default_client_config.copy()
    config["data_identifiers"] = {"default": Text}
    # Two threads of the library and the wire share the machine with other tests.
    config["p2_timeout"] = 2.0
    config["use_server_timing"] = False
    config["request_timeout"] = None  # type: ignore[typeddict-item] # the library takes None
    with opened(uri) as bus:
        notifier = can.Notifier(bus, [], timeout=0.1)
        stack = isotp.NotifierBasedCanStack(bus, notifier, address=address, params=parameters)
        try:
            with UdsoncanClient(PythonIsoTpConnection(stack), config=config) as client:
                yield client
        finally:
            notifier.stop()


@pytest.mark.parametrize("ecu", ["ccu", "ecomp"])
def test_can_isotp_carries_long_answers_and_the_functional_tester(tmp_path: Path, ecu: str) -> None:
    def tester(uri: str) -> None:
        with udsoncan_client(uri, ecu) as client:
            assert client.read_data_by_identifier_first(0xF190) == VIN
            client.change_session(3)
            client.tester_present()
            answer = client.get_dtc_by_status_mask(0xFF)
            assert answer is not None
            tested = {dtc.id: dtc.status.get_byte_as_int() for dtc in answer.service_data.dtcs}
            monitored = ecu_type(ecu).application_dtcs
            assert {code: tested[code] for code in monitored} == dict.fromkeys(
                monitored, NOT_TESTED
            )

    against(tmp_path, ecu, tester)


def test_can_isotp_and_udsoncan_program_blower(tmp_path: Path) -> None:
    base = describe_vehicle().ecus["blower"].application_base

    def tester(uri: str) -> None:
        with udsoncan_client(uri, "blower") as client:
            serial = client.read_data_by_identifier_first(0xF18C)
            client.set_config("security_algo", lambda seed: key_for("blower", serial, seed))
            client.change_session(3)
            client.change_session(2)
            client.unlock_security_access(1)
            client.start_routine(0xFF00, area("blower", SUMMED))
            place = udsoncan.MemoryLocation(
                base, len(SUMMED), address_format=32, memorysize_format=32
            )
            download = client.request_download(place)
            assert download is not None
            step = download.service_data.max_length - 2
            for number, at in enumerate(range(0, len(SUMMED), step), start=1):
                client.transfer_data(number % 256, SUMMED[at : at + step])
            client.request_transfer_exit()
            checked = client.start_routine(0x0202, checksum(SUMMED))
            assert checked is not None
            assert checked.service_data.routine_status_record == b"\x00"

    against(tmp_path, "blower", tester)
