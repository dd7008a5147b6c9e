"""Hard tasks: those of which none of several independent drafts of the base is right, so that drafting again is no way out.

Where a task's pass rate is known it is taken; the others are drafted ``eval.hard_drafts`` times at the evaluation's temperature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlx_selfdebug.evaluation.played import BASE
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.policies import Mine
from mlx_selfdebug.repair.stream import Play
from mlx_selfdebug.store import Run, StoredRun
from mlx_selfdebug.values.task import Task

ARM = f"{BASE}/drafts"
PASS_RATES = "eval.pass_rates"


def drafts_for_hardness(run: Run, tasks: Sequence[Task], decoding: Decoding) -> Play | None:
    """The drafts to be made: none where they are not asked for, or every task's pass rate is known. Remembers those that are."""
    known = {task.id: task.pass_rate for task in tasks if task.pass_rate is not None}
    if known:
        run.remember(PASS_RATES, known)
    n, unknown = run.config.eval.hard_drafts, [task for task in tasks if task.id not in known]
    return Play(ARM, unknown, Mine(n, rounds=0, repairs=1), decoding) if n and unknown else None


def pass_rates(run: StoredRun) -> dict[str, float]:
    """By task, the share of drafts that are right; of those tasks of which it is known."""
    drafts = run.attempts(ARM)
    n = Counter(attempt.task_id for attempt in drafts)
    right = Counter(attempt.task_id for attempt in drafts if attempt.passed)
    known: dict[str, float] = run.environment().get(PASS_RATES, {})
    return {**{id_: right[id_] / n[id_] for id_ in n}, **known}
