"""Render the page of a report from the records of a run: one HTML file that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from mlx_selfdebug.config import flatten
from mlx_selfdebug.evaluation.evidence import HalfEvidence, Regression
from mlx_selfdebug.evaluation.overlap import ABOVE
from mlx_selfdebug.evaluation.played import BUGS
from mlx_selfdebug.evaluation.readings import StoredReading
from mlx_selfdebug.repair.picture import Shade
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report import tables
from mlx_selfdebug.reporting.report.diff import DiffLine, diff_lines
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.report.page_charts import (
    REWARD_LEGEND,
    half_charts,
    half_legend,
    run_charts,
    time_legend,
)
from mlx_selfdebug.reporting.words import ending_text, gigabytes, percent, seconds
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import MAX_FACTS
from mlx_selfdebug.values.pair import KINDS, Pair
from mlx_selfdebug.values.verdict import Failure

MAX_BYTES = 3_500_000
"""The bytes that pairs and regressions may take in the page. Those that do not fit are counted, and other commands show them."""
SHADES = 8
"""The number of shades of surprise, one per nat. Their colours are in style.css."""


def report_html(records: Records) -> str:
    """Return the page as HTML text."""
    evidence = records.evidence
    room = _Room(MAX_BYTES)
    return _environment().get_template("report.html.j2").render(
        records=records,
        evidence=evidence,
        headline=headline(records),
        tables=tables,
        charts=run_charts(records),
        halves=[_half(name, half, room) for name, half in (evidence.halves if evidence else {}).items()],
        readings=[_reading(reading) for reading in records.readings],
        pairs=room.take(_pair(pair, records.attempts, i) for i, pair in enumerate(records.pairs, 1)),
        kinds=KINDS,
        settings=flatten(records.config),
        n_near=sum(pair.nearness >= ABOVE for pair in records.overlap),
        style=Markup(_template("style.css")),
        script=Markup(_template("script.js")),
    )  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """A pair or a regression as the page shows it, in a form that can be unfolded."""

    title: str
    kind: str
    task_id: str
    prompt: str
    before: str
    """The code before: the failed code of a pair, or the right code of a regression; "" if there is none."""
    facts: tuple[Failure, ...]
    """What the tests reported of the wrong code."""
    diff: tuple[DiffLine, ...]
    """The changes from ``before`` to ``after``; empty if there is nothing before."""
    after: str
    """The code after."""

    @property
    def n_bytes(self) -> int:
        """A rough estimate of the bytes that the item takes in the page."""
        # Rough allowances: 900 bytes for the frame, 60 for the tags around each part of a line, 400 for each row of facts. The
        # code after counts twice, because the diff shows it as well.
        marks = 60 * sum(len(line.parts) for line in self.diff)
        return 900 + marks + len(self.prompt) + len(self.before) + 2 * len(self.after) + 400 * len(self.facts)


@dataclass(frozen=True)
class _Half:
    """One half of the evaluation as the page shows it."""

    prefix: str
    """How the ids of its sections begin: "bugs-" for the half of the bugs, and otherwise ""."""
    evidence: HalfEvidence
    charts: Mapping[str, Markup]
    legend: Sequence[tuple[str, str]]
    """The arms in the chart of curves, with their classes of the style sheet."""
    regressions: Sequence[_Item]
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

    def take(self, items: Iterable[_Item]) -> list[_Item]:
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
        regressions=room.take(_regression(regression) for regression in half.regressions),
    )


def _reading(reading: StoredReading) -> _Reading:
    return _Reading(reading.title, reading.shades, diff_lines(reading.code, reading.edited.strip("\n")))


def _pair(pair: Pair, attempts: Mapping[str, Attempt], number: int) -> _Item:
    made_from = [attempts[id_] for id_ in pair.attempts if id_ in attempts]
    failed = made_from[0] if pair.kind == "repair" and made_from else None
    right = made_from[-1].code if made_from else pair.target
    return _Item(
        title=f"{number}. {pair.kind}: {pair.task_id}",
        kind=pair.kind,
        task_id=pair.task_id,
        prompt=pair.prompt,
        before=failed.code if failed else "",
        facts=(failed.public.failures or failed.verdict.failures)[:MAX_FACTS] if failed else (),
        diff=tuple(diff_lines(failed.code, right)) if failed else (),
        after=right,
    )


def _regression(regression: Regression) -> _Item:
    before, after = regression.before, regression.after
    return _Item(
        title=f"{regression.task_id}: {regression.kind}",
        kind=regression.kind,
        task_id=regression.task_id,
        prompt=before.prompt,
        before=before.code,
        facts=after.verdict.failures[:MAX_FACTS],
        diff=tuple(diff_lines(before.code, after.code)),
        after=after.code,
    )


@cache
def _environment() -> Environment:
    """Return the environment of the templates. It escapes everything, and an unknown name in a template is an error."""
    environment = Environment(
        loader=DictLoader({"report.html.j2": _template("report.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "gigabytes": gigabytes, "seconds": seconds}
    environment.filters["strength"] = lambda shade: shade.strength(SHADES)
    environment.globals["time_legend"] = time_legend
    environment.globals["reward_legend"] = REWARD_LEGEND
    environment.globals["ending_text"] = ending_text
    return environment


def _template(name: str) -> str:
    return files("mlx_selfdebug.reporting.report").joinpath("templates", name).read_text(encoding="utf-8")
