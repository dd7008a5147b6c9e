"""The contrasts that are declared before anything is looked at: which arm against which, and the question that it answers.

All that the played arms allow are computed, in both halves, and their p values are corrected together (Holm). One of them is what
searching is judged by: ``edits+forks+blind`` against ``blind``. The primary contrast of training is none of them: it has a test of
its own (``primary.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_selfdebug.evaluation.arms import BLIND, FIRST, REPAIR, SEARCH
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, BUGS, OWN
from mlx_selfdebug.evaluation.statistics import LEVEL, Interval, bootstrap_gain, holm, mcnemar

BETWEEN_MODELS = {
    FIRST: "are its first drafts better than the base's?",
    BLIND: "does trying again get it further than the base?",
    REPAIR: "does repairing with facts get it further than the base?",
    SEARCH: "does searching first get it further than the base?",
}
BETWEEN_ARMS = {
    (REPAIR, BLIND): "is repairing with facts better than trying again?",
    (REPAIR, "notice"): "is it better than being told only that the code failed?",
    (REPAIR, "code"): "do the facts add to the failed code?",
    (REPAIR, "other-facts"): "is it the task's own facts that help?",
    (SEARCH, BLIND): "is searching the failed code first better than trying again?",
    (SEARCH, REPAIR): "is searching first better than repairing with facts?",
    (SEARCH, "edits+blind"): "do forks add to edits?",
    ("edits+forks+facts", SEARCH): "where searching found nothing, is repairing better than trying again?",
}
"""(left, right) -> the question, in the order in which they are shown."""


@dataclass(frozen=True)
class Contrast:
    """Problems that ``left`` ("adapter/facts") solves and ``right`` does not (``won``), and the reverse, of ``n``.

    ``half`` is "own failures" or "bugs". ``p`` is of the exact McNemar test, ``p_holm`` corrected for all contrasts computed;
    ``interval`` is of the difference of shares, a bootstrap clustered by task.
    """

    half: str
    left: str
    right: str
    question: str
    won: int
    lost: int
    n: int
    p: float
    p_holm: float
    interval: Interval

    @property
    def gain(self) -> float:
        """Difference of the shares of problems solved."""
        return (self.won - self.lost) / self.n if self.n else 0.0

    @property
    def verdict(self) -> str:
        """One of "shown", "not shown", "shown worse", after correction."""
        if self.won == self.lost or self.p_holm > LEVEL:
            return "not shown"
        return "shown" if self.won > self.lost else "shown worse"


@dataclass(frozen=True)
class Question:
    """A contrast as it is declared; names are "model/arm"."""

    left: str
    right: str
    text: str


@dataclass(frozen=True)
class Solved:
    """Of one half: by "model/arm" the problems whose answer is right, of ``n``; ``models``, "base" first."""

    half: str
    by_arm: Mapping[str, Collection[str]]
    n: int
    models: Sequence[str]


def declared(models: Sequence[str], half: str = OWN) -> list[Question]:
    """For ``models``, "base" first: what is asked of them, whatever was played. All models begin with the same bugs."""
    asked = [
        Question(f"{model}/{arm}", f"{BASE}/{arm}", f"{model}: {text}")
        for model in models
        if model != BASE
        for arm, text in BETWEEN_MODELS.items()
        if not (half == BUGS and arm == FIRST)
    ]
    asked += [
        Question(f"{model}/{left}", f"{model}/{right}", f"{model}: {text}")
        for model in models
        for (left, right), text in BETWEEN_ARMS.items()
    ]
    others = [model for model in models if model not in (BASE, ADAPTER)]
    asked += [
        Question(
            f"{ADAPTER}/facts", f"{other}/facts", f"is repairing with facts better with adapter than with {other}?"
        )
        for other in others
        if ADAPTER in models
    ]
    return asked


def contrasts(halves: Sequence[Solved]) -> list[Contrast]:
    """Those declared whose arms are there, of all ``halves``, corrected for their number."""
    found = [
        _contrast(solved, one)
        for solved in halves
        for one in declared(solved.models, solved.half)
        if one.left in solved.by_arm and one.right in solved.by_arm
    ]
    corrected = holm([contrast.p for contrast in found])
    return [replace(contrast, p_holm=p) for contrast, p in zip(found, corrected, strict=True)]


def _contrast(solved: Solved, asked: Question) -> Contrast:
    left, right = (set(solved.by_arm[name]) for name in (asked.left, asked.right))
    won, lost = len(left - right), len(right - left)
    p, interval = mcnemar(won, lost), bootstrap_gain(won, lost, solved.n)
    return Contrast(solved.half, asked.left, asked.right, asked.text, won, lost, solved.n, p, p, interval)


def difference(left: Collection[str], right: Collection[str], tasks: Sequence[str]) -> Interval:
    """Of the shares of ``tasks`` that each solves, tasks drawn with replacement."""
    won, lost = (sum(id_ in one and id_ not in other for id_ in tasks) for one, other in ((left, right), (right, left)))
    return bootstrap_gain(won, lost, len(tasks))
