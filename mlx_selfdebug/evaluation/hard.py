"""Find the hard tasks: those of which none of several independent drafts by the base is right, so that resampling does not help.

A task's pass rate is taken from the task where it has one. The other tasks are drafted ``eval.hard_drafts`` times at the
evaluation's temperature.
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


def drafts_for_hardness(run: Run, tasks: Sequence[Task], decoding: Decoding) -> Play | None:
    """Return the drafts that have to be made, and store the pass rates that are already known.

    Returns None where no drafts are asked for, or every task's pass rate is known.
    """
    known = {task.id: task.pass_rate for task in tasks if task.pass_rate is not None}
    if known:
        run.remember(Key.PASS_RATES, known)
    n, unknown = run.config.eval.hard_drafts, [task for task in tasks if task.id not in known]
    return Play(ARM, unknown, MiningPolicy(n, rounds=0, repairs=1), decoding) if n and unknown else None


def pass_rates(run: StoredRun) -> dict[str, float]:
    """Return the share of right drafts per task id, for the tasks whose share is known."""
    drafts = run.attempts(ARM)
    n = Counter(attempt.task_id for attempt in drafts)
    right = Counter(attempt.task_id for attempt in drafts if attempt.passed)
    known: dict[str, float] = run.facts().stored.get(Key.PASS_RATES, {})
    return {**{id_: right[id_] / n[id_] for id_ in n}, **known}
