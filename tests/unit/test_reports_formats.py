import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cloud.fleet.diagnostics import EcuDiagnostics
from cloud.reports import RENDERERS, render_csv, render_html, render_json
from cloud.reports.chart import ticks
from cloud.reports.markup import element
from cloud.reports.model import CampaignReport, Outcome
from cloud.reports.words import seconds, size, verdict
from tests.support.reports import VIN, campaign, dtc, ecu, snapshot, vehicle

HOSTILE = "</td><script>alert('x')</script>\"'&<img src=http://evil/>"
VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """Reads a page as strictly as a test wants: tags must nest."""

    def __init__(self, html: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def hostile() -> CampaignReport:
    bad = replace(
        vehicle(Outcome.ROLLED_BACK, vin=HOSTILE, reason=HOSTILE),
        ecus=(replace(ecu(read_back=False), name=HOSTILE, error=HOSTILE, version_after=HOSTILE),),
        before=snapshot("before_update", EcuDiagnostics(ecu=HOSTILE, dtcs=(dtc(1, 9, HOSTILE),))),
        after=snapshot("after_update", EcuDiagnostics(ecu=HOSTILE, error=HOSTILE)),
    )
    steps = tuple(replace(step, ecu=HOSTILE, step=HOSTILE, detail=HOSTILE) for step in bad.steps)
    return replace(campaign(replace(bad, steps=steps), bad), campaign_id=HOSTILE)


@pytest.mark.parametrize("report", [campaign(), hostile(), replace(campaign(), vehicles=())])
def test_a_page_nests_and_asks_for_nothing_from_elsewhere(report: CampaignReport) -> None:
    page = Page(render_html(report))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    fetched = [value for name, value in page.attributes if name in {"src", "href", "srcset"}]
    assert all(value.startswith("#") for value in fetched)
    style = render_html(report).decode().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_text_is_shown_and_never_becomes_markup() -> None:
    html = render_html(hostile())
    assert b"<script" not in html
    assert HOSTILE in Page(html).said


def test_the_page_says_the_verdict_versions_codes_and_times() -> None:
    said = Page(render_html(campaign())).said
    for expected in (
        "Updated to 2.0.0: 4 of 4 ECUs proved by signed read-back; 1 trouble code gone, none new",
        "proved",
        "1.0.0",
        "B1A01-00",
        "tested, no fault",
        "12.7 s",
        "check memory",
        "the set 22.0",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("after_s", "charts"),
    [
        pytest.param(100.0, 1, id="the window after reaches back to before the update"),
        pytest.param(270.0, 1, id="the windows follow each other"),
        pytest.param(86_400.0, 2, id="a day lies between"),
    ],
)
def test_the_cabin_is_one_course_or_two(after_s: float, charts: int) -> None:
    html = render_html(campaign(vehicle(after_s=after_s))).decode()
    section = html.partition("Cabin temperature</h2>")[2].partition("</section>")[0]
    assert section.count("<svg") == charts
    assert section.count('class="line before"') == section.count('class="line after"') == 1


def test_a_cabin_that_was_not_recorded_is_left_out() -> None:
    silent = replace(vehicle(), before=None, after=None)
    assert "Cabin temperature" not in Page(render_html(campaign(silent))).said


def test_a_page_that_was_not_updated_says_why() -> None:
    reason = "ccu: memory check: not signed"
    said = Page(render_html(campaign(vehicle(Outcome.REFUSED, reason=reason)))).said
    assert f"Refused: {reason}" in said
    assert "proved by" not in said.partition("Software versions")[0].partition("ECUs")[0]


def test_json_has_the_keys_that_programs_rely_on() -> None:
    report = json.loads(render_json(campaign()))
    assert report["campaign"]["id"] == "summer-fix"
    assert report["campaign"]["release"] == "hvac-2.0.0"
    assert report["campaign"]["outcome"] == "updated"
    assert (report["clock"], report["seed"]) == ("virtual", 1)
    (one,) = report["vehicles"]
    assert (one["vin"], one["outcome"]) == (VIN, "updated")
    first = one["ecus"][0]
    assert first["name"] == "ccu"
    assert first["read_back"] is True
    assert first["image_bytes"] == 312_440
    assert {
        "hardware_id",
        "wire",
        "version_before",
        "version_after",
        "image_sha256",
    } <= first.keys()
    assert {"transfer_seconds", "bound_seconds"} <= first.keys()
    confirmed = {code["display"]: code["confirmed"] for code in one["dtcs"]["before"]}
    assert confirmed == {"B1A01-00": True, "U1145-87": False}
    assert [code["display"] for code in one["dtcs"]["gone"]] == ["B1A01-00"]
    assert one["dtcs"]["new"] == []
    assert [code["display"] for code in one["dtcs"]["not_tested"]] == ["U1145-87"]


def test_a_number_that_json_does_not_know_is_null() -> None:
    broken = replace(vehicle(), ecus=(replace(ecu(), bound_seconds=float("nan")),))
    report = json.loads(render_json(campaign(broken)))
    assert report["vehicles"][0]["ecus"][0]["bound_seconds"] is None


def test_csv_has_one_row_for_each_vehicle_and_ecu() -> None:
    empty = replace(vehicle(Outcome.REFUSED, vin="WCANHVAC000000002"), ecus=())
    rows = list(csv.DictReader(io.StringIO(render_csv(campaign(vehicle(), empty)).decode())))
    assert [row["ecu"] for row in rows] == ["ccu", "ecomp", "rear", "blower", ""]
    assert rows[0]["read_back"] == "true"
    assert rows[-1]["outcome"] == "refused"


def test_a_csv_cell_is_never_a_formula() -> None:
    report = campaign(vehicle(Outcome.REFUSED, reason="=HYPERLINK(0)"))
    rows = list(csv.DictReader(io.StringIO(render_csv(report).decode())))
    assert rows[0]["reason"] == "'=HYPERLINK(0)"


@pytest.mark.parametrize("name", RENDERERS)
def test_the_same_report_gives_the_same_bytes(name: str) -> None:
    assert RENDERERS[name](campaign()) == RENDERERS[name](campaign())


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ([Outcome.UPDATED, Outcome.REFUSED], Outcome.REFUSED),
        ([Outcome.ROLLED_BACK, Outcome.REFUSED], Outcome.ROLLED_BACK),
        ([Outcome.FAILED_SAFE, Outcome.ROLLED_BACK], Outcome.FAILED_SAFE),
        ([Outcome.UPDATED, Outcome.PENDING], Outcome.PENDING),
        ([Outcome.UPDATED], Outcome.UPDATED),
    ],
)
def test_a_campaign_ends_as_its_worst_vehicle(outcomes: list[Outcome], worst: Outcome) -> None:
    assert campaign(*(vehicle(outcome) for outcome in outcomes)).outcome is worst


def test_a_fleet_is_counted_in_the_verdict() -> None:
    report = campaign(vehicle(), vehicle(Outcome.REFUSED, vin="WCANHVAC000000002"))
    assert verdict(report) == "2 vehicles: 1 updated, 1 refused."
    head = Page(render_html(report)).said.partition("2 vehicles in this campaign")[0]
    assert "Nothing was changed." not in head


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 240.0, [0, 50, 100, 150, 200]),
        (21.1, 35.9, [25, 30, 35]),
        (3.0, 3.0, [3]),
        (0.0, 0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_axis_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_markup_escapes_content_and_attributes() -> None:
    assert element("p", "<b>", title='"') == '<p title="&quot;">&lt;b&gt;</p>'


@pytest.mark.parametrize(
    ("value", "said"), [(0.354, "0.35 s"), (12.44, "12.4 s"), (185.2, "3 min 05 s")]
)
def test_durations_are_said_as_people_do(value: float, said: str) -> None:
    assert seconds(value) == said


@pytest.mark.parametrize(
    ("count", "said"), [(812, "812 B"), (93_594, "91.4 KiB"), (1_572_864, "1.50 MiB")]
)
def test_sizes_are_said_as_people_do(count: int, said: str) -> None:
    assert size(count) == said
