"""The parts of a vehicle's report, in reading order; a part with nothing to say is left out."""

from collections.abc import Callable, Sequence
from typing import Final

from cloud.reports.chart import Bar, Line, lanes, line_chart
from cloud.reports.dtcs import Change, DtcChange, compare, words
from cloud.reports.markup import Markup, element, join
from cloud.reports.model import EcuUpdate, Outcome, SignalSeries, Snapshot, Step, VehicleReport
from cloud.reports.words import CHANGES, plural, rate, seconds, size, unit

_ARROW: Final = Markup('<span class="arrow">&#8594;</span>')
_NONE: Final = Markup("&#8211;")
#: The signals of the temperature plot: what is controlled, and what it should be.
_CONTROLLED: Final = "CabinTemperature"
_WANTED: Final = "Setpoint"
_DTC_TONES: Final[dict[Change, str]] = {
    Change.NEW: "bad",
    Change.GONE: "good",
    Change.STILL_THERE: "warn",
    Change.PENDING: "warn",
    Change.NOT_TESTED: "calm",
    Change.CLEAR: "good",
}
#: Most urgent first.
_DTC_ORDER: Final = (
    Change.NEW,
    Change.STILL_THERE,
    Change.PENDING,
    Change.GONE,
    Change.NOT_TESTED,
    Change.CLEAR,
)
#: Above this share of the bound a transfer is marked as slow.
_SLOW: Final = 1.25


def table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[Markup]]) -> Markup:
    """Build a table; `head` is (heading, CSS class of its column)."""
    heading = element("tr", *(element("th", text, class_=style or None) for text, style in head))
    body = [
        element(
            "tr",
            *(
                element("td", cell, class_=style or None)
                for cell, (_, style) in zip(row, head, strict=True)
            ),
        )
        for row in rows
    ]
    return element(
        "div",
        element("table", element("thead", heading), element("tbody", *body)),
        class_="scroll",
    )


def section(title: str, said: str, *content: Markup, long: bool = False) -> Markup:
    return element(
        "section",
        element("h2", title),
        element("p", said),
        *content,
        class_="long" if long else None,
    )


def versions(vehicle: VehicleReport) -> Markup | None:
    if not vehicle.ecus:
        return None
    head = [("ECU", "tight"), ("Wire", ""), ("Before", ""), ("After", ""), ("Read-back", "")]
    rows = [
        (
            join(element("b", ecu.name), element("small", ecu.hardware_id)),
            join(ecu.wire, element("small", "one slot" if ecu.single_slot else "two slots")),
            join(ecu.version_before or _NONE),
            join(
                element("b", ecu.version_after or "no answer"),
                element("small", f"{ecu.software_number_after} {ecu.supplier_version_after}"),
            ),
            _read_back(ecu, vehicle.outcome),
        )
        for ecu in vehicle.ecus
    ]
    return section(
        "Software versions",
        "Versions are read after the reset from the image that runs. The read-back is the boot "
        "loader's own SHA-256 of its active slot, signed with the ECU's key over a nonce of the "
        "cloud, and checked here against the image that was sent.",
        table(head, rows),
    )


def _read_back(ecu: EcuUpdate, outcome: Outcome) -> Markup:
    if ecu.read_back:
        tag = element("span", "proved", class_="tag good")
        said = f"runs the image that was sent, SHA-256 {ecu.image_sha256[:16]}"
    elif ecu.read_back_sha256:
        tag = element("span", "another image", class_="tag warn")
        said = f"runs SHA-256 {ecu.read_back_sha256[:16]}, sent was {ecu.image_sha256[:16]}"
    else:
        tone = "calm" if outcome is Outcome.REFUSED else "warn"
        tag = element("span", "not read back", class_=f"tag {tone}")
        said = f"sent was SHA-256 {ecu.image_sha256[:16]}" if ecu.image_sha256 else ""
    return join(
        tag,
        element("small", said, class_="mono", title=ecu.image_sha256) if said else "",
        element("small", ecu.error, class_="bad") if ecu.error else "",
    )


