"""`ecu_sim.ecus.EcuType`: what every ECU type of the vehicle promises."""

import math
from collections.abc import Iterator
from functools import cache

import pytest

import dbc
from dbc import EcuDescription, describe_vehicle
from ecu_sim.boot import boot_profile
from ecu_sim.describe import TESTER_ADDRESS
from ecu_sim.ecus import (
    IDENTIFICATION,
    WIRES,
    CyclicMessage,
    EcuType,
    OutputOf,
    Plant,
    Signal,
    Silence,
    Source,
    all_ecu_names,
    ecu_names,
    ecu_type,
)
from ecu_sim.plant import Cabin
from ecu_sim.runtime import Application
from ecu_sim.signals import Encoder, header_of, period_s_of
from firmware import image_path
from firmware.applications import APPLICATIONS, VERSIONS
from protocols.can import FrameHeader
from protocols.firmware.containers import cmac, containers, crc32, declared, mcuboot, sha512
from protocols.firmware.formats import Image, detect, formats
from protocols.network_management import NODES, node_of
from protocols.uds.dtc import display
from tests.support.can import seeded

NAMES = ecu_names()
TYPES = [ecu_type(name) for name in NAMES]
BUILT = [(name, version) for name in NAMES for version in VERSIONS]

#: Container -> the module of an image in it.
PAYLOADS = {
    "cmac": lambda image: cmac.decode(image).payload,
    "crc32": lambda image: crc32.decode(image).payload,
    "sha512": lambda image: sha512.decode(image).payload,
    "mcuboot": lambda image: mcuboot.decode(image).payload,
}


@cache
def built(name: str, version: str) -> Image:
    path = image_path(name, version)
    content = path.read_bytes()
    return detect(path.name, content).decode(content)


def described(name: str) -> EcuDescription:
    return describe_vehicle().ecus[name]


def sources_of(ecu: EcuType) -> Iterator[Source]:
    yield from ecu.inputs.values()
    yield from (live.source for live in ecu.live_values.values())
    yield from (monitor.source for monitor in ecu.wire_monitors.values())
    for message in ecu.cyclic:
        yield from message.signals.values()


def sent_by_all() -> list[tuple[EcuType, CyclicMessage]]:
    return [(ecu, message) for ecu in TYPES for message in ecu.cyclic]


