"""The tables of a report: heads and rows of text, the same for the page and for Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlx_selfdebug.evaluation.evidence import ArmEvidence, HalfEvidence
from mlx_selfdebug.evaluation.metrics import Share
from mlx_selfdebug.repair.picture import Shade, most_surprising
from mlx_selfdebug.reporting.records import Collected, Records
from mlx_selfdebug.reporting.words import UNKNOWN, gigabytes, number, p_value, percent, points, seconds
from mlx_selfdebug.values.pair import KINDS

PLACES = 3
"""The most surprising places that are shown of a program."""


@dataclass(frozen=True)
class Table:
    """``rows`` are as long as ``head``; all columns but the first ``left`` are numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


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
    """``what``: "by_error" or "by_size"; one row an arm, one column a group."""
    found: list[Mapping[str, Share]] = [getattr(arm, what) for arm in evidence.arms]
    names = list(dict.fromkeys(name for groups in found for name in groups))
    rows = [
        [arm.name, *(share(groups.get(name)) for name in names)]
        for arm, groups in zip(evidence.arms, found, strict=True)
    ]
    return Table(["", *names], rows)


def operators_table(evidence: HalfEvidence) -> Table:
    """Bugs repaired by what made them: one row an operator, one column an arm."""
    units = Counter(evidence.operators.values())
    rows = [
        [operator, str(n), *(str(arm.by_operator[operator].count) for arm in evidence.arms)]
        for operator, n in units.most_common()
    ]
    return Table(["operator", "bugs", *(arm.name for arm in evidence.arms)], rows)


def hard_table(evidence: HalfEvidence) -> Table:
    """Of the problems of which no draft of the base is right, those that each arm solves."""
    if not evidence.hard:
        return Table(["", ""], [])
    return Table(["", "hard problems solved"], [[arm.name, share(arm.hard)] for arm in evidence.arms])


def after_table(evidence: HalfEvidence) -> Table:
    """Problems solved after each attempt a task; where an arm has no more, its last number stands."""
    most = min(max((len(arm.after) for arm in evidence.arms), default=0), 12)
    arms = [arm for arm in evidence.arms if arm.arm != "first" and arm.after]
    rows = [[arm.name, *(str(arm.after[min(i, len(arm.after) - 1)]) for i in range(most))] for arm in arms]
    return Table(["problems solved after", *(f"{i + 1}" for i in range(most))], rows)


def curves_table(evidence: HalfEvidence) -> Table:
    """Problems solved at tenths of the tokens."""
    marks = sorted({round(evidence.tokens * i / 10) for i in range(1, 11)})
    rows = [[arm.name, *(str(_at(arm, tokens)) for tokens in marks)] for arm in evidence.arms]
    return Table(["tokens a task", *map(str, marks)], rows)


def _at(arm: ArmEvidence, tokens: int) -> int:
    return next((point.solved for point in reversed(arm.curve) if point.tokens <= tokens), 0)


def places_table(shades: Sequence[Shade]) -> Table:
    """The most surprising places of a program; texts are quoted, so that spaces and ends of lines can be seen."""
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


def with_other(stage: object) -> list[tuple[str, float]]:
    """Where a stage's time went, the largest part first, what is not accounted for last."""
    parts: Mapping[str, float] = getattr(stage, "parts", {})
    rest = float(getattr(stage, "wall_s", 0.0)) - sum(parts.values())
    return [*sorted(parts.items(), key=lambda item: -item[1]), *([("other", rest)] if rest > 0 else [])]


def collected_table(collected: Collected) -> Table:
    rows = [["tasks", str(collected.n_tasks)], ["tasks solved", str(collected.n_solved)],
            ["attempts", str(collected.n_attempts)]]  # fmt: skip
    rows += [[f"unbiased pass@{k} of the drafts", percent(value)] for k, value in collected.pass_at.items()]
    rows += [[f"attempts that ended as: {name.replace('_', ' ')}", str(n)] for name, n in collected.outcomes.items()]
    return Table(["", ""], rows)


def overlap_table(records: Records) -> Table:
    head = ["training task", "test task", "shared runs of words, of the smaller's", "shared subtrees of code"]
    rows = [[one.train_id, one.test_id, percent(one.containment, 0), percent(one.code, 0)] for one in records.overlap]
    return Table(head, rows, left=2)


def pairs_table(records: Records) -> Table:
    rows = [[kind, str(sum(pair.kind == kind for pair in records.pairs))] for kind in KINDS]
    return Table(["kind of pair", "pairs"], rows)


def checks_table(records: Records) -> Table:
    rows = [[str(check.step), fraction((check.repaired, check.attempts))] for check in records.checks]
    return Table(["after step", "failed attempts repaired"], rows)


def steps_table(records: Records) -> Table:
    """At most fifty steps, evenly spread."""
    every = -(-len(records.steps) // 50) or 1
    rows = [
        [str(step.step), number(step.loss, 4), str(step.n_tokens), number(step.learning_rate), number(step.grad_norm)]
        for step in records.steps[::every]
    ]
    return Table(["step", "loss, nats a token", "tokens", "learning rate", "gradient norm"], rows)


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
