"""The parts of a vehicle's report, in reading order; a part with nothing to say is left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Final

from cloud.fleet.diagnostics import Snapshot
from cloud.fleet.dtcs import Change, DtcChange, words
from cloud.fleet.evidence import ConsentRecord
from cloud.reports.cabin import plot
from cloud.reports.changes import changes_of
from cloud.reports.chart import Bar, lanes
from cloud.reports.markup import Markup, element, join
from cloud.reports.model import EcuUpdate, Outcome, Step, VehicleReport
from cloud.reports.words import CHANGES, plural, rate, seconds, size, unit

_ARROW: Final = Markup('<span class="arrow">&#8594;</span>')
_NONE: Final = Markup("&#8211;")
_DTC_TONES: Final[dict[Change, str]] = {
    Change.NEW: "bad",
    Change.GONE: "good",
    Change.STILL_THERE: "warn",
    Change.PENDING: "warn",
    Change.NOT_TESTED: "calm",
    Change.OWN_RESET: "calm",
    Change.CLEAR: "good",
}
#: Most urgent first.
_DTC_ORDER: Final = (
    Change.NEW,
    Change.STILL_THERE,
    Change.PENDING,
    Change.GONE,
    Change.NOT_TESTED,
    Change.OWN_RESET,
    Change.CLEAR,
)
#: Above this share of the bound a transfer is marked as slow.
_SLOW: Final = 1.25


def table(
    head: Sequence[tuple[str, str]], rows: Sequence[Sequence[Markup]], *, dense: bool = False
) -> Markup:
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
        class_="scroll dense" if dense else "scroll",
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
    head = [
        ("ECU", "tight"),
        ("Wire", "tight"),
        ("Before", "tight"),
        ("After", ""),
        ("Read-back", ""),
    ]
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
    elif ecu.read_back_sha256 and ecu.version_after == ecu.version_before:
        tag = element("span", "as before", class_="tag calm")
        said = f"runs SHA-256 {ecu.read_back_sha256[:16]}, sent was {ecu.image_sha256[:16]}"
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
    drawn = plot(vehicle)
    if drawn is None:
        return None
    return section(
        "Cabin temperature",
        "What the climate control unit's own bus signals said, as the gateway recorded them up to "
        "each reading of the trouble codes; dashed: the set temperature.",
        drawn,
    )


def trouble_codes(vehicle: VehicleReport) -> Markup | None:
    if vehicle.before is None and vehicle.after is None:
        return None
    changes = changes_of(vehicle)
    own = [change for change in changes if not change.network]
    network = [change for change in changes if change.network]
    stored = _stored(vehicle)
    content = [_codes(own, stored)] if own else []
    if network:
        content += [
            element("h3", "Communication codes"),
            element(
                "p",
                "Listed apart: an ECU that is reset is missed by the others. What was lost only "
                "while the update reset another ECU is called the update's own.",
                class_="note",
            ),
            _codes(network, stored),
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


def _stored(vehicle: VehicleReport) -> dict[tuple[str, int], str]:
    """What the ECUs stored beside each code, in words; the newest reading wins."""
    return {
        (reading.ecu, dtc.code): ", ".join(
            record.value for record in (*dtc.snapshots, *dtc.extended_data) if record.value
        )
        for snapshot in (vehicle.before, vehicle.after)
        for reading in (snapshot.ecus if snapshot else ())
        for dtc in reading.dtcs
    }


def _codes(changes: Sequence[DtcChange], stored: Mapping[tuple[str, int], str]) -> Markup:
    head = [("Verdict", "tight"), ("ECU", "tight"), ("Code", "tight"), ("What it means", "")]
    head += [("Before", ""), ("After", "")]
    ordered = sorted(changes, key=lambda one: (_DTC_ORDER.index(one.change), one.ecu, one.code))
    rows = [
        (
            element("span", CHANGES[one.change], class_=f"tag {_DTC_TONES[one.change]}"),
            join(one.ecu),
            element("b", one.display, class_="mono"),
            join(one.text, element("small", stored.get((one.ecu, one.code), ""))),
            _status(one.before),
            _status(0 if one.change is Change.GONE else one.after),
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
        "The bound is the least time that flash memory and a wire of its own allow, computed block "
        "by block from the bits of this image; downloads side by side on one wire share it, and "
        "take longer. An ECU with two slots or a staging area is staged while it works; one with "
        "neither is out of use while it is written.",
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


#: Step of an ECU -> its colour; every other is blue.
_STEP_STYLES: Final[dict[str, str]] = {
    "activate": "out",
    "revert": "out",
    "read back": "check",
    "confirm": "check",
}
_STEP_KEYS: Final = (
    ("whole", "vehicle"),
    ("transfer", "staged while in use"),
    ("out", "activated, out of use"),
    ("check", "read back, confirmed"),
    ("failed", "failed"),
)


def steps(vehicle: VehicleReport) -> Markup | None:
    if not vehicle.steps:
        return None
    ordered = sorted(vehicle.steps, key=lambda step: step.start)
    begin = ordered[0].start
    bars = [_step_bar(step, (step.start - begin).total_seconds()) for step in ordered]
    length = max(bar.start_s + bar.seconds for bar in bars)
    names = dict.fromkeys(["vehicle", *(ecu.name for ecu in vehicle.ecus)])
    names.update(dict.fromkeys(bar.lane for bar in bars))
    # What the vehicle waits for at the end would leave no room for what its ECUs do.
    worked = max((bar.start_s + bar.seconds for bar in bars if bar.style != "whole"), default=0.0)
    shown_s = 1.02 * worked or length or 1.0
    shown = [bar for bar in bars if bar.start_s + bar.seconds <= shown_s]
    head = [("At", "right"), ("Took", "right"), ("ECU", "tight"), ("Step", "tight"), ("", "")]
    rows = [_step_row(step, bar) for step, bar in zip(ordered, bars, strict=True)]
    keys = [
        join(element("span", class_=f"key {style}"), text)
        for style, text in _STEP_KEYS
        if style != "failed" or any(bar.style == "failed" for bar in bars)
    ]
    return section(
        "Every step",
        f"{plural(len(ordered), 'step')} in {seconds(length)}, from {begin:%H:%M:%S} UTC on; "
        f"the chart shows the {seconds(worked)} in which ECUs were worked on.",
        lanes(list(names), shown, length_s=shown_s, title="Steps of the update"),
        element("p", *keys, class_="legend"),
        table(head, rows, dense=True),
        long=True,
    )


def _step_bar(step: Step, start_s: float) -> Bar:
    style = _STEP_STYLES.get(step.step, "ecu") if step.ecu else "whole"
    return Bar(
        lane=step.ecu or "vehicle",
        start_s=start_s,
        seconds=step.seconds,
        label=step.step,
        style="failed" if step.failed else style,
    )


def _step_row(step: Step, bar: Bar) -> tuple[Markup, ...]:
    failed = element("span", "failed", class_="tag bad") if step.failed else Markup()
    return (
        join(f"{bar.start_s:.1f} s"),
        join(seconds(step.seconds)),
        join(step.ecu or "vehicle"),
        join(step.step),
        join(failed, " " if step.failed else "", step.detail),
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
        table(head, rows, dense=True),
        long=True,
    )


def _dids(snapshot: Snapshot | None) -> dict[tuple[str, int], tuple[str, str]]:
    return {
        (reading.ecu, did.data_identifier): (did.text, did.value)
        for reading in (snapshot.ecus if snapshot else ())
        for did in reading.data_identifiers
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
        table(head, rows, dense=True),
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
_VERDICTS: Final[dict[str, tuple[str, str]]] = {
    "met": ("met", "good"),
    "not_met": ("not met", "bad"),
    "unknown": ("not known", "warn"),
}
_OCCASIONS: Final[dict[str, str]] = {
    "waiting": "waited for",
    "cleared": "begun on, watched until the commit",
    "refused": "not met in time",
    "violated": "no longer met: turned back",
}


def conditions(vehicle: VehicleReport) -> Markup | None:
    """What the vehicle had to be like, and what the driver said."""
    if not vehicle.conditions and not vehicle.consents:
        return None
    head = [
        ("When", "tight"),
        ("Condition", "tight"),
        ("Of", "tight"),
        ("Value", "tight"),
        ("From", ""),
        ("", "tight"),
    ]
    rows = []
    for one in vehicle.conditions:
        said, tone = _VERDICTS.get(one.verdict, (one.verdict, "calm"))
        received = f", received {one.value_time:%H:%M:%S.%f}"[:-3] if one.value_time else ""
        rows.append(
            (
                join(
                    f"{one.time:%Y-%m-%d %H:%M:%S}",
                    element("small", _OCCASIONS.get(one.occasion, one.occasion)),
                ),
                element("span", one.condition, class_="mono"),
                join(one.origin),
                join(one.problem or one.value or _NONE),
                join(", ".join(part for part in (one.message, one.source) if part), received),
                element("span", said, class_=f"tag {tone}"),
            )
        )
    begun = sum(one.occasion == "cleared" for one in vehicle.conditions)
    spoken = [_consent(one) for one in vehicle.consents]
    return section(
        "Preconditions and consent",
        f"{plural(begun, 'condition')} held when activation began"
        + (f"; the driver answered {plural(len(spoken), 'time')}." if spoken else "."),
        *spoken,
        table(head, rows, dense=True) if rows else Markup(),
        long=True,
    )


def _consent(one: ConsentRecord) -> Markup:
    until = f" until {one.defer_until:%Y-%m-%d %H:%M} UTC" if one.defer_until else ""
    told = () if one.notice is None else fields(one.notice)
    return element(
        "div",
        element(
            "p",
            join(
                "The driver: ",
                element("b", f"{one.answer}{until}"),
                f" at {one.time:%Y-%m-%d %H:%M:%S} UTC, of the release with SHA-256 ",
                element("span", one.release_sha256.hex(), class_="mono"),
            ),
        ),
        element(
            "ul",
            *(
                element(
                    "li",
                    element("b", f"{part.name.replace('_', ' ')}: "),
                    str(getattr(one.notice, part.name)),
                )
                for part in told
            ),
        )
        if told
        else "",
    )


SECTIONS: Final[tuple[Callable[[VehicleReport], Markup | None], ...]] = (
    versions,
    temperature,
    trouble_codes,
    transfer,
    conditions,
    steps,
    identification,
    signals,
)
