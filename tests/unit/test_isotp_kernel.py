"""What is told to the kernel's ISO-TP; `tests/vcan` has the kernel itself."""

import socket
import struct
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from can_interfaces.uri import parse
from protocols.can import CanPort, FrameHeader
from protocols.isotp import IsoTpParameters
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.isotp_kernel import KernelIsoTpPort, options, take_settings

OPTS, RECV_FC, LL_OPTS = 1, 2, 5
WAIT_TX_DONE, TX_PADDING, EXTEND_ADDR, RX_EXT_ADDR, HALF_DUPLEX = 0x400, 0x4, 0x2, 0x200, 0x40


@pytest.mark.parametrize(
    ("header", "parameters", "general", "flow", "link"),
    [
        (
            FrameHeader(0x7A0),
            IsoTpParameters(),
            (WAIT_TX_DONE | TX_PADDING, 0, 0, 0xCC, 0, 0),
            (0, 0, 0),
            (16, 8, 0),
        ),
        (
            FrameHeader(0x7B0, fd=True, bit_rate_switch=True),
            IsoTpParameters(tx_data_length=64, padding=None, block_size=8, st_min=0xF1),
            (WAIT_TX_DONE, 0, 0, 0, 0, 0),
            (8, 0xF1, 0),
            (72, 64, 1),
        ),
        (
            FrameHeader(0x7B0, fd=True),
            IsoTpParameters(tx_address_extension=0xF1, rx_address_extension=0x10, half_duplex=True),
            (
                WAIT_TX_DONE | TX_PADDING | EXTEND_ADDR | RX_EXT_ADDR | HALF_DUPLEX,
                *(0, 0xF1, 0xCC, 0, 0x10),
            ),
            (0, 0, 0),
            (72, 8, 0),
        ),
    ],
    ids=["classic", "FD", "address extensions"],
)
def test_parameters_become_the_structures_of_the_kernel(
    header: FrameHeader,
    parameters: IsoTpParameters,
    general: tuple[int, ...],
    flow: tuple[int, ...],
    link: tuple[int, ...],
) -> None:
    assert options(header, parameters) == {
        OPTS: struct.pack("=IIBBBB", *general),
        RECV_FC: bytes(flow),
        LL_OPTS: bytes(link),
    }


def test_a_uri_chooses_the_kernel_and_its_settings() -> None:
    assert take_settings(parse("can://socketcan/vcan0?fd=true")) is None
    assert take_settings(parse("can://socketcan/vcan0?isotp=kernel")) == {}
    text = "isotp_st_min=0xF1&isotp_block_size=8&isotp_padding=none&isotp_tx_dl=64"
    assert take_settings(parse(f"can://socketcan/vcan0?isotp=kernel&{text}")) == {
        "st_min": 0xF1,
        "block_size": 8,
        "padding": None,
        "tx_data_length": 64,
    }


class NoWire:
    """A port on nothing (`CanPort`)."""

    def send(self, *_: object) -> None: ...

    def listen(self, *_: object, **__: object) -> Callable[[], None]:
        return lambda: None


def test_a_kernel_without_iso_tp_is_an_error_that_says_what_to_do() -> None:
    port: CanPort = NoWire()
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP).close()
        refused = nullcontext()
    except OSError:
        refused = pytest.raises(LinkError, match=r"^vcan0: .*modprobe can-isotp")  # type: ignore[assignment]  # either
    with refused:
        KernelIsoTpPort(port, "vcan0", {})
