"""Run the stage ``collect``: draft on the training tasks, test, repair what failed, put bugs into what passed, and make pairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mlx_selfdebug.auditing.audit import MUTANTS, audit_tasks, open_audit_runner
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.notebook import Rows
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.planting import plant_bugs
from mlx_selfdebug.repair.policies import MiningPolicy
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.stages.common import decoding_of, measured, remember_isolation
from mlx_selfdebug.store import Key, Run
from mlx_selfdebug.training.mix import make_pairs
from mlx_selfdebug.training.selection import hold_back
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

ARM = "collect"

logger = logging.getLogger(__name__)


def collect(
    run: Run,
    model: LanguageModel,
    tasks: Sequence[Task],
    *,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Rows[Attempt]:
    """Draft ``collect.samples`` completions per task, test them, mend those that failed, and return the model's attempts.

    Afterwards bugs are put into right programs, and pairs are made from all of these. Tasks whose checks catch less than
    ``collect.weak_share`` of the mutants of their reference are left out before anything is drafted. The call continues where an
    earlier one stopped.

    Raises ConfigError if the run was begun with another model or other tasks, TaskError if all tasks are left out, and SandboxError
    if tests cannot be run, or cannot be fully confined while a weak sandbox is not allowed. What is finished stays stored in any
    case.
    """
    progress = progress or NullProgress()
    config = run.config.collect
    run.require(Key.MODEL, model.origin, "model")
    run.require(Key.TRAINING_TASKS, [task.id for task in tasks], "set of training tasks")
    with measured(run, "collect", run.config.budget.inference_gb) as spent:
        # The audit has a runner of its own, with shorter limits. It is closed before the other one is opened, because two
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
        held = run.remember(Key.HELD_BACK, hold_back(attempts, tasks, run.config.train, run.config.seed))
        trained_on = [task for task in tasks if task.id not in held]
        run.replace_pairs(make_pairs([*attempts, *bugs], trained_on, run.config.train, run.config.seed))
        return Rows(attempts)


def _with_sound_checks(
    run: Run, tasks: Sequence[Task], progress: Progress, *, allow_weak_sandbox: bool
) -> Sequence[Task]:
    """Return ``tasks`` without those whose checks are weak or whose reference fails. A warning names what is left out.

    The tasks are audited once per run.
    """
    audited = run.facts().stored.get(Key.AUDIT)
    # A run of an earlier version has drafted without an audit, and continues without one.
    if not run.config.collect.weak_share or (audited is None and run.attempts(ARM)):
        return tasks
    if audited is None:
        audited = run.remember(Key.AUDIT, _audit(run, tasks, progress, allow_weak_sandbox=allow_weak_sandbox))
    left_out = audited["left_out"]
    if left_out:
        names = ", ".join(f"{task_id} ({why})" for task_id, why in left_out.items())
        logger.warning(
            "%d of %d tasks are left out, because their checks cannot be trusted: %s", len(left_out), len(tasks), names
        )
    if len(left_out) == len(tasks):
        raise TaskError(
            "every training task is left out, because their checks cannot be trusted",
            hint="see why with: mlx-selfdebug tasks audit SET; to keep every task, start a run with --collect-weak-share 0",
        )
    return [task for task in tasks if task.id not in left_out]


def _audit(run: Run, tasks: Sequence[Task], progress: Progress, *, allow_weak_sandbox: bool) -> dict[str, Any]:
    """Return the audit to be stored: the mutants of each task and how many were caught, and why tasks are left out."""
    with open_audit_runner(run.config.sandbox, allow_weak_sandbox=allow_weak_sandbox) as runner:
        audits = audit_tasks(tasks, runner, seed=run.config.seed, progress=progress)
    left_out = {audit.task_id: audit.problem for audit in audits if audit.problem}
    for audit in audits:
        if audit.is_weak(run.config.collect.weak_share):
            left_out[audit.task_id] = f"its checks caught {audit.caught} of {len(audit.runs)} mutants"
    counts = {audit.task_id: {"mutants": len(audit.runs), "caught": audit.caught} for audit in audits}
    return {"most": MUTANTS, "tasks": counts, "left_out": left_out}
