"""Render the report's page from records: one HTML file that needs no other file."""

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
from mlx_selfdebug.reporting.words import ending_text, gigabytes, percent, seconds
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import MAX_FACTS
from mlx_selfdebug.values.pair import KINDS, Pair
from mlx_selfdebug.values.verdict import Failure

MAX_BYTES = 3_500_000
"""The size of pairs and regressions in the page, in bytes. Those that do not fit are counted and left to ``runs pairs``."""
COLOURS, DASHES = 11, 4
SHADES = 8
"""The number of shades of surprise, one per nat; their colours are in style.css."""


def report_html(records: Records) -> str:
    """Return the page as HTML text."""
    evidence = records.evidence
    room = _Room(MAX_BYTES)
    return _environment().get_template("report.html.j2").render(
        records=records,
        evidence=evidence,
        headline=headline(records),
        tables=tables,
        charts=_charts(records),
        halves=[_half(name, half, room) for name, half in (evidence.halves if evidence else {}).items()],
        readings=[_reading(reading) for reading in records.readings],
        pairs=room.take(_pair(pair, records.attempts, i) for i, pair in enumerate(records.pairs, 1)),
        kinds=KINDS,
        settings=flatten(records.config),
        n_near=sum(pair.nearness >= ABOVE for pair in records.overlap),
        style=Markup(_read("style.css")),
        script=Markup(_read("script.js")),
    )  # fmt: skip


@dataclass(frozen=True)
class _Shown:
    """A pair or a regression as the page shows it. ``before`` is "" where there is no failed code."""

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
        """About how many bytes it takes in the page."""
        marks = 60 * sum(len(line.parts) for line in self.diff)
        return 900 + marks + len(self.asked) + len(self.before) + 2 * len(self.after) + 400 * len(self.facts)


@dataclass(frozen=True)
class _Half:
    """One half of the evaluation as the page shows it; the ids of its sections begin with ``prefix``."""

    prefix: str
    evidence: HalfEvidence
    charts: Mapping[str, Markup]
    legend: Sequence[tuple[str, str]]
    regressions: Sequence[_Shown]

    @property
    def bugs(self) -> bool:
        return bool(self.prefix)


def _half(name: str, half: HalfEvidence, room: _Room) -> _Half:
    drawn = {"arms": _arms(half), "curves": _curves(half), "copies": _copies(half)}
    shown = room.take(_regression(regression) for regression in half.regressions)
    return _Half("bugs-" if name == BUGS else "", half, drawn, _legend(half), shown)


@dataclass(frozen=True)
class _Read:
    """A reading as the page shows it."""

    title: str
    shades: Sequence[Shade]
    diff: Sequence[DiffLine]


def _reading(reading: StoredReading) -> _Read:
    return _Read(reading.title, reading.shades, diff_lines(reading.code, reading.edited.strip("\n")))


class _Room:
    """The bytes that are left in the page for pairs and regressions."""

    def __init__(self, n_bytes: int) -> None:
        self._left = n_bytes

    def take(self, items: Iterator[_Shown]) -> list[_Shown]:
        """Return the first of ``items``, as many as fit."""
        taken = []
        for item in items:
            self._left -= item.size
            if self._left < 0:
                break
            taken.append(item)
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


def _regression(regression: Regression) -> _Shown:
    before, after = regression.before, regression.after
    return _Shown(
        title=f"{regression.task_id}: {regression.kind}",
        kind=regression.kind,
        task_id=regression.task_id,
        asked=before.prompt,
        before=before.code,
        facts=after.verdict.failures[:MAX_FACTS],
        diff=tuple(diff_lines(before.code, after.code)),
        after=after.code,
    )


def _facts(attempt: Attempt) -> tuple[Failure, ...]:
    return (attempt.public.failures or attempt.verdict.failures)[:MAX_FACTS]


def _charts(records: Records) -> dict[str, Any]:
    return {"memory": _memory(records), "time": _time(records), "loss": _loss(records), "rewards": _rewards(records)}


def _look(evidence: HalfEvidence, arm: ArmEvidence) -> str:
    """Return an arm's classes of the style sheet: one colour per arm, the same in both halves, and one dash per model."""
    return f"c{[FIRST, *ARMS].index(arm.arm) % COLOURS} d{evidence.models.index(arm.model) % DASHES}"


def _legend(evidence: HalfEvidence) -> list[tuple[str, str]]:
    """Return the legend of the curves: all arms except the first drafts, which the other arms begin with."""
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
    unit = "generated tokens per problem"
    return charts.lines("Problems solved against tokens", series, unit, "problems solved", step=True)


def _copies(evidence: HalfEvidence) -> Markup:
    rows = [
        Bar(arm.name, [(arm.copies.value, _look(evidence, arm))], tables.share(arm.copies))
        for arm in evidence.arms
        if arm.copies.value is not None
    ]
    if not rows:
        return Markup("")
    return charts.bars("Retries that repeat the same code", rows, "share of retries", max_value=1)


def _loss(records: Records) -> Markup:
    if not records.steps:
        return Markup("")
    series = [Series("loss", "c0 d1", [(step.step, step.loss) for step in records.steps])]
    return charts.lines("Training loss", series, "optimizer step", "nats per token")


REWARD_SERIES = (
    ("mean reward", "c0 d0"), ("share that passes", "c1 d0"), ("share of groups that vary", "c2 d1"),
    ("held-back failures repaired, share", "c3 d0"),
)  # fmt: skip
"""The lines of the chart of training by rewards, with their classes of the style sheet."""


def _rewards(records: Records) -> Markup:
    steps = records.reward_steps
    if not steps:
        return Markup("")
    checks = [(float(check.step), check.repaired / check.attempts) for check in records.reward_checks if check.attempts]
    drawn: list[list[tuple[float, float]]] = [
        [(step.step, step.reward) for step in steps],
        [(step.step, step.passed) for step in steps],
        [(step.step, step.varied_share) for step in steps],
        checks,
    ]
    series = [Series(name, look, of) for (name, look), of in zip(REWARD_SERIES, drawn, strict=True)]
    return charts.lines("Training by rewards", series, "reward step", "reward, share")


def _memory(records: Records) -> list[tuple[str, Markup]]:
    drawn = []
    for stage in records.stages:
        if not stage.memory:
            continue
        series = [Series(stage.name, "c0 d1", [(sample.at_s, sample.n_bytes / 1e9) for sample in stage.memory])]
        title = f"{stage.name}: peak {gigabytes(stage.peak_bytes)} GB of {gigabytes(stage.budget_bytes)} GB allowed (dashed)"
        chart = charts.lines(title, series, "seconds", "GB, whole process tree", limit=stage.budget_bytes / 1e9)
        drawn.append((title, chart))
    return drawn


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
    """Return the kinds of work with their classes of the style sheet in the chart of time."""
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
    environment.globals["reward_legend"] = REWARD_SERIES
    environment.globals["ending_text"] = ending_text
    return environment


def _read(name: str) -> str:
    return files("mlx_selfdebug.reporting.report").joinpath("templates", name).read_text(encoding="utf-8")
