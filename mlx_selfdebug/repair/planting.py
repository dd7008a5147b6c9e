"""Put bugs into the right programs of a run, for the model to learn from.

Failures that are made in this way cost no tokens, and their minimal fix is known. The right programs are the model's own drafts
that passed. If the model has not solved a task, its reference is the right program. ``bugs.py`` makes and tests the bugs. They are
stored with the run as attempts of the arm ``bugs``, each with its verdicts and with the draft that it was made from as its parent.
Training pairs can then be made from the bugs as from any other failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

from mlx_selfdebug.config import CollectConfig
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.repair.bugs import Bug, Candidate, find_bugs, stacked
from mlx_selfdebug.repair.judging import distinct
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Key, Run
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

ARM = "bugs"
"""The arm whose attempts are the bugs."""
TRIES_PER_BUG = 4
"""The number of programs to run per bug that is wanted. Some of them still pass, and some fail in a way that cannot be shown."""
TASKS_PER_BATCH = 32
"""The number of tasks whose bugs are looked for at a time. Progress is reported, and bugs are stored, after each batch."""


def plant_bugs(
    run: Run, tasks: Sequence[Task], attempts: Sequence[Attempt], runner: TestRunner, progress: Progress
) -> list[Attempt]:
    """Return the bugs of ``tasks`` as attempts. They are made, tested and stored now, unless the run has all of them already.

    ``attempts`` are the model's own attempts on these tasks. Bugs can only be put into Python programs, so tasks of other domains
    have none. Raises SandboxError if programs cannot be tested.
    """
    config = run.config.collect
    if not config.bugs:
        return []
    if run.facts().stored.get(Key.BUG_OPERATORS) is None:
        # An interrupted session may have stored some of the bugs. They are dropped, and the same programs are made again.
        run.delete_attempts(ARM)
        operators: dict[str, str] = {}
        # If several machines work on the run, each looks for the bugs of some tasks.
        own = tasks[run.group.rank :: run.group.size]
        with progress.stage("bugs", len(own), "tasks") as stage:
            for start in range(0, len(own), TASKS_PER_BATCH):
                batch = own[start : start + TASKS_PER_BATCH]
                candidates = {task.id: _candidates(task, attempts, config, run.config.seed) for task in batch}
                operators |= _store(run, find_bugs(candidates, runner, per_task=config.bugs))
                stage.advance(len(batch), f"{len(operators)} bugs")
        run.share_attempts(ARM)
        for others in run.group.gather_json(operators):
            operators |= others
        run.flush()
        run.remember(Key.BUG_OPERATORS, operators)
    return list(run.attempts(ARM))


def _candidates(task: Task, attempts: Sequence[Attempt], config: CollectConfig, seed: int) -> list[Candidate]:
    """Return the candidates of one task. The right programs from which they are made take turns."""
    n = TRIES_PER_BUG * config.bugs
    right = _right_programs(task, attempts)
    drawn = [stacked(task, code, parent, seed=seed, max_edits=config.bug_edits, n=n) for parent, code in right.items()]
    turns = zip_longest(*drawn)
    return [candidate for turn in turns for candidate in turn if candidate is not None][:n]


def _right_programs(task: Task, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Return the codes into which bugs are put, by the ids of their attempts.

    They are the model's own right programs, each different code once. If there are none, the reference takes their place, under
    the id "".
    """
    own = distinct([attempt for attempt in attempts if attempt.task_id == task.id], task)
    codes = {attempt.id: attempt.code for attempt in own if attempt.passed and attempt.public.passed}
    return codes or ({"": task.reference} if task.reference else {})


def _store(run: Run, bugs: Sequence[Bug]) -> dict[str, str]:
    """Store each bug as an attempt. Return, by the attempt's id, the operators that made the bug, joined by "+"."""
    operators: dict[str, str] = {}
    n_stored: Counter[str] = Counter()
    for bug in bugs:
        task_id = bug.candidate.task.id
        attempt = bug.to_attempt(ARM, task_id, sample=n_stored[task_id])
        n_stored[task_id] += 1
        run.add_attempt(attempt)
        operators[attempt.id] = bug.candidate.operator
    return operators
