"""ECUs and gateway as processes on real SocketCAN, looked at with can-utils."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from isotp.tpsock import opts

import clock
from dbc import describe_vehicle
from protocols.can import FrameHeader
from protocols.isotp import IsoTpParameters, segment
from tests.support.flashing import VIN
from tests.vcan.programs import INTERFACES, image
from vehicle_gateway.wires import AnswerReceived, AnswerStarted, ChannelEvent, LinkError
from vehicle_gateway.wires.isotp_kernel import open_socket
from vehicle_gateway.wires.testers import Testers as Wires
from vehicle_gateway.wires.uri import UriLinks

pytestmark = pytest.mark.vcan

#: Longest that a program may take to come up, or to end, in seconds.
PATIENCE_S: Final = 120.0
#: `(1700000000.123456) vcan0 7A0#0210013E`, and `##3` for CAN FD with flags.
LINE: Final = re.compile(
    r"^\(\d+\.\d+\) (?P<interface>\w+) (?P<id>[0-9A-F]+)#(?P<data>\S*)", re.MULTILINE
)
#: No ECU has it.
MARK: Final = "7F0"
#: CAN_ERR_FLAG, CAN_ERR_ACK: no acknowledgement.
ERROR: Final = "20000020"


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Look again and again, as a person would: what is waited for is in other programs."""

    async def look() -> None:
        while not true():  # noqa: ASYNC110 other processes set no event
            await asyncio.sleep(0.01)

    try:
        clock.run(asyncio.wait_for(look(), PATIENCE_S), virtual=False)
    except TimeoutError:
        pytest.fail(f"{what}: not within {PATIENCE_S} s")


