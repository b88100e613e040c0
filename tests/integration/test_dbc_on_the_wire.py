"""The signal databases say what is on the simulated wires: who sends, how often, what at first."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cantools.database.can import Message

from clock import run
from dbc import load
from ecu_sim.ecus import WIRES, ecu_names, ecu_type
from ecu_sim.plant import Surroundings
from ecu_sim.vehicle import Vehicle, VehicleOptions
from firmware import dev_keys
from protocols.can import FrameHeader
from tests.support.ecu import DIAGNOSTICS_MASTER, IMAGE_PUBLIC_KEY, VIN
from tests.support.vehicle import built_image, small_images

#: The ECU whose node each sender of the databases is; the rest of the car is always there.
NODES = {"CCU": "ccu", "BLW": "blower", "FLP": "flap", "PTC": "ptc", "ECP": "ecomp"}
CAN_WIRES = {name: wire for name, wire in WIRES.items() if wire.databases}
LISTENED_S = 5.0
#: Frames that keep a wire awake say nothing of their own: no signals, no database.
NETWORK_MANAGEMENT = {*range(0x500, 0x540)}
#: A frame that wins no arbitration waits for those that are ahead: a few frames of the wire.
LATEST_S = 0.002

#: (header, data, seconds) of each frame.
Frames = Sequence[tuple[FrameHeader, bytes, float]]


def messages(wire: str) -> list[Message]:
    return [message for name in CAN_WIRES[wire].databases for message in load(name).messages]


#: What the vehicle sends; the gateway's own messages come while it updates.
ROWS = [
    (wire, message) for wire in CAN_WIRES for message in messages(wire) if message.senders != ["GW"]
]
IDS = [f"{wire}-{message.name}" for wire, message in ROWS]


async def _listen(vehicle: Vehicle, wire: str, seconds: float) -> Frames:
    heard: list[tuple[FrameHeader, bytes, float]] = []

    def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
        heard.append((header, data, at_s))

    every = [FrameHeader(identifier) for identifier in range(0x800)]
    stop = vehicle.can_port(wire, "listener").listen(hear, *every)
    await asyncio.sleep(seconds)
    stop()
    return heard


@cache
def recorded(wire: str, *ecus: str, idle: bool = False) -> Mapping[int, Frames]:
    """What those ECUs and the rest of the car send in some seconds from power-on, by identifier.

    `idle`: on a mild day, with applications that do nothing.
    """

    async def whole() -> Frames:
        with TemporaryDirectory() as folder:
            options = VehicleOptions(
                vin=VIN,
                state_directory=Path(folder),
                ecus=ecus,
                seed=1,
                image_public_keys=(IMAGE_PUBLIC_KEY, dev_keys().image_public_key),
                diagnostics_master=DIAGNOSTICS_MASTER,
                boot_mac_master=dev_keys().boot_mac_master,
            )
            vehicle = Vehicle(replace(options, surroundings=MILD) if idle else options)
            for ecu in ecus:
                image = small_images()[ecu] if idle else built_image(ecu, "2.0.0")
                vehicle.provision(ecu, image)
            listening = asyncio.get_running_loop().create_task(_listen(vehicle, wire, LISTENED_S))
            try:
                await vehicle.start()
                return await listening
            finally:
                await vehicle.stop()

    found: dict[int, list[tuple[FrameHeader, bytes, float]]] = defaultdict(list)
    for frame in run(whole(), virtual=True):
        found[frame[0].identifier].append(frame)
    return found


@pytest.mark.parametrize(("wire", "message"), ROWS, ids=IDS)
def test_a_message_comes_with_its_cycle_time(wire: str, message: Message) -> None:
    frames = recorded(wire, *NODES.values())[message.frame_id]
    assert message.cycle_time
    period_s = message.cycle_time / 1000
    # Its sender boots first.
    assert len(frames) >= (LISTENED_S - 1.0) / period_s - 1
    for (_, _, one), (_, _, other) in pairwise(frames):
        assert other - one == pytest.approx(period_s, abs=LATEST_S)


@pytest.mark.parametrize(("wire", "message"), ROWS, ids=IDS)
def test_a_message_is_sent_as_its_send_type_says(wire: str, message: Message) -> None:
    """Cyclic: again and again with the same content, and no sooner when that changes."""
    assert message.send_type == "Cyclic"
    sender = NODES.get(message.senders[0])
    ecus = [name for name in NODES.values() if ecu_type(name).wire == wire]
    quiet = recorded(wire, *([sender] if sender else ecus), idle=True)
    contents = [data for _, data, _ in quiet[message.frame_id]]
    assert any(one == other for one, other in pairwise(contents))


def test_some_messages_change_what_they_say_while_they_keep_their_time() -> None:
    changing = {
        message.name
        for wire, message in ROWS
        if len({data for _, data, _ in recorded(wire, *NODES.values())[message.frame_id]}) > 1
    }
    assert {"CCU_Status", "CCU_Control", "Blower_Status", "ECP_Status"} <= changing


@pytest.mark.parametrize(("wire", "message"), ROWS, ids=IDS)
def test_a_message_has_its_length_and_frame_format(wire: str, message: Message) -> None:
    header, data, _ = recorded(wire, *NODES.values())[message.frame_id][0]
    assert len(data) == message.length
    assert header.fd == message.is_fd
    assert header.extended == message.is_extended_frame
    assert message.dbc is not None
    switched = message.dbc.attributes.get("CANFD_BRS")
    assert header.bit_rate_switch == bool(switched is not None and int(switched.value))


@pytest.mark.parametrize(("wire", "message"), [row for row in ROWS if row[1].senders[0] in NODES])
def test_a_message_comes_from_its_sender_and_nobody_else(wire: str, message: Message) -> None:
    sender = NODES[message.senders[0]]
    others = [name for name in NODES.values() if name != sender]
    if any(ecu_type(name).wire == wire for name in others):
        assert recorded(wire, *others).get(message.frame_id) is None
    assert recorded(wire, sender)[message.frame_id]


@pytest.mark.parametrize("wire", CAN_WIRES)
def test_the_rest_of_the_car_sends_all_of_its_messages_alone(wire: str) -> None:
    own = {message.frame_id for message in messages(wire) if message.senders == ["VEH"]}
    other = next(name for name in NODES.values() if ecu_type(name).wire == wire)
    sent_by_ecu = {
        message.frame_id for message in messages(wire) if NODES.get(message.senders[0]) == other
    }
    assert set(recorded(wire, other)) & {m.frame_id for m in messages(wire)} == own | sent_by_ecu


@pytest.mark.parametrize("wire", CAN_WIRES)
def test_nothing_cyclic_is_on_a_wire_that_no_database_describes(wire: str) -> None:
    described = {message.frame_id for message in messages(wire)} | NETWORK_MANAGEMENT
    heard = recorded(wire, *NODES.values())
    assert {one for one, frames in heard.items() if len(frames) > LISTENED_S} <= described


@pytest.mark.parametrize(("wire", "message"), [row for row in ROWS if row[1].senders == ["VEH"]])
def test_the_rest_of_the_car_begins_with_the_start_values(wire: str, message: Message) -> None:
    _, data, _ = recorded(wire, *NODES.values())[message.frame_id][0]
    expected = {signal.name: signal.initial for signal in message.signals}
    assert message.decode(data) == expected


#: A day on which every sensor reads its start value.
MILD = Surroundings(ambient_c=20.0, cabin_c=20.0, sun_w=0.0)


@pytest.mark.parametrize(("wire", "message"), [row for row in ROWS if row[1].senders[0] in NODES])
def test_an_ecu_begins_with_the_start_values(wire: str, message: Message) -> None:
    """Where the day is the databases' and the application has not asked for anything yet."""
    ecu = NODES[message.senders[0]]
    _, data, _ = recorded(wire, ecu, idle=True)[message.frame_id][0]
    assert message.decode(data) == {signal.name: signal.initial for signal in message.signals}


@pytest.mark.parametrize("ecu", [name for name in ecu_names() if ecu_type(name).cyclic])
def test_what_an_ecu_type_sends_is_what_the_databases_say_it_sends(ecu: str) -> None:
    kind = ecu_type(ecu)
    sent = {(one.database, one.message): set(one.signals) for one in kind.cyclic}
    described = {
        (name, message.name): {signal.name for signal in message.signals}
        for name in WIRES[kind.wire].databases
        for message in load(name).messages
        if NODES.get(message.senders[0]) == ecu
    }
    assert sent == described
