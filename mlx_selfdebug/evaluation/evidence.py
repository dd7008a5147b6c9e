"""Everything an evaluation has to say, from a run's records alone: by model and arm, the declared contrasts, what got worse.

It reads what ``evaluate`` stored and computes nothing with a model, so it can be had of a run at any time.

>>> Evidence.of(run).primary.verdict                                                    # doctest: +SKIP
'not shown'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.metrics import Point, Share, Transitions
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.result import Score
from mlx_selfdebug.evaluation.statistics import Interval
from mlx_selfdebug.repair.attempt import Attempt


@dataclass(frozen=True)
class ArmEvidence:
    """One arm of one model; ``arm`` is "first" for the greedy drafts that the model's other arms begin with.

    ``interval`` is of the share of problems solved. ``curve`` has the problems solved when each task may take so many tokens,
    ``after`` those solved after 1, 2, ... attempts a task. ``transitions`` go from first draft to answer. Of the retries,
    ``copies`` returned the code before unchanged but for layout; ``edit_tokens`` is the median number of lexical tokens that
    the others changed. ``by_error``: solved by how the first draft failed; ``by_size``: by the length of the reference. Tokens
    are those generated, the first drafts' included.
    """

    model: str
    arm: str
    score: Score
    interval: Interval
    curve: tuple[Point, ...]
    after: tuple[int, ...]
    transitions: Transitions
    copies: Share
    edit_tokens: float | None
    by_error: Mapping[str, Share]
    by_size: Mapping[str, Share]
    n_attempts: int
    n_tokens: int

    @property
    def name(self) -> str:
        return f"{self.model}/{self.arm}"


@dataclass(frozen=True)
class Contrast:
    """Problems that ``left`` ("adapter/facts") solves and ``right`` does not, and the reverse, of ``n``.

    ``p`` is of the exact McNemar test, ``p_holm`` corrected for all contrasts that were declared; ``interval`` is of the
    difference of shares, a bootstrap clustered by task.
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
class Regression:
    """A problem that was right before and is wrong after: ``kind`` says between which two."""

    kind: str
    task_id: str
    before: Attempt
    after: Attempt


@dataclass(frozen=True)
class Evidence:
    """Of one evaluation: ``models`` are "base", "adapter" and whatever other adapters were played, by their names.

    ``smallest_gain`` is the smallest difference of shares that this set shows in four of five tries, None where none would.
    """

    tasks: tuple[str, ...]
    tokens: int
    models: tuple[str, ...]
    arms: tuple[ArmEvidence, ...]
    contrasts: tuple[Contrast, ...]
    primary: Primary | None
    smallest_gain: float | None
    gate: Gate | None
    regressions: tuple[Regression, ...]
