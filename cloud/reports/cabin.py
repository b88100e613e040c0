"""The cabin temperature before and after an update: what it was, and how far from what was set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloud.fleet.diagnostics import SignalSeries, Snapshot
from cloud.reports.chart import WIDTH, Band, Line, line_chart
from cloud.reports.markup import Markup, element, join
from cloud.reports.model import VehicleReport
from cloud.reports.words import unit

#: The signals of the plot: what is controlled, and what it should be.
_CONTROLLED: Final = "CabinTemperature"
_WANTED: Final = "Setpoint"
#: Degrees within which a temperature counts as set.
_NEAR_K: Final = 0.5
#: Share of a chart's width that a label takes.
_ROOM_FOR_A_LABEL: Final = 0.15
_WIDE: Final = 1120.0
#: Longest gap in seconds over which before and after are one course.
_ONE_COURSE_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One window of cabin temperature; times are seconds from the reading before the update."""

    name: str
    style: str
    cabin: Line
    wanted: Line | None

    @property
    def begin_s(self) -> float:
        return self.cabin.points[0][0]

    @property
    def last(self) -> float:
        return self.cabin.points[-1][1]

    @property
    def away_k(self) -> float | None:
        """How far from the set temperature it ended; None where that was not on the bus."""
        if self.wanted is None or not self.wanted.points:
            return None
        return self.last - self.wanted.points[-1][1]

    def settled(self) -> str:
        """Say how it ended."""
        at = self.cabin.points[-1][0] - self.begin_s
        said = f"{self.last:.1f} {self.cabin.unit} after {at:.0f} s"
        if self.away_k is None:
            return said
        wanted = f"the set {self.last - self.away_k:.1f}"
        if abs(self.away_k) < _NEAR_K:
            return f"{said}, as set ({self.last - self.away_k:.1f})"
        return (
            f"{said}, {abs(self.away_k):.1f} K {'above' if self.away_k > 0 else 'below'} {wanted}"
        )


def courses(vehicle: VehicleReport) -> list[Course]:
    """The courses that are known; the one after the update leaves out what was before it."""
    passed = _between_s(vehicle.before, vehicle.after)
    found = [
        _course("Before", "before", vehicle.before, shift_s=0.0, from_s=float("-inf")),
        _course("After", "after", vehicle.after, shift_s=passed or 0.0, from_s=0.0)
        if passed is not None
        else _course("After", "after", vehicle.after, shift_s=0.0, from_s=float("-inf")),
    ]
    return [course for course in found if course is not None]


def figure(vehicle: VehicleReport) -> tuple[str, str] | None:
    """How far off the cabin was and is, as a figure with its text."""
    away = [course.away_k for course in courses(vehicle)]
    match away:
        case [float(before), float(after)]:
            text = "cabin off its set temperature, before and after"
            return f"{abs(before):.1f} \u2192 {abs(after):.1f} K", text
        case _:
            return None


def plot(vehicle: VehicleReport) -> Markup | None:
    """Draw one chart if the courses follow each other, else one each on the same axes."""
    found = courses(vehicle)
    if not found:
        return None
    lines = [line for course in found for line in (course.cabin, course.wanted) if line]
    y_range = _widened([value for line in lines for _, value in line.points])
    one_course = len(found) == 2 and found[1].begin_s - found[0].cabin.points[-1][0] >= 0
    if one_course and found[1].begin_s - found[0].cabin.points[-1][0] < _ONE_COURSE_S:
        return _together(vehicle, found, y_range)
    return _apart(found, y_range)


def _together(
    vehicle: VehicleReport, found: Sequence[Course], y_range: tuple[float, float]
) -> Markup:
    first, second = found
    begin = first.begin_s
    end = second.cabin.points[-1][0] - begin
    lines = [_moved(course.cabin, begin) for course in found]
    if end + begin - second.begin_s < _ROOM_FOR_A_LABEL * end:
        lines[1] = replace(lines[1], label_below=True)
    wanted = [
        point for course in found if course.wanted for point in _moved(course.wanted, begin).points
    ]
    if first.wanted and wanted:
        lines.append(_line("set", "set", first.wanted.unit, wanted))
    return join(
        element(
            "div",
            *(_heading(course) for course in found),
            class_="pair",
        ),
        line_chart(
            lines,
            title=f"Cabin temperature: {first.settled()}; after the update {second.settled()}",
            x_range=(0.0, end),
            y_range=y_range,
            width=_WIDE,
            band=_update(vehicle, -begin),
        ),
    )


def _apart(found: Sequence[Course], y_range: tuple[float, float]) -> Markup:
    longest = max(course.cabin.points[-1][0] - course.begin_s for course in found) or 1.0
    charts = [
        element(
            "div",
            _heading(course),
            line_chart(
                [
                    _moved(line, course.begin_s)
                    for line in (course.cabin, course.wanted)
                    if line is not None
                ],
                title=f"Cabin temperature {course.name.lower()} the update: {course.settled()}",
                x_range=(0.0, longest),
                y_range=y_range,
                width=WIDTH,
            ),
        )
        for course in found
    ]
    return element("div", *charts, class_="pair")


def _heading(course: Course) -> Markup:
    return element(
        "h3",
        element("span", class_=f"key {course.style}"),
        f"{course.name} the update ",
        element("i", course.settled()),
    )


def _update(vehicle: VehicleReport, shift_s: float) -> Band | None:
    """The time in which ECUs were worked on."""
    steps = [step for step in vehicle.steps if step.ecu]
    if not steps or vehicle.before is None:
        return None
    zero = vehicle.before.time
    starts = [(step.start - zero).total_seconds() for step in steps]
    ends = [start + step.seconds for start, step in zip(starts, steps, strict=True)]
    return Band(label="update", start_s=min(starts) + shift_s, end_s=max(ends) + shift_s)


def _between_s(before: Snapshot | None, after: Snapshot | None) -> float | None:
    if before is None or after is None:
        return None
    return (after.time - before.time).total_seconds()


def _course(
    name: str, style: str, snapshot: Snapshot | None, *, shift_s: float, from_s: float
) -> Course | None:
    series = {one.signal: one for one in (snapshot.signals if snapshot else ())}
    if _CONTROLLED not in series:
        return None
    cabin = _shifted(series[_CONTROLLED], "cabin", style, shift_s, from_s)
    wanted = None
    if _WANTED in series:
        wanted = _shifted(series[_WANTED], "set", "set", shift_s, from_s)
    return Course(name=name, style=style, cabin=cabin, wanted=wanted) if cabin.points else None


def _shifted(series: SignalSeries, label: str, style: str, shift_s: float, from_s: float) -> Line:
    points = [
        (at + shift_s, value)
        for at, value in zip(series.offsets_s, series.values, strict=False)
        if at + shift_s >= from_s
    ]
    return _line(label, style, unit(series.unit), points)


def _moved(line: Line, begin_s: float) -> Line:
    points = [(at - begin_s, value) for at, value in line.points]
    return _line(line.label, line.style, line.unit, points)


def _line(label: str, style: str, symbol: str, points: Sequence[tuple[float, float]]) -> Line:
    return Line(
        label=label, style=style, unit=symbol, points=tuple(points), label_first=style == "set"
    )


def _widened(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max((high - low) * 0.08, 0.5)
    return low - margin, high + margin
