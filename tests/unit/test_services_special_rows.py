"""Every row of 38, 83, 84, 86 and 87 of the bench ECU, enumerated from its tables."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ecu_sim.diagnostics.services import handlers
from ecu_sim.ecus import all_ecu_names, ecu_names, ecu_type
from ecu_sim.server_rules import server_rules
from protocols.editions import Editions, UdsEdition
from protocols.uds import Nrc, Session
from protocols.uds.enums import EventType, LinkControl, ServiceId, TimingAccess
from protocols.uds.rules import EventRules, ServerRules, SpecialRules, check
from protocols.uds.rules.special_rows import special_services

SPECIAL = {
    ServiceId.REQUEST_FILE_TRANSFER,
    ServiceId.ACCESS_TIMING_PARAMETER,
    ServiceId.SECURED_DATA_TRANSMISSION,
    ServiceId.RESPONSE_ON_EVENT,
    ServiceId.LINK_CONTROL,
}
BENCH = ecu_type("bench")
OLD_BENCH = replace(BENCH, editions=Editions(uds=UdsEdition.E2013))
PROGRAMS = {
    "2020 application": server_rules(BENCH, application=True),
    "2013 application": server_rules(OLD_BENCH, application=True),
    "boot loader": server_rules(BENCH, application=False),
    "bench of 2013": server_rules(ecu_type("bench_2013"), application=True),
}


def _rows() -> Iterator[tuple[str, int, int | None]]:
    for program, rules in PROGRAMS.items():
        for service_id in sorted(SPECIAL & rules.services.keys()):
            for sub_function in rules.services[service_id].sub_functions or (None,):
                yield program, service_id, sub_function


def _expected(
    rules: ServerRules,
    service_id: int,
    *,
    session: Session,
    unlocked: int,
    functional: bool,
) -> Nrc | None:
    row = rules.services[service_id]
    if functional and not row.functional:
        return Nrc.SERVICE_NOT_SUPPORTED
    if session not in row.sessions:
        return Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION
    if row.secured and not unlocked:
        return Nrc.SECURITY_ACCESS_DENIED
    return None


@pytest.mark.parametrize("functional", [False, True], ids=["physical", "functional"])
@pytest.mark.parametrize("unlocked", [0, 1], ids=["locked", "unlocked"])
@pytest.mark.parametrize("session", Session, ids=lambda session: session.name)
@pytest.mark.parametrize(("program", "service_id", "sub_function"), list(_rows()))
def test_every_row_gives_its_answer(
    program: str,
    service_id: int,
    sub_function: int | None,
    session: Session,
    unlocked: int,
    functional: bool,  # noqa: FBT001 a column of the table
) -> None:
    rules = PROGRAMS[program]
    service = rules.services[service_id]
    row = service if sub_function is None else service.sub_functions[sub_function]
    head = bytes([service_id]) if sub_function is None else bytes([service_id, sub_function])
    who = {"session": session, "unlocked": unlocked, "functional": functional}
    expected = _expected(rules, service_id, **who)  # type: ignore[arg-type]  # three known columns

    def judged(length: int) -> Nrc | None:
        return check(rules, head[:length].ljust(length, b"\0"), **who)  # type: ignore[arg-type]  # three known columns

    assert judged(row.min_length) == expected
    if expected is None:
        assert judged(row.min_length - 1) == Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
        if row.max_length is not None:
            assert judged(row.max_length + 1) == Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT


def test_each_edition_has_its_own_services() -> None:
    new, old = PROGRAMS["2020 application"].services, PROGRAMS["2013 application"].services
    assert set(new) - set(old) == set()
    assert set(old) - set(new) == {ServiceId.ACCESS_TIMING_PARAMETER}


def test_the_sub_functions_are_the_standard_s() -> None:
    rules = PROGRAMS["2013 application"].services
    assert set(rules[ServiceId.LINK_CONTROL].sub_functions) == set(LinkControl)
    assert set(rules[ServiceId.ACCESS_TIMING_PARAMETER].sub_functions) == set(TimingAccess)
    events = rules[ServiceId.RESPONSE_ON_EVENT].sub_functions
    assert set(events) == {*range(8), *range(0x40, 0x48)} - {0x44}
    events = PROGRAMS["2020 application"].services[ServiceId.RESPONSE_ON_EVENT].sub_functions
    assert set(events) == {0, 1, 3, 4, 5, 6, 7, 8, 9, 0x40, 0x45}


def test_what_may_be_stored_is_a_setting() -> None:
    rules = EventRules(storable=frozenset({EventType.CLEAR}))
    services = special_services(SpecialRules(events=rules), UdsEdition.E2020)
    stored = {one for one in services[ServiceId.RESPONSE_ON_EVENT].sub_functions if one & 0x40}
    assert stored == {0x46}


def test_every_special_service_has_a_handler() -> None:
    assert set(handlers()) >= SPECIAL


def test_the_bench_is_in_no_vehicle_and_found_by_its_name() -> None:
    assert not BENCH.in_vehicle
    assert "bench" in set(all_ecu_names()) - set(ecu_names())
    assert not any(
        SPECIAL & server_rules(ecu_type(name), application=True).services.keys()
        for name in ecu_names()
    )
