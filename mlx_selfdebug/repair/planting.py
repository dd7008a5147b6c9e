"""Put bugs into the right programs of a run, to learn from: failures whose minimal fix is known, at no token.

Right programs are the model's own drafts that passed, and the reference of a task that it has not solved. What was put in is stored
with the run as attempts of an arm of their own, each with its verdicts and the draft it was made of, so that pairs are made of them
like of any other failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from mlx_selfdebug.config import CollectConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.repair.bugs import Bug, Candidate, find_bugs, stacked
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

ARM = "bugs"
UNITS = "collect.bugs"
"""What a run remembers of its bugs: the operators that made each, by the id of its attempt."""
TRIES_PER_BUG = 4
"""Programs that are run for each bug that is wanted: some still pass, some fail in no way that can be shown."""
TASKS_AT_A_TIME = 32
SLIPS: Mapping[str, float] = {}
"""How often each operator is drawn: by how many of the model's own failures it mends, backwards. Others are drawn once."""


def plant_bugs(
    run: Run, tasks: Sequence[Task], attempts: Sequence[Attempt], runner: TestRunner, progress: Progress
) -> list[Attempt]:
    """Return the bugs of ``tasks`` as attempts: those that are stored, else put in, tested and stored now.

    ``attempts`` are the model's own on these tasks. Bugs of other domains than Python are not known: such tasks have none. Raises
    SandboxError if programs cannot be tested.
    """
    config = run.config.collect
    if not config.bugs:
        return []
    if run.environment().get(UNITS) is None:
        # What an interrupted session has left behind is put in again: the same programs.
        run.drop_attempts(ARM)
        operators: dict[str, str] = {}
        with progress.stage("bugs", len(tasks), "tasks") as stage:
            for start in range(0, len(tasks), TASKS_AT_A_TIME):
                part = tasks[start : start + TASKS_AT_A_TIME]
                candidates = {task.id: _candidates(task, attempts, config, run.config.seed) for task in part}
                operators |= _store(run, find_bugs(candidates, runner, per_task=config.bugs))
                stage.advance(len(part), f"{len(operators)} bugs")
        run.flush()
        run.remember(UNITS, operators)
    return list(run.attempts(ARM))


def _candidates(task: Task, attempts: Sequence[Attempt], config: CollectConfig, seed: int) -> list[Candidate]:
    """Programs to try, those of different right programs in turn."""
    n = TRIES_PER_BUG * config.bugs
    right = _right_programs(task, attempts)
    drawn = [
        stacked(task, code, parent, seed=seed, max_edits=config.bug_edits, n=n, weights=SLIPS)
        for parent, code in right.items()
    ]
    in_turn = [candidate for row in zip_longest(*drawn) for candidate in row if candidate is not None]
    return in_turn[:n]


def _right_programs(task: Task, attempts: Sequence[Attempt]) -> dict[str, str]:
    """The codes that bugs are put into by the ids of their attempts: different ones of the model's own, else the reference."""
    domain = domain_of(task.domain)
    codes: dict[str, tuple[str, str]] = {}
    for attempt in attempts:
        if attempt.task_id == task.id and attempt.passed and attempt.public.passed:
            codes.setdefault(domain.normalise(attempt.code), (attempt.id, attempt.code))
    return dict(codes.values()) if codes else {"": task.reference} if task.reference else {}


def _store(run: Run, bugs: Sequence[Bug]) -> dict[str, str]:
    """Store each bug as an attempt. Returns the operators that made it by its attempt's id."""
    operators = {}
    numbers: dict[str, int] = {}
    for bug in bugs:
        task_id = bug.candidate.task.id
        number = numbers[task_id] = numbers.get(task_id, -1) + 1
        attempt = bug.to_attempt(ARM, task_id, number)
        run.add_attempt(attempt)
        operators[attempt.id] = bug.candidate.operator
    return operators
