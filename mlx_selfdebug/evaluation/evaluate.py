"""Evaluate: base and adapter on the same held-out tasks, first drafts and what each arm makes of them at equal tokens.

Feedback comes from public checks alone; hidden checks score.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from mlx_selfdebug.errors import TaskError, TrainingError, UsageError
from mlx_selfdebug.evaluation.arms import REPAIR, Arm, arms_named, first_drafts, play_of
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.result import Result, score_model
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress, Stage
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.repair.stream import Stream
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stage import decoding_of, measured, open_runner, remember_isolation
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.task import Task
from mlx_selfdebug.training.adapter import Adapter, mark_adapter
from mlx_selfdebug.training.selection import held_back_tasks

logger = logging.getLogger(__name__)

BASE, ADAPTER = "base", "adapter"


def evaluate(
    run: Run,
    model: Model,
    adapter: Adapter,
    tasks: Sequence[Task],
    *,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Result:
    """Both models draft once, greedily; then every arm of ``eval.arms`` goes on from these drafts with ``eval.tokens`` a task.

    Raises TaskError if a reference fails its own hidden checks, or a task was trained on; ConfigError for an arm nobody knows, or
    if the run was evaluated on other tasks before. Finished attempts are not decoded again.
    """
    config = run.config.eval
    arms = arms_named(config.arms)
    run.require("model", model.origin, "model")
    run.require("eval.tasks", [task.id for task in tasks], "set of evaluation tasks")
    _refuse_trained_on(run, tasks)
    with (
        measured(run, "evaluate", run.config.budget.inference_gb),
        open_runner(run.config.sandbox, allow_weak_sandbox=allow_weak_sandbox) as runner,
    ):
        remember_isolation(run, runner)
        held_back = _held_back(run)
        n_checks, gate_checks = count_checks(tasks, runner), count_checks(held_back, runner)
        total = 2 * ((1 + len(arms)) * len(tasks) + 2 * len(held_back))
        with (progress or NullProgress()).stage("evaluate", total, "tasks") as stage:
            playing = _Playing(run, model, runner, stage)
            base, gate_base = playing.all_arms(BASE, tasks, arms), playing.gate(BASE, held_back)
            with adapter.applied(model):
                adapted, gate_adapted = playing.all_arms(ADAPTER, tasks, arms), playing.gate(ADAPTER, held_back)
    tokens = config.tokens
    gates = [score_model(made, gate_checks, tokens) for made in (gate_base, gate_adapted)]
    gate = Gate.of(*gates) if held_back else None
    if gate:
        mark_adapter(adapter.path, {"gate": gate.to_dict()})
    return Result(score_model(base, n_checks, tokens), score_model(adapted, n_checks, tokens), tokens, gate)


def _held_back(run: Run) -> list[Task]:
    """What the gate is tried on: none where the run held nothing back, or its tasks cannot be found by their set's name."""
    try:
        return held_back_tasks(run)
    except (TrainingError, UsageError) as error:
        logger.warning("no gate for the adapter: %s", error)
        return []


class _Playing:
    """Arms of whatever the model wears."""

    def __init__(self, run: Run, model: Model, runner: TestRunner, stage: Stage) -> None:
        self._run, self._model, self._runner, self._stage = run, model, runner, stage
        self._decoding = decoding_of(run.config.eval, run.config)

    def gate(self, who: str, tasks: Sequence[Task]) -> dict[str, list[Attempt]]:
        return self.all_arms(f"held back/{who}", tasks, arms_named(REPAIR))

    def all_arms(self, who: str, tasks: Sequence[Task], arms: Sequence[Arm]) -> dict[str, list[Attempt]]:
        """By the arm's name, "first" among them, its attempts; those of an arm begin with the first drafts."""
        first = first_drafts(who, tasks, replace(self._decoding, temperature=0.0))
        made = self._stream().play(first)[first.arm]
        drafts = {attempt.task_id: attempt for attempt in made}
        tokens = self._run.config.eval.tokens
        plays = [play_of(arm, who, tasks, self._decoding, drafts, tokens) for arm in arms]
        played = self._stream().play(*plays) if plays else {}
        return {name.rpartition("/")[2]: attempts for name, attempts in {first.arm: made, **played}.items()}

    def _stream(self) -> Stream:
        return Stream(self._run, self._model, self._runner, self._stage)


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
