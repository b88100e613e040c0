"""udsoncan's unmodified client calls every method that one of our ECUs has an answer for.

Each scenario says which methods it calls; a method of the client that no scenario calls, and that
has no reason below, fails the last test.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import udsoncan
from udsoncan.Request import Request
from udsoncan.services.RequestUpload import RequestUpload
from udsoncan.services.TesterPresent import TesterPresent

from protocols.uds import Nrc
from tests.support.any_ecu import failing_image, image_of, prepare
from tests.support.udsoncan_client import Anything, OnEcu, public_methods, udsoncan_on
from tests.support.vehicle import built_image

Scenario = Callable[[OnEcu], None]

#: A DTC of ccu that fails when it hears no blower.
_SILENT_BLOWER = 0xD14087
_WORKSHOP = 0x10


def _session_and_lock(on: OnEcu) -> None:
    client = on.client
    client.close()
    client.open()
    session = client.change_session(3).service_data
    assert session.session_echo == 3
    timing = client.get_session_timing()
    assert (timing.p2_server_max, timing.p2_star_server_max) == (0.05, 5.0)
    assert client.tester_present().positive
    seed = client.request_seed(1).service_data.seed
    assert len(seed) == 16
    key = on.key(1, seed)
    assert client.send_key(1, key).positive
    assert client.unlock_security_access(3).service_data.security_level_echo == 4
    assert client.ecu_reset(1).service_data.reset_type_echo == 1
    on.wait(1.0)
    on.refused(lambda: client.request_seed(1), Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)


def _settings_of_the_client(on: OnEcu) -> None:
    client = on.client
    client.set_config("tolerate_zero_padding", False)  # noqa: FBT003 the library's signature
    client.set_configs({"p2_timeout": 0.3, "p2_star_timeout": 6})
    client.refresh_config()
    client.validate_config()
    client.configure_logger()
    assert "TesterPresent" in client.service_log_prefix(TesterPresent)
    answer = client.send_request(Request(TesterPresent, subfunction=0))
    assert answer.get_payload() == b"\x7e\x00"


def _data(on: OnEcu) -> None:
    client = on.client
    vin = on.node.hardware.identity.vin.encode()
    assert client.read_data_by_identifier(0xF190).service_data.values == {0xF190: vin}
    assert client.read_data_by_identifier_first([0xF190]) == vin
    assert client.test_data_identifier([0xF190]).data == b"\xf1\x90" + vin
    client.change_session(3)
    on.refused(lambda: client.write_data_by_identifier(0x0201, -7), Nrc.SECURITY_ACCESS_DENIED)
    client.unlock_security_access(3)
    assert client.write_data_by_identifier(0x0201, -7).service_data.did_echo == 0x0201
    assert client.read_data_by_identifier_first(0x0201) == (-7,)


def _dynamic_data(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    vin = on.node.hardware.identity.vin.encode()
    first_three = {"source_did": 0xF190, "position": 1, "memorysize": 3}
    head: Anything = udsoncan.DynamicDidDefinition(**first_three)  # type: ignore[no-untyped-call]  # of the library
    for did in (0xF300, 0xF301):
        assert client.dynamically_define_did(did, head).service_data.did_echo == did
    assert client.read_data_by_identifier_first(0xF300) == vin[:3]
    place = udsoncan.MemoryLocation(0x2000_F000, 4)
    assert client.dynamically_define_did(0xF302, place).positive
    assert len(client.read_data_by_identifier_first(0xF302)) == 4
    assert client.clear_dynamically_defined_did(0xF300).service_data.did_echo == 0xF300
    assert client.do_clear_dynamically_defined_did(0xF301).positive
    on.refused(lambda: client.read_data_by_identifier(0xF301), Nrc.REQUEST_OUT_OF_RANGE)
    assert client.clear_all_dynamically_defined_did().positive


def _memory(on: OnEcu) -> None:
    client, place = on.client, udsoncan.MemoryLocation(0x2000_F000, 4)
    client.change_session(3)
    client.unlock_security_access(3)
    assert client.write_memory_by_address(place, b"\x01\x02\x03\x04").positive
    assert client.read_memory_by_address(place).service_data.memory_block == b"\x01\x02\x03\x04"


def _upload(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    client.unlock_security_access(1)
    image = built_image("ccu", "1.0.0")[:64]
    for announce in (
        client.request_upload,
        lambda place: client.request_upload_download(RequestUpload, place),
    ):
        place = udsoncan.MemoryLocation(on.node.ecu.application_base, len(image))
        assert announce(place).service_data.max_length >= len(image) + 2
        assert client.transfer_data(1).service_data.parameter_records == image
        assert client.request_transfer_exit().positive


def _download(on: OnEcu) -> None:
    client, page = on.client, on.node.ecu.slot.page_size
    client.change_session(3)
    client.unlock_security_access(1)
    place = udsoncan.MemoryLocation(on.node.ecu.application_base, page)
    assert client.request_download(place).service_data.max_length == on.node.ecu.max_block_length
    assert client.transfer_data(1, bytes(page)).service_data.sequence_number_echo == 1
    assert client.request_transfer_exit().positive


def _outputs_and_routines(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    controlled = client.io_control(0x0181, control_param=3, values=[40, 25, 1], masks=True)
    assert controlled.service_data.decoded_data == (40, 25, 1)
    assert client.io_control(0x0181, control_param=0).positive
    assert client.start_routine(0x0203).service_data.routine_status_record == b"\x00\x00"
    digest = client.routine_control(0x0214, 1, bytes(16)).service_data
    assert len(digest.routine_status_record) == 1 + 32 + 64
    for lacking in (client.stop_routine, client.get_routine_result):
        on.refused(partial(lacking, 0x0203), Nrc.SUB_FUNCTION_NOT_SUPPORTED)


def _codes(response: Anything) -> list[int]:
    return [dtc.id for dtc in response.service_data.dtcs]


def _trouble_codes(on: OnEcu) -> None:
    client = on.client
    # Nobody has told it of a blower: four results in a row, then the code is confirmed.
    on.wait(60)
    everything = list(on.node.ecu.dtcs)
    assert _codes(client.get_dtc_by_status_mask(0x08)) == [_SILENT_BLOWER]
    assert client.get_number_of_dtc_by_status_mask(0x08).service_data.dtc_count == 1
    assert _codes(client.get_supported_dtc()) == everything
    assert _codes(client.get_dtc_by_status_severity_mask(0xFF, 0x20)) == [_SILENT_BLOWER]
    assert client.get_number_of_dtc_by_status_severity_mask(0x08, 0xE0).service_data.dtc_count == 1
    severe = client.get_dtc_severity(_SILENT_BLOWER).service_data.dtcs[0]
    assert (severe.severity.maintenance_only, severe.functional_unit) == (True, 0x10)
    for asked in (
        client.get_first_test_failed_dtc,
        client.get_first_confirmed_dtc,
        client.get_most_recent_test_failed_dtc,
        client.get_most_recent_confirmed_dtc,
    ):
        assert _codes(asked()) == [_SILENT_BLOWER]
    assert _codes(client.get_dtc_with_permanent_status()) == []
    assert _codes(client.get_dtc_fault_counter()) == []
    raw = client.read_dtc_information(0x02, status_mask=0x08)
    assert _codes(raw) == [_SILENT_BLOWER]


def _records_of_trouble_codes(on: OnEcu) -> None:
    client = on.client
    on.wait(60)
    found = client.get_dtc_snapshot_identification().service_data.dtcs
    assert [(dtc.id, dtc.snapshots) for dtc in found] == [(_SILENT_BLOWER, [1])]
    for snapshots in (
        client.get_dtc_snapshot_by_dtc_number(_SILENT_BLOWER),
        client.get_dtc_snapshot_by_record_number(1),
        client.get_user_defined_dtc_snapshot_by_dtc_number(_SILENT_BLOWER, _WORKSHOP),
    ):
        (dtc,) = snapshots.service_data.dtcs
        assert {one.did for one in dtc.snapshots} == set(on.node.ecu.live_values)
    for counters in (
        client.get_dtc_extended_data_by_dtc_number(_SILENT_BLOWER),
        client.get_user_defined_dtc_extended_data_by_dtc_number(_SILENT_BLOWER, _WORKSHOP),
    ):
        (dtc,) = counters.service_data.dtcs
        assert {one.record_number: one.raw_data for one in dtc.extended_data} == {
            1: b"\x01",
            2: b"\x00",
            3: b"\x00",
        }
    (dtc,) = client.get_dtc_extended_data_by_record_number(1).service_data.dtcs
    assert dtc.extended_data[0].raw_data == b"\x01"
    kept = client.get_user_defined_memory_dtc_by_status_mask(0x08, _WORKSHOP)
    assert _codes(kept) == [_SILENT_BLOWER]
    assert client.clear_dtc(0xFFFFFF).positive
    kept = client.get_user_defined_memory_dtc_by_status_mask(0x08, _WORKSHOP)
    assert _codes(kept) == [_SILENT_BLOWER]
    assert client.clear_dtc(0xFFFFFF, memory_selection=_WORKSHOP).positive
    kept = client.get_user_defined_memory_dtc_by_status_mask(0x08, _WORKSHOP)
    assert _codes(kept) == []


def _quiet(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    assert client.control_dtc_setting(2).service_data.setting_type_echo == 2
    assert client.control_dtc_setting(1, data=b"\xff\xff\xff").positive
    normal = udsoncan.CommunicationType(subnet=0, normal_msg=True)
    assert client.communication_control(3, normal).service_data.control_type_echo == 3
    assert client.communication_control(0, normal).positive
    assert client.communication_control(4, normal, node_id=1).positive
    on.refused(lambda: client.communication_control(5, normal, node_id=9), Nrc.REQUEST_OUT_OF_RANGE)


def _edition_of_2013(on: OnEcu) -> None:
    client = on.client
    on.wait(2)
    first, _ = on.node.ecu.dtcs
    for listed in (
        client.get_mirrormemory_dtc_by_status_mask(0x08),
        client.get_emission_dtc_by_status_mask(0x08),
        client.get_wwh_obd_dtc_by_status_mask(0x33, 0x08, 0xE0, 0),
        client.get_dtc_with_permanent_status(),
    ):
        assert _codes(listed) == [first]
    # It looks for a severity before each code, as this ECU type is set to give it.
    assert _codes(client.get_wwh_obd_dtc_with_permanent_status(0x33)) == [first]
    for counted in (
        client.get_mirrormemory_number_of_dtc_by_status_mask(0x08),
        client.get_number_of_emission_dtc_by_status_mask(0x08),
    ):
        assert counted.service_data.dtc_count == 1
    mirrored = client.get_mirrormemory_dtc_extended_data_by_dtc_number(first, record_number=1)
    assert mirrored.service_data.dtcs[0].extended_data[0].raw_data == b"\x01"
    assert client.clear_dtc(0xFFFF33).positive
    assert _codes(client.get_mirrormemory_dtc_by_status_mask(0x08)) == [first]


def _nothing_permanent(on: OnEcu) -> None:
    found = on.client.get_wwh_obd_dtc_with_permanent_status(0x33).service_data
    assert (found.dtc_format, found.dtcs) == (4, [])


def _timing(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    longest = client.read_extended_timing_parameters().service_data.timing_param_record
    assert len(longest) > 0
    client.set_timing_parameters(bytes.fromhex("006403e8"))
    active = client.read_active_timing_parameters().service_data.timing_param_record
    assert active == bytes.fromhex("006403e8")
    assert client.reset_default_timing_parameters().positive
    usual = client.access_timing_parameter(3).service_data.timing_param_record
    assert usual == bytes.fromhex("003201f4")


_FILE: Final = "/notes/first"


def _files(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    client.unlock_security_access(1)
    for begin, content in ((client.add_file, b"one"), (client.replace_file, b"second")):
        begun = begin(_FILE, filesize=len(content)).service_data
        assert begun.max_length > len(content)
        client.transfer_data(1, content)
        client.request_transfer_exit()
    found = client.read_file(_FILE).service_data
    assert found.filesize.uncompressed == len(b"second")
    assert client.transfer_data(1).service_data.parameter_records == b"second"
    client.request_transfer_exit()
    listed = client.read_dir("/").service_data
    assert listed.dirinfo_length > 0
    assert client.transfer_data(1).service_data.parameter_records
    client.request_transfer_exit()
    assert client.delete_file(_FILE).service_data.moop_echo == 2
    on.refused(lambda: client.request_file_transfer(4, _FILE), Nrc.REQUEST_OUT_OF_RANGE)


def _a_file_that_was_broken_off(on: OnEcu) -> None:
    client = on.client
    for begin, number in ((client.add_file, 1), (client.resume_file, 1)):
        client.change_session(3)
        client.unlock_security_access(1)
        begun = begin(_FILE, filesize=6).service_data
        position = 3 if begun.moop_echo == 6 else 0
        assert (begun.fileposition or 0) == position
        client.transfer_data(number, b"abcdef"[position : position + 3])
    client.request_transfer_exit()
    assert on.client.read_file(_FILE).service_data.filesize.uncompressed == 6


def _link(on: OnEcu) -> None:
    client = on.client
    client.change_session(3)
    for rate, control in ((250_000, 1), (800_000, 2)):
        verified = client.link_control(control, udsoncan.Baudrate(rate))
        assert verified.service_data.control_type_echo == control
    on.refused(lambda: client.link_control(1, udsoncan.Baudrate(9600)), Nrc.REQUEST_OUT_OF_RANGE)


def _reports_of_other_ecus(on: OnEcu) -> None:
    """What is for emissions, and for the edition of 2013, a climate control unit does not have."""
    client = on.client
    for lacking in (
        lambda: client.get_wwh_obd_dtc_by_status_mask(0x33, 0xFF, 0xE0, 0),
        lambda: client.get_wwh_obd_dtc_with_permanent_status(0x33),
        lambda: client.get_emission_dtc_by_status_mask(0xFF),
        lambda: client.get_number_of_emission_dtc_by_status_mask(0xFF),
    ):
        on.refused(lacking, Nrc.SUB_FUNCTION_NOT_SUPPORTED)


#: Scenario -> what it runs on, and the methods that it calls.
SCENARIOS: Final[Mapping[Scenario, tuple[str, str]]] = {
    _session_and_lock: (
        "ccu",
        (
            "open close change_session get_session_timing tester_present request_seed send_key"
            " unlock_security_access ecu_reset"
        ),
    ),
    _settings_of_the_client: (
        "ccu",
        (
            "set_config set_configs refresh_config validate_config configure_logger"
            " service_log_prefix send_request"
        ),
    ),
    _data: (
        "ccu",
        (
            "read_data_by_identifier read_data_by_identifier_first test_data_identifier"
            " change_session write_data_by_identifier unlock_security_access"
        ),
    ),
    _dynamic_data: (
        "ccu",
        (
            "change_session dynamically_define_did read_data_by_identifier_first"
            " read_data_by_identifier clear_dynamically_defined_did"
            " do_clear_dynamically_defined_did clear_all_dynamically_defined_did"
        ),
    ),
    _memory: (
        "ccu",
        "change_session unlock_security_access write_memory_by_address read_memory_by_address",
    ),
    _upload: (
        "ccu",
        (
            "change_session unlock_security_access request_upload request_upload_download"
            " transfer_data request_transfer_exit"
        ),
    ),
    _download: (
        "ccu",
        (
            "change_session unlock_security_access request_download transfer_data"
            " request_transfer_exit"
        ),
    ),
    _outputs_and_routines: (
        "ccu",
        "change_session io_control start_routine routine_control stop_routine get_routine_result",
    ),
    _trouble_codes: (
        "ccu",
        (
            "get_dtc_by_status_mask get_number_of_dtc_by_status_mask get_supported_dtc"
            " get_dtc_by_status_severity_mask get_number_of_dtc_by_status_severity_mask"
            " get_dtc_severity get_first_test_failed_dtc get_first_confirmed_dtc"
            " get_most_recent_test_failed_dtc get_most_recent_confirmed_dtc"
            " get_dtc_with_permanent_status get_dtc_fault_counter read_dtc_information"
        ),
    ),
    _records_of_trouble_codes: (
        "ccu",
        (
            "get_dtc_snapshot_identification get_dtc_snapshot_by_dtc_number"
            " get_dtc_snapshot_by_record_number get_user_defined_dtc_snapshot_by_dtc_number"
            " get_dtc_extended_data_by_dtc_number get_dtc_extended_data_by_record_number"
            " get_user_defined_dtc_extended_data_by_dtc_number"
            " get_user_defined_memory_dtc_by_status_mask clear_dtc"
        ),
    ),
    _edition_of_2013: (
        "bench_2013",
        (
            "get_mirrormemory_dtc_by_status_mask get_mirrormemory_number_of_dtc_by_status_mask"
            " get_mirrormemory_dtc_extended_data_by_dtc_number get_emission_dtc_by_status_mask"
            " get_number_of_emission_dtc_by_status_mask get_wwh_obd_dtc_by_status_mask"
            " get_wwh_obd_dtc_with_permanent_status get_dtc_with_permanent_status clear_dtc"
        ),
    ),
    _nothing_permanent: ("quiet bench_2013", "get_wwh_obd_dtc_with_permanent_status"),
    _timing: (
        "bench_2013",
        (
            "change_session read_extended_timing_parameters set_timing_parameters"
            " read_active_timing_parameters reset_default_timing_parameters"
            " access_timing_parameter"
        ),
    ),
    _files: (
        "bench",
        (
            "change_session unlock_security_access add_file replace_file transfer_data"
            " request_transfer_exit read_file read_dir delete_file request_file_transfer"
        ),
    ),
    _a_file_that_was_broken_off: (
        "bench",
        (
            "change_session unlock_security_access add_file resume_file transfer_data"
            " request_transfer_exit read_file"
        ),
    ),
    _link: ("bench", "change_session link_control"),
    _quiet: ("ccu", "change_session control_dtc_setting communication_control"),
    _reports_of_other_ecus: (
        "ccu",
        (
            "get_wwh_obd_dtc_by_status_mask get_wwh_obd_dtc_with_permanent_status"
            " get_emission_dtc_by_status_mask get_number_of_emission_dtc_by_status_mask"
        ),
    ),
}

_NO_AUTHENTICATION = "29: none of these ECUs has certificates to authenticate a tester by"
#: Methods that no scenario calls, and why.
NOT_CALLED: Final[Mapping[str, str]] = {
    "standard_error_management": "a decorator of the client's own methods",
    "authentication": _NO_AUTHENTICATION,
    "authentication_configuration": _NO_AUTHENTICATION,
    "deauthenticate": _NO_AUTHENTICATION,
    "proof_of_ownership": _NO_AUTHENTICATION,
    "request_challenge_for_authentication": _NO_AUTHENTICATION,
    "transmit_certificate": _NO_AUTHENTICATION,
    "verify_certificate_bidirectional": _NO_AUTHENTICATION,
    "verify_certificate_unidirectional": _NO_AUTHENTICATION,
    "verify_proof_of_ownership_bidirectional": _NO_AUTHENTICATION,
    "verify_proof_of_ownership_unidirectional": _NO_AUTHENTICATION,
}


#: What a scenario runs on: an ECU type, and its image.
_SUBJECTS: Final[Mapping[str, tuple[str, Callable[[str], bytes]]]] = {
    "bench": ("bench", image_of),
    "ccu": ("ccu", image_of),
    "bench_2013": ("bench_2013", failing_image),
    "quiet bench_2013": ("bench_2013", image_of),
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.strip("_"))
def test_udsoncans_client_is_answered_as_it_expects(tmp_path: Path, scenario: Scenario) -> None:
    subject, methods = SCENARIOS[scenario]
    ecu, image = _SUBJECTS[subject]
    with udsoncan_on(tmp_path, ecu, image(ecu), prepare=prepare) as on:
        scenario(on)
        assert on.client.called == set(methods.split())


def test_every_public_method_of_the_client_is_called_or_has_a_reason() -> None:
    called = {method for _, methods in SCENARIOS.values() for method in methods.split()}
    assert not called & set(NOT_CALLED)
    assert called | set(NOT_CALLED) == public_methods()
