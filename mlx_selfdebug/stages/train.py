"""Run the stage ``train``: train an adapter on a run's pairs, in a seeded order. Only the tokens of the completions are supervised.

The loss is recorded step by step. A training that was cut short continues from its last checkpoint, and ends with the same adapter
as one that was not cut short, bit for bit. The stage runs in the calling process; the command line gives it a process of its own
(``cli/supervise.py``). If ``train.reward_steps`` is not 0, the stage ``rewards`` follows.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.distributed.files import share_folder
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.stages.common import measured
from mlx_selfdebug.stages.rewards import train_by_rewards
from mlx_selfdebug.stages.within_budget import greedy_decoding, planned, with_adapter
from mlx_selfdebug.store import Key, ProgressFile, Run
from mlx_selfdebug.training.adapter import Adapter, open_adapter, save_adapter
from mlx_selfdebug.training.dead_end import dead_end
from mlx_selfdebug.training.examples import Example, encode_pairs
from mlx_selfdebug.training.plan import Workload
from mlx_selfdebug.training.selection import Selection, held_back_tasks
from mlx_selfdebug.training.session import Session
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)


def train(
    run: Run,
    model: Model,
    *,
    tasks: Sequence[Task] | None = None,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
    skip_shapes: int = 0,
) -> Adapter:
    """Train an adapter for ``model`` on the run's pairs, save it and return it. Afterwards ``model`` is the base again.

    If tasks were held back from the pairs, the adapter is that of the epoch which repaired most of their failed attempts, and
    otherwise that of the last epoch. If ``train.reward_steps`` is not 0, training continues by rewards (``stages/rewards.py``),
    from a fresh adapter if there are no pairs. A finished adapter is returned as it is.

    Args:
        run: the run that has collected.
        model: the base model.
        tasks: the tasks that the run collected on; if they are None, ``collect.tasks`` is loaded.
        progress: told of each pair that was trained on; silent by default.
        allow_weak_sandbox: whether repairs of held-back tasks may be tested where they cannot be fully confined.
        skip_shapes: how many of ``loop.STEP_SHAPES`` to leave out, beginning with the one that takes the most memory. The command
            line gives the number of earlier processes of this stage that died. The adapter is the same up to rounding.

    Raises:
        TrainingError: there are no pairs, or all of them are too long, or the loss is not finite three steps in a row. If the run
            can never be trained, the hint says what to do instead.
        BudgetError: training does not fit ``budget.training_gb``.
        StoreError: a checkpoint or the adapter cannot be written.
        SandboxError: repairs cannot be tested.
    """
    run.require(Key.MODEL, model.origin, "model")
    for folder in (run.adapter_path, run.pairs_adapter_path):
        share_folder(run.group, folder)
    if not run.is_done("train") and _has_pairs(run):
        _train_on_pairs(run, model, tasks, progress, allow_weak_sandbox=allow_weak_sandbox, skip_shapes=skip_shapes)
    if run.config.train.reward_steps:
        return train_by_rewards(
            run, model, tasks=tasks, progress=progress, allow_weak_sandbox=allow_weak_sandbox, skip_shapes=skip_shapes
        )
    return open_adapter(run.adapter_path)


def _has_pairs(run: Run) -> bool:
    """Return whether there are pairs to train on. Without pairs, training by rewards begins with a fresh adapter.

    Raises TrainingError if there are neither pairs nor reward steps.
    """
    if run.pairs():
        return True
    if run.config.train.reward_steps:
        return False
    if end := dead_end(run):
        raise TrainingError(f"{run.path} {end.what}", hint=end.instead)
    raise TrainingError(
        f"{run.path} has no pairs to train on: it has not collected to the end",
        hint=f"mlx-selfdebug collect --run {run.path}",
    )


def _train_on_pairs(
    run: Run,
    model: Model,
    tasks: Sequence[Task] | None,
    progress: Progress | None,
    *,
    allow_weak_sandbox: bool,
    skip_shapes: int,
) -> None:
    """Train on the run's pairs, save the adapter and delete the checkpoints. The parameters and errors are those of ``train``."""
    with measured(run, "train", run.config.budget.training_gb) as spent, ExitStack() as stack:
        examples = _examples(run, model, run.config.train)
        with spent.on("planning"):
            work = Workload.of(examples)
            plan = stack.enter_context(planned(run, model, work, run.config.train, skip_shapes))
        session = Session(run, model, examples, plan, spent)
        held_back = held_back_tasks(run, tasks)
        if held_back:
            runner = stack.enter_context(
                open_runner(run.config.sandbox, held_back, allow_weak_sandbox=allow_weak_sandbox)
            )
            session.select_by(Selection(run, model, held_back, runner, greedy_decoding(run.config), session.digest))
        settings = stack.enter_context(with_adapter(model, run.config.train, run.config.seed))
        n_pairs = len(examples) * run.config.train.epochs
        with ProgressFile(run.path, progress).stage("train", n_pairs, "pairs") as stage:
            session.make_steps(stage.advance)
        save_adapter(model.network, run.adapter_path, settings, model.origin)
    shutil.rmtree(run.training_path, ignore_errors=True)


def _examples(run: Run, model: Model, config: TrainConfig) -> list[Example]:
    """Return the run's pairs as examples, without those that are too long, which a warning names.

    Raises TrainingError if all of them are too long.
    """
    pairs = run.pairs()
    max_length = min(config.max_length, model.context)
    limited_by = "train.max_length" if max_length == config.max_length else f"the context of {model.name}"
    limit = f"{limited_by} = {max_length} tokens"
    codes = {attempt.id: attempt.code for attempt in run.attempts()}
    examples, left_out = encode_pairs(
        model, pairs, max_length, codes, config.copied_weight, distilled=config.distilled_share > 0
    )
    run.remember(Key.PAIRS_LEFT_OUT, len(left_out))
    if left_out:
        names = ", ".join(f"{pair.kind} {pair.task_id}" for pair in left_out)
        logger.warning("%d of %d pairs are longer than %s and left out: %s", len(left_out), len(pairs), limit, names)
    if not examples:
        end = dead_end(run)
        raise TrainingError(f"all {len(pairs)} pairs are longer than {limit}", hint=end.instead if end else None)
    return examples
