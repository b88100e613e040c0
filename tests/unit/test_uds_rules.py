"""The rule tables, every row: what a server answers in general to what, in which session."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from ecu_sim.ecus import all_ecu_names, ecu_type
from ecu_sim.server_rules import programs
from protocols.editions import UdsEdition
from protocols.uds import Nrc, ServiceId, Session
from protocols.uds.rules import (
    SERVERS,
    SILENT_IF_FUNCTIONAL,
    Access,
    ServerRules,
    ServiceRule,
    SubFunctionRule,
    bootloader,
    check,
    check_access,
    single_slot_application,
    suppresses_positive,
    two_slot_application,
)

LENGTH = Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT


def _shortest(
    service_id: int, sub_function: int | None, limits: ServiceRule | SubFunctionRule
) -> bytes:
    head = bytes([service_id]) if sub_function is None else bytes([service_id, sub_function])
    return head.ljust(limits.min_length, b"\x00")


def _every_server() -> Iterator[ServerRules]:
    """Those in general, and each program of each ECU type in each edition."""
    yield from SERVERS
    for name, edition in product(all_ecu_names(), UdsEdition):
        ecu = ecu_type(name)
        ecu = replace(ecu, editions=replace(ecu.editions, uds=edition))
        for program, rules in programs(ecu).items():
            yield replace(rules, name=f"{name} {program} {edition.value}")


def _rows() -> Iterator[tuple[ServerRules, int, int | None]]:
    for rules in _every_server():
        for service_id, rule in rules.services.items():
            for sub_function in rule.sub_functions or (None,):
                yield rules, service_id, sub_function


@pytest.mark.parametrize(
    ("rules", "service_id", "sub_function"),
    list(_rows()),
    ids=lambda value: value.name if isinstance(value, ServerRules) else f"{value or 0:02X}",
)
def test_every_row_gives_its_answer(
    rules: ServerRules, service_id: int, sub_function: int | None
) -> None:
    for session, level, functional in product(Session, (0, 1, 3), (False, True)):
        _verify(rules, service_id, sub_function, session, level, functional=functional)


def _is_closed(row: Access, unlocked: int) -> bool:
    return row.secured and (not unlocked or row.level not in {0, unlocked})


def _verify(
    rules: ServerRules,
    service_id: int,
    sub_function: int | None,
    session: Session,
    unlocked: int,
    *,
    functional: bool,
) -> None:
    service = rules.services[service_id]
    row = service if sub_function is None else service.sub_functions[sub_function]
    request = _shortest(service_id, sub_function, row)
    got = check(rules, request, session=session, unlocked=unlocked, functional=functional)
    expected: Nrc | None = None
    if functional and not service.functional:
        expected = Nrc.SERVICE_NOT_SUPPORTED
    elif session not in service.sessions:
        expected = Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION
    elif _is_closed(service, unlocked):
        expected = Nrc.SECURITY_ACCESS_DENIED
    elif functional and not row.functional:
        expected = Nrc.SUB_FUNCTION_NOT_SUPPORTED
    elif session not in row.sessions:
        expected = Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION
    elif _is_closed(row, unlocked):
        expected = Nrc.SECURITY_ACCESS_DENIED
    assert got == expected
    if got is None:
        access = {"session": session, "unlocked": unlocked, "functional": functional}
        if row.min_length > 1:
            short = check(rules, request[:-1], **access)  # type: ignore[arg-type]  # three known columns
            assert short == LENGTH
        if row.max_length is not None:
            long = request.ljust(row.max_length + 1, b"\x00")
            assert check(rules, long, **access) == LENGTH  # type: ignore[arg-type]  # three known columns


# What the tables must say whatever else changes in them: (request, session, unlocked) -> answer.
_TWO_SLOT, _SINGLE, _BOOT = two_slot_application(), single_slot_application(), bootloader()
_DOWNLOAD = "34004400001000000000ff"
_DOCUMENTED = [
    (_BOOT, _DOWNLOAD, Session.PROGRAMMING, False, Nrc.SECURITY_ACCESS_DENIED),
    (_BOOT, _DOWNLOAD, Session.DEFAULT, True, Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION),
    (_BOOT, _DOWNLOAD, Session.EXTENDED, True, Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION),
    (_BOOT, _DOWNLOAD, Session.PROGRAMMING, True, None),
    (_BOOT, "14ffffff", Session.PROGRAMMING, True, Nrc.SERVICE_NOT_SUPPORTED),
    (_BOOT, "1002", Session.DEFAULT, False, None),
    (_TWO_SLOT, _DOWNLOAD, Session.EXTENDED, True, None),
    (_TWO_SLOT, "1002", Session.EXTENDED, True, Nrc.SUB_FUNCTION_NOT_SUPPORTED),
    (_TWO_SLOT, "2701", Session.DEFAULT, False, Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION),
    (_TWO_SLOT, "277d", Session.EXTENDED, False, Nrc.SUB_FUNCTION_NOT_SUPPORTED),
    (_TWO_SLOT, "2702" + "00" * 15, Session.EXTENDED, False, LENGTH),
    (_TWO_SLOT, "2702" + "00" * 17, Session.EXTENDED, False, LENGTH),
    (_TWO_SLOT, "280301", Session.DEFAULT, False, Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION),
    (_TWO_SLOT, "3102ff00", Session.EXTENDED, True, Nrc.SUB_FUNCTION_NOT_SUPPORTED),
    (_TWO_SLOT, "3d", Session.EXTENDED, True, Nrc.SERVICE_NOT_SUPPORTED),
    (_SINGLE, _DOWNLOAD, Session.EXTENDED, True, Nrc.SERVICE_NOT_SUPPORTED),
    (_SINGLE, "1002", Session.EXTENDED, False, None),
    (_SINGLE, "1002", Session.DEFAULT, False, Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION),
]


@pytest.mark.parametrize(
    ("rules", "request_hex", "session", "unlocked", "expected"),
    _DOCUMENTED,
    ids=lambda value: value.name if isinstance(value, ServerRules) else str(value),
)
def test_what_is_documented_stays_so(
    rules: ServerRules,
    request_hex: str,
    session: Session,
    unlocked: bool,  # noqa: FBT001 a column of the table
    expected: Nrc | None,
) -> None:
    request = bytes.fromhex(request_hex)
    got = check(rules, request, session=session, unlocked=unlocked, functional=False)
    assert got == expected


@pytest.mark.parametrize("rules", SERVERS, ids=lambda rules: rules.name)
@pytest.mark.parametrize("service_id", [0x27, 0x2E, 0x34, 0x36, 0x37])
def test_nothing_that_programs_answers_to_a_functional_address(
    rules: ServerRules, service_id: int
) -> None:
    request = bytes([service_id]).ljust(20, b"\x01")
    got = check(rules, request, session=Session.PROGRAMMING, unlocked=True, functional=True)
    assert got in SILENT_IF_FUNCTIONAL


@pytest.mark.parametrize("rules", SERVERS, ids=lambda rules: rules.name)
def test_every_routine_row_gives_its_answer(rules: ServerRules) -> None:
    for access in (*rules.routines.values(), *rules.writable.values()):
        for session in Session:
            for functional in (False, True):
                locked = check_access(
                    access, session=session, unlocked=False, functional=functional
                )
                open_ = check_access(access, session=session, unlocked=True, functional=functional)
                reachable = session in access.sessions and (access.functional or not functional)
                assert open_ == (None if reachable else Nrc.REQUEST_OUT_OF_RANGE)
                refused = Nrc.SECURITY_ACCESS_DENIED if access.secured else None
                assert locked == (refused if reachable else Nrc.REQUEST_OUT_OF_RANGE)
    unknown = check_access(None, session=Session.EXTENDED, unlocked=True, functional=False)
    assert unknown == Nrc.REQUEST_OUT_OF_RANGE


@pytest.mark.parametrize("rules", SERVERS, ids=lambda rules: rules.name)
def test_whatever_writes_memory_needs_security_access(rules: ServerRules) -> None:
    for rid in (0xFF00, 0xFF01, 0x0202, 0x0210, 0x0211, 0x0212):
        access = rules.routines.get(rid)
        assert access is None or (access.secured and not access.functional)
    for service_id in (0x34, 0x36, 0x37):
        rule = rules.services.get(service_id)
        assert rule is None or rule.secured


def test_only_sub_functions_can_ask_for_silence() -> None:
    assert suppresses_positive(_TWO_SLOT, b"\x3e\x80")
    assert not suppresses_positive(_TWO_SLOT, b"\x3e\x00")
    assert not suppresses_positive(_TWO_SLOT, b"\x22\xf1\x90")
    assert not suppresses_positive(_TWO_SLOT, bytes([ServiceId.TESTER_PRESENT]))
