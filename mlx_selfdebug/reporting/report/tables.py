"""Build the tables of a report: heads and rows of text, which are the same in the page and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlx_selfdebug.evaluation.evidence import ArmEvidence, HalfEvidence
from mlx_selfdebug.evaluation.metrics import Share
from mlx_selfdebug.repair.picture import Shade, most_surprising
from mlx_selfdebug.reporting.records import Collected, Records, StageRecord
from mlx_selfdebug.reporting.words import UNKNOWN, gigabytes, number, p_value, percent, points, seconds
from mlx_selfdebug.values.pair import KINDS

PLACES = 3
"""How many of a program's most surprising places are shown."""


@dataclass(frozen=True)
class Table:
    """A table of text; every row is as long as the head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    """How many columns are text; the columns after them are numbers and are aligned to the right."""


def arms_table(evidence: HalfEvidence) -> Table:
    head = ["model", "arm", "problems", "95 %", "checks", "fixed", "broken", "wrong accepted", "copies", "edit", "attempts",
            "tokens", "read", "tries"]  # fmt: skip
    return Table(head, [_arm_row(arm) for arm in evidence.arms], left=2)


def _arm_row(arm: ArmEvidence) -> list[str]:
    low, high = percent(arm.interval.low, 0), percent(arm.interval.high, 0)
    first = arm.arm == "first"
    return [
        arm.model,
        "first draft" if first else f"then {arm.arm}",
        f"{fraction(arm.score.problems)} ({percent(_ratio(arm.score.problems))})",
        f"{low} to {high}",
        fraction(arm.score.checks),
        UNKNOWN if first else str(arm.transitions.fixed),
        UNKNOWN if first else str(arm.transitions.broken),
        share(arm.wrong_accepted),
        share(arm.copies),
        number(arm.edit_tokens),
        str(arm.n_attempts),
        f"{arm.n_tokens:,}",
        f"{arm.n_read_tokens:,}",
        f"{arm.n_tries:,}",
    ]


def contrasts_table(evidence: HalfEvidence) -> Table:
    head = ["question", "left", "right", "only left", "only right", "difference, points", "95 %", "p", "p (Holm)"]
    rows = [
        [c.question, c.left, c.right, str(c.won), str(c.lost), points(c.gain),
         f"{points(c.interval.low)} to {points(c.interval.high)}", p_value(c.p), p_value(c.p_holm)]
        for c in evidence.contrasts
    ]  # fmt: skip
    return Table(head, rows, left=3)


def groups_table(evidence: HalfEvidence, what: str) -> Table:
    """Return one row per arm and one column per group, where ``what`` is "by_error" or "by_size"."""
    groups_by_arm: list[Mapping[str, Share]] = [getattr(arm, what) for arm in evidence.arms]
    names = list(dict.fromkeys(name for groups in groups_by_arm for name in groups))
    rows = [
        [arm.name, *(share(groups.get(name)) for name in names)]
        for arm, groups in zip(evidence.arms, groups_by_arm, strict=True)
    ]
    return Table(["", *names], rows)


def operators_table(evidence: HalfEvidence) -> Table:
    """Return the bugs repaired, with one row per operator that made them and one column per arm."""
    units = Counter(evidence.operators.values())
    rows = [
        [operator, str(n), *(str(arm.by_operator[operator].count) for arm in evidence.arms)]
        for operator, n in units.most_common()
    ]
    return Table(["operator", "bugs", *(arm.name for arm in evidence.arms)], rows)


def hard_table(evidence: HalfEvidence) -> Table:
    """Return how many of the problems that no draft of the base solves each arm solves; empty where there are none."""
    if not evidence.hard:
        return Table(["", ""], [])
    return Table(["", "hard problems solved"], [[arm.name, share(arm.hard)] for arm in evidence.arms])


def after_table(evidence: HalfEvidence) -> Table:
    """Return the problems solved after each attempt per task. An arm that makes no more attempts keeps its last number."""
    n_columns = min(max((len(arm.after) for arm in evidence.arms), default=0), 12)
    arms = [arm for arm in evidence.arms if arm.arm != "first" and arm.after]
    rows = [[arm.name, *(str(arm.after[min(i, len(arm.after) - 1)]) for i in range(n_columns))] for arm in arms]
    return Table(["problems solved after", *(f"{i + 1}" for i in range(n_columns))], rows)


def curves_table(evidence: HalfEvidence) -> Table:
    """Return the problems solved at every tenth of the tokens that an arm may generate per task."""
    marks = sorted({round(evidence.tokens * i / 10) for i in range(1, 11)})
    rows = [[arm.name, *(str(_at(arm, tokens)) for tokens in marks)] for arm in evidence.arms]
    return Table(["tokens per task", *map(str, marks)], rows)


def _at(arm: ArmEvidence, tokens: int) -> int:
    return next((point.solved for point in reversed(arm.curve) if point.tokens <= tokens), 0)


def places_table(shades: Sequence[Shade]) -> Table:
    """Return the most surprising places of a program. Texts are quoted, so that spaces and line ends can be seen."""
    rows = [
        [str(place.line), repr(place.shade.text), place.shade.favourites, f"{place.shade.nats:.1f}"]
        for place in most_surprising(shades, PLACES)
    ]
    return Table(["line", "the program has", "the model would rather have", "nats"], rows, left=3)


def stages_table(records: Records) -> Table:
    rows = [
        [stage.name, seconds(stage.wall_s), gigabytes(stage.peak_bytes), gigabytes(stage.budget_bytes),
         "done" if stage.done else "not done"]
        for stage in records.stages
    ]  # fmt: skip
    return Table(["stage", "time", "peak GB", "budget GB", ""], rows)


def parts_table(records: Records) -> Table:
    rows = [[stage.name, part, seconds(value)] for stage in records.stages for part, value in with_other(stage)]
    return Table(["stage", "work", "time"], rows, left=2)


def with_other(stage: StageRecord) -> list[tuple[str, float]]:
    """Return the seconds of a stage by kind of work, the largest first. What no kind accounts for comes last, as "other"."""
    rest = stage.wall_s - sum(stage.parts.values())
    return [*sorted(stage.parts.items(), key=lambda item: -item[1]), *([("other", rest)] if rest > 0 else [])]


def history_table(records: Records) -> Table:
    """Return how the run came about: the run it branched from, how training was computed, and which processes died."""
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
    return Table(["", ""], rows, left=2)


def collected_table(collected: Collected) -> Table:
    rows = [["tasks", str(collected.n_tasks)], ["tasks solved", str(collected.n_solved)],
            ["attempts", str(collected.n_attempts)]]  # fmt: skip
    rows += [[f"unbiased pass@{k} of the drafts", percent(value)] for k, value in collected.pass_at.items()]
    rows += [[f"attempts that ended as: {name.replace('_', ' ')}", str(n)] for name, n in collected.outcomes.items()]
    return Table(["", ""], rows)


def overlap_table(records: Records) -> Table:
    head = ["training task", "test task", "shared n-grams, of the smaller task's", "shared subtrees of code"]
    rows = [
        [pair.train_id, pair.test_id, percent(pair.containment, 0), percent(pair.code, 0)] for pair in records.overlap
    ]
    return Table(head, rows, left=2)


def pairs_table(records: Records) -> Table:
    rows = [[kind, str(sum(pair.kind == kind for pair in records.pairs))] for kind in KINDS]
    return Table(["kind of pair", "pairs"], rows)


def checks_table(records: Records) -> Table:
    rows = [[str(check.step), fraction((check.repaired, check.attempts))] for check in records.checks]
    return Table(["after step", "failed attempts repaired"], rows)


def steps_table(records: Records) -> Table:
    """Return at most fifty training steps, evenly spread."""
    every = -(-len(records.steps) // 50) or 1
    rows = [
        [str(step.step), number(step.loss, 4), str(step.n_tokens), number(step.learning_rate), number(step.grad_norm)]
        for step in records.steps[::every]
    ]
    return Table(["step", "loss, nats per token", "tokens", "learning rate", "gradient norm"], rows)


def reward_checks_table(records: Records) -> Table:
    rows = [[str(check.step), fraction((check.repaired, check.attempts))] for check in records.reward_checks]
    return Table(["after reward step", "failed attempts repaired"], rows)


def reward_steps_table(records: Records) -> Table:
    """Return at most fifty steps of training by rewards, evenly spread."""
    every = -(-len(records.reward_steps) // 50) or 1
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
        for step in records.reward_steps[::every]
    ]  # fmt: skip
    return Table(head, rows)


def mapping_table(values: Iterable[tuple[str, object]], head: tuple[str, str] = ("", "")) -> Table:
    return Table(head, [[key, UNKNOWN if value is None else str(value)] for key, value in values], left=2)


def fraction(counts: tuple[int, int]) -> str:
    part, whole = counts
    return f"{part}/{whole}" if whole else UNKNOWN


def share(value: Share | None) -> str:
    return fraction((value.count, value.total)) if value else UNKNOWN


def _ratio(counts: tuple[int, int]) -> float | None:
    part, whole = counts
    return part / whole if whole else None
