"""report.html: one file that opens without a network, reads from the verdict down, and prints.

No script, no font, no picture from elsewhere: a content security policy in the page forbids them.
"""

import math
from collections.abc import Sequence
from importlib import resources
from typing import Final

from cloud.reports.cabin import figure
from cloud.reports.markup import Markup, element, join
from cloud.reports.model import CampaignReport, Outcome, VehicleReport
from cloud.reports.sections import SECTIONS
from cloud.reports.words import OUTCOMES, moment, plural, seconds, size, vehicle_verdict, verdict

_STYLE: Final = Markup(
    resources.files("cloud.reports").joinpath("report.css").read_text(encoding="utf-8")
)
_TONES: Final[dict[Outcome, str]] = {
    Outcome.UPDATED: "good",
    Outcome.ROLLED_BACK: "warn",
    Outcome.REFUSED: "calm",
    Outcome.FAILED_SAFE: "bad",
    Outcome.PENDING: "calm",
}
_FIGURES_IN_A_ROW: Final = 6
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def render_html(report: CampaignReport) -> bytes:
    """Render one self-contained page in UTF-8; the same report gives the same bytes."""
    title = f"{OUTCOMES[report.outcome][0]}: {report.campaign_id}"
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            element("style", _STYLE),
        ),
        element("body", element("main", *_main(report))),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n".encode()


def _main(report: CampaignReport) -> Sequence[Markup]:
    head = [_eyebrow(report), _verdict(report)]
    match report.vehicles:
        case []:
            body: list[Markup] = []
        case [vehicle]:
            body = _vehicle(vehicle)
        case vehicles:
            body = [_fleet(report)]
            for vehicle in vehicles:
                body += [_vehicle_heading(vehicle, report), *_vehicle(vehicle)]
    return [*head, *body, _footer(report)]


def _eyebrow(report: CampaignReport) -> Markup:
    parts = [
        join("Campaign ", element("b", report.campaign_id)),
        join("release ", element("b", report.release_id)),
    ]
    if len(report.vehicles) == 1:
        parts.append(join("vehicle ", element("b", report.vehicles[0].vin)))
    if report.start_time:
        parts.append(join(moment(report.start_time)))
    return element("p", _dotted(parts), class_="eyebrow")


def _dotted(parts: Sequence[Markup]) -> Markup:
    return Markup(" &#183; ".join(parts))


def _verdict(report: CampaignReport) -> Markup:
    # What one outcome means is not true of a fleet whose vehicles ended differently.
    agreed = len({vehicle.outcome for vehicle in report.vehicles}) == 1
    return element(
        "div",
        element("h1", verdict(report)),
        element("p", OUTCOMES[report.outcome][1]) if agreed else "",
        class_=f"verdict {_TONES[report.outcome]}",
    )


def _vehicle_heading(vehicle: VehicleReport, report: CampaignReport) -> Markup:
    version = report.release_version or report.release_id
    return join(
        element("h2", vehicle.vin, class_="vehicle", id=f"vehicle-{vehicle.vin}"),
        element(
            "p",
            vehicle_verdict(vehicle, version),
            class_=f"verdict {_TONES[vehicle.outcome]}",
        ),
    )


def _fleet(report: CampaignReport) -> Markup:
    rows = [
        element(
            "tr",
            element("td", element("a", vehicle.vin, href=f"#vehicle-{vehicle.vin}")),
            element(
                "td",
                element(
                    "span",
                    OUTCOMES[vehicle.outcome][0],
                    class_=f"tag {_TONES[vehicle.outcome]}",
                ),
            ),
            element("td", vehicle.reason),
        )
        for vehicle in report.vehicles
    ]
    head = element("tr", *(element("th", name) for name in ("Vehicle", "Outcome", "Reason")))
    return element(
        "section",
        element("h2", "Vehicles"),
        element("p", f"{plural(len(report.vehicles), 'vehicle')} in this campaign."),
        element("table", element("thead", head), element("tbody", *rows)),
        class_="long",
    )


def _vehicle(vehicle: VehicleReport) -> list[Markup]:
    return [_figures(vehicle), *(made for section in SECTIONS if (made := section(vehicle)))]


def _figures(vehicle: VehicleReport) -> Markup:
    ecus = vehicle.ecus
    proved = sum(ecu.read_back for ecu in ecus)
    figures = [
        (f"{proved} of {len(ecus)}", "ECUs proved by signed read-back"),
        (size(sum(ecu.image_bytes for ecu in ecus)), "of new software"),
    ]
    if over_the_air := vehicle.bytes_sent + vehicle.bytes_received:
        figures.append((size(over_the_air), "over the air, both ways"))
    if comfort := figure(vehicle):
        figures.append(comfort)
    if vehicle.start and vehicle.finish:
        elapsed = (vehicle.finish - vehicle.start).total_seconds()
        figures.append((seconds(elapsed), "from offer to report"))
    if ecus:
        staging = max(ecu.staging_seconds for ecu in ecus)
        out = max(ecu.out_of_use_seconds for ecu in ecus)
        figures += [
            (seconds(staging), "longest staging, car in use"),
            (seconds(out), "longest time an ECU was out of use"),
        ]
    rows = math.ceil(len(figures) / _FIGURES_IN_A_ROW)
    return element(
        "div",
        *(
            element("div", element("b", value), element("span", text), class_="figure")
            for value, text in figures
        ),
        class_="figures",
        style=f"--columns:{math.ceil(len(figures) / rows)}",
    )


def _footer(report: CampaignReport) -> Markup:
    clock = {
        "virtual": "simulated time, in which every bit and every wait has its duration",
        "real": "real time",
    }.get(report.clock, report.clock)
    seed = "" if report.seed is None else f" Seed {report.seed}."
    return element("footer", f"Made by canota. Clock: {clock}.{seed} All times are UTC.")
