"""Draw small charts as SVG text, without a library or a script. Their colours and dashes are classes of the page's style sheet.

Every chart has a title and a description for readers who cannot see it. The page also shows the numbers of each chart in a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 720, 22, 200, 60, 10, 44
"""The width of a chart, the height of a row, and the four margins, in units of the drawing, which the page scales."""
MAX_LABEL = 60
"""The largest number of characters in a label. Longer labels are cut."""
_LINES_HEIGHT, _LINES_LEFT, _LINES_RIGHT = 280, 64, 16
"""The height of a chart of lines, and its left and right margins, which hold no long labels."""
_BAR_HEIGHT, _DOT_RADIUS = 15, 4.5
_GAP = 8
"""The space between a chart and the labels beside it."""
_TEXT_DROP = 4
"""How far below the middle of a row the baseline of its text is, so that the text looks centred."""


@dataclass(frozen=True)
class Series:
    """One line of a line chart."""

    label: str
    look: str
    """Classes of the style sheet, such as "c1 d0" for colour 1 and dash pattern 0."""
    points: Sequence[tuple[float, float]]
    """Pairs of x and y, with x ascending."""


@dataclass(frozen=True)
class Bar:
    """One bar of a bar chart, which may consist of several parts."""

    label: str
    parts: Sequence[tuple[float, str]]
    """Pairs of a length and classes of the style sheet, drawn one after the other."""
    text: str
    """What is written behind the end of the bar."""


@dataclass(frozen=True)
class Dot:
    """One share with its interval. ``value``, ``low`` and ``high`` are from 0 to 1."""

    label: str
    look: str
    """Classes of the style sheet."""
    value: float
    low: float
    high: float
    text: str
    """What is written at the right edge of the row."""


def dots(title: str, rows: Sequence[Dot]) -> Markup:
    """Return a chart of shares with their 95 % intervals, one per row, on an axis from 0 to 100 %."""
    height = TOP + ROW * len(rows) + BOTTOM
    x = _Scale(0.0, 1.0, LEFT, WIDTH - RIGHT - 20)
    drawn = [
        *_x_axis(x, TOP, height - BOTTOM, [0, 0.25, 0.5, 0.75, 1], "problems solved, with 95 % interval", _percent)
    ]
    for i, row in enumerate(rows):
        y = TOP + ROW * (i + 0.5)
        drawn += [
            _text(LEFT - _GAP, y + _TEXT_DROP, row.label, "end"),
            f'<line class="{row.look} stroke" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<circle class="{row.look} fill" cx="{x(row.value):.1f}" cy="{y:.1f}" r="{_DOT_RADIUS}"/>',
            _text(WIDTH - RIGHT - _GAP, y + _TEXT_DROP, row.text, "start", "small"),
        ]
    return _svg(title, f"{len(rows)} rows: " + "; ".join(f"{r.label} {r.text}" for r in rows), height, drawn)


def bars(title: str, rows: Sequence[Bar], unit: str, *, max_value: float | None = None) -> Markup:
    """Return a chart of horizontal bars on an axis from 0 to ``max_value``, or else to the longest bar.

    ``unit`` stands below the axis. If ``max_value`` is 1, the axis shows percentages.
    """
    height = TOP + ROW * len(rows) + BOTTOM
    longest = max_value or max((sum(value for value, _ in row.parts) for row in rows), default=0.0) or 1.0
    x = _Scale(0.0, longest, LEFT, WIDTH - RIGHT - 40)
    label = _percent if max_value == 1 else _short
    drawn = [*_x_axis(x, TOP, height - BOTTOM, _ticks(0.0, longest), unit, label)]
    for i, row in enumerate(rows):
        y, start = TOP + ROW * i + 3, 0.0
        text_y = TOP + ROW * (i + 0.5) + _TEXT_DROP
        drawn.append(_text(LEFT - _GAP, text_y, row.label, "end"))
        for value, look in row.parts:
            width = max(0.0, x(start + value) - x(start))
            drawn.append(
                f'<rect class="{look} fill" x="{x(start):.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR_HEIGHT}"/>'
            )
            start += value
        drawn.append(_text(x(start) + 6, text_y, row.text, "start", "small"))
    return _svg(title, f"{len(rows)} bars: " + "; ".join(f"{r.label} {r.text}" for r in rows), height, drawn)


def lines(
    title: str, series: Sequence[Series], x_unit: str, y_unit: str, *, step: bool = False, limit: float | None = None
) -> Markup:
    """Return a chart of lines. The x axis begins at 0, and the y axis at 0 or at the lowest value if that is negative.

    With ``step``, each value holds until the next point, so the lines are drawn as stairs. ``limit`` is a dashed horizontal line.
    """
    left, right, bottom = _LINES_LEFT, WIDTH - _LINES_RIGHT, _LINES_HEIGHT - BOTTOM
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points if math.isfinite(y)] + ([limit] if limit else [])
    x = _Scale(0.0, max(xs, default=0.0) or 1.0, left, right)
    # A twentieth of the height above the highest value stays free. SVG counts y downwards, so the axis goes from bottom to top.
    y = _Scale(min([0.0, *ys]), 1.05 * max([0.0, *ys]) or 1.0, bottom, TOP)
    drawn = [
        *_x_axis(x, TOP, bottom, _ticks(0.0, x.high), x_unit, _short),
        *_y_axis(y, left, right, _ticks(0.0, y.high), y_unit),
    ]
    for line in series:
        path = _path(line.points, x, y, step=step)
        drawn.append(f'<path class="{line.look} stroke" d="{path}"><title>{escape(line.label)}</title></path>')
    if limit:
        drawn.append(f'<line class="limit" x1="{left}" x2="{right}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    return _svg(title, f"{len(series)} lines: " + ", ".join(line.label for line in series), _LINES_HEIGHT, drawn)


@dataclass(frozen=True)
class _Scale:
    """Maps the values from ``low`` to ``high`` to the positions from ``start`` to ``end``. Call it with a value."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _path(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale, *, step: bool) -> str:
    """Return the points as an SVG path, such as "M64.0 236.0L80.0 120.5". A value that is not finite leaves a gap."""
    drawn, pen = [], "M"
    for i, (at, value) in enumerate(points):
        if not math.isfinite(value):
            pen = "M"
            continue
        drawn.append(f"{pen}{x(at):.1f} {y(value):.1f}")
        pen = "L"
        if step:
            until = points[i + 1][0] if i + 1 < len(points) else x.high
            drawn.append(f"H{x(until):.1f}")
    return "".join(drawn)


