"""Line charts and time lanes as inline SVG: axes with units, hover titles, no script."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cloud.reports.markup import Markup, element, join
from cloud.reports.words import seconds

#: Drawing area in SVG units; the page scales it.
WIDTH: Final = 560.0
HEIGHT: Final = 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 18.0, 26.0, 42.0
#: Most points drawn and most points that answer the mouse.
_DRAWN: Final = 400
_HOVERED: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    label: str
    #: CSS class that gives the colour.
    style: str
    unit: str
    #: Where its name stands: at its first point, or at its last.
    label_first: bool = False
    #: Its name stands under it: another line's stands above.
    label_below: bool = False
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear axis: values `low..high` onto coordinates `start..end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers inside `low..high`, about as many as wanted."""
    if not high > low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 9) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A stretch of time that is shaded, with its name above."""

    label: str
    start_s: float
    end_s: float


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    width: float = WIDTH,
    band: Band | None = None,
) -> Markup:
    """Plot lines over seconds on given ranges, so that several charts can share them."""
    x = Scale(low=x_range[0], high=x_range[1], start=_LEFT, end=width - _RIGHT)
    y = Scale(low=y_range[0], high=y_range[1], start=HEIGHT - _BOTTOM, end=_TOP)
    unit = lines[0].unit if lines else ""
    return element(
        "svg",
        element("title", title),
        _band(band, x) if band else "",
        _axes(x, y, unit=unit),
        *(join(*_line(line, x, y)) for line in lines),
        viewBox=f"0 0 {width:g} {HEIGHT:g}",
        role="img",
        aria_label=title,
        class_="chart",
    )


def _band(band: Band, x: Scale) -> Markup:
    start, end = x(band.start_s), x(band.end_s)
    said = f"{band.label}: {seconds(band.end_s - band.start_s)}"
    return join(
        element(
            "rect",
            element("title", said),
            x=start,
            y=_TOP,
            width=max(end - start, 2.0),
            height=HEIGHT - _BOTTOM - _TOP,
            class_="band",
        ),
        element("text", said, x=(start + end) / 2, y=_TOP - 8, class_="tick middle"),
    )


def _axes(x: Scale, y: Scale, *, unit: str) -> Markup:
    bottom, right = HEIGHT - _BOTTOM, x.end
    rows = [
        join(
            element("line", x1=_LEFT, x2=right, y1=y(value), y2=y(value), class_="grid"),
            element("text", f"{value:g}", x=_LEFT - 8, y=y(value) + 4, class_="tick end"),
        )
        for value in ticks(y.low, y.high)
    ]
    columns = [
        join(
            element("line", x1=x(value), x2=x(value), y1=bottom, y2=bottom + 4, class_="axis"),
            element("text", f"{value:g}", x=x(value), y=bottom + 18, class_="tick middle"),
        )
        for value in ticks(x.low, x.high, 6)
    ]
    return join(
        *rows,
        element("line", x1=_LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"),
        *columns,
        element("text", unit, x=_LEFT - 8, y=_TOP - 10, class_="tick end"),
        element("text", "seconds", x=right, y=bottom + 35, class_="tick end"),
    )


def _line(line: Line, x: Scale, y: Scale) -> Iterator[Markup]:
    if not line.points:
        return
    path = "M" + "L".join(
        f"{x(at):.1f} {y(value):.1f}" for at, value in thinned(line.points, _DRAWN)
    )
    yield element("path", d=path, class_=f"line {line.style}")
    at, value = line.points[-1]
    yield element("circle", cx=x(at), cy=y(value), r=4, class_=f"dot {line.style}")
    labelled, side = (line.points[0], "mark") if line.label_first else (line.points[-1], "mark end")
    yield element(
        "text",
        f"{line.label} {labelled[1]:.1f} {line.unit}",
        x=x(labelled[0]) + (6 if line.label_first else -2),
        y=y(labelled[1]) + (20 if line.label_below else -9),
        class_=side,
    )
    for at, value in thinned(line.points, _HOVERED):
        said = f"{line.label}: {value:.1f} {line.unit} at {at:.0f} s"
        yield element("circle", element("title", said), cx=x(at), cy=y(value), r=7, class_="hover")


def thinned(points: Sequence[tuple[float, float]], most: int) -> Sequence[tuple[float, float]]:
    """Take about `most` points evenly; the last one is always among them."""
    if len(points) <= most:
        return points
    stride = math.ceil(len(points) / most)
    kept = list(points[::stride])
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    lane: str
    start_s: float
    seconds: float
    label: str
    style: str


#: Width of a letter in a bar.
_LETTER: Final = 7.0
_LANE: Final = 30.0
_LANE_LEFT: Final = 84.0
_LANES_WIDTH: Final = 1120.0


def lanes(names: Sequence[str], bars: Sequence[Bar], *, length_s: float, title: str) -> Markup:
    """Draw what happened when: one lane a name, one bar a step, a common axis of seconds."""
    x = Scale(low=0.0, high=length_s, start=_LANE_LEFT, end=_LANES_WIDTH - 24)
    bottom = 10 + _LANE * len(names)
    return element(
        "svg",
        element("title", title),
        *(_grid_line(x(value), bottom, seconds_label(value)) for value in ticks(0.0, length_s, 8)),
        *(
            element("text", name, x=_LANE_LEFT - 12, y=10 + _LANE * row + 20, class_="lane end")
            for row, name in enumerate(names)
        ),
        *(_bar(bar, x, 10 + _LANE * names.index(bar.lane)) for bar in bars if bar.lane in names),
        viewBox=f"0 0 {_LANES_WIDTH:g} {bottom + 30:g}",
        role="img",
        aria_label=title,
        class_="lanes",
    )


def _grid_line(x: float, bottom: float, label: str) -> Markup:
    return join(
        element("line", x1=x, x2=x, y1=10.0, y2=bottom, class_="grid"),
        element("text", label, x=x, y=bottom + 20, class_="tick middle"),
    )


def _bar(bar: Bar, x: Scale, top: float) -> Markup:
    width = max(x(bar.start_s + bar.seconds) - x(bar.start_s), 2.5)
    said = f"{bar.lane}: {bar.label}, {seconds(bar.seconds)} from {seconds_label(bar.start_s)}"
    shape = element(
        "rect",
        element("title", said),
        x=x(bar.start_s),
        y=top + 5,
        width=width,
        height=_LANE - 10,
        rx=3,
        class_=f"bar {bar.style}",
    )
    if width < _LETTER * len(bar.label) + 12:
        return shape
    name = element("text", bar.label, x=x(bar.start_s) + 7, y=top + 19.5, class_="inside")
    return join(shape, name)


def seconds_label(value: float) -> str:
    """Say a moment on a time axis: `45 s`, `2:05`."""
    if value < 60:
        return f"{round(value, 1):g} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02}"
