"""The signal databases: what the ECUs, the rest bus and the recorder build on."""

from itertools import combinations
from pathlib import Path

import pytest
from cantools.database import load_file, load_string
from cantools.database.can import Database, Message

import dbc
from dbc import VehicleDescription, describe_vehicle, load

FOLDER = Path(dbc.__file__).parent
NAMES = ("gateway", "hvac_comfort", "hvac_thermal", "vehicle")

SIGNALS = {
    "gateway": [("GW_Interlock", "DriveInhibit"), ("GW_Interlock", "HighVoltageOff")],
    "hvac_comfort": [
        ("CCU_Status", "CabinTemperature"), ("CCU_Status", "Setpoint"),
        ("CCU_Status", "BlendPosition"), ("CCU_Control", "BlowerRequest"),
        ("Blower_Status", "BlowerLevel"), ("Blower_Status", "BlowerRpm"),
    ],
    "hvac_thermal": [
        ("ECP_Status", "CompressorSpeed"), ("ECP_Status", "EvaporatorTemperature"),
    ],
    "vehicle": [
        ("VEH_Motion", "Speed"), ("VEH_Motion", "Gear"), ("VEH_Power", "Terminal15"),
        ("VEH_Power", "BatteryVoltage"), ("VEH_Power", "StateOfCharge"),
        ("VEH_Power", "HighVoltage"), ("VEH_Power", "Charging"), ("VEH_Climate", "Setpoint"),
        ("VEH_Climate", "CoolingRequest"), ("VEH_Climate", "Preconditioning"),
        ("VEH_Climate", "Ambient"), ("VEH_Body", "Doors"),
    ],
}  # fmt: skip

#: Signal -> coarsest step in its unit that a plot or a control loop can live with.
FINEST_STEPS = {"degC": 0.1, "%": 0.5, "rpm": 1.0, "V": 0.1, "km/h": 0.1}


def messages() -> list[Message]:
    return [message for name in NAMES for message in load(name).messages]


@pytest.mark.parametrize(("name", "message", "signal"), [
    (name, message, signal) for name, signals in SIGNALS.items() for message, signal in signals
])  # fmt: skip
def test_a_signal_that_others_build_on_is_there(name: str, message: str, signal: str) -> None:
    assert signal in load(name).get_message_by_name(message).signal_tree


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.dbc")), ids=lambda file: file.stem)
def test_a_database_is_read_strictly_and_comes_through_cantools_unchanged(file: Path) -> None:
    """Strict: no signals that overlap or do not fit, no message twice."""
    assert file.stem in NAMES
    read = load_file(file, strict=True)
    assert isinstance(read, Database)
    again = load_string(read.as_dbc_string(), "dbc", strict=True)
    assert isinstance(again, Database)
    nodes = {node.name for node in read.nodes}
    for message in read.messages:
        other = again.get_message_by_name(message.name)
        assert _facts(other) == _facts(message)
        receivers = {name for signal in message.signals for name in signal.receivers}
        assert {*message.senders, *receivers} <= nodes


def _facts(message: Message) -> tuple[object, ...]:
    return (
        message.frame_id,
        message.length,
        message.is_fd,
        message.senders,
        message.cycle_time,
        message.send_type,
        [
            (one.name, one.start, one.length, one.scale, one.offset, one.raw_initial, one.unit)
            for one in message.signals
        ],
    )


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.name)
def test_a_message_is_fully_described(message: Message) -> None:
    assert message.cycle_time is not None
    assert 10 <= message.cycle_time <= 1000
    assert len(message.senders) == 1
    assert message.comment
    for signal in message.signals:
        assert signal.comment, signal.name
        assert signal.initial is not None, signal.name
        assert signal.receivers, signal.name
        assert signal.scale <= FINEST_STEPS.get(signal.unit or "", 1.0), signal.name


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.name)
def test_start_values_and_limits_survive_the_wire(message: Message) -> None:
    start = {s.name: s.initial for s in message.signals if s.initial is not None}
    assert message.decode(message.encode(start), allow_truncated=False) == start
    for bound in ("minimum", "maximum"):
        values = {signal.name: getattr(signal, bound) for signal in message.signals}
        decoded = message.decode(message.encode(values), decode_choices=False)
        assert decoded == pytest.approx(values)


@pytest.fixture(name="vehicle")
def fixture_vehicle() -> VehicleDescription:
    return describe_vehicle()


def test_cyclic_traffic_wins_arbitration_against_diagnostics(vehicle: VehicleDescription) -> None:
    diagnostic = [ecu.request_id for ecu in vehicle.ecus.values() if ecu.request_id]
    assert max(message.frame_id for message in messages()) < min(diagnostic)


def test_every_wire_names_databases_that_exist_and_share_no_identifier(
    vehicle: VehicleDescription,
) -> None:
    for wire in vehicle.wires.values():
        databases: list[Database] = [load(name) for name in wire.databases]
        for one, other in combinations(databases, 2):
            assert not {m.frame_id for m in one.messages} & {m.frame_id for m in other.messages}


def test_only_the_thermal_wire_carries_fd_frames(vehicle: VehicleDescription) -> None:
    assert [message.name for message in messages() if message.is_fd] == ["ECP_Status", "PTC_Status"]
    (wire,) = (wire for wire in vehicle.wires.values() if "hvac_thermal" in wire.databases)
    assert wire.kind == "canfd"


def test_an_unknown_database_is_answered_with_the_known() -> None:
    with pytest.raises(
        FileNotFoundError, match="known: gateway, hvac_comfort, hvac_thermal, vehicle"
    ):
        load("powertrain")
