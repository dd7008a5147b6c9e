"""Render the page of a report from the records of a run: one HTML file that needs no other file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from mlx_selfdebug.config import flatten
from mlx_selfdebug.evaluation.evidence import HalfEvidence
from mlx_selfdebug.evaluation.overlap import ABOVE
from mlx_selfdebug.evaluation.played import BUGS
from mlx_selfdebug.evaluation.readings import StoredReading
from mlx_selfdebug.repair.picture import Shade
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report import tables
from mlx_selfdebug.reporting.report.diff import DiffLine, diff_lines
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.report.items import Item, pair_item, regression_item
from mlx_selfdebug.reporting.report.page_charts import (
    REWARD_LEGEND,
    half_charts,
    half_legend,
    run_charts,
    time_legend,
)
from mlx_selfdebug.reporting.words import ending_text, gigabytes, percent, seconds
from mlx_selfdebug.values.pair import KINDS

MAX_BYTES = 3_500_000
"""The bytes that pairs and regressions may take in the page. Those that do not fit are counted, and other commands show them."""
SECTIONS = ("findings", "readings", "training", "memory", "collected", "overlap", "pairs", "settings")
"""The names of the sections, in the order of the page. Each is a macro of templates/sections.html.j2."""
SHADES = 8
"""The number of shades of surprise, one per nat. Their colours are in style.css."""


def report_html(records: Records) -> str:
    """Return the page as HTML text."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(**_context(records, SECTIONS, MAX_BYTES), style=Markup(style_sheet()), script=Markup(script_text()))
    )


def report_sections(records: Records, names: Collection[str] = SECTIONS, max_bytes: int = MAX_BYTES) -> dict[str, str]:
    """Return the sections called ``names`` as HTML, as the page shows them. A section that has nothing to show is empty.

    ``max_bytes`` is what pairs and regressions may take.
    """
    module: Any = environment().get_template("sections.html.j2").make_module(_context(records, names, max_bytes))
    return {name: str(getattr(module, f"{name}_section")()).strip() for name in SECTIONS if name in names}


def _context(records: Records, names: Collection[str], max_bytes: int) -> dict[str, Any]:
    """Return the values that the templates refer to.

    Findings and pairs are costly. They are left empty unless their sections are among ``names``.
    """
    evidence = records.evidence
    halves = evidence.halves if evidence and "findings" in names else {}
    pairs = records.pairs if "pairs" in names else ()
    room = _Room(max_bytes)
    return {
        "records": records,
        "evidence": evidence,
        "headline": headline(records),
        "tables": tables,
        "charts": run_charts(records),
        "halves": [_half(name, half, room) for name, half in halves.items()],
        "readings": [_reading(reading) for reading in records.readings],
        "pairs": room.take(pair_item(pair, records.attempts, i) for i, pair in enumerate(pairs, 1)),
        "kinds": KINDS,
        "settings": flatten(records.config),
        "n_near": sum(pair.nearness >= ABOVE for pair in records.overlap),
    }


@dataclass(frozen=True)
class _Half:
    """One half of the evaluation as the page shows it."""

    prefix: str
    """How the ids of its sections begin: "bugs-" for the half of the bugs, and otherwise ""."""
    evidence: HalfEvidence
    charts: Mapping[str, Markup]
    legend: Sequence[tuple[str, str]]
    """The arms in the chart of curves, with their classes of the style sheet."""
    regressions: Sequence[Item]
    """As many of the regressions as fit into the page."""

    @property
    def is_of_bugs(self) -> bool:
        return bool(self.prefix)


@dataclass(frozen=True)
class _Reading:
    """A failed program as the page shows it: shaded by the surprise of the model, with the edit that is right."""

    title: str
    shades: Sequence[Shade]
    diff: Sequence[DiffLine]
    """The changes from the failed program to the edited one."""


class _Room:
    """The bytes that are left in the page for pairs and regressions."""

    def __init__(self, n_bytes: int) -> None:
        self._left = n_bytes

    def take(self, items: Iterable[Item]) -> list[Item]:
        """Return as many of the first items as fit."""
        taken = []
        for item in items:
            self._left -= item.n_bytes
            if self._left < 0:
                break
            taken.append(item)
        return taken


def _half(name: str, half: HalfEvidence, room: _Room) -> _Half:
    return _Half(
        prefix="bugs-" if name == BUGS else "",
        evidence=half,
        charts=half_charts(half),
        legend=half_legend(half),
        regressions=room.take(map(regression_item, half.regressions)),
    )


def _reading(reading: StoredReading) -> _Reading:
    return _Reading(reading.title, reading.shades, diff_lines(reading.code, reading.edited.strip("\n")))


def style_sheet() -> str:
    """Return the style sheet of the page."""
    return _template("style.css")


def script_text() -> str:
    """Return the script of the page."""
    return _template("script.js")


@cache
def environment() -> Environment:
    """Return the environment of the templates. It escapes everything, and an unknown name in a template is an error."""
    templates = Environment(
        loader=DictLoader({name: _template(name) for name in ("report.html.j2", "sections.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"percent": percent, "gigabytes": gigabytes, "seconds": seconds}
    templates.filters["strength"] = lambda shade: shade.strength(SHADES)
    templates.globals["time_legend"] = time_legend
    templates.globals["reward_legend"] = REWARD_LEGEND
    templates.globals["ending_text"] = ending_text
    return templates


def _template(name: str) -> str:
    """Return the text of a file in ``templates/``."""
    return files("mlx_selfdebug.reporting.report").joinpath("templates", name).read_text(encoding="utf-8")
