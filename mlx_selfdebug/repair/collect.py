"""Collect: the model's own drafts on the training tasks, tested, repairs of those it could not solve, and the pairs they give."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.repair.waves import Chooser, Decoding, Waves
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sandbox.verdict import SUSPICIOUS
from mlx_selfdebug.stage import measured, open_runner, remember_isolation
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.task import Task
from mlx_selfdebug.training.mix import make_pairs

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
    decoding = Decoding(config.temperature, config.min_p, config.max_tokens, config.batch_size)
    total = len(tasks) * config.samples
    with measured(run, "collect"), open_runner(run.config.sandbox, allow_weak_sandbox=allow_weak_sandbox) as runner:
        remember_isolation(run, runner)
        with (progress or NullProgress()).stage("collect", total, "draft") as stage:
            waves = Waves(run, model, runner, ARM, decoding, stage)
            attempts = waves.play(tasks, config.samples, config.rounds, unsolved(config.repairs))
        run.replace_pairs(make_pairs(attempts, tasks, run.config.train, run.config.seed))
        return attempts


def unsolved(most: int) -> Chooser:
    """Repair where no attempt of the task has passed: up to ``most`` failed attempts, no two of the same code."""

    def choose(task: Task, attempts: Sequence[Attempt]) -> list[Attempt]:
        if any(attempt.passed for attempt in attempts):
            return []
        last = max(attempt.round for attempt in attempts)
        normalise = domain_of(task.domain).normalise
        fresh: dict[str, Attempt] = {}
        for attempt in attempts:
            if attempt.round == last and attempt.verdict.outcome not in SUSPICIOUS:
                fresh.setdefault(normalise(attempt.code), attempt)
        return list(fresh.values())[:most]

    return choose
