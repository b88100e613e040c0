"""The reference page of an ECU says what its tables say: a tester can be written from it alone."""

import re
from dataclasses import replace

import pytest

from docs.ecu_facts import sequence
from docs.ecus import page
from ecu_sim.descriptions.operations import operations
from ecu_sim.ecus import CanAddress, DtcTraits, all_ecu_names, ecu_type
from ecu_sim.server_rules import programs
from protocols.editions import DoipEdition, Editions, IsoTpEdition
from protocols.isotp import IsoTpParameters
from protocols.uds.dtc import FunctionalGroup


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables."""
    found = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in found]


def row(text: str, head: str) -> list[str]:
    return next(cells for cells in rows(text) if cells[0] == head)


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_every_request_is_told_with_its_fields(ecu: str) -> None:
    text = section(page(ecu_type(ecu)), "Messages")
    told = {cells[0].strip("`") for cells in rows(text)}
    for one in operations(ecu_type(ecu)):
        if one.identifier is None:
            first = f"{one.service:02X}"
            wanted = first if one.sub_function is None else f"{first} {one.sub_function:02X}"
            assert any(head.startswith(wanted) for head in told), wanted


def test_the_fields_of_a_message_have_width_and_meaning() -> None:
    text = section(page(ecu_type("ccu")), "Messages")
    assert row(text, "`19 04`")[1] == "DTC, record number u8"
    assert row(text, "`10 03`")[2:] == [
        "`50 03`",
        "p2 server max u16 ms, p2 star server max u16 x 10 ms",
    ]
    assert "bits 7-5 dtc severity (0 none; 1 maintenance only" in row(text, "`19 09`")[3]


def test_the_boot_loader_may_write_the_fingerprint() -> None:
    text = section(page(ecu_type("blower")), "Data identifiers")
    columns = rows(text)[0]
    cells = dict(zip(columns, row(text, "`F15A`"), strict=True))
    assert cells["2E boot loader"] == "P L1 *ph*"
    assert cells["22 boot loader"] == "yes"
    # The application takes none: it has no column for that.
    assert "2E application" not in cells


def test_iso_tp_settings_are_those_of_the_type() -> None:
    isotp = IsoTpParameters(
        padding=None,
        rx_padding_required=True,
        block_size=8,
        st_min=0xF3,
        max_own_wait_frames=3,
        max_wait_frames=5,
        n_bs_s=0.25,
        half_duplex=True,
    )
    kind = replace(ecu_type("ccu"), isotp=isotp, editions=Editions(isotp=IsoTpEdition.E2004))
    text = section(page(kind), "ISO-TP")
    assert row(text, "padding of its frames")[1] == "none"
    assert row(text, "padding of yours")[1] == "8 bytes at least, or they are not seen"
    assert row(text, "its flow control")[1].startswith("BS 8 (")
    assert "STmin F3 (300 µs)" in row(text, "its flow control")[1]
    assert row(text, "flow control WAIT")[1] == "sends 3 in a row at most, puts up with 5"
    assert row(text, "N_As, N_Ar, N_Bs, N_Cr")[1] == "1 s, 1 s, 0.25 s, 1 s"
    assert row(text, "both directions at once")[1] == "no"
    assert row(text, "longest message of the edition")[1] == "4095 bytes"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (CanAddress(request_id=0x7A0, response_id=0x7A8), "normal"),
        (CanAddress(request_id=0x18DA20F1, response_id=0x18DAF120, extended=True), "normal fixed"),
        (
            CanAddress(
                request_id=0x6F1, response_id=0x620, request_extension=0x20, response_extension=0xF1
            ),
            "extended: 20 first in each frame to it, F1 in each from it",
        ),
    ],
)
def test_addressing_is_told(address: CanAddress, said: str) -> None:
    text = section(page(replace(ecu_type("ccu"), can_addresses=(address,))), "ISO-TP")
    assert row(text, "addressing")[1] == said


def test_a_doip_ecu_says_how_it_is_reached_instead() -> None:
    text = page(ecu_type("rear"))
    assert "## ISO-TP" not in text
    doip = section(text, "DoIP")
    assert row(doip, "protocol version")[1] == "announces 03, takes 02, 03, answers in yours"
    older = replace(ecu_type("rear"), editions=Editions(doip=DoipEdition.E2012))
    assert row(section(page(older), "DoIP"), "protocol version")[1].startswith("announces 02")
    assert row(doip, "tester addresses")[1] == "0E00 to 0FFF"
    assert row(doip, "routing activation types")[1] == "00, 01; others are answered 06"
    assert row(doip, "longest request")[1].startswith("65535 bytes")


def test_trouble_codes_are_told_with_debounce_ageing_and_groups() -> None:
    traits = DtcTraits(
        failed_step=32,
        passed_step=64,
        aging_cycles=7,
        confirm_cycles=2,
        group=FunctionalGroup.EMISSIONS,
        readiness_group=0x01,
    )
    kind = replace(ecu_type("ccu"), dtc_traits={0x9A0100: traits})
    text = section(page(kind), "Trouble codes")
    cells = dict(zip(rows(text)[0], row(text, "`B1A01-00`"), strict=True))
    assert cells["text"] == "Cabin temperature control deviation"
    assert cells["debounce"] == "+32, -64"
    assert cells["confirmed after cycles"] == "2"
    assert cells["aged after cycles"] == "7"
    assert cells["group"] == "33 emissions, readiness 01"
    other = dict(zip(rows(text)[0], row(text, "`B1A02-11`"), strict=True))
    assert (other["debounce"], other["aged after cycles"], other["group"]) == ("at once", "40", "-")
    assert "FFFF33 emissions group" in text
    assert "02 aging counter u8" in text


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_every_trouble_code_has_its_text(ecu: str) -> None:
    text = section(page(ecu_type(ecu)), "Trouble codes")
    told = {cells[1]: cells[2] for cells in rows(text)}
    for code, words in ecu_type(ecu).dtcs.items():
        assert told[f"{code:06X}"] == words


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_each_step_of_the_programming_is_a_request_that_a_program_takes(ecu: str) -> None:
    kind = ecu_type(ecu)
    described = {bytes.fromhex(request): words for request, words in sequence(kind)}
    known = operations(kind)
    assert len(described) > 8
    for request in described:
        (one,) = (
            one
            for one in known
            if one.service == request[0]
            and (one.sub_function is None or one.sub_function == request[1])
            and (one.identifier is None or one.identifier == int.from_bytes(request[-2:]))
            and (one.identifier is not None or len(request) <= 2)
        )
        assert set(one.access) & set(programs(kind)), request.hex()


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_data_formats_and_times_are_told(ecu: str) -> None:
    kind = ecu_type(ecu)
    text = page(kind)
    formats = {cells[0] for cells in rows(section(text, "Programming"))}
    assert {f"`{key:02X}`" for key in (0x00, *kind.data_formats)} <= formats
    timing = section(text, "Timing")
    assert f"{kind.p2_s * 1000:g} ms, {kind.p2_star_s:g} s" in row(timing, "P2, P2*")[1]
    assert row(timing, "S3")[1].startswith(f"{kind.s3_s:g} s ")
    assert ("83 (edition 2013)" in timing) == (ecu == "bench_2013")


@pytest.mark.parametrize("ecu", all_ecu_names())
def test_every_table_is_whole(ecu: str) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", page(ecu_type(ecu)), re.MULTILINE):
        widths = {len(re.findall(r" \| ", line)) for line in block.splitlines()}
        assert len(widths) == 1, block.splitlines()[0]
