"""The page: one HTML file that needs nothing beside it, rendered from records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from mlx_selfdebug.config import flatten
from mlx_selfdebug.evaluation.arms import ARMS, FIRST
from mlx_selfdebug.evaluation.evidence import ArmEvidence, HalfEvidence, Regression
from mlx_selfdebug.evaluation.overlap import ABOVE
from mlx_selfdebug.evaluation.played import BUGS
from mlx_selfdebug.evaluation.readings import StoredReading
from mlx_selfdebug.repair.picture import Shade
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report import charts, tables
from mlx_selfdebug.reporting.report.charts import Bar, Dot, Series
from mlx_selfdebug.reporting.report.diff import DiffLine, diff_lines
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.words import gigabytes, percent, seconds
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.verdict import Failure

MOST_BYTES = 3_500_000
"""Of pairs and regressions in the page; what comes after is counted and left to ``runs pairs``."""
FACTS_SHOWN = 3
COLOURS, DASHES = 11, 4
SHADES = 8
"""Of surprise, one a nat; their colours are in style.css."""


def report_html(records: Records) -> str:
    """The page as text."""
    evidence = records.evidence
    room = _Room(MOST_BYTES)
    return _environment().get_template("report.html.j2").render(
        records=records,
        evidence=evidence,
        headline=headline(records),
        tables=tables,
        charts=_charts(records),
        halves=[_half(name, half, room) for name, half in (evidence.halves if evidence else {}).items()],
        readings=[_reading(one) for one in records.readings],
        pairs=room.take(_pair(pair, records.attempts, i) for i, pair in enumerate(records.pairs, 1)),
        settings=flatten(records.config),
        n_near=sum(one.nearness >= ABOVE for one in records.overlap),
        style=Markup(_read("style.css")),
        script=Markup(_read("script.js")),
    )  # fmt: skip


@dataclass(frozen=True)
class _Shown:
    """A pair or a regression as the page has it. ``before`` is "" where there is no failed code."""

    title: str
    kind: str
    task_id: str
    asked: str
    before: str
    facts: tuple[Failure, ...]
    diff: tuple[DiffLine, ...]
    after: str

    @property
    def size(self) -> int:
        """About how many bytes of page."""
        marks = 60 * sum(len(line.parts) for line in self.diff)
        return 900 + marks + len(self.asked) + len(self.before) + 2 * len(self.after) + 400 * len(self.facts)


@dataclass(frozen=True)
class _Half:
    """One half of the evaluation as the page has it; ids of its sections begin with ``prefix``."""

    prefix: str
    evidence: HalfEvidence
    charts: Mapping[str, Markup]
    legend: Sequence[tuple[str, str]]
    regressions: Sequence[_Shown]

    @property
    def bugs(self) -> bool:
        return bool(self.prefix)


def _half(name: str, half: HalfEvidence, room: _Room) -> _Half:
    found = {"arms": _arms(half), "curves": _curves(half), "copies": _copies(half)}
    shown = room.take(_regression(one) for one in half.regressions)
    return _Half("bugs-" if name == BUGS else "", half, found, _legend(half), shown)


@dataclass(frozen=True)
class _Read:
    """A reading as the page has it."""

    title: str
    shades: Sequence[Shade]
    diff: Sequence[DiffLine]


def _reading(one: StoredReading) -> _Read:
    return _Read(one.title, one.shades, diff_lines(one.code, one.edited.strip("\n")))


class _Room:
    """What is left of the bytes a page may have."""

    def __init__(self, n_bytes: int) -> None:
        self._left = n_bytes

    def take(self, found: Iterator[_Shown]) -> list[_Shown]:
        taken = []
        for one in found:
            self._left -= one.size
            if self._left < 0:
                break
            taken.append(one)
        return taken


def _pair(pair: Pair, attempts: Mapping[str, Attempt], number: int) -> _Shown:
    made_from = [attempts[id_] for id_ in pair.attempts if id_ in attempts]
    broken = made_from[0] if pair.kind == "repair" and made_from else None
    fixed = made_from[-1].code if made_from else pair.target
    return _Shown(
        title=f"{number}. {pair.kind}: {pair.task_id}",
        kind=pair.kind,
        task_id=pair.task_id,
        asked=pair.prompt,
        before=broken.code if broken else "",
        facts=_facts(broken) if broken else (),
        diff=tuple(diff_lines(broken.code, fixed)) if broken else (),
        after=fixed,
    )


def _regression(one: Regression) -> _Shown:
    return _Shown(
        title=f"{one.task_id}: {one.kind}",
        kind=one.kind,
        task_id=one.task_id,
        asked=one.before.prompt,
        before=one.before.code,
        facts=one.after.verdict.failures[:FACTS_SHOWN],
        diff=tuple(diff_lines(one.before.code, one.after.code)),
        after=one.after.code,
    )


def _facts(attempt: Attempt) -> tuple[Failure, ...]:
    return (attempt.public.failures or attempt.verdict.failures)[:FACTS_SHOWN]


def _charts(records: Records) -> dict[str, Any]:
    return {"memory": _memory(records), "time": _time(records), "loss": _loss(records)}


def _look(evidence: HalfEvidence, arm: ArmEvidence) -> str:
    """A colour an arm, the same in both halves; a dash a model."""
    return f"c{[FIRST, *ARMS].index(arm.arm) % COLOURS} d{evidence.models.index(arm.model) % DASHES}"


def _legend(evidence: HalfEvidence) -> list[tuple[str, str]]:
    """Of the curves: every arm but the first drafts, which all others begin with."""
    return [(arm.name, _look(evidence, arm)) for arm in evidence.arms if arm.arm != "first"]


def _arms(evidence: HalfEvidence) -> Markup:
    rows = [
        Dot(arm.name, _look(evidence, arm), solved / total, arm.interval.low, arm.interval.high, f"{solved}/{total}")
        for arm in evidence.arms
        for solved, total in [arm.score.problems]
        if total
    ]
    return charts.dots("Problems solved by model and arm", rows)


def _curves(evidence: HalfEvidence) -> Markup:
    series = [
        Series(arm.name, _look(evidence, arm), [(point.tokens, point.solved) for point in arm.curve])
        for arm in evidence.arms
        if arm.arm != "first"
    ]
    unit = "generated tokens a problem may take"
    return charts.lines("Problems solved against tokens", series, unit, "problems solved", step=True)


def _copies(evidence: HalfEvidence) -> Markup:
    rows = [
        Bar(arm.name, [(arm.copies.value, _look(evidence, arm))], tables.share(arm.copies))
        for arm in evidence.arms
        if arm.copies.value is not None
    ]
    return charts.bars("Retries that say the same again", rows, "share of retries", most=1) if rows else Markup("")


def _loss(records: Records) -> Markup:
    if not records.steps:
        return Markup("")
    series = [Series("loss", "c0 d1", [(step.step, step.loss) for step in records.steps])]
    return charts.lines("Training loss", series, "optimizer step", "nats a token")


def _memory(records: Records) -> list[tuple[str, Markup]]:
    found = []
    for stage in records.stages:
        if not stage.memory:
            continue
        series = [Series(stage.name, "c0 d1", [(sample.at_s, sample.n_bytes / 1e9) for sample in stage.memory])]
        title = f"{stage.name}: peak {gigabytes(stage.peak_bytes)} GB of {gigabytes(stage.budget_bytes)} GB allowed (dashed)"
        chart = charts.lines(title, series, "seconds", "GB, whole process tree", limit=stage.budget_bytes / 1e9)
        found.append((title, chart))
    return found


def _time(records: Records) -> Markup:
    if not records.stages:
        return Markup("")
    parts = list(dict.fromkeys(name for stage in records.stages for name, _ in tables.with_other(stage)))
    looks = {name: f"c{i % COLOURS} d0" for i, name in enumerate(parts)}
    rows = [
        Bar(stage.name, [(value, looks[name]) for name, value in tables.with_other(stage)], seconds(stage.wall_s))
        for stage in records.stages
    ]
    return charts.bars("Where time went", rows, "seconds")


def time_legend(records: Records) -> list[tuple[str, str]]:
    """Kinds of work and their looks in the chart of time."""
    parts = list(dict.fromkeys(name for stage in records.stages for name, _ in tables.with_other(stage)))
    return [(name, f"c{i % COLOURS} d0") for i, name in enumerate(parts)]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=DictLoader({"report.html.j2": _read("report.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "gigabytes": gigabytes, "seconds": seconds}
    environment.filters["strength"] = lambda shade: shade.strength(SHADES)
    environment.globals["time_legend"] = time_legend
    return environment


def _read(name: str) -> str:
    return files("mlx_selfdebug.reporting.report").joinpath("templates", name).read_text(encoding="utf-8")
