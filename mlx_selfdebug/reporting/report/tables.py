"""Build the tables of a report. They consist of text, and are the same in the page and in Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from mlx_selfdebug.evaluation.arms import FIRST
from mlx_selfdebug.evaluation.evidence import ArmEvidence, HalfEvidence
from mlx_selfdebug.evaluation.metrics import Share
from mlx_selfdebug.repair.picture import Shade, most_surprising
from mlx_selfdebug.reporting.records import Collected, Records, StageRecord
from mlx_selfdebug.reporting.words import UNKNOWN, gigabytes, number, p_value, percent, points, seconds
from mlx_selfdebug.training.selection import Validation
from mlx_selfdebug.values.pair import KINDS

MAX_PLACES = 3
"""The largest number of a program's surprising places that are shown."""
MAX_ATTEMPT_COLUMNS = 12
"""The largest number of columns in the table of problems solved after each attempt."""
MAX_STEPS = 50
"""The largest number of training steps in a table."""

T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """A table of text. Every row is as long as the head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_text_columns: int = 1
    """The number of columns that hold text. The columns after them hold numbers and are aligned to the right."""


def arms_table(half: HalfEvidence) -> Table:
    """Return the figures of every arm of every model, one row each."""
    head = ["model", "arm", "problems", "95 %", "checks", "fixed", "broken", "wrong accepted", "copies", "edit", "attempts",
            "tokens", "read", "tries"]  # fmt: skip
    return Table(head, [_arm_row(arm) for arm in half.arms], n_text_columns=2)


def _arm_row(arm: ArmEvidence) -> list[str]:
    """Return the cells of one arm. First drafts fix and break nothing, since they are what the answers are compared with."""
    low, high = percent(arm.interval.low, 0), percent(arm.interval.high, 0)
    is_first = arm.arm == FIRST
    return [
        arm.model,
        "first draft" if is_first else f"then {arm.arm}",
        f"{fraction(arm.score.problems)} ({percent(_ratio(arm.score.problems))})",
        f"{low} to {high}",
        fraction(arm.score.checks),
        UNKNOWN if is_first else str(arm.transitions.fixed),
        UNKNOWN if is_first else str(arm.transitions.broken),
        share(arm.wrong_accepted),
        share(arm.copies),
        number(arm.edit_tokens),
        str(arm.n_attempts),
        f"{arm.n_tokens:,}",
        f"{arm.n_read_tokens:,}",
        f"{arm.n_tries:,}",
    ]


def contrasts_table(half: HalfEvidence) -> Table:
    """Return the declared contrasts, one row each."""
    head = ["question", "left", "right", "only left", "only right", "difference, points", "95 %", "p", "p (Holm)"]
    rows = [
        [
            contrast.question,
            contrast.left,
            contrast.right,
            str(contrast.won),
            str(contrast.lost),
            points(contrast.gain),
            f"{points(contrast.interval.low)} to {points(contrast.interval.high)}",
            p_value(contrast.p),
            p_value(contrast.p_holm),
        ]
        for contrast in half.contrasts
    ]
    return Table(head, rows, n_text_columns=3)


def groups_table(half: HalfEvidence, grouping: Literal["by_error", "by_size"]) -> Table:
    """Return the problems solved in each group of problems, with one row per arm and one column per group."""
    groups_by_arm: list[Mapping[str, Share]] = [getattr(arm, grouping) for arm in half.arms]
    names = list(dict.fromkeys(name for groups in groups_by_arm for name in groups))
    rows = [
        [arm.name, *(share(groups.get(name)) for name in names)]
        for arm, groups in zip(half.arms, groups_by_arm, strict=True)
    ]
    return Table(["", *names], rows)


def operators_table(half: HalfEvidence) -> Table:
    """Return the number of bugs that each arm repairs, with one row per operator that made the bugs and one column per arm."""
    n_bugs = Counter(half.operators.values())
    rows = [
        [operator, str(n), *(str(arm.by_operator[operator].count) for arm in half.arms)]
        for operator, n in n_bugs.most_common()
    ]
    return Table(["operator", "bugs", *(arm.name for arm in half.arms)], rows)


def hard_table(half: HalfEvidence) -> Table:
    """Return how many hard problems each arm solves. A hard problem is one that no draft of the base solves.

    The table has no rows if there are none, or if the run did not look for them.
    """
    if not half.hard:
        return Table(["", ""], [])
    return Table(["", "hard problems solved"], [[arm.name, share(arm.hard)] for arm in half.arms])


def after_table(half: HalfEvidence) -> Table:
    """Return the problems solved after 1, 2, ... attempts per task, with one row per arm.

    An arm that makes fewer attempts than there are columns keeps its last number.
    """
    n_columns = min(max((len(arm.after) for arm in half.arms), default=0), MAX_ATTEMPT_COLUMNS)
    arms = [arm for arm in half.arms if arm.arm != FIRST and arm.after]
    rows = [[arm.name, *(str(arm.after[min(i, len(arm.after) - 1)]) for i in range(n_columns))] for arm in arms]
    return Table(["problems solved after", *(f"{i + 1}" for i in range(n_columns))], rows)


def curves_table(half: HalfEvidence) -> Table:
    """Return the problems solved at every tenth of the tokens that an arm may generate per task, with one row per arm."""
    limits = sorted({round(half.tokens * i / 10) for i in range(1, 11)})
    rows = [[arm.name, *(str(_solved_within(arm, tokens)) for tokens in limits)] for arm in half.arms]
    return Table(["tokens per task", *map(str, limits)], rows)


def _solved_within(arm: ArmEvidence, tokens: int) -> int:
    """Return the number of problems that an arm solves with at most ``tokens`` generated tokens per task."""
    return next((point.solved for point in reversed(arm.curve) if point.tokens <= tokens), 0)


def places_table(shades: Sequence[Shade]) -> Table:
    """Return the most surprising places of a program. Tokens are quoted, so that spaces and line ends can be seen."""
    rows = [
        [str(place.line), repr(place.shade.text), place.shade.favourites, f"{place.shade.nats:.1f}"]
        for place in most_surprising(shades, MAX_PLACES)
    ]
    return Table(["line", "the program has", "the model would rather have", "nats"], rows, n_text_columns=3)


def stages_table(records: Records) -> Table:
    """Return the time, the peak memory and the memory budget of each stage."""
    rows = [
        [stage.name, seconds(stage.wall_s), gigabytes(stage.peak_bytes), gigabytes(stage.budget_bytes),
         "done" if stage.done else "not done"]
        for stage in records.stages
    ]  # fmt: skip
    return Table(["stage", "time", "peak GB", "budget GB", ""], rows)


def parts_table(records: Records) -> Table:
    """Return the time of each stage by kind of work."""
    rows = [[stage.name, part, seconds(value)] for stage in records.stages for part, value in parts_with_other(stage)]
    return Table(["stage", "work", "time"], rows, n_text_columns=2)


def parts_with_other(stage: StageRecord) -> list[tuple[str, float]]:
    """Return the seconds of a stage by kind of work, in descending order. Time that no kind accounts for comes last, as "other"."""
    parts = sorted(stage.parts.items(), key=lambda part: -part[1])
    other_s = stage.wall_s - sum(stage.parts.values())
    return [*parts, ("other", other_s)] if other_s > 0 else parts


def history_table(records: Records) -> Table:
    """Return the history of the run: which run it was branched from, how training was computed, and which processes died."""
    facts = records.facts
    rows = [["branched from", facts.branch_of]] if facts.branch_of else []
    for plan in facts.training_plans:
        recomputed = ", layers recomputed" if plan["shape"]["recompute"] else ""
        text = (
            f"{plan['shape']['max_tokens']} tokens at a time{recomputed}; {gigabytes(plan['peak_bytes'])} GB estimated"
        )
        rows.append(["training was computed with", text])
    for name, death in facts.deaths.items():
        stage = name.partition(".")[0]
        rows.append([f"a process of {stage} died", f"after {seconds(death['after_s'])}: {death['reason']}"])
    return Table(["", ""], rows, n_text_columns=2)


def collected_table(collected: Collected) -> Table:
    """Return the counts of the attempts on the training tasks, pass@k of the drafts, and the outcomes."""
    rows = [["tasks", str(collected.n_tasks)], ["tasks solved", str(collected.n_solved)],
            ["attempts", str(collected.n_attempts)]]  # fmt: skip
    rows += [[f"unbiased pass@{k} of the drafts", percent(value)] for k, value in collected.pass_at.items()]
    rows += [[f"attempts that ended as: {name.replace('_', ' ')}", str(n)] for name, n in collected.outcomes.items()]
    return Table(["", ""], rows)


def overlap_table(records: Records) -> Table:
    """Return the pairs of similar training and test tasks, each with the shares of text and code that they have in common."""
    head = ["training task", "test task", "shared n-grams, of the smaller task's", "shared subtrees of code"]
    rows = [
        [pair.train_id, pair.test_id, percent(pair.containment, 0), percent(pair.code, 0)] for pair in records.overlap
    ]
    return Table(head, rows, n_text_columns=2)


def pairs_table(records: Records) -> Table:
    """Return the number of pairs of each kind."""
    rows = [[kind, str(sum(pair.kind == kind for pair in records.pairs))] for kind in KINDS]
    return Table(["kind of pair", "pairs"], rows)


def validations_table(records: Records) -> Table:
    """Return how many failed attempts on held-back tasks were repaired after each epoch."""
    return _repairs_table("after step", records.validations)


def steps_table(records: Records) -> Table:
    """Return the training steps, one row each. If there are more than ``MAX_STEPS``, at most that many are shown, evenly spread."""
    rows = [
        [str(step.step), number(step.loss, 4), str(step.n_tokens), number(step.learning_rate), number(step.grad_norm)]
        for step in _spread(records.steps)
    ]
    return Table(["step", "loss, nats per token", "tokens", "learning rate", "gradient norm"], rows)


def reward_validations_table(records: Records) -> Table:
    """Return how many failed attempts on held-back tasks were repaired during the training by rewards."""
    return _repairs_table("after reward step", records.reward_validations)


def _repairs_table(step_head: str, validations: Iterable[Validation]) -> Table:
    rows = [[str(v.step), fraction((v.repaired, v.attempts))] for v in validations]
    return Table([step_head, "failed attempts repaired"], rows)


def reward_steps_table(records: Records) -> Table:
    """Return the steps of training by rewards, one row each.

    If there are more than ``MAX_STEPS``, at most that many are shown, evenly spread.
    """
    head = [
        "step",
        "mean reward",
        "passed",
        "copies",
        "groups that vary",
        "tokens each",
        "gradient norm",
        "rollouts, s",
        "gradient, s",
    ]
    rows = [
        [str(step.step), number(step.reward, 3), percent(step.passed), percent(step.copies),
         fraction((step.n_varied, step.n_groups)), number(step.n_tokens, 1), number(step.grad_norm), number(step.rollouts_s, 1),
         number(step.gradient_s, 1)]
        for step in _spread(records.reward_steps)
    ]  # fmt: skip
    return Table(head, rows)


def _spread(steps: Sequence[T]) -> Sequence[T]:
    """Return at most ``MAX_STEPS`` of the steps, evenly spread, beginning with the first."""
    stride = max(1, math.ceil(len(steps) / MAX_STEPS))
    return steps[::stride]


def mapping_table(values: Iterable[tuple[str, object]], head: tuple[str, str] = ("", "")) -> Table:
    """Return names and values as a table of two columns of text. None is shown as ``-``."""
    return Table(head, [[key, UNKNOWN if value is None else str(value)] for key, value in values], n_text_columns=2)


def fraction(counts: tuple[int, int]) -> str:
    """Return a part and its whole as text such as "3/16", or ``-`` if the whole is 0."""
    part, whole = counts
    return f"{part}/{whole}" if whole else UNKNOWN


def share(value: Share | None) -> str:
    """Return a share as text such as "3/16", or ``-`` if it is not known."""
    return fraction((value.count, value.total)) if value else UNKNOWN


def _ratio(counts: tuple[int, int]) -> float | None:
    part, whole = counts
    return part / whole if whole else None
