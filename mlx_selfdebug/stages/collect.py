"""Run the stage ``collect``: make the pairs of failed and right code on which an adapter is trained.

1. The checks of the training tasks are audited, and tasks with weak checks are left out (``auditing/``).
2. The model drafts, and its failed drafts are searched, forked and repaired (``repair/stream.py``).
3. Bugs are put into right programs (``repair/planting.py``).
4. Some tasks are held back, and pairs are made from the attempts and bugs on all others (``training/mix.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypedDict

from mlx_selfdebug.auditing.audit import MUTANTS, audit_tasks, open_audit_runner
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.notebook import Rows
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.repair.planting import plant_bugs
from mlx_selfdebug.repair.policies import MiningPolicy
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.stages.common import decoding_of, measured, remember_isolation
from mlx_selfdebug.store import Key, ProgressFile, Run
from mlx_selfdebug.training.dead_end import dead_end
from mlx_selfdebug.training.mix import make_pairs
from mlx_selfdebug.training.selection import hold_back
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

ARM = "collect"
"""The arm of the model's own attempts on the training tasks."""

logger = logging.getLogger(__name__)


class _StoredAudit(TypedDict):
    """The audit as it is stored with the run."""

    most: int
    """The largest number of mutants per task."""
    tasks: dict[str, dict[str, int]]
    """The number of "mutants" of each task and how many of them were "caught", by the task's id."""
    left_out: dict[str, str]
    """Why tasks are left out, by their ids."""


def collect(
    run: Run,
    model: LanguageModel,
    tasks: Sequence[Task],
    *,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Rows[Attempt]:
    """Draft ``collect.samples`` completions per task, test them, repair those that failed, and return the model's attempts.

    Afterwards bugs are put into right programs, and pairs are made from attempts and bugs. Tasks whose checks catch less than
    ``collect.weak_share`` of the mutants of their reference are left out before anything is drafted. The call continues where an
    earlier one stopped. Attempts that are finished stay stored, even if an error is raised.

    Raises:
        ConfigError: the run was begun with another model or other tasks.
        TaskError: all tasks are left out.
        SandboxError: tests cannot be run, or cannot be fully confined while ``allow_weak_sandbox`` is false.
    """
    progress = ProgressFile(run.path, progress)
    config = run.config.collect
    run.require(Key.MODEL, model.origin, "model")
    run.require(Key.TRAINING_TASKS, [task.id for task in tasks], "set of training tasks")
    with measured(run, "collect", run.config.budget.inference_gb) as spent:
        # The audit has a runner of its own, with shorter limits. It is closed before the other runner is opened, because two
        # runners at a time take twice the memory.
        with spent.on("auditing checks"):
            tasks = _with_sound_checks(run, tasks, progress, allow_weak_sandbox=allow_weak_sandbox)
        with open_runner(run.config.sandbox, tasks, allow_weak_sandbox=allow_weak_sandbox) as runner:
            remember_isolation(run, runner)
            with progress.stage("collect", len(tasks), "tasks") as stage:
                policy = MiningPolicy(config.samples, config.rounds, config.repairs, config.edits, config.forks)
                play = Play(ARM, tasks, policy, decoding_of(config, run.config))
                attempts = Stream(run, model, runner, stage, spent).play(play)[ARM]
            with spent.on("putting bugs in"):
                bugs = plant_bugs(run, tasks, attempts, runner, progress)
        held_back = run.remember(Key.HELD_BACK, hold_back(attempts, tasks, run.config.train, run.config.seed))
        trained_on = [task for task in tasks if task.id not in held_back]
        run.replace_pairs(make_pairs([*attempts, *bugs], trained_on, run.config.train, run.config.seed))
        return Rows(attempts)


def _with_sound_checks(
    run: Run, tasks: Sequence[Task], progress: Progress, *, allow_weak_sandbox: bool
) -> Sequence[Task]:
    """Return ``tasks`` without those whose checks are weak or whose reference fails. A warning names the tasks that are left out.

    The tasks are audited once per run. Raises TaskError if all of them are left out.
    """
    audit: _StoredAudit | None = run.facts().stored.get(Key.AUDIT)
    # A run that has drafted without an audit, by an earlier version of this program, continues without one.
    if not run.config.collect.weak_share or (audit is None and run.attempts(ARM)):
        return tasks
    if audit is None:
        audit = run.group.agree(lambda: _audit(run, tasks, progress, allow_weak_sandbox=allow_weak_sandbox))
        run.remember(Key.AUDIT, audit)
    left_out = audit["left_out"]
    if left_out:
        names = ", ".join(f"{task_id} ({reason})" for task_id, reason in left_out.items())
        logger.warning(
            "%d of %d tasks are left out, because their checks cannot be trusted: %s", len(left_out), len(tasks), names
        )
    if len(left_out) == len(tasks):
        end = dead_end(run)
        raise TaskError(
            "every training task is left out, because their checks cannot be trusted", hint=end.instead if end else None
        )
    return [task for task in tasks if task.id not in left_out]


def _audit(run: Run, tasks: Sequence[Task], progress: Progress, *, allow_weak_sandbox: bool) -> _StoredAudit:
    """Audit the checks of ``tasks`` by running mutants of the references, and return the record to store."""
    with open_audit_runner(run.config.sandbox, allow_weak_sandbox=allow_weak_sandbox) as runner:
        audits = audit_tasks(tasks, runner, seed=run.config.seed, progress=progress)
    left_out = {audit.task_id: audit.problem for audit in audits if audit.problem}
    for audit in audits:
        if audit.is_weak(run.config.collect.weak_share):
            left_out[audit.task_id] = f"its checks caught {audit.caught} of {len(audit.runs)} mutants"
    counts = {audit.task_id: {"mutants": len(audit.runs), "caught": audit.caught} for audit in audits}
    return {"most": MUTANTS, "tasks": counts, "left_out": left_out}
