"""The tables of messages know every service that the rules can have, and agree on lengths."""

from collections.abc import Iterator

import pytest

from ecu_sim.descriptions.layout import Fields, Packed, Raw, length, total_length
from ecu_sim.descriptions.messages import FILES, SUB_FUNCTIONS, WHOLE
from protocols.editions import UdsEdition
from protocols.uds import ServiceId
from protocols.uds.enums import FileOperation
from protocols.uds.rules import SERVERS, DtcRules, ServerRules, two_slot_application
from protocols.uds.rules.special import (
    EventRules,
    FileRules,
    LinkRules,
    SecuredDataRules,
    SpecialRules,
    TimingRules,
)

#: Told per identifier or level, elsewhere.
ELSEWHERE = {0x22, 0x24, 0x27, 0x2E, 0x2F, 0x31, 0x38}
ALL_SPECIAL = SpecialRules(
    link=LinkRules(),
    events=EventRules(),
    files=FileRules(),
    timing=TimingRules(),
    secured_data=SecuredDataRules(services=frozenset()),
)
FULL = [
    two_slot_application(
        edition=edition,
        dtcs=DtcRules(memories=(0x10,), mirror=True, emissions=True),
        nodes=frozenset({1}),
        special=ALL_SPECIAL,
    )
    for edition in UdsEdition
]


def rows() -> Iterator[tuple[ServerRules, int, int | None]]:
    for rules in (*SERVERS, *FULL):
        for service, rule in rules.services.items():
            if service not in ELSEWHERE:
                for number in rule.sub_functions or (None,):
                    yield rules, service, number


ROWS = [
    pytest.param(rules, service, number, id=f"{rules.name}-{rules.edition}-{service:02X}-{number}")
    for rules, service, number in rows()
]


def least(fields: Fields) -> int:
    return sum(one.least if isinstance(one, Raw) else length(one) or 0 for one in fields)


@pytest.mark.parametrize(("rules", "service", "number"), ROWS)
def test_a_row_of_the_rules_has_its_messages_and_their_lengths(
    rules: ServerRules, service: int, number: int | None
) -> None:
    layout = WHOLE[service] if number is None else SUB_FUNCTIONS[service][number]
    rule = rules.services[service]
    limits = rule if number is None else rule.sub_functions[number]
    head = 1 if number is None else 2
    whole = total_length(layout.request)
    if whole is not None:
        assert limits.min_length <= head + whole
        assert limits.max_length is None or head + whole <= limits.max_length
    assert head + least(layout.request) <= (limits.max_length or 0xFFFF)


def test_every_file_operation_has_its_messages() -> None:
    assert set(FILES) == set(FileOperation)


def test_the_tables_name_no_service_that_there_is_not() -> None:
    known = {int(service) for service in ServiceId}
    assert {*SUB_FUNCTIONS, *WHOLE} <= known


@pytest.mark.parametrize("service", SUB_FUNCTIONS)
def test_sub_functions_have_names_of_their_own(service: int) -> None:
    names = [layout.name for layout in SUB_FUNCTIONS[service].values()]
    assert len(names) == len(set(names))


def test_bits_of_a_packed_byte_do_not_overlap() -> None:
    layouts = [
        *WHOLE.values(),
        *FILES.values(),
        *(one for table in SUB_FUNCTIONS.values() for one in table.values()),
    ]
    for layout in layouts:
        for packed in (*layout.request, *layout.response):
            if isinstance(packed, Packed):
                taken = 0
                for part in packed.parts:
                    mask = ((1 << part.bits) - 1) << part.bit
                    assert not taken & mask
                    taken |= mask
                assert taken == (1 << 8 * packed.length) - 1
