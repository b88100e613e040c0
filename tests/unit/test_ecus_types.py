from pathlib import Path

import pytest

import dbc
from dbc.vehicle import describe_vehicle
from ecu_sim.boot import boot_profile
from ecu_sim.describe import describe
from ecu_sim.ecus import (
    WIRES,
    EcuType,
    OutputOf,
    Plant,
    Signal,
    Silence,
    Source,
    ecu_names,
    ecu_type,
)
from ecu_sim.plant import Cabin
from ecu_sim.signals import period_s_of

TYPES = [ecu_type(name) for name in ecu_names()]


def sources_of(ecu: EcuType) -> list[Source]:
    return [
        *ecu.inputs.values(),
        *(live.source for live in ecu.live_values.values()),
        *(monitor.source for monitor in ecu.wire_monitors.values()),
        *(source for message in ecu.cyclic for source in message.signals.values()),
    ]


def test_the_vehicle_description_is_what_the_ecu_types_say() -> None:
    path = Path(dbc.__file__).with_name("vehicle.toml")
    assert path.read_text("utf-8") == describe()


def test_the_description_reads_back_with_every_ecu() -> None:
    assert set(describe_vehicle().ecus) == set(ecu_names())


def test_an_unknown_ecu_type_is_named_with_those_there_are() -> None:
    with pytest.raises(LookupError, match=r"toaster.*ccu"):
        ecu_type("toaster")


@pytest.mark.parametrize("ecu", TYPES, ids=lambda ecu: ecu.name)
def test_every_source_of_a_value_exists(ecu: EcuType) -> None:
    for source in sources_of(ecu):
        match source:
            case Plant(sensor):
                assert isinstance(getattr(Cabin(), sensor), float)
            case Signal(database, message, signal):
                found = dbc.load(database).get_message_by_name(message)
                assert found.get_signal_by_name(signal).name == signal
                assert database in WIRES[ecu.wire].databases
            case Silence(database, message):
                assert dbc.load(database).get_message_by_name(message).name == message
                assert database in WIRES[ecu.wire].databases
            case OutputOf(channel):
                assert channel in ecu.outputs


@pytest.mark.parametrize("ecu", TYPES, ids=lambda ecu: ecu.name)
def test_every_signal_of_a_sent_message_has_a_source_and_a_period_of_whole_steps(
    ecu: EcuType,
) -> None:
    for message in ecu.cyclic:
        sent = dbc.load(message.database).get_message_by_name(message.message)
        assert {signal.name for signal in sent.signals} == message.signals.keys()
        assert round(period_s_of(message.database, message.message) * 1000) % 100 == 0


@pytest.mark.parametrize("ecu", TYPES, ids=lambda ecu: ecu.name)
def test_every_actuator_and_boot_profile_exists(ecu: EcuType) -> None:
    for output in ecu.outputs.values():
        assert not output.actuator or hasattr(Cabin(), output.actuator)
    assert boot_profile(ecu.boot_profile) is not None
    assert ecu.slot.size % ecu.slot.sector_size == 0


def test_no_two_ecus_share_an_address() -> None:
    identifiers = [
        (ecu.wire, number, address.extended)
        for ecu in TYPES
        for address in ecu.can_addresses
        for number in (address.request_id, address.response_id)
    ]
    assert len(identifiers) == len(set(identifiers))
    assert len({ecu.logical_address for ecu in TYPES}) == len(TYPES)
    assert len({ecu.hardware_identifier for ecu in TYPES}) == len(TYPES)
