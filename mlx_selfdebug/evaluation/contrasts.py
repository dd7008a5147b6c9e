"""Declare the contrasts before any result is looked at: which arm is compared with which, and the question that this answers.

Every contrast whose two arms were played is computed, in both halves, and all p values are corrected together (Holm). One of the
contrasts is the one by which searching is judged: ``edits+forks+blind`` against ``blind``. The primary contrast of training is not
among them, since it has a test of its own (``primary.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_selfdebug.evaluation.arms import BLIND, FIRST, REPAIR, SEARCH, ArmKey
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, BUGS, OWN
from mlx_selfdebug.evaluation.statistics import LEVEL, Interval, bootstrap_gain, holm, mcnemar

BETWEEN_MODELS = {
    FIRST: "are its first drafts better than the base's?",
    BLIND: "does it solve more than the base by resampling?",
    REPAIR: "does it solve more than the base by repairing with facts?",
    SEARCH: "does it solve more than the base by searching first?",
}
"""By arm, the question that comparing an adapter with the base in this arm answers."""
BETWEEN_ARMS = {
    (REPAIR, BLIND): "is repairing with facts better than resampling?",
    (REPAIR, "notice"): "is repairing with facts better than being told only that the code failed?",
    (REPAIR, "code"): "do the facts help beyond the failed code alone?",
    (REPAIR, "other-facts"): "do the task's own facts help more than another task's?",
    (SEARCH, BLIND): "is searching the failed code before resampling better than resampling at once?",
    (SEARCH, REPAIR): "is searching before resampling better than repairing with facts?",
    (SEARCH, "edits+blind"): "do forks help beyond edits?",
    ("edits+forks+facts", SEARCH): "where searching found nothing, is repairing better than resampling?",
}
"""By left and right arm, the question that comparing the two arms of one model answers, in the order in which they are shown."""


@dataclass(frozen=True)
class Contrast:
    """The comparison of two arms on the same problems."""

    half: str
    """Either "own failures" or "bugs"."""
    left: ArmKey
    """The arm that the question is about, such as "adapter/facts"."""
    right: ArmKey
    """The arm that it is compared with."""
    question: str
    """The question that the comparison answers, with the model's name: "adapter: is repairing with facts better than ...?"."""
    won: int
    """Problems that ``left`` solves and ``right`` does not."""
    lost: int
    """Problems that ``right`` solves and ``left`` does not."""
    n: int
    """The number of all problems of the half."""
    p: float
    """The p value of the exact McNemar test."""
    p_holm: float
    """``p`` corrected for all contrasts that were computed (Holm)."""
    interval: Interval
    """The 95 % interval of ``gain``, from a bootstrap over tasks."""

    @property
    def gain(self) -> float:
        """The share of problems that ``left`` solves minus the share that ``right`` solves."""
        return (self.won - self.lost) / self.n if self.n else 0.0

    @property
    def verdict(self) -> str:
        """One of "shown", "not shown", "shown worse", by the corrected p value."""
        if self.won == self.lost or self.p_holm > LEVEL:
            return "not shown"
        return "shown" if self.won > self.lost else "shown worse"


@dataclass(frozen=True)
class Question:
    """A contrast as it is declared, before any result is known."""

    left: ArmKey
    right: ArmKey
    text: str


@dataclass(frozen=True)
class Solved:
    """The problems of one half that each arm solves."""

    half: str
    """Either "own failures" or "bugs"."""
    by_arm: Mapping[str, Collection[str]]
    """Ids of the problems whose answer is right, by the arm's key, such as "adapter/facts"."""
    n: int
    """The number of all problems of the half."""
    models: Sequence[str]
    """The models' names, "base" first."""


def declared(models: Sequence[str], half: str = OWN) -> list[Question]:
    """Return the questions that are asked about ``models``, whichever arms were played.

    First drafts are not compared in the half of the bugs, because all models begin with the same bugs there.
    """
    with_base = [
        Question(ArmKey(model, arm), ArmKey(BASE, arm), f"{model}: {text}")
        for model in models
        if model != BASE
        for arm, text in BETWEEN_MODELS.items()
        if not (half == BUGS and arm == FIRST)
    ]
    within_model = [
        Question(ArmKey(model, left), ArmKey(model, right), f"{model}: {text}")
        for model in models
        for (left, right), text in BETWEEN_ARMS.items()
    ]
    others = [model for model in models if model not in (BASE, ADAPTER)] if ADAPTER in models else []
    with_other_adapters = [
        Question(
            ArmKey(ADAPTER, REPAIR),
            ArmKey(other, REPAIR),
            f"does the adapter solve more than {other} by repairing with facts?",
        )
        for other in others
    ]
    return [*with_base, *within_model, *with_other_adapters]


def contrasts(halves: Sequence[Solved]) -> list[Contrast]:
    """Compute the declared contrasts whose arms were played in ``halves``, with p values corrected for their number (Holm)."""
    uncorrected = [
        _contrast(solved, question)
        for solved in halves
        for question in declared(solved.models, solved.half)
        if question.left in solved.by_arm and question.right in solved.by_arm
    ]
    p_values = holm([contrast.p for contrast in uncorrected])
    return [replace(contrast, p_holm=p) for contrast, p in zip(uncorrected, p_values, strict=True)]


def _contrast(solved: Solved, question: Question) -> Contrast:
    """Return one contrast, whose ``p_holm`` is not corrected yet."""
    left, right = set(solved.by_arm[question.left]), set(solved.by_arm[question.right])
    won, lost = len(left - right), len(right - left)
    p = mcnemar(won, lost)
    return Contrast(
        half=solved.half,
        left=question.left,
        right=question.right,
        question=question.text,
        won=won,
        lost=lost,
        n=solved.n,
        p=p,
        p_holm=p,
        interval=bootstrap_gain(won, lost, solved.n),
    )


def difference(left: Collection[str], right: Collection[str], tasks: Sequence[str]) -> Interval:
    """Return the 95 % bootstrap interval of the share of ``tasks`` that ``left`` contains minus the share that ``right`` contains.

    ``left`` and ``right`` hold the ids of the tasks that two sides solve.
    """
    won = sum(id_ in left and id_ not in right for id_ in tasks)
    lost = sum(id_ in right and id_ not in left for id_ in tasks)
    return bootstrap_gain(won, lost, len(tasks))
