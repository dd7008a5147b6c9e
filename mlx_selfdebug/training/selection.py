"""Choose the adapter that a training keeps: the one that repairs most, which is found by running its repairs.

Some tasks are held back from the pairs. At the end of each epoch, the model repairs the failed attempts on these tasks greedily,
and the repairs are tested like any others. This is a ``Validation``. The adapter of the epoch that repaired most is kept, or the
later of two that repaired equally many. If several validations in a row bring nothing better, the training ends. The loss has no
say. In training by rewards, a validation is made every few steps.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.progress import NullProgress
from mlx_selfdebug.repair import planting
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.judging import distinct
from mlx_selfdebug.repair.policies import Move, repairable
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Family, Run, StoredRun
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

ARM = "held back"
"""The first part of the names of the arms that repair held-back tasks."""
REWARDS = "rewards-"
"""The prefix of the digest of a training by rewards. It tells the validations of such a training from those of one on pairs."""
_DIGEST_LENGTH = 12
"""The number of characters of a training's digest under which its validations are stored."""


@dataclass(frozen=True)
class Validation:
    """How many failed attempts the model repaired at one point of its training."""

    step: int
    """The number of optimizer steps that had been made."""
    repaired: int
    """The number of repairs that passed the hidden checks."""
    attempts: int
    """The number of failed attempts that the model was asked to repair."""


def hold_back(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig, seed: int) -> list[str]:
    """Return the ids of the tasks to keep out of the pairs.

    They are drawn with ``seed`` from the tasks that have both a right attempt and a failed one that a repair prompt can show. The
    share ``train.held_back_share`` of these tasks is held back.
    """
    solved = {a.task_id for a in attempts if a.passed}
    failed = {a.task_id for a in attempts if repairable(a)}
    eligible = [task.id for task in tasks if task.id in solved & failed]
    return sorted(random.Random(f"{seed}:held back").sample(eligible, round(config.held_back_share * len(eligible))))


def held_back_tasks(run: StoredRun, tasks: Sequence[Task] | None = None) -> list[Task]:
    """Return the tasks that were kept out of a run's pairs.

    They are looked up in ``tasks``, which are those that the run collected on, or in ``collect.tasks`` if ``tasks`` is None. Raises
    TrainingError if one of them is not there.
    """
    return _look_up(run, run.facts().held_back, tasks, "were held back for choosing a checkpoint")


def tasks_to_train_on(run: StoredRun, tasks: Sequence[Task] | None = None) -> list[Task]:
    """Return the tasks that the run collected on, without those that were held back or left out.

    They are looked up as by ``held_back_tasks``. Raises TrainingError if one of them is not there.
    """
    facts = run.facts()
    not_trained_on = {*facts.held_back, *facts.weak_tasks}
    ids = [id_ for id_ in facts.training_tasks if id_ not in not_trained_on]
    return _look_up(run, ids, tasks, "the run collected on")


def _look_up(run: StoredRun, ids: Sequence[str], tasks: Sequence[Task] | None, role: str) -> list[Task]:
    """Return the tasks named by ``ids`` from ``tasks`` or, if these are None, from ``collect.tasks``.

    Raises TrainingError if one of them is not there. ``role`` completes "tasks that ..." in its message.
    """
    if not ids:
        return []
    collect = run.config.collect
    if tasks is None:
        tasks = load_tasks(collect.tasks).spread(collect.limit)
    by_id = {task.id: task for task in tasks}
    if missing := [id_ for id_ in ids if id_ not in by_id]:
        raise TrainingError(
            f"{len(missing)} of the tasks that {role} are missing, {missing[0]} among them",
            hint="give train() the tasks that were given to collect()",
        )
    return [by_id[id_] for id_ in ids]


def to_repair(attempts: Sequence[Attempt], tasks: Sequence[Task], max_each: int) -> dict[str, list[Attempt]]:
    """Return the failed attempts and bugs to repair, by the ids of their tasks.

    Those of one task have different code. At most ``max_each`` are the model's own failures, and at most ``max_each`` are bugs.
    """
    failed: dict[str, list[Attempt]] = {}
    for task in tasks:
        repairables = distinct([a for a in attempts if a.task_id == task.id and repairable(a)], task)
        own = [a for a in repairables if a.arm != planting.ARM]
        bugs = [a for a in repairables if a.arm == planting.ARM]
        failed[task.id] = own[:max_each] + bugs[:max_each]
    return failed


