"""`canota.testing` as someone uses it who writes bench tests on it."""

import pytest
from udsoncan.exceptions import NegativeResponseException

from canota.testing import (
    BenchCloud,
    BenchEcu,
    BenchFaults,
    BenchGateway,
    BenchVehicle,
    BenchWire,
    NegativeResponseError,
    NoAnswerError,
    Setup,
    VirtualClock,
)
from canota.testing.setup import SetupError
from ecu_sim.faults import FaultError
from ecu_sim.node import Mode
from vehicle_gateway.update.coordinator import Outcome

pytest_plugins = ["pytester"]

BLOWER = pytest.mark.canota(ecus=["blower"])


@BLOWER
def test_an_ecu_answers_and_the_clock_moves_by_what_it_takes(
    virtual_clock: VirtualClock, ecu: BenchEcu
) -> None:
    began_s = virtual_clock.now_s
    assert ecu.ask("22 f1 89").startswith(b"\x62\xf1\x89")
    assert 0 < virtual_clock.now_s - began_s < 0.05
    assert ecu.version == "1.0.0"


@BLOWER
def test_refusals_are_bytes_or_errors_and_silence_is_silence(ecu: BenchEcu) -> None:
    assert ecu.ask("22 ff ff") == bytes.fromhex("7f 22 31")
    with pytest.raises(NegativeResponseError, match="REQUEST_OUT_OF_RANGE"):
        ecu.request("22 ff ff")
    assert ecu.is_silent("3e 80")
    ecu.cut_power()
    assert ecu.mode is Mode.OFF
    with pytest.raises(NoAnswerError, match="blower: no answer"):
        ecu.ask("3e 00")
    ecu.power_on()
    assert ecu.ask("3e 00") == b"\x7e\x00"


@BLOWER
def test_security_access_is_had_by_the_right_key_alone(
    virtual_clock: VirtualClock, ecu: BenchEcu
) -> None:
    ecu.enter(0x03)
    ecu.enter(0x02)
    assert ecu.mode is Mode.BOOTLOADER
    seed = ecu.request("27 01")[2:]
    assert ecu.ask(b"\x27\x02" + bytes(len(seed))) == bytes.fromhex("7f 27 35")
    ecu.unlock()
    assert ecu.ask("27 01")[2:].strip(b"\0") == b""
    virtual_clock.advance(10.0)  # longer than S3: back to the default session
    assert ecu.ask("27 01")[0] == 0x7F


@BLOWER
def test_the_wire_hears_what_is_said_on_it(
    virtual_clock: VirtualClock, ecu: BenchEcu, wire: BenchWire
) -> None:
    address = ecu.node.ecu.can_addresses[0]
    heard = wire.record(address.request_id, address.response_id)
    ecu.ask("3e 00")
    request, response = heard
    assert (request.identifier, request.data[:3]) == (address.request_id, bytes.fromhex("02 3e 00"))
    assert (response.identifier, response.data[:3]) == (
        address.response_id,
        bytes.fromhex("02 7e 00"),
    )
    assert request.at_s < response.at_s <= virtual_clock.now_s
    wire.send(address.request_id, "02 3e 00 cc cc cc cc cc")
    virtual_clock.advance(0.1)
    assert [one.data[1] for one in heard] == [0x3E, 0x7E, 0x3E, 0x7E]
    assert 0.0 < wire.load < 0.5


@BLOWER
def test_signals_are_set_and_read_by_their_names(vehicle: BenchVehicle, wire: BenchWire) -> None:
    assert wire.signal("VEH_Power", "Terminal15") == 1.0
    vehicle.set("Terminal15", 0.0)
    assert wire.signal("VEH_Power", "Terminal15") == 0.0


@pytest.mark.canota(ecus=["ccu", "blower"])
def test_a_functional_request_has_an_answer_from_each(vehicle: BenchVehicle) -> None:
    answers = vehicle.ask_all("comfort", "3e 00")
    assert answers == {"ccu": b"\x7e\x00", "blower": b"\x7e\x00"}


@pytest.mark.canota(ecus=["ccu", "rear"], ecu="rear")
def test_an_ecu_on_doip_is_asked_like_any_other(ecu: BenchEcu) -> None:
    assert ecu.name == "rear"
    assert ecu.version == "1.0.0"
    with pytest.raises(TypeError, match="no CAN wire"):
        ecu.wire.record()


@pytest.mark.canota(ecus=["bench_2013"], images={"bench_2013": b""})
def test_an_ecu_without_an_image_is_no_bench(request: pytest.FixtureRequest) -> None:
    with pytest.raises(Exception, match="bench_2013"):
        request.getfixturevalue("vehicle")