@contextmanager
def program(*arguments: str, log: Path, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that writes to files, and is ended at the end."""
    with (log / f"{name}.out").open("wb") as out, (log / f"{name}.err").open("wb") as err:
        running = subprocess.Popen(arguments, stdout=out, stderr=err)
        try:
            yield running
        finally:
            running.terminate()
            running.wait(PATIENCE_S)


class Candump:
    """What candump writes, error frames included."""

    def __init__(self, path: Path, interface: str) -> None:
        self.path = path
        self.interface = interface

    def begin(self) -> None:
        """Wait until it listens."""

        def seen() -> bool:
            cansend(self.interface, f"{MARK}#")
            return f"{MARK}#" in self.text()

        wait_until(seen, "candump listens")

    def end(self) -> None:
        """Wait until it has written all that was on the wire by now."""
        cansend(self.interface, f"{MARK}#0E")
        wait_until(lambda: f"{MARK}#0E" in self.text(), "candump has written all")

    def text(self) -> str:
        return self.path.read_text(encoding="ascii")

    def frames(self, identifier: str) -> list[bytes]:
        """Data bytes of the frames under one identifier."""
        found = LINE.finditer(self.text())
        # An FD frame has its flags between: ##1DATA.
        return [
            bytes.fromhex(re.sub(r"^#[0-9A-F]", "", line["data"]))
            for line in found
            if line["id"] == identifier
        ]


@contextmanager
def candump(folder: Path, interface: str) -> Iterator[Candump]:
    everything = f"{interface},0:0,#FFFFFFFF"
    with program("candump", "-L", everything, log=folder, name="candump"):
        looking = Candump(folder / "candump.out", interface)
        looking.begin()
        yield looking


def cansend(interface: str, frame: str) -> None:
    subprocess.run(["cansend", interface, frame], check=True)


def messages(frames: list[bytes], header: int) -> list[bytes]:
    """The messages that consecutive frames make; `header`: bytes of a first frame's PCI."""
    found: list[bytes] = []
    length, data = 0, b""
    for frame in frames:
        match frame[0] >> 4:
            case 0 if frame[0]:
                found.append(frame[1 : 1 + frame[0]])
            case 0:
                found.append(frame[2 : 2 + frame[1]])
            case 1:
                length = int.from_bytes(frame[:2]) & 0xFFF
                data = frame[2:]
                if not length:
                    length, data = int.from_bytes(frame[2:6]), frame[header:]
            case 2:
                data += frame[1:]
                if len(data) >= length:
                    found.append(data[:length])
    return found


@pytest.fixture(scope="module")
def ecus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ECUs' process; the folder where it writes."""
    log, state = tmp_path_factory.mktemp("ecus"), tmp_path_factory.mktemp("state")
    here = (sys.executable, "-m", "tests.vcan.programs", "ecus", str(state))
    with program(*here, log=log, name="ecus") as running:
        wait_until(
            lambda: running.poll() is not None or b"\n" in (log / "ecus.out").read_bytes(),
            "ECUs run",
        )
        assert (log / "ecus.out").read_text().split() == list(INTERFACES.values()), (
            log / "ecus.err"
        ).read_text()
        yield log


@pytest.mark.parametrize(
    ("ecu", "version", "uri"),
    [
        ("ccu", 2, "can://socketcan/vcan0"),
        ("ccu", 3, "can://socketcan/vcan0?isotp=kernel"),
        ("ecomp", 2, "can://socketcan/vcan1"),
        ("ecomp", 3, "can://socketcan/vcan1?isotp=kernel"),
    ],
    ids=["python-can", "kernel ISO-TP", "python-can, FD", "kernel ISO-TP, FD"],
)
def test_a_gateway_programs_an_ecu_and_candump_sees_every_byte(
    ecus: Path, tmp_path: Path, ecu: str, version: int, uri: str
) -> None:
    description = describe_vehicle().ecus[ecu]
    request, response = f"{description.request_id:03X}", f"{description.response_id:03X}"
    interface = uri.partition("?")[0].rpartition("/")[2]
    command = (sys.executable, "-m", "tests.vcan.programs", "gateway", ecu, uri, str(version))
    with candump(tmp_path, interface) as seen:
        with program(*command, log=tmp_path, name="gateway") as gateway:
            wait_until(
                lambda: gateway.poll() is not None or f" {request}#" in seen.text(), "the flash"
            )
            # In the middle of it.
            cansend(interface, f"{ERROR}#0000000000000000")
            wait_until(lambda: gateway.poll() is not None, "the gateway ends")
        told = (tmp_path / "gateway.err").read_text()
        assert gateway.returncode == 0, told
        assert (tmp_path / "gateway.out").read_text().split() == [f"{version}.0.0"]
        seen.end()
    asked, answered = messages(seen.frames(request), 6), messages(seen.frames(response), 6)
    blocks = [message for message in asked if message[0] == 0x36]
    assert b"".join(block[2:] for block in blocks) == image(ecu, version)
    assert [message[1] for message in answered if message[0] == 0x76] == [
        block[1] for block in blocks
    ]
    # Every block is the frames that ISO 15765-2 makes of it, one after the other.
    length = 64 if ecu == "ecomp" else 8
    expected = [frame for block in blocks for frame in segment(block, length)]
    transfer = [frame for frame in seen.frames(request) if frame in set(expected)]
    assert transfer == expected
    # The error frame, in everybody's words.
    assert seen.frames(ERROR) == [bytes(8)]
    assert (
        f"can_error_frame wire={uri.partition('?')[0]} error=no acknowledgement"
        in (ecus / "ecus.err").read_text()
    )
    assert "error=no acknowledgement" in told


def test_isotpsend_and_isotprecv_have_an_ecus_answer(ecus: Path, tmp_path: Path) -> None:
    del ecus  # it has to run
    receive = ("isotprecv", "-s", "7A0", "-d", "7A8", "-p", "CC", "vcan0")
    with candump(tmp_path, "vcan0") as seen, program(*receive, log=tmp_path, name="receive") as it:
        wait_until(lambda: isotp_sockets() > 0, "isotprecv listens")
        subprocess.run(
            ["isotpsend", "-s", "7A0", "-d", "7A8", "-p", "CC", "vcan0"],
            input=b"22 F1 90",
            check=True,
        )
        wait_until(lambda: it.poll() is not None, "isotprecv ends")
        seen.end()
    answer = bytes.fromhex((tmp_path / "receive.out").read_text())
    assert answer == b"\x62\xf1\x90" + VIN.encode()
    request, *controls = seen.frames("7A0")
    assert request == bytes.fromhex("0322F190CCCCCCCC")
    # isotpsend may be there still, and says it too.
    assert set(controls) == {bytes.fromhex("300000CCCCCCCCCC")}
    assert messages(seen.frames("7A8"), 2) == [answer]


def isotp_sockets() -> int:
    """Sockets that listen through the kernel's ISO-TP module (`/proc/net/can/rcvlist_*`)."""
    lists = Path("/proc/net/can").glob("rcvlist_*")
    return sum(its.read_text().count("isotp") for its in lists)


def test_candump_tells_an_error_frame_in_words(ecus: Path, tmp_path: Path) -> None:
    del ecus
    with program("candump", "-e", "vcan0,0:0,#FFFFFFFF", log=tmp_path, name="words"):
        told = tmp_path / "words.out"

        def heard() -> bool:
            cansend("vcan0", "20000004#0020000000000000")
            return "tx-error-passive" in told.read_text()

        wait_until(heard, "candump -e tells of it")
    assert "controller-problem" in told.read_text()
    assert "ERRORFRAME" in told.read_text()


def test_settings_of_the_kernels_iso_tp_are_on_the_wire(ecus: Path, tmp_path: Path) -> None:
    del ecus
    uri = "can://socketcan/vcan0?isotp=kernel&isotp_block_size=8&isotp_st_min=0xF1"

    async def main() -> list[ChannelEvent]:
        links = await UriLinks({"comfort": uri}).open()
        try:
            async with Wires(describe_vehicle(), links) as wires:
                channel = wires.channel("ccu")
                await channel.send(b"\x22\xf1\x90")
                return [await channel.receive(), await channel.receive()]
        finally:
            await links.close()

    with candump(tmp_path, "vcan0") as seen:
        started, received = clock.run(main(), virtual=False)
        seen.end()
    assert isinstance(started, AnswerStarted)
    assert isinstance(received, AnswerReceived)
    assert received.message == b"\x62\xf1\x90" + VIN.encode()
    assert seen.frames("7A0") == [
        bytes.fromhex("0322F190CCCCCCCC"),
        bytes.fromhex("3008F1CCCCCCCCCC"),
    ]


def test_the_kernel_has_the_settings_that_can_isotp_reads_back() -> None:
    parameters = IsoTpParameters(
        tx_data_length=64,
        padding=0x55,
        block_size=3,
        st_min=0x0A,
        tx_address_extension=0xF1,
        rx_address_extension=0x10,
    )
    request = FrameHeader(0x18DA10F1, extended=True, fd=True, bit_rate_switch=True)
    response = FrameHeader(0x18DAF110, extended=True, fd=True, bit_rate_switch=True)
    with open_socket("vcan1", request, response, parameters) as opened:
        assert opened.getsockname() == ("vcan1", 0x98DAF110, 0x98DA10F1)
        general = opts.GeneralOpts.read(opened)
        assert (general.ext_address, general.rx_ext_address, general.txpad) == (0xF1, 0x10, 0x55)
        control = opts.FlowControlOpts.read(opened)
        assert (control.bs, control.stmin) == (3, 0x0A)
        link = opts.LinkLayerOpts.read(opened)
        assert (link.mtu, link.tx_dl, link.tx_flags) == (72, 64, 1)


def test_an_interface_that_is_not_there_is_an_error_that_names_it() -> None:
    async def main() -> None:
        await UriLinks({"comfort": "can://socketcan/vcan9"}).open()

    with pytest.raises(LinkError, match=r"^can://socketcan/vcan9: No such device$"):
        clock.run(main(), virtual=False)