def temperature(vehicle: VehicleReport) -> Markup | None:
    windows = [
        (label, style, window)
        for label, style, snapshot in (
            ("Before", "before", vehicle.before),
            ("After", "after", vehicle.after),
        )
        if (window := _window(snapshot, style)) and window[0].points
    ]
    if not windows:
        return None
    points = [point for _, _, lines in windows for line in lines for point in line.points]
    y_range = _widened([value for _, value in points])
    x_range = (0.0, max(at for at, _ in points) or 1.0)
    charts = [
        element(
            "div",
            element("h3", f"{label} the update ", element("i", _settled(lines))),
            line_chart(
                lines,
                title=f"Cabin temperature {label.lower()} the update: {_settled(lines)}",
                x_range=x_range,
                y_range=y_range,
            ),
        )
        for label, _, lines in windows
    ]
    keys = [
        *(
            join(element("span", class_=f"key {style}"), f"cabin, {label.lower()}")
            for label, style, _ in windows
        ),
        join(element("span", class_="key set"), "set temperature"),
    ]
    return section(
        "Cabin temperature",
        "What the climate control unit's own bus signals said, recorded by the gateway up to the "
        "reading of the trouble codes. Both charts have the same axes.",
        element("div", *charts, class_="pair"),
        element("p", *keys, class_="legend"),
    )


def _window(snapshot: Snapshot | None, style: str) -> list[Line]:
    """Cabin temperature and, if it was on the bus, set temperature; seconds from their start."""
    series = {one.signal: one for one in (snapshot.signals if snapshot else ())}
    if _CONTROLLED not in series or not series[_CONTROLLED].offsets_seconds:
        return []
    start = series[_CONTROLLED].offsets_seconds[0]
    lines = [_as_line(series[_CONTROLLED], "cabin", style, start)]
    if _WANTED in series:
        lines.append(_as_line(series[_WANTED], "set", "set", start))
    return lines


def _as_line(series: SignalSeries, label: str, style: str, start: float) -> Line:
    points = zip(series.offsets_seconds, series.values, strict=False)
    return Line(
        label=label,
        style=style,
        unit=unit(series.unit),
        label_first=style == "set",
        points=tuple((at - start, value) for at, value in points if at >= start),
    )


def _settled(lines: Sequence[Line]) -> str:
    at, value = lines[0].points[-1]
    said = f"{value:.1f} {lines[0].unit} after {at:.0f} s"
    if len(lines) < 2 or not lines[1].points:
        return said
    wanted = lines[1].points[-1][1]
    away = value - wanted
    if abs(away) < 0.5:
        return f"{said}, as set ({wanted:.1f})"
    return f"{said}, {abs(away):.1f} K {'above' if away > 0 else 'below'} the set {wanted:.1f}"


