"""Draw the charts of the page from the records of a run and the evidence of its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from markupsafe import Markup

from mlx_selfdebug.evaluation.arms import ARMS, FIRST
from mlx_selfdebug.evaluation.evidence import ArmEvidence, HalfEvidence
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report import charts, tables
from mlx_selfdebug.reporting.report.charts import Bar, Dot, Series
from mlx_selfdebug.reporting.words import gigabytes, seconds

COLOURS, DASHES = 11, 4
"""The numbers of colours and dash patterns in style.css, as the classes c0, c1, ... and d0, d1, ..."""
REWARD_LEGEND = (
    ("mean reward", "c0 d0"), ("share that passes", "c1 d0"), ("share of groups that vary", "c2 d1"),
    ("held-back failures repaired, share", "c3 d0"),
)  # fmt: skip
"""The lines of the chart of training by rewards, with their classes of the style sheet."""
MIN_DRAWN_S = 1.0
"""The shortest stage, in seconds, whose memory is drawn. A shorter one has few samples, often a single one, which make no line."""
NOT_DRAWN = Markup("")
"""Stands for a chart that has nothing to show. The page leaves it out."""


class RunCharts(TypedDict):
    """The charts of a run that do not depend on its evaluation."""

    memory: list[tuple[str, Markup]]
    """One chart with its title per stage, without the stages that are too short for one."""
    time: Markup
    loss: Markup
    rewards: Markup


def run_charts(records: Records) -> RunCharts:
    """Return the charts of memory, time and training."""
    return {"memory": _memory(records), "time": _time(records), "loss": _loss(records), "rewards": _rewards(records)}


def half_charts(half: HalfEvidence) -> Mapping[str, Markup]:
    """Return the charts of one half of the evaluation, under the keys "arms", "curves" and "copies"."""
    return {"arms": _arms(half), "curves": _curves(half), "copies": _copies(half)}


def half_legend(half: HalfEvidence) -> list[tuple[str, str]]:
    """Return the arms in the chart of curves, with their classes of the style sheet.

    These are all arms except the first drafts, with which the other arms begin.
    """
    return [(arm.name, _look(half, arm)) for arm in half.arms if arm.arm != FIRST]


def time_legend(records: Records) -> list[tuple[str, str]]:
    """Return the kinds of work in the chart of time, with their classes of the style sheet."""
    kinds = dict.fromkeys(kind for stage in records.stages for kind, _ in tables.parts_with_other(stage))
    return [(kind, f"c{i % COLOURS} d0") for i, kind in enumerate(kinds)]


def _look(half: HalfEvidence, arm: ArmEvidence) -> str:
    """Return an arm's classes of the style sheet: one colour per arm, the same in both halves, and one dash pattern per model."""
    colour = [FIRST, *ARMS].index(arm.arm) % COLOURS
    dash = half.models.index(arm.model) % DASHES
    return f"c{colour} d{dash}"


def _arms(half: HalfEvidence) -> Markup:
    """Return the chart of the problems solved, with one row per model and arm."""
    rows = []
    for arm in half.arms:
        solved, total = arm.score.problems
        if total:
            rows.append(
                Dot(
                    label=arm.name,
                    look=_look(half, arm),
                    value=solved / total,
                    low=arm.interval.low,
                    high=arm.interval.high,
                    text=f"{solved}/{total}",
                )
            )
    return charts.dots("Problems solved by model and arm", rows)


def _curves(half: HalfEvidence) -> Markup:
    """Return the chart of the problems solved against generated tokens, with one line per model and arm."""
    series = [
        Series(arm.name, _look(half, arm), [(point.tokens, point.solved) for point in arm.curve])
        for arm in half.arms
        if arm.arm != FIRST
    ]
    unit = "generated tokens per problem"
    return charts.lines("Problems solved against tokens", series, unit, "problems solved", step=True)


def _copies(half: HalfEvidence) -> Markup:
    """Return the chart of the shares of retries that repeat the code before, by arm."""
    rows = [
        Bar(arm.name, [(arm.copies.value, _look(half, arm))], tables.share(arm.copies))
        for arm in half.arms
        if arm.copies.value is not None
    ]
    if not rows:
        return NOT_DRAWN
    return charts.bars("Retries that repeat the same code", rows, "share of retries", max_value=1)


def _loss(records: Records) -> Markup:
    if not records.steps:
        return NOT_DRAWN
    series = [Series("loss", "c0 d1", [(step.step, step.loss) for step in records.steps])]
    return charts.lines("Training loss", series, "optimizer step", "nats per token")


def _rewards(records: Records) -> Markup:
    """Return the chart of training by rewards, with the lines of ``REWARD_LEGEND`` in their order."""
    steps = records.reward_steps
    if not steps:
        return NOT_DRAWN
    validations = [(float(v.step), v.repaired / v.attempts) for v in records.reward_validations if v.attempts]
    lines: list[list[tuple[float, float]]] = [
        [(step.step, step.reward) for step in steps],
        [(step.step, step.passed) for step in steps],
        [(step.step, step.varied_share) for step in steps],
        validations,
    ]
    series = [Series(label, look, points) for (label, look), points in zip(REWARD_LEGEND, lines, strict=True)]
    return charts.lines("Training by rewards", series, "reward step", "reward, share")


def _memory(records: Records) -> list[tuple[str, Markup]]:
    """Return a title and a chart of the memory over time for each stage that was long enough."""
    drawn = []
    for stage in records.stages:
        if len(stage.memory) < 2 or stage.wall_s < MIN_DRAWN_S:
            continue
        series = [Series(stage.name, "c0 d1", [(sample.at_s, sample.n_bytes / 1e9) for sample in stage.memory])]
        title = f"{stage.name}: peak {gigabytes(stage.peak_bytes)} GB of {gigabytes(stage.budget_bytes)} GB allowed (dashed)"
        chart = charts.lines(title, series, "seconds", "GB, whole process tree", limit=stage.budget_bytes / 1e9)
        drawn.append((title, chart))
    return drawn


def _time(records: Records) -> Markup:
    """Return the chart of the seconds of each stage, divided by kind of work."""
    if not records.stages:
        return NOT_DRAWN
    looks = dict(time_legend(records))
    rows = [
        Bar(stage.name, [(value, looks[kind]) for kind, value in tables.parts_with_other(stage)], seconds(stage.wall_s))
        for stage in records.stages
    ]
    return charts.bars("Where time went", rows, "seconds")