def identifiers_of(ecu: EcuType) -> list[FrameHeader]:
    return [
        FrameHeader(number, extended=address.extended)
        for address in ecu.can_addresses
        for number in (address.request_id, address.response_id)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_vehicle_description_says_what_the_type_says(name: str) -> None:
    ecu, told = ecu_type(name), described(name)
    assert ecu.name == name
    assert (told.name, told.hardware_id, told.wire) == (name, ecu.hardware_identifier, ecu.wire)
    assert (told.logical_address, told.single_slot) == (ecu.logical_address, ecu.single_slot)
    assert (told.application_base, told.slot_size) == (ecu.application_base, ecu.slot.size)
    assert (told.sector_size, told.page_size) == (ecu.slot.sector_size, ecu.slot.page_size)
    assert (told.erase_s, told.program_s) == (ecu.slot.erase_s, ecu.slot.program_s)
    assert (told.max_block_length, told.security_level) == (
        ecu.max_block_length,
        ecu.security_level,
    )
    assert (told.p2_s, told.p2_star_s, told.s3_s, told.boot_s) == (
        ecu.p2_s,
        ecu.p2_star_s,
        ecu.s3_s,
        ecu.boot_s,
    )
    first = [(one.request_id, one.response_id) for one in ecu.can_addresses[:1]]
    assert (told.request_id, told.response_id) == (first[0] if first else (0, 0))
    assert dict(told.dtcs) == dict(ecu.dtcs)
    assert dict(told.data_identifiers) == ecu.data_identifiers
    assert told.scalings.keys() == ecu.live_values.keys()


def test_every_ecu_is_a_node_of_its_own_in_network_management() -> None:
    """Those of a bench are fitted beside those of the vehicle."""
    taken = {0: "gateway", NODES - 2: "edge node", NODES - 1: "rest bus"}
    for name in all_ecu_names():
        node = node_of(ecu_type(name).logical_address)
        assert taken.setdefault(node, name) == name


def test_the_vehicle_description_knows_no_other_ecu() -> None:
    assert describe_vehicle().ecus.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_wire_and_boot_profile_exist_and_fit(name: str) -> None:
    ecu = ecu_type(name)
    assert ecu.wire in WIRES
    assert describe_vehicle().wires[ecu.wire].kind == WIRES[ecu.wire].kind
    assert bool(ecu.can_addresses) is (WIRES[ecu.wire].kind != "doip")
    assert boot_profile(ecu.boot_profile) is not None
    for database in WIRES[ecu.wire].databases:
        assert dbc.load(database).messages
    # ISO 15765-2: 4095 bytes on classic CAN frames; a block has at least one byte of data.
    assert 3 <= ecu.max_block_length <= (4095 if WIRES[ecu.wire].kind == "can" else 0xFFFF_FFFF)


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_names_what_exists(name: str) -> None:
    ecu = ecu_type(name)
    assert list(ecu.inputs) == list(range(len(ecu.inputs)))
    assert list(ecu.outputs) == list(range(len(ecu.outputs)))
    on_the_wire = WIRES[ecu.wire].databases
    for source in sources_of(ecu):
        match source:
            case Plant(sensor):
                assert isinstance(getattr(Cabin(), sensor), float)
            case Signal(database, message, signal, default):
                assert database in on_the_wire
                found = dbc.load(database).get_message_by_name(message)
                limits = found.get_signal_by_name(signal)
                assert limits.minimum is None or default >= limits.minimum
                assert limits.maximum is None or default <= limits.maximum
            case Silence(database, message):
                assert database in on_the_wire
                assert period_s_of(database, message) > 0
            case OutputOf(channel):
                assert channel in ecu.outputs


@pytest.mark.parametrize("name", NAMES)
def test_every_actuator_is_one_of_the_cabin_s_and_driven_once(name: str) -> None:
    driven = [output.actuator for output in ecu_type(name).outputs.values() if output.actuator]
    for actuator in driven:
        assert isinstance(getattr(Cabin(), actuator), float)
        setattr(Cabin(), actuator, 0.0)
    others = [
        output.actuator
        for other in TYPES
        if other.name != name
        for output in other.outputs.values()
    ]
    assert len(set(driven)) == len(driven)
    assert set(driven).isdisjoint(others)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_ecu_sends_is_its_own_and_cyclic_in_its_database(name: str) -> None:
    ecu = ecu_type(name)
    for sent in ecu.cyclic:
        assert sent.database in WIRES[ecu.wire].databases
        message = dbc.load(sent.database).get_message_by_name(sent.message)
        assert message.senders == [ecu.hardware_identifier.partition("-")[0]]
        assert period_s_of(sent.database, sent.message) > 0
        assert {signal.name for signal in message.signals} == sent.signals.keys()
        payload = Encoder(sent.database, sent.message).encode({})
        assert len(payload) == message.length
        assert header_of(sent.database, sent.message).fd is (WIRES[ecu.wire].kind == "canfd")


@pytest.mark.parametrize("name", NAMES)
def test_an_ecu_sends_all_that_the_databases_say_it_does(name: str) -> None:
    ecu = ecu_type(name)
    node = ecu.hardware_identifier.partition("-")[0]
    promised = {
        (database, message.name)
        for database in WIRES[ecu.wire].databases
        for message in dbc.load(database).messages
        if node in message.senders
    }
    assert promised == {(sent.database, sent.message) for sent in ecu.cyclic}


def test_no_message_has_two_senders() -> None:
    sent = [(message.database, message.message) for _, message in sent_by_all()]
    assert len(sent) == len(set(sent))


@pytest.mark.parametrize("name", NAMES)
def test_an_address_belongs_to_one_ecu_and_to_no_message(name: str) -> None:
    ecu = ecu_type(name)
    own = identifiers_of(ecu)
    assert len(set(own)) == len(own)
    taken = {
        header for other in TYPES if other is not ecu for header in identifiers_of(other)
    }  # on any wire: a gateway that joins wires must not confuse them
    taken |= {FrameHeader(wire.functional_id) for wire in WIRES.values() if wire.kind != "doip"}
    taken |= {
        FrameHeader(message.frame_id, extended=message.is_extended_frame)
        for database in WIRES[ecu.wire].databases
        for message in dbc.load(database).messages
    }
    assert taken.isdisjoint(own)
    others = {other.logical_address for other in TYPES if other is not ecu}
    assert ecu.logical_address not in others | {TESTER_ADDRESS}
    # ISO 13400-2: the vehicle manufacturer's addresses, and none of the testers'.
    assert 0x0001 <= ecu.logical_address <= 0x7FFF
    assert not 0x0E00 <= ecu.logical_address <= 0x0FFF
    assert ecu.hardware_identifier not in {
        other.hardware_identifier for other in TYPES if other is not ecu
    }


@pytest.mark.parametrize("name", NAMES)
def test_trouble_codes_are_numbers_of_three_bytes_with_a_text(name: str) -> None:
    ecu = ecu_type(name)
    assert ecu.dtcs
    for number, text in ecu.dtcs.items():
        assert 0 < number < 1 << 24
        assert text
        assert display(number)
    others = {number for other in TYPES if other is not ecu for number in other.dtcs}
    assert others.isdisjoint(ecu.dtcs)


@pytest.mark.parametrize("name", NAMES)
def test_live_values_have_identifiers_of_their_own_and_a_number_that_fits(name: str) -> None:
    ecu = ecu_type(name)
    assert IDENTIFICATION.keys().isdisjoint(ecu.live_values)
    for live in ecu.live_values.values():
        assert live.name
        assert live.scale > 0
        assert live.length in {1, 2, 4}


@pytest.mark.parametrize(("name", "version"), BUILT)
def test_a_built_image_fits_its_slot_and_says_whose_it_is(name: str, version: str) -> None:
    ecu, image = ecu_type(name), built(name, version)
    assert image.address == ecu.application_base
    assert image.end <= ecu.application_base + ecu.slot.size
    found = declared(image.data)
    assert found is not None
    assert found.container == APPLICATIONS[name].container
    assert found.hardware_id == ecu.hardware_identifier
    assert found.software_version == version
    assert image_path(name, version).suffix in formats()[APPLICATIONS[name].file_format].suffixes


@pytest.mark.parametrize(("name", "version"), BUILT)
def test_a_built_application_uses_only_channels_and_monitors_that_its_ecu_has(
    name: str, version: str
) -> None:
    ecu, image = ecu_type(name), built(name, version).data
    inside = next(key for key, member in containers().items() if member.recognizes(image))
    generator = seeded(f"{name} {version}")
    inputs: dict[int, float] = {}
    written: dict[int, float] = {}
    reported: set[int] = set()

    def report(index: int, failed: bool) -> None:  # noqa: FBT001 the runtime's callback
        del failed
        reported.add(index)

    # A channel that the type does not have is a KeyError.
    inputs.update(dict.fromkeys(ecu.inputs, 0.0))
    application = Application(
        PAYLOADS[inside](image),
        read=inputs.__getitem__,
        write=written.__setitem__,
        report_dtc=report,
    )
    for _ in range(40):
        inputs.update((channel, generator.choice((0.0, 1.0, 20.0, 350.0))) for channel in inputs)
        for _ in range(150):  # long enough for every monitor to come to a result
            application.step(0.1)
    assert written.keys() == ecu.outputs.keys()
    assert all(math.isfinite(value) for value in written.values())
    assert reported == set(range(len(ecu.application_dtcs)))
