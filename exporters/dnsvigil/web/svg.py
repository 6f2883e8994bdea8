"""Small pictures as inline SVG: each is a function of numbers, and has a text for who cannot see it.

A chart library would be hundreds of kilobytes of JavaScript for what these few functions draw. They work without
JavaScript and on paper. Colours are classes of the stylesheet: the policy of the pages forbids inline styles.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from dnsvigil.web.text import percent, visible

Values = Sequence[float | None]
"""A series at equal steps; None is a gap."""

COLOURS: Final = 12
"""How many groups have a colour of their own."""

_PAD: Final = 4.0
_HEAD: Final = 12.0  # above a series, for the label of its scale
_SVG: Final = Markup('<svg class="{}" viewBox="0 {} {} {}" role="img"><title>{}</title>{}</svg>')


@dataclass(frozen=True)
class _Frame:
    """Where a series is drawn: its values run from 0 to ``top``."""

    width: float
    height: float
    top: float

    def point(self, place: int, value: float, places: int) -> tuple[str, str]:
        """Return where one of so many values is."""
        x = _PAD + (self.width - 2 * _PAD) * (place / (places - 1) if places > 1 else 0.5)
        return _n(x), _n(self.height - (self.height - _HEAD - _PAD) * value / self.top)

    def line(self, values: Values, kind: str) -> Markup:
        """Return the path of a series, which begins anew after each gap."""
        steps, pen = [], "M"
        for place, value in enumerate(values):
            if not _is_number(value):
                pen = "M"
                continue
            steps.append(f"{pen}{' '.join(self.point(place, value or 0, len(values)))}")
            pen = "L"
        return Markup('<path class="{}" d="{}"/>').format(kind, " ".join([*steps, *["h4"] * (len(steps) == 1)]))


def series(
    values: Values,
    title: str,
    *,
    baseline: Values = (),
    marks: Iterable[int] = (),
    labels: tuple[str, str] = ("", ""),
    height: int = 180,
    shares: bool = False,
) -> Markup:
    """Draw a series over time with its baseline, from 0 to the greatest value; ``shares`` are labelled as percentages.

    ``marks`` are the places of values that stand out; ``labels`` are those of the first and the last value.
    """
    width = 640
    top = max((value for value in (*values, *baseline) if value is not None and math.isfinite(value)), default=0) or 1
    frame = _Frame(width, height - 18, top)
    parts = [
        *_scale(frame, labels, percent(top) if shares else short(top)),
        frame.line(baseline, "baseline"),
        frame.line(values, "line"),
    ]
    for place in marks:
        if _is_number(value := values[place]):
            at = frame.point(place, value or 0, len(values))
            parts.append(Markup('<circle class="mark" cx="{}" cy="{}" r="4"/>').format(*at))
    return _SVG.format("series", 0, width, height, visible(title), Markup("").join(parts))


def meter(value: float, title: str, *, limit: float | None = None, top: float = 1.0, against: bool = False) -> Markup:
    """Draw a value from 0 to ``top`` as a bar, and its limit as a line; what speaks ``against`` is pale."""
    width = 120
    high = max(top, value, limit or 0)
    kind = "fill over" if limit is not None and value > limit else "fill against" if against else "fill"
    bar = Markup('<rect class="{}" width="{}" height="10" rx="2"/>')
    parts = [bar.format("track", width), bar.format(kind, _n(width * max(value, 0) / high))]
    if limit is not None:
        line = Markup('<line class="limit" x1="{0}" y1="-2" x2="{0}" y2="12"/>')
        parts.append(line.format(_n(width * limit / high)))
    return _SVG.format("meter", -2, width, 14, visible(title), Markup("").join(parts))


def lifetime(first: float, last: float, begin: float, end: float, title: str) -> Markup:
    """Draw from when to when something was seen, in a span of time."""
    width, length = 240, (end - begin) or 1
    left, right = (width * (each - begin) / length for each in (first, last))
    bar = Markup('<rect class="{}" x="{}" y="4" width="{}" height="8" rx="2"/>')
    parts = [bar.format("track", "0", width), bar.format("fill", _n(min(left, width - 3)), _n(max(right - left, 3)))]
    return _SVG.format("lifetime", 0, width, 16, visible(title), Markup("").join(parts))


def track(places: Iterable[float], width: float, title: str) -> Markup:
    """Draw when something was active: places from 0 to 1 on the axis of time, each of this width."""
    whole = 480
    mark = Markup('<rect class="fill" x="{}" width="{}" height="12"/>')
    marks = Markup("").join(mark.format(_n(whole * place), _n(max(whole * width, 2))) for place in places)
    back = Markup('<rect class="track" width="{}" height="12" rx="2"/>').format(whole)
    return _SVG.format("timeline", 0, whole, 12, visible(title), back + marks)


def stacked(layers: Sequence[Values], title: str, *, labels: tuple[str, str] = ("", ""), height: int = 220) -> Markup:
    """Draw series one upon the other; the first, with the first colour, lies below."""
    width, places = 640, max((len(each) for each in layers), default=0)
    below = [0.0] * places
    edges = [below]
    for layer in layers:
        below = [sum(pair) for pair in zip(below, (value or 0.0 for value in layer), strict=True)]
        edges.append(below)
    frame = _Frame(width, height - 18, max(below, default=0) or 1)
    parts = []
    for number, (lower, upper) in enumerate(pairwise(edges)):
        there = [frame.point(place, value, places) for place, value in enumerate(upper)]
        back = [frame.point(place, value, places) for place, value in enumerate(lower)]
        corners = " ".join(f"{x},{y}" for x, y in (*there, *reversed(back)))
        parts.append(Markup('<polygon class="g{}" points="{}"/>').format(number % COLOURS, corners))
    parts += _scale(frame, labels, short(frame.top))
    return _SVG.format("series", 0, width, height, visible(title), Markup("").join(parts))


def heat(rows: Sequence[Values], names: Sequence[str], title: str) -> Markup:
    """Draw the values of each hour of some days as squares, the darker the greater; the names are those of the days."""
    side, left, top = 24, 40, 16
    greatest = max((value for row in rows for value in row if value is not None), default=0) or 1
    cell = Markup(
        '<rect class="heat" x="{}" y="{}" width="22" height="22" rx="3" fill-opacity="{}"><title>{}</title></rect>'
    )
    parts = [
        Markup('<text class="tick" x="{}" y="11">{}</text>').format(left + hour * side, f"{hour:02}")
        for hour in range(0, 24, 3)
    ]
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        y = top + number * side
        parts.append(Markup('<text class="tick" x="0" y="{}">{}</text>').format(y + 16, visible(name)))
        for hour, value in enumerate(row):
            if value is not None:
                what = f"{name} {hour:02}:00 UTC: {short(value)}"
                parts.append(cell.format(left + hour * side, y, _n(max(value / greatest, 0.04) * 100) + "%", what))
    return _SVG.format("heatmap", 0, left + 24 * side, top + len(rows) * side, visible(title), Markup("").join(parts))


def scatter(
    points: Iterable[tuple[float, float, int]],
    marks: Iterable[tuple[float, float, int, str]],
    moves: Iterable[tuple[float, float, float, float]],
    title: str,
) -> Markup:
    """Draw points of groups, whose number is their colour, marks with a label, and lines from a point to another."""
    width, height, pad = 640, 420, 16
    points, marks, moves = [*points], [*marks], [*moves]
    places = [(x, y) for x, y, _ in points] + [(x, y) for x, y, *_ in marks]
    across, along = [x for x, _ in places], [y for _, y in places]
    left, right = min(across, default=0), max(across, default=1)
    bottom, top = min(along, default=0), max(along, default=1)

    def at(x: float, y: float) -> tuple[str, str]:
        inside = [(x - left) / ((right - left) or 1), (top - y) / ((top - bottom) or 1)]
        x, y = (min(max(each, 0), 1) for each in inside)
        return _n(pad + x * (width - 2 * pad)), _n(pad + y * (height - 2 * pad))

    dot = Markup('<circle class="g{}" cx="{}" cy="{}" r="2.5"/>')
    line = Markup('<line class="move" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    big = Markup('<circle class="centre g{}" cx="{}" cy="{}" r="9"/>')
    number = Markup('<text class="number" x="{}" y="{}" dy="4">{}</text>')
    parts = [dot.format(group % COLOURS, *at(x, y)) for x, y, group in points]
    parts += [line.format(*at(*each[:2]), *at(*each[2:])) for each in moves]
    for x, y, group, label in marks:
        place = at(x, y)
        parts += [big.format(group % COLOURS, *place), number.format(*place, visible(label))]
    return _SVG.format("scatter", 0, width, height, visible(title), Markup("").join(parts))


def swatch(group: int) -> Markup:
    """Draw the colour of a group; the text beside it says which it is."""
    dot = Markup('<circle class="g{}" cx="6" cy="6" r="6"/>').format(group % COLOURS)
    return Markup('<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">{}</svg>').format(dot)


def strip(value: float | None, statistics: Mapping[str, float | None], title: str) -> Markup:
    """Draw where a value lies among all: a line from ``min`` to ``max``, a box from ``p5`` to ``p95``, mean and median.

    The scale is that of the logarithm where the greatest is far above the median.
    """
    width = 240
    known = {name: each for name, each in statistics.items() if each is not None and math.isfinite(each)}
    values = [*known.values(), *([value] if value is not None else [])]
    low, high = min(values, default=0.0), max(values, default=1.0)
    skewed = high - low > 20 * ((known.get("median", low) - low) or (high - low) / 100)

    def x(each: float) -> float:
        part = math.log1p(each - low) / (math.log1p(high - low) or 1) if skewed else (each - low) / ((high - low) or 1)
        return _PAD + part * (width - 2 * _PAD)

    parts = []
    if {"min", "max"} <= known.keys():
        line = Markup('<line class="axis" x1="{}" y1="12" x2="{}" y2="12"/>')
        parts.append(line.format(_n(x(known["min"])), _n(x(known["max"]))))
    if {"p5", "p95"} <= known.keys():
        begin, end = x(known["p5"]), x(known["p95"])
        box = Markup('<rect class="box" x="{}" y="6" width="{}" height="12" rx="2"/>')
        parts.append(box.format(_n(begin), _n(end - begin)))
    for name in ("median", "mean"):
        if name in known:
            parts.append(
                Markup('<line class="{0}" x1="{1}" y1="4" x2="{1}" y2="20"/>').format(name, _n(x(known[name])))
            )
    if value is not None:
        parts.append(Markup('<circle class="point" cx="{}" cy="12" r="5"/>').format(_n(x(value))))
    return _SVG.format("strip", 0, width, 24, visible(title), Markup("").join(parts))


def _scale(frame: _Frame, labels: tuple[str, str], top: str) -> list[Markup]:
    """Return the axis of time, and the labels of its ends and of the greatest value."""
    width, height = frame.width, frame.height
    return [
        Markup('<line class="axis" x1="0" y1="{0}" x2="{1}" y2="{0}"/>').format(height, width),
        Markup('<text class="tick" x="2" y="10">{}</text>').format(top),
        Markup('<text class="tick" x="2" y="{}">{}</text>').format(height + 14, visible(labels[0])),
        Markup('<text class="tick end" x="{}" y="{}">{}</text>').format(width - 2, height + 14, visible(labels[1])),
    ]


def short(value: float) -> str:
    """Return a number in a few characters: 950, 1.2k, 34M."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _n(value: float) -> str:
    return f"{value:.1f}"