def _x_axis(
    x: _Scale, top: float, bottom: float, ticks: Sequence[float], unit: str, label: Callable[[float], str]
) -> list[str]:
    """Return an x axis: a grid line and a label at each tick, and the unit below."""
    drawn = []
    for tick in ticks:
        at = x(tick)
        drawn.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
        drawn.append(_text(at, bottom + 15, label(tick), "middle", "small"))
    return [*drawn, _text((x.start + x.end) / 2, bottom + 34, unit, "middle", "small")]


def _y_axis(y: _Scale, left: float, right: float, ticks: Sequence[float], unit: str) -> list[str]:
    """Return a y axis: a grid line and a label at each tick, and the unit, which is turned by 90 degrees, on the left."""
    drawn = []
    for tick in ticks:
        at = y(tick)
        drawn.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        drawn.append(_text(left - 6, at + 4, _short(tick), "end", "small"))
    middle = (y.start + y.end) / 2
    turned = f'<g transform="translate(14 {middle:.0f}) rotate(-90)">{_text(0, 0, unit, "middle", "small")}</g>'
    return [*drawn, turned]


def _ticks(low: float, high: float, n_steps: int = 5) -> list[float]:
    """Return ticks from ``low`` to ``high`` whose distance is a round number. There are at most about ``n_steps`` steps."""
    min_step = (high - low) / n_steps
    power = 10 ** math.floor(math.log10(min_step))
    # 0.999 and 1e-9 keep rounding errors from choosing a step that is too large, and from losing the last tick.
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= min_step * 0.999)
    return [low + i * step for i in range(int((high - low) / step + 1e-9) + 1)]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _short(value: float) -> str:
    """Return a number with at most six significant digits and without trailing zeros."""
    return f"{value:,.6g}"


def _text(x: float, y: float, text: str, anchor: str, look: str = "") -> str:
    """Return a text whose ``anchor`` ("start", "middle" or "end") is at ``x`` and whose baseline is at ``y``."""
    shown = text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(shown)}</text>'


def _svg(title: str, description: str, height: float, drawn: Sequence[str]) -> Markup:
    """Return a whole chart. ``drawn`` holds its elements."""
    head = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{head}{"".join(drawn)}</svg>'
    )
