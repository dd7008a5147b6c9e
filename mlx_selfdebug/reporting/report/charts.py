"""Small charts as SVG text: no library, no script; colours and lines are classes that the page's style sheet knows.

Every chart has a title and a description for who cannot see it; its numbers stand in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 720, 22, 200, 60, 10, 44


@dataclass(frozen=True)
class Series:
    """A line: ``points`` are (x, y); ``look`` is a class of the style sheet, as "c1 d0": colour 1, dash 0."""

    label: str
    look: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Bar:
    """``parts`` are (value, class), one after the other; ``text`` stands behind them."""

    label: str
    parts: Sequence[tuple[float, str]]
    text: str


@dataclass(frozen=True)
class Dot:
    """A value with its interval, all from 0 to 1."""

    label: str
    look: str
    value: float
    low: float
    high: float
    text: str


def dots(title: str, rows: Sequence[Dot]) -> Markup:
    """Shares with their intervals, one a row, on an axis from 0 to 100 %."""
    height = TOP + ROW * len(rows) + BOTTOM
    x = _Scale(0.0, 1.0, LEFT, WIDTH - RIGHT - 20)
    drawn = [
        *_x_axis(x, TOP, height - BOTTOM, [0, 0.25, 0.5, 0.75, 1], "problems solved, with 95 % interval", _percent)
    ]
    for i, row in enumerate(rows):
        y = TOP + ROW * (i + 0.5)
        drawn += [
            _text(LEFT - 8, y + 4, row.label, "end"),
            f'<line class="{row.look} stroke" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<circle class="{row.look} fill" cx="{x(row.value):.1f}" cy="{y:.1f}" r="4.5"/>',
            _text(WIDTH - RIGHT - 8, y + 4, row.text, "start", "small"),
        ]
    return _svg(title, f"{len(rows)} rows: " + "; ".join(f"{r.label} {r.text}" for r in rows), height, drawn)


def bars(title: str, rows: Sequence[Bar], unit: str, *, most: float | None = None) -> Markup:
    """Horizontal bars from 0 to ``most``, or to the longest."""
    height = TOP + ROW * len(rows) + BOTTOM
    longest = most or max((sum(value for value, _ in row.parts) for row in rows), default=0.0) or 1.0
    x = _Scale(0.0, longest, LEFT, WIDTH - RIGHT - 40)
    label = _percent if most == 1 else _short
    drawn = [*_x_axis(x, TOP, height - BOTTOM, _ticks(0.0, longest), unit, label)]
    for i, row in enumerate(rows):
        y, start = TOP + ROW * i + 3, 0.0
        drawn.append(_text(LEFT - 8, y + 12, row.label, "end"))
        for value, look in row.parts:
            width = max(0.0, x(start + value) - x(start))
            drawn.append(
                f'<rect class="{look} fill" x="{x(start):.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW - 7}"/>'
            )
            start += value
        drawn.append(_text(x(start) + 6, y + 12, row.text, "start", "small"))
    return _svg(title, f"{len(rows)} bars: " + "; ".join(f"{r.label} {r.text}" for r in rows), height, drawn)


def lines(
    title: str, series: Sequence[Series], x_unit: str, y_unit: str, *, step: bool = False, limit: float | None = None
) -> Markup:
    """Lines over a shared axis from 0; ``step``: a value holds up to the next point; ``limit`` is drawn as a dashed level."""
    height, left = 280, 64
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points if math.isfinite(y)] + ([limit] if limit else [])
    x = _Scale(0.0, max(xs, default=0.0) or 1.0, left, WIDTH - 16)
    y = _Scale(0.0, 1.05 * max(ys, default=0.0) or 1.0, height - BOTTOM, TOP)
    drawn = [
        *_x_axis(x, TOP, height - BOTTOM, _ticks(0.0, x.high), x_unit, _short),
        *_y_axis(y, left, _ticks(0.0, y.high), y_unit),
    ]
    for one in series:
        path = _path(one.points, x, y, step=step)
        drawn.append(f'<path class="{one.look} stroke" d="{path}"><title>{escape(one.label)}</title></path>')
    if limit:
        drawn.append(f'<line class="limit" x1="{left}" x2="{WIDTH - 16}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    return _svg(title, f"{len(series)} lines: " + ", ".join(one.label for one in series), height, drawn)


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _path(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale, *, step: bool) -> str:
    """Values that are no numbers leave a gap."""
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


def _x_axis(x: _Scale, top: float, bottom: float, ticks: Sequence[float], unit: str, label: object) -> list[str]:
    assert callable(label)
    drawn = []
    for tick in ticks:
        at = x(tick)
        drawn.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
        drawn.append(_text(at, bottom + 15, label(tick), "middle", "small"))
    return [*drawn, _text((x.start + x.end) / 2, bottom + 34, unit, "middle", "small")]


def _y_axis(y: _Scale, left: float, ticks: Sequence[float], unit: str) -> list[str]:
    drawn = []
    for tick in ticks:
        at = y(tick)
        drawn.append(f'<line class="grid" x1="{left}" x2="{WIDTH - 16}" y1="{at:.1f}" y2="{at:.1f}"/>')
        drawn.append(_text(left - 6, at + 4, _short(tick), "end", "small"))
    middle = (y.start + y.end) / 2
    turned = f'<g transform="translate(14 {middle:.0f}) rotate(-90)">{_text(0, 0, unit, "middle", "small")}</g>'
    return [*drawn, turned]


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    return [low + i * step for i in range(int((high - low) / step + 1e-9) + 1)]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _short(value: float) -> str:
    return f"{value:,.6g}"


def _text(x: float, y: float, text: str, anchor: str, look: str = "") -> str:
    shown = text if len(text) <= 60 else text[:59] + "…"
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(shown)}</text>'


def _svg(title: str, about: str, height: float, drawn: Sequence[str]) -> Markup:
    head = f"<title>{escape(title)}</title><desc>{escape(about)}</desc>"
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{head}{"".join(drawn)}</svg>'
    )
