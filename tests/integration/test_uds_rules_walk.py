"""Every row of every ECU's rules, in every situation, on the ECU's own device: the whole answer.

Bytes of positive answers are read with udsoncan's codecs, or where it has none with py-uds's.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecu_sim.boot import ResetReason
from ecu_sim.ecus import all_ecu_names, ecu_type
from ecu_sim.server_rules import server_rules
from protocols.uds import ServiceId, Session
from tests.support.any_ecu import running_ecu
from tests.support.py_uds_codecs import translate
from tests.support.udsoncan_codecs import has_codec, interpret
from tests.support.walk import (
    NOBODY,
    UNSAID_TO_ALL,
    Row,
    Situation,
    Subject,
    Walker,
    documented,
    rows,
    situations,
)

ECUS = all_ecu_names()


@contextmanager
def _subject(state: Path, ecu: str, *, application: bool) -> Iterator[Subject]:
    """The program on an ECU that is ready; its own loop stands still while a test walks."""
    with running_ecu(state, ecu) as (runner, node):
        if not application:
            runner.get_loop().call_soon(node.reset, ResetReason.PROGRAMMING)
            runner.run(asyncio.sleep(node.ecu.boot_s * 2))
        program = node.program
        assert program is not None
        assert (program.application is not None) == application
        rules = server_rules(ecu_type(ecu), application=application)
        yield Subject(ecu=node.ecu, rules=rules, device=program.device)


def _walk(subject: Subject) -> Iterator[tuple[Row, Situation, bool]]:
    for row in rows(subject):
        suppressible = bool(subject.rules.services[row.service].sub_functions)
        for when in situations(subject):
            for suppress in (False, True) if suppressible else (False,):
                yield row, when, suppress


def _verify(walker: Walker, row: Row, when: Situation, *, suppress: bool) -> bool:
    """Whether the documented answer was the positive one."""
    subject = walker.subject
    walker.enter(when)
    expected = documented(subject.rules, row, when)
    if expected is None and not walker.prepare(row):
        expected = row.unready
    request = row.request if row.fresh is None else row.fresh()
    if row.key_of:
        request = walker.keyed(request, row.key_of)
    sent = bytes((request[0], request[1] | 0x80)) + request[2:] if suppress else request
    *pending, last = walker.ask(sent, functional=when.functional) or [b""]
    assert all(message == bytes((0x7F, row.service, 0x78)) for message in pending)
    if request == b"\x10\x02" and subject.rules.programming_restarts and expected is None:
        assert last == bytes.fromhex("7f1078"), "the boot loader gives the answer"
    elif expected is None and suppress and not pending:
        assert last == b""
    elif expected is None:
        assert last[0] == row.service + 0x40, last.hex()
        if has_codec(subject.ecu, request):
            interpret(subject.ecu, request, last)
        else:
            translate(subject.ecu, request, last)
    elif when.functional and expected in UNSAID_TO_ALL:
        assert last == b""
    else:
        assert last == bytes((0x7F, row.service, expected))
    return expected is None


def _is_closed(row: Row) -> bool:
    """A state that always refuses, a routine without the sub-function, what nobody may."""
    everywhere = {row.state(Situation(session, 1, functional=False)) for session in Session}
    return row.lacks or None not in everywhere or row.own == NOBODY


# py-uds warns of every value that it has no word for.
@pytest.mark.filterwarnings("ignore:No label defined")
@pytest.mark.parametrize("application", [True, False], ids=["application", "boot loader"])
@pytest.mark.parametrize("ecu", ECUS)
def test_every_row_gives_the_documented_answer_in_every_situation(
    tmp_path: Path,
    ecu: str,
    application: bool,  # noqa: FBT001 a column of the table
) -> None:
    with _subject(tmp_path, ecu, application=application) as subject:
        walker, walked, refused, positive = Walker(subject), 0, set[Row](), set[Row]()
        for row, when, suppress in _walk(subject):
            try:
                answered = _verify(walker, row, when, suppress=suppress)
            except AssertionError as error:
                error.add_note(f"{row.request[:12].hex(' ')} {when} suppressed: {suppress}")
                raise
            walked += 1
            (positive if answered else refused).add(row)
        assert {row.service for row in positive} == set(subject.rules.services)
        # No row is refused everywhere but for those of which the walk says so, and why.
        assert {row for row in refused - positive if not _is_closed(row)} == set()
        assert walked >= 2 * sum(1 for _ in rows(subject))


@pytest.mark.parametrize("application", [True, False], ids=["application", "boot loader"])
@pytest.mark.parametrize("ecu", ECUS)
def test_what_the_rules_do_not_have_is_refused_in_every_situation(
    tmp_path: Path,
    ecu: str,
    application: bool,  # noqa: FBT001 a column of the table
) -> None:
    with _subject(tmp_path, ecu, application=application) as subject:
        walker, rules = Walker(subject), subject.rules
        for when in situations(subject):
            walker.enter(when)
            for service_id in set(range(0x10, 0x88)) - set(rules.services) - {0x7F}:
                answer = walker.ask(bytes((service_id, 0x01)), functional=when.functional)
                assert answer == ([] if when.functional else [bytes((0x7F, service_id, 0x11))])
            for service_id, rule in rules.services.items():
                lacking = set(range(0x80)) - set(rule.sub_functions) if rule.sub_functions else ()
                open_ = when.session in rule.sessions and not rule.locked(when.level)
                for sub_function in lacking if open_ else ():
                    request = bytes((service_id, sub_function)).ljust(6, b"\x00")
                    answer = walker.ask(request, functional=when.functional)
                    unsaid = when.functional
                    assert answer == ([] if unsaid else [bytes((0x7F, service_id, 0x12))])


def test_services_without_sub_function_have_no_bit_that_suppresses(tmp_path: Path) -> None:
    with _subject(tmp_path, "blower", application=True) as subject:
        plain = {
            service for service, rule in subject.rules.services.items() if not rule.sub_functions
        }
        assert plain >= {ServiceId.READ_DATA_BY_IDENTIFIER, ServiceId.CLEAR_DIAGNOSTIC_INFORMATION}
        assert Walker(subject).ask(bytes.fromhex("14ffffff")) == [b"\x54"]
