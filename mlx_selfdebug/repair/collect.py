"""Collect: the model's own drafts on the training tasks, tested, repairs of those it could not solve, and the pairs they give."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.repair.policies import Mine
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.stage import decoding_of, measured, open_runner, remember_isolation
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.task import Task
from mlx_selfdebug.training.mix import make_pairs
from mlx_selfdebug.training.selection import hold_back

ARM = "collect"


def collect(
    run: Run,
    model: LanguageModel,
    tasks: Sequence[Task],
    *,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> list[Attempt]:
    """Draft ``collect.samples`` completions a task, test them, repair where none passed. All attempts, old and new.

    Picks up where an earlier call stopped. Raises ConfigError if the run was begun with another model or other tasks,
    SandboxError if tests cannot be run, or not fully confined unless a weak sandbox is allowed; what is finished stays stored
    either way.
    """
    config = run.config.collect
    run.require("model", model.origin, "model")
    run.require("collect.tasks", [task.id for task in tasks], "set of training tasks")
    with (
        measured(run, "collect", run.config.budget.inference_gb),
        open_runner(run.config.sandbox, allow_weak_sandbox=allow_weak_sandbox) as runner,
    ):
        remember_isolation(run, runner)
        with (progress or NullProgress()).stage("collect", len(tasks), "tasks") as stage:
            policy = Mine(config.samples, config.rounds, config.repairs)
            play = Play(ARM, tasks, policy, decoding_of(config, run.config))
            attempts = Stream(run, model, runner, stage).play(play)[ARM]
        held = run.remember("train.held_back", hold_back(attempts, tasks, run.config.train, run.config.seed))
        trained_on = [task for task in tasks if task.id not in held]
        run.replace_pairs(make_pairs(attempts, trained_on, run.config.train, run.config.seed))
        return attempts