@dataclass(frozen=True)
class _RepairEach:
    """A policy that asks for one repair of each failed attempt."""

    failed: Mapping[str, Sequence[Attempt]]
    """The failed attempts by the ids of their tasks."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return [] if attempts else [Move(i, 1, parent, 0.0) for i, parent in enumerate(self.failed[task.id])]


class Selection:
    """The validations of one training, and the choice of the best of them.

    Args:
        run: the run, which stores the validations and their repairs.
        model: the model that is trained.
        tasks: the held-back tasks.
        runner: runs the tests of the repairs.
        decoding: how the repairs are decoded.
        training: a digest of what is trained on, after ``REWARDS`` in a training by rewards. The validations are stored under its
            first 12 characters, so that another training does not recall them.
        arm: the first part of the name of the arm in which the repairs of a validation are stored.
    """

    def __init__(
        self,
        run: Run,
        model: Model,
        tasks: Sequence[Task],
        runner: TestRunner,
        decoding: Decoding,
        training: str,
        arm: str = ARM,
    ) -> None:
        self.validations: list[Validation] = []
        self._run, self._model, self._tasks = run, model, tasks
        self._runner, self._decoding = runner, decoding
        digest = training.removeprefix(REWARDS)
        self._training = training[: len(training) - len(digest)] + digest[:_DIGEST_LENGTH]
        self._arm = arm
        failures = [*run.attempts("collect"), *run.attempts(planting.ARM)]
        self._failed = to_repair(failures, tasks, run.config.train.failed_per_task)

    @property
    def best(self) -> Validation | None:
        """The validation that repaired most, or the later of equals; None before the first one."""
        return max(self.validations, key=lambda validation: (validation.repaired, validation.step), default=None)

    @property
    def over(self) -> bool:
        """Whether ``train.patience`` validations in a row have repaired no more than the best one before them."""
        patience = self._run.config.train.patience
        if not patience or not self.validations:
            return False
        repaired = [validation.repaired for validation in self.validations]
        return len(repaired) - 1 - repaired.index(max(repaired)) >= patience

    def recall(self, steps: int) -> None:
        """Recall the validations that earlier processes made up to step ``steps``, and forget all others."""
        self.validations = [validation for validation in self._stored() if validation.step <= steps]

    def validate(self, step: int) -> Validation:
        """Return the validation after ``step`` steps.

        It is made now, with the model as it is, unless an earlier process has made it.
        """
        recalled = [validation for validation in self._stored() if validation.step == step]
        self.validations.append(recalled[0] if recalled else self.repair_all(step))
        return self.validations[-1]

    def repair_all(self, step: int) -> Validation:
        """Have the model repair the failed attempts now, and store and return the validation.

        ``step`` is the number of steps so far.
        """
        arm = f"{self._arm}/{step:06d}"
        # A validation that was cut short starts over, because a repair depends slightly on what else is decoded in its batch.
        self._run.delete_attempts(arm)
        self._model.network.eval()
        with NullProgress().stage("validation", len(self._tasks), "tasks") as stage:
            play = Play(arm, self._tasks, _RepairEach(self._failed), self._decoding)
            repairs = Stream(self._run, self._model, self._runner, stage).play(play)[arm]
        validation = Validation(step, sum(repair.passed for repair in repairs), len(repairs))
        self._run.remember(Family.VALIDATION.key(f"{self._training}.{step}"), asdict(validation))
        return validation

    def _stored(self) -> list[Validation]:
        """Return the stored validations of this training, in the order of their steps."""
        return stored_validations(self._run, self._training)


def stored_validations(run: StoredRun, training: str = "") -> list[Validation]:
    """Return the stored validations of a training, in the order of their steps.

    ``training`` is the training's digest or the beginning of it: ``REWARDS`` stands for every training by rewards, and "" for every
    training on pairs.
    """
    stored = run.facts().family(Family.VALIDATION)
    validations = [
        Validation(**value)
        for name, value in stored.items()
        if name.startswith(training) and (training or not name.startswith(REWARDS))
    ]
    return sorted(validations, key=lambda validation: validation.step)