@BLOWER
def test_udsoncans_own_client_works_on_the_clock(ecu: BenchEcu) -> None:
    with ecu.udsoncan({"data_identifiers": {0xF189: "5s"}}) as client:
        answer = client.read_data_by_identifier(0xF189)
        assert answer.service_data.values[0xF189] == (b"1.0.0",)
        client.change_session(3)
        with pytest.raises(NegativeResponseException):
            client.change_session(0x55)


@BLOWER
async def test_a_coroutine_runs_on_the_clock(ecu: BenchEcu, virtual_clock: VirtualClock) -> None:
    assert await ecu.tester.request(b"\x3e\x00") == b"\x7e\x00"
    with pytest.raises(RuntimeError, match="running"):
        ecu.ask("3e 00")
    assert virtual_clock.now_s > 0


@BLOWER
def test_time_passes_until_something_is_so_or_not_at_all(
    virtual_clock: VirtualClock, ecu: BenchEcu
) -> None:
    ecu.tell("11 01")
    virtual_clock.until(lambda: ecu.mode is Mode.BOOTING)
    assert 0.0 < virtual_clock.until(lambda: ecu.mode is Mode.APPLICATION) < 5.0
    with pytest.raises(TimeoutError, match=r"not so within 2\.0 s"):
        virtual_clock.until(lambda: ecu.mode is Mode.OFF, within_s=2.0)


@BLOWER
def test_a_fault_is_there_until_it_ends(ecu: BenchEcu, faults: BenchFaults) -> None:
    with faults.begin(ecu, "nrc=21@22") as busy:
        assert ecu.ask("22 f1 89") == bytes.fromhex("7f 22 21")
    assert busy.hits == 1
    assert ecu.version == "1.0.0"
    faults.begin(ecu, "nrc=22@22")
    assert ecu.ask("22 f1 89") == bytes.fromhex("7f 22 22")
    faults.end()
    assert ecu.version == "1.0.0"
    with pytest.raises(FaultError, match="blower"):
        faults.begin(ecu, "no-such-fault")


@BLOWER
def test_a_release_comes_from_the_cloud_by_the_gateway(
    cloud: BenchCloud, gateway: BenchGateway, ecu: BenchEcu
) -> None:
    release = cloud.publish("2.0.0")
    cloud.start_campaign("spring", release)
    assert gateway.run_once() is Outcome.UPDATED
    assert ecu.version == "2.0.0"
    assert cloud.report("spring")["campaign"]["outcome"] == "updated"
    assert {one.ecu for one in gateway.progress} == {"blower"}
    assert gateway.run_once() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ecu": "rear", "ecus": ["blower"]}, "ecu='rear' is not among ecus="),
        ({"colour": "red"}, "has no 'colour', but capture, ecu, ecus"),
    ],
)
def test_a_marker_that_says_what_there_is_not_is_told_so(
    arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(SetupError, match=said):
        Setup.of(arguments)


@pytest.mark.canota(ecus=["blower"], seed=7)
class TestMarkers:
    @pytest.mark.canota(seed=8)
    def test_a_nearer_marker_goes_before_one_further_out(self, canota_setup: Setup) -> None:
        assert (canota_setup.seed, canota_setup.ecus) == (8, ("blower",))


def test_a_wrong_marker_is_an_error_of_its_test_in_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.canota(ecus=["blower"], colour="red")
        def test_no_such_argument(vehicle): ...

        @pytest.mark.canota(ecus=["blowr"])
        def test_no_such_ecu(vehicle): ...

        @pytest.mark.canota("blower")
        def test_no_name(vehicle): ...
        """
    )
    result = pytester.runpytest_subprocess("-n0", "-p", "no:hypothesispytest")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.canota has no 'colour', but *",
            "the bench does not start: no ECU type 'blowr'; there are: *",
            "@pytest.mark.canota takes arguments by name only",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


@pytest.mark.canota(ecus=["blower"])
def test_what_the_bench_has_not_is_told_with_what_it_has(
    vehicle: BenchVehicle, ecu: BenchEcu
) -> None:
    with pytest.raises(KeyError, match="no ECU 'ccu' in this vehicle; there are: blower"):
        vehicle.ecu("ccu")
    with pytest.raises(KeyError, match="no wire 'hvac' in this vehicle; there are: comfort"):
        vehicle.wire("hvac")
    with pytest.raises(ValueError, match="'3e 0': two hexadecimal digits for each byte"):
        ecu.ask("3e 0")
    ecu.power_off()
    with pytest.raises(NoAnswerError):
        ecu.ask("3e 00")


def test_the_plugin_costs_nothing_where_no_fixture_is_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_without_a_bench():
            ours = {"grpc", "wasmtime", "udsoncan", "ecu_sim", "cloud", "clock"}
            loaded = ours & set(sys.modules)
            assert not loaded, loaded
        """
    )
    pytester.runpytest_subprocess("-n0", "-p", "no:hypothesispytest").assert_outcomes(passed=1)
