"""Measure how often the base's independent drafts of each task are right.

A task whose rate is 0 counts as hard: resampling does not help there. A task's own ``pass_rate`` is used where it has one, even if
it was measured with another model. The others are drafted ``eval.hard_drafts`` times at the evaluation's temperature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlx_selfdebug.evaluation.played import BASE
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.policies import MiningPolicy
from mlx_selfdebug.repair.stream import Play
from mlx_selfdebug.store import Key, Run, StoredRun
from mlx_selfdebug.values.task import Task

ARM = f"{BASE}/drafts"
"""The arm under which these drafts are stored."""


def store_known_rates(run: Run, tasks: Sequence[Task]) -> None:
    """Store the pass rates that tasks already have."""
    known = {task.id: task.pass_rate for task in tasks if task.pass_rate is not None}
    if known:
        run.remember(Key.PASS_RATES, known)


def hardness_drafts(run: Run, tasks: Sequence[Task], decoding: Decoding) -> Play | None:
    """Return the play that drafts the tasks without a pass rate of their own.

    Returns None if there are no such tasks or ``eval.hard_drafts`` is 0.
    """
    n_drafts = run.config.eval.hard_drafts
    unknown = [task for task in tasks if task.pass_rate is None]
    if not n_drafts or not unknown:
        return None
    # Without rounds of repairs, this policy makes independent drafts and nothing else.
    return Play(ARM, unknown, MiningPolicy(n_drafts, rounds=0, repairs=1), decoding)


def pass_rates(run: StoredRun) -> dict[str, float]:
    """Return the share of right drafts, from 0 to 1, by task id. Tasks whose share is not known are left out."""
    drafts = run.attempts(ARM)
    drafts_by_task = Counter(attempt.task_id for attempt in drafts)
    right_by_task = Counter(attempt.task_id for attempt in drafts if attempt.passed)
    known: dict[str, float] = run.facts().stored.get(Key.PASS_RATES, {})
    # A stored rate takes precedence.
    return {**{id_: right_by_task[id_] / n for id_, n in drafts_by_task.items()}, **known}
