"""The contrasts that are declared before anything is looked at: which arm against which, and the question that it answers.

All that the played arms allow are computed, and their p values are corrected together (Holm). The primary contrast is none of them:
it has a test of its own (``primary.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mlx_selfdebug.evaluation.played import ADAPTER, BASE
from mlx_selfdebug.evaluation.statistics import Interval, bootstrap_gain, holm, mcnemar

BETWEEN_MODELS = {
    "first": "are its first drafts better than the base's?",
    "blind": "does trying again get it further than the base?",
    "facts": "does repairing with facts get it further than the base?",
}
BETWEEN_ARMS = {
    "blind": "is repairing with facts better than trying again?",
    "notice": "is it better than being told only that the code failed?",
    "code": "do the facts add to the failed code?",
    "other-facts": "is it the task's own facts that help?",
}


@dataclass(frozen=True)
class Contrast:
    """Problems that ``left`` ("adapter/facts") solves and ``right`` does not (``won``), and the reverse, of ``n``.

    ``p`` is of the exact McNemar test, ``p_holm`` corrected for all contrasts computed; ``interval`` is of the difference of
    shares, a bootstrap clustered by task.
    """

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


@dataclass(frozen=True)
class Question:
    """A contrast as it is declared; names are "model/arm"."""

    left: str
    right: str
    text: str


def declared(models: Sequence[str]) -> list[Question]:
    """For ``models``, "base" first: what is asked of them, whatever was played."""
    asked = [
        Question(f"{model}/{arm}", f"{BASE}/{arm}", f"{model}: {text}")
        for model in models
        if model != BASE
        for arm, text in BETWEEN_MODELS.items()
    ]
    asked += [
        Question(f"{model}/facts", f"{model}/{arm}", f"{model}: {text}")
        for model in models
        for arm, text in BETWEEN_ARMS.items()
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


def contrasts(solved: Mapping[str, Collection[str]], tasks: Sequence[str], models: Sequence[str]) -> list[Contrast]:
    """``solved``: by "model/arm" the tasks whose answer is right. Those declared whose arms are there."""
    asked = [one for one in declared(models) if one.left in solved and one.right in solved]
    sides = [(set(solved[one.left]), set(solved[one.right])) for one in asked]
    p_values = [mcnemar(len(left - right), len(right - left)) for left, right in sides]
    return [
        Contrast(one.left, one.right, one.text, len(left - right), len(right - left), len(tasks), p, p_holm,
                 difference(left, right, tasks))
        for one, (left, right), p, p_holm in zip(asked, sides, p_values, holm(p_values), strict=True)
    ]  # fmt: skip


def difference(left: Collection[str], right: Collection[str], tasks: Sequence[str]) -> Interval:
    """Of the shares of ``tasks`` that each solves, tasks drawn with replacement."""
    won, lost = (sum(id_ in one and id_ not in other for id_ in tasks) for one, other in ((left, right), (right, left)))
    return bootstrap_gain(won, lost, len(tasks))
