"""Find the hard tasks: those on which none of several independent drafts by the base is right, so that resampling does not help.

If a task comes with a pass rate, this is used. The other tasks are drafted ``eval.hard_drafts`` times at the evaluation's
temperature.
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


def drafts_for_hardness(run: Run, tasks: Sequence[Task], decoding: Decoding) -> Play | None:
    """Store the pass rates with which tasks come, and return the play that drafts the other tasks.

    Returns None if ``eval.hard_drafts`` is 0 or every task's pass rate is known.
    """
    known = {task.id: task.pass_rate for task in tasks if task.pass_rate is not None}
    if known:
        run.remember(Key.PASS_RATES, known)
    n_drafts, unknown = run.config.eval.hard_drafts, [task for task in tasks if task.id not in known]
    if not n_drafts or not unknown:
        return None
    # Without rounds of repairs, this policy makes independent drafts and nothing else.
    return Play(ARM, unknown, MiningPolicy(n_drafts, rounds=0, repairs=1), decoding)


def pass_rates(run: StoredRun) -> dict[str, float]:
    """Return the share of right drafts, from 0 to 1, by task id. Tasks whose share is not known are left out."""
    drafts = run.attempts(ARM)
    n_drafts = Counter(attempt.task_id for attempt in drafts)
    n_right = Counter(attempt.task_id for attempt in drafts if attempt.passed)
    known: dict[str, float] = run.facts().stored.get(Key.PASS_RATES, {})
    return {**{id_: n_right[id_] / n_drafts[id_] for id_ in n_drafts}, **known}
