"""Evaluate: base and adapter on the same held-out tasks, first pass and after repair.

What this first form does not do: it has no blind-resampling arm, no intervals and no test, so it cannot tell learning from
luck; the table says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.evaluation.result import Result, score_arm
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.policies import Repair
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stage import decoding_of, measured, open_runner, remember_isolation
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.task import Task
from mlx_selfdebug.training.adapter import Adapter

BASE, ADAPTER = "base/facts", "adapter/facts"


def evaluate(
    run: Run,
    model: Model,
    adapter: Adapter,
    tasks: Sequence[Task],
    *,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Result:
    """Both models draft once and repair what fails a public check, up to ``eval.rounds`` times; hidden checks score.

    Raises TaskError if a reference fails its own hidden checks, or a task was trained on; ConfigError if the run was
    evaluated on other tasks before. Finished attempts are not decoded again.
    """
    config = run.config.eval
    run.require("model", model.origin, "model")
    run.require("eval.tasks", [task.id for task in tasks], "set of evaluation tasks")
    _refuse_trained_on(run, tasks)
    with (
        measured(run, "evaluate", run.config.budget.inference_gb),
        open_runner(run.config.sandbox, allow_weak_sandbox=allow_weak_sandbox) as runner,
    ):
        remember_isolation(run, runner)
        n_checks = count_checks(tasks, runner)
        with (progress or NullProgress()).stage("evaluate", 2 * len(tasks), "tasks") as stage:
            how, policy = decoding_of(config, run.config), Repair(config.rounds)
            base = Stream(run, model, runner, stage).play(Play(BASE, tasks, policy, how))[BASE]
            with adapter.applied(model):
                adapted = Stream(run, model, runner, stage).play(Play(ADAPTER, tasks, policy, how))[ADAPTER]
    return Result(score_arm(base, n_checks), score_arm(adapted, n_checks))


def count_checks(tasks: Sequence[Task], runner: TestRunner) -> dict[str, int]:
    """Hidden checks a task, by running its reference. Raises TaskError naming every reference that fails."""
    futures = {task.id: runner.submit(task.reference, task.hidden, task.entry_point) for task in tasks}
    verdicts = {id_: future.result() for id_, future in futures.items()}
    bad = [f"{id_}: {verdict.outcome}" for id_, verdict in verdicts.items() if not verdict.passed]
    if bad:
        raise TaskError(
            "the reference of these tasks fails its own hidden checks:", problems=bad, hint="mlx-selfdebug tasks check"
        )
    return {id_: verdict.n_checks for id_, verdict in verdicts.items()}


def _refuse_trained_on(run: Run, tasks: Sequence[Task]) -> None:
    seen = set(run.environment().get("collect.tasks", [])) & {task.id for task in tasks}
    if seen:
        raise TaskError(
            f"{len(seen)} of the evaluation tasks were trained on, {min(seen)} among them",
            hint="evaluate on tasks the run has not seen: --eval-tasks",
        )
