"""Wires that are interfaces of python-can: ECUs and gateway meet on one, in real time."""

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import can
import pytest

from can_interfaces import InterfaceError
from can_interfaces.uri import parse
from can_interfaces.wire import InterfaceWire
from clock import run
from ecu_sim.app import EcuServer, ServeOptions
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.faults import ErrorFrame, ErrorState, Fate
from ecu_sim.bus.interface import InterfacedWire
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions
from firmware import dev_keys
from protocols.can import FrameHeader
from tests.support.flashing import VIN, image, job, update
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.uri import UriLinks

REQUEST, ANSWER = FrameHeader(0x7A0), FrameHeader(0x7A8)


def vehicle(state: Path, *ecus: str, **interfaces: str) -> VehicleOptions:
    keys = dev_keys()
    return VehicleOptions(
        vin=VIN,
        state_directory=state,
        ecus=ecus,
        image_public_keys=(keys.image_public_key,),
        diagnostics_master=keys.diagnostics_master,
        boot_mac_master=keys.boot_mac_master,
        interfaces=interfaces,
    )


@pytest.mark.parametrize(
    ("ecu", "wire", "uri"),
    [
        ("blower", "comfort", "can://virtual/blower"),
        ("ecomp", "thermal", "can://virtual/ecomp?fd=true"),
    ],
)
def test_an_ecu_on_an_interface_is_programmed_by_a_gateway_on_it(
    tmp_path: Path, ecu: str, wire: str, uri: str
) -> None:
    async def main() -> str:
        async with AsyncExitStack() as stack:
            options = ServeOptions(
                vehicle=vehicle(tmp_path, ecu, **{wire: uri}),
                factory_images={ecu: image(ecu, "1.0.0")},
                edge=False,
            )
            server = await stack.enter_async_context(EcuServer(options))
            assert server.endpoints == {wire: uri}
            links = await UriLinks(server.endpoints).open()
            stack.push_async_callback(links.close)
            return (await update(links, ecu, job(ecu))).software_version

    assert run(main(), virtual=False) == "2.0.0"


def test_an_interface_that_comes_back_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wire = CanWire("comfort", bit_rate=500_000, loop=loop)
        server = await serve_bridge(wire, "127.0.0.1", 0)
        interface = InterfaceWire(parse(f"can://canota/tcp://127.0.0.1:{server.port}/comfort"))
        await interface.open()
        port = interface.port("gateway")
        heard = asyncio.Event()
        port.listen(lambda _header, _data, _at_s: heard.set(), ANSWER)
        await server.close()
        async with asyncio.timeout(10):
            while "can_interface_away" not in caplog.text:  # noqa: ASYNC110 nothing else tells
                await asyncio.sleep(0.01)
        with pytest.raises(InterfaceError, match=r"^can://canota/tcp://127\.0\.0\.1:"):
            port.send(REQUEST, [b"?"])
        server = await serve_bridge(wire, "127.0.0.1", server.port)
        try:
            async with asyncio.timeout(10):
                while not heard.is_set():
                    wire.port("ccu").send(ANSWER, [b"!"])
                    await asyncio.sleep(0.05)
            port.send(REQUEST, [b"!"])
        finally:
            await interface.close()
            await server.close()
            wire.close()

    run(main(), virtual=False)
    assert "can_interface_back" in caplog.text


def test_error_frames_are_told_and_are_no_data(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[list[ErrorFrame], list[bytes], list[ErrorState]]:
        wire = InterfacedWire("comfort", "can://virtual/errors", bit_rate=500_000)
        await wire.open()
        errors: list[ErrorFrame] = []
        states: list[ErrorState] = []
        heard: list[bytes] = []
        over = asyncio.Event()

        def hear(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            heard.append(data)
            states.append(wire.error_counters("ccu").state)
            if data == b"end":
                over.set()

        wire.on_error_frame(errors.append)
        wire.port("ccu").listen(hear)
        try:
            with can.Bus(interface="virtual", channel="errors") as other:
                for identifier in (0x020, 0x008, 0x040):
                    other.send(
                        can.Message(
                            arbitration_id=identifier,
                            is_extended_id=False,
                            is_error_frame=True,
                            data=bytes(8),
                        )
                    )
                other.send(can.Message(arbitration_id=0x7A0, is_extended_id=False, data=b"off"))
                other.send(
                    can.Message(
                        arbitration_id=0x100,
                        is_extended_id=False,
                        is_error_frame=True,
                        data=bytes(8),
                    )
                )
                other.send(can.Message(arbitration_id=0x7A0, is_remote_frame=True))
                other.send(can.Message(arbitration_id=0x7A0, is_extended_id=False, data=b"end"))
                async with asyncio.timeout(10):
                    await over.wait()
        finally:
            await wire.close()
        return errors, heard, states

    with caplog.at_level(logging.WARNING):
        errors, heard, states = run(main(), virtual=False)
    assert [error.fate for error in errors] == [Fate.UNACKNOWLEDGED, Fate.CORRUPTED]
    assert heard == [b"off", b"end"]
    assert states == [ErrorState.BUS_OFF, ErrorState.ACTIVE]
    for words in ("no acknowledgement", "protocol violation", "bus-off", "controller restarted"):
        assert f"wire=can://virtual/errors error={words}" in caplog.text


@pytest.mark.parametrize(
    ("interfaces", "reason"),
    [
        ({"comfort": "can://virtual/a"}, "no CAN wire comfort in this vehicle"),
        ({"rear": "can://virtual/a"}, "no CAN wire rear in this vehicle"),
        ({"thermal": "can://none/a"}, "wire thermal: can://none/a: no CAN interface 'none'"),
        ({"thermal": "can://virtual/a"}, "carries no CAN FD frames"),
        ({"thermal": "can://virtual/a?bitrate=fast"}, "bitrate fast is no bit rate"),
    ],
)
def test_an_interface_that_a_wire_cannot_be_is_refused_by_name(
    tmp_path: Path, interfaces: dict[str, str], reason: str
) -> None:
    async def main() -> None:
        made = Vehicle(vehicle(tmp_path, "ecomp", "rear", **interfaces))
        try:
            await made.start()
        finally:
            await made.stop()

    with pytest.raises(VehicleError) as caught:
        run(main(), virtual=False)
    assert reason in str(caught.value)


def test_an_interface_whose_driver_is_not_there_is_an_error_that_names_it() -> None:
    async def main() -> None:
        await UriLinks({"comfort": "can://kvaser/0"}).open()

    with pytest.raises(LinkError, match=r"^can://kvaser/0: "):
        run(main(), virtual=False)