def _widened(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max((high - low) * 0.08, 0.5)
    return low - margin, high + margin


def trouble_codes(vehicle: VehicleReport) -> Markup | None:
    if vehicle.before is None and vehicle.after is None:
        return None
    changes = compare(vehicle.before, vehicle.after)
    own = [change for change in changes if not change.network]
    network = [change for change in changes if change.network]
    content = [_codes(own)] if own else []
    if network:
        content += [
            element("h3", "Communication codes"),
            element(
                "p",
                "Listed apart: resets that belong to an update can raise them.",
                class_="note",
            ),
            _codes(network),
        ]
    return section("Trouble codes", _codes_said(vehicle, changes), *content)


def _codes_said(vehicle: VehicleReport, changes: Sequence[DtcChange]) -> str:
    unread = [
        f"{reading.ecu} could not be read ({reading.error})"
        for snapshot in (vehicle.before, vehicle.after)
        for reading in (snapshot.ecus if snapshot else ())
        if reading.error
    ]
    counted = [
        f"{count} {CHANGES[change].lower()}"
        for change in _DTC_ORDER
        if change is not Change.CLEAR and (count := sum(one.change is change for one in changes))
    ]
    parts = [", ".join(counted) or "No ECU reports a fault, before or after"]
    if vehicle.after is None:
        parts.append("there was no reading after the update")
    sentence = "; ".join([*parts, *unread])
    return (
        f"{sentence[:1].upper()}{sentence[1:]}. A code is new or gone only if its monitor has run "
        "to its end since; until then it is not tested."
    )


def _codes(changes: Sequence[DtcChange]) -> Markup:
    head = [("Verdict", "tight"), ("ECU", "tight"), ("Code", "tight"), ("What it means", "")]
    head += [("Before", ""), ("After", "")]
    ordered = sorted(changes, key=lambda one: (_DTC_ORDER.index(one.change), one.ecu, one.code))
    rows = [
        (
            element("span", CHANGES[one.change], class_=f"tag {_DTC_TONES[one.change]}"),
            join(one.ecu),
            element("b", one.display, class_="mono"),
            join(one.text),
            _status(one.before),
            _status(one.after),
        )
        for one in ordered
    ]
    return table(head, rows)


def _status(status: int | None) -> Markup:
    if status is None:
        return join(words(status))
    return join(words(status), element("small", f"status {status:02X}", class_="mono"))


def transfer(vehicle: VehicleReport) -> Markup | None:
    ecus = [ecu for ecu in vehicle.ecus if ecu.transfer_seconds > 0]
    if not ecus:
        return None
    longest = max(max(ecu.transfer_seconds, ecu.bound_seconds) for ecu in ecus)
    head = [("ECU", "tight"), ("Image", "right"), ("Transfer and bound", ""), ("Transfer", "right")]
    head += [("Bound", "right"), ("Ratio", "right"), ("Staging", "right"), ("Out of use", "right")]
    rows = [
        (
            join(element("b", ecu.name), element("small", ecu.wire)),
            join(size(ecu.image_bytes), element("small", rate(ecu))),
            _meters(ecu, longest),
            join(seconds(ecu.transfer_seconds)),
            join(seconds(ecu.bound_seconds)),
            join(f"{ecu.transfer_seconds / ecu.bound_seconds:.2f}" if ecu.bound_seconds else "?"),
            join(seconds(ecu.staging_seconds)) if ecu.staging_seconds else _NONE,
            join(seconds(ecu.out_of_use_seconds)) if ecu.out_of_use_seconds else _NONE,
        )
        for ecu in ecus
    ]
    return section(
        "Transfer",
        "The bound is the least time that wire and flash memory allow, computed block by block "
        "from the bits of this image. An ECU with two slots is staged while it works; one with a "
        "single slot is out of use while it is written.",
        table(head, rows),
        element(
            "p",
            element("span", class_="key transfer"),
            "measured transfer",
            element("span", class_="key bound"),
            "computed bound",
            class_="legend",
        ),
    )


def _meters(ecu: EcuUpdate, longest: float) -> Markup:
    slow = ecu.bound_seconds > 0 and ecu.transfer_seconds > _SLOW * ecu.bound_seconds
    return join(
        *(
            element(
                "div",
                element("i", class_=style, style=f"width:{100 * value / longest:.1f}%"),
                class_="meter",
                title=f"{ecu.name}: {said} {seconds(value)}",
            )
            for value, style, said in (
                (ecu.transfer_seconds, "transfer slow" if slow else "transfer", "transfer"),
                (ecu.bound_seconds, "bound", "bound"),
            )
        )
    )


def steps(vehicle: VehicleReport) -> Markup | None:
    if not vehicle.steps:
        return None
    ordered = sorted(vehicle.steps, key=lambda step: step.start)
    begin = ordered[0].start
    bars = [_step_bar(step, (step.start - begin).total_seconds()) for step in ordered]
    length = max(bar.start_s + bar.seconds for bar in bars) or 1.0
    names = list(dict.fromkeys(["vehicle", *(ecu.name for ecu in vehicle.ecus)]))
    names += [bar.lane for bar in bars if bar.lane not in names]
    head = [("At", "right"), ("Took", "right"), ("ECU", "tight"), ("Step", "tight"), ("Detail", "")]
    rows = [_step_row(step, bar) for step, bar in zip(ordered, bars, strict=True)]
    return section(
        "Every step",
        f"{plural(len(ordered), 'step')} in {seconds(length)}, from {begin:%H:%M:%S} UTC on.",
        lanes(list(dict.fromkeys(names)), bars, length_s=length, title="Steps of the update"),
        element(
            "p",
            element("span", class_="key whole"),
            "vehicle",
            element("span", class_="key transfer"),
            "ECU",
            element("span", class_="key failed"),
            "failed",
            class_="legend",
        ),
        table(head, rows),
        long=True,
    )


def _step_bar(step: Step, start_s: float) -> Bar:
    lane = step.ecu or "vehicle"
    style = "failed" if step.failed else "ecu" if step.ecu else "whole"
    return Bar(
        lane=lane,
        start_s=start_s,
        seconds=step.seconds,
        title=f"{lane}: {step.step}",
        style=style,
    )


def _step_row(step: Step, bar: Bar) -> tuple[Markup, ...]:
    failed = element("span", "failed", class_="tag bad") if step.failed else Markup()
    return (
        join(f"{bar.start_s:.1f} s"),
        join(seconds(step.seconds)),
        join(step.ecu or "vehicle"),
        join(step.step, " " if step.failed else "", failed),
        join(step.detail),
    )


def identification(vehicle: VehicleReport) -> Markup | None:
    before, after = _dids(vehicle.before), _dids(vehicle.after)
    if not before and not after:
        return None
    head = [("ECU", "tight"), ("DID", "tight"), ("What it is", ""), ("Before", ""), ("After", "")]
    rows = []
    for key in sorted(before.keys() | after.keys()):
        ecu, number = key
        text, first = before.get(key, ("", ""))
        text, last = after.get(key, (text, ""))
        changed = bool(first and last and first != last)
        rows.append(
            (
                join(ecu),
                element("span", f"{number:04X}", class_="mono"),
                join(text),
                join(first or _NONE),
                element("b", last) if changed else join(last or _NONE),
            )
        )
    return section(
        "Identification",
        "Data identifiers of every ECU as read over its wire; what changed is bold.",
        table(head, rows),
        long=True,
    )


def _dids(snapshot: Snapshot | None) -> dict[tuple[str, int], tuple[str, str]]:
    return {
        (reading.ecu, did.data_identifier): (did.text, did.value)
        for reading in (snapshot.ecus if snapshot else ())
        for did in reading.dids
    }


def signals(vehicle: VehicleReport) -> Markup | None:
    before, after = _ranges(vehicle.before), _ranges(vehicle.after)
    if not before and not after:
        return None
    head = [("Wire", ""), ("Signal", ""), ("Unit", "")]
    head += [("Before: range", "right"), ("last", "right")]
    head += [("After: range", "right"), ("last", "right")]
    rows = [
        (
            join(wire),
            join(element("b", signal), element("small", message)),
            join(unit(symbol)),
            *before.get((wire, message, signal, symbol), (_NONE, _NONE)),
            *after.get((wire, message, signal, symbol), (_NONE, _NONE)),
        )
        for wire, message, signal, symbol in sorted(before.keys() | after.keys())
    ]
    return section(
        "Bus signals",
        "The window of decoded signals that travelled with each reading; report.json has every "
        "value.",
        table(head, rows),
        long=True,
    )


def _ranges(snapshot: Snapshot | None) -> dict[tuple[str, str, str, str], tuple[Markup, Markup]]:
    return {
        (one.wire, one.message, one.signal, one.unit): (
            join(f"{min(one.values):.6g} \u2026 {max(one.values):.6g}"),
            join(f"{one.values[-1]:.6g}"),
        )
        for one in (snapshot.signals if snapshot else ())
        if one.values
    }


#: In reading order.
SECTIONS: Final[tuple[Callable[[VehicleReport], Markup | None], ...]] = (
    versions,
    temperature,
    trouble_codes,
    transfer,
    steps,
    identification,
    signals,
)
