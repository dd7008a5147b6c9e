"""Which checkpoint becomes the adapter: the one that repairs most, by running its repairs, never the one of the lowest loss.

Some tasks are held back from the pairs. At the end of each epoch the model repairs their failed attempts, greedily, and the repairs
are tested like any other. The best epoch's adapter is kept, of equals the later one; epochs that bring nothing better end the
training.
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
from mlx_selfdebug.repair.policies import Move, repairable
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run, StoredRun
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.mix import distinct
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

ARM = "held back"


@dataclass(frozen=True)
class Check:
    """After ``step`` steps the model repaired ``repaired`` of ``attempts`` failed attempts."""

    step: int
    repaired: int
    attempts: int


def hold_back(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig, seed: int) -> list[str]:
    """Ids of the tasks to keep out of the pairs: a share of those that were solved and also failed in a way that can be shown."""
    solved = {a.task_id for a in attempts if a.passed}
    failed = {a.task_id for a in attempts if repairable(a)}
    mixed = [task.id for task in tasks if task.id in solved & failed]
    return sorted(random.Random(f"{seed}:held back").sample(mixed, round(config.held_back_share * len(mixed))))


def held_back_tasks(run: StoredRun, tasks: Sequence[Task] | None = None) -> list[Task]:
    """The tasks kept out of a run's pairs, from ``tasks`` or else ``collect.tasks``. Raises TrainingError if one is not there."""
    ids = run.environment().get("train.held_back", [])
    if not ids:
        return []
    collect = run.config.collect
    known = {task.id: task for task in (load_tasks(collect.tasks).spread(collect.limit) if tasks is None else tasks)}
    if missing := [id_ for id_ in ids if id_ not in known]:
        raise TrainingError(
            f"{len(missing)} tasks that were held back to choose a checkpoint on are not there, {missing[0]} among them",
            hint="give train() the tasks that were given to collect()",
        )
    return [known[id_] for id_ in ids]


def to_repair(attempts: Sequence[Attempt], tasks: Sequence[Task], most: int) -> dict[str, list[Attempt]]:
    """Return failed attempts of each task, of different code: at most ``most`` of the model's own and as many bugs."""
    failed: dict[str, list[Attempt]] = {}
    for task in tasks:
        of_task = distinct([a for a in attempts if a.task_id == task.id and repairable(a)], task)
        bugs = [a for a in of_task if a.arm == planting.ARM]
        failed[task.id] = [a for a in of_task if a not in bugs][:most] + bugs[:most]
    return failed


@dataclass(frozen=True)
class _RepairEach:
    """One greedy repair of each of these attempts."""

    failed: Mapping[str, Sequence[Attempt]]

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return [] if attempts else [Move(i, 1, parent, 0.0) for i, parent in enumerate(self.failed[task.id])]


class Selection:
    """Checks of one training, and the best of them. ``training`` names it: what it was trained on, as a digest."""

    def __init__(
        self, run: Run, model: Model, tasks: Sequence[Task], runner: TestRunner, decoding: Decoding, training: str
    ) -> None:
        self.checks: list[Check] = []
        self._run, self._model, self._tasks = run, model, tasks
        self._runner, self._decoding = runner, decoding
        self._key = f"train.checks.{training[:12]}"
        failures = [*run.attempts("collect"), *run.attempts(planting.ARM)]
        self._failed = to_repair(failures, tasks, run.config.train.failed_per_task)

    @property
    def best(self) -> Check | None:
        return max(self.checks, key=lambda check: (check.repaired, check.step), default=None)

    @property
    def over(self) -> bool:
        """As many checks as ``train.patience`` since one that repaired more than all before it."""
        patience = self._run.config.train.patience
        if not patience or not self.checks:
            return False
        repaired = [check.repaired for check in self.checks]
        return len(repaired) - 1 - repaired.index(max(repaired)) >= patience

    def recall(self, steps: int) -> None:
        """The checks made in the first ``steps`` steps, before this process."""
        self.checks = [check for check in self._stored() if check.step <= steps]

    def check(self, step: int) -> Check:
        """Made now with the model as it is, or recalled from an earlier process."""
        recalled = [check for check in self._stored() if check.step == step]
        self.checks.append(recalled[0] if recalled else self._make(step))
        return self.checks[-1]

    def _make(self, step: int) -> Check:
        arm = f"{ARM}/{step:06d}"
        # Half a check is made again from its start: what a repair becomes depends a little on what is decoded beside it.
        self._run.drop_attempts(arm)
        self._model.network.eval()
        with NullProgress().stage("check", len(self._tasks), "tasks") as stage:
            play = Play(arm, self._tasks, _RepairEach(self._failed), self._decoding)
            made = Stream(self._run, self._model, self._runner, stage).play(play)[arm]
        check = Check(step, sum(attempt.passed for attempt in made), len(made))
        self._run.remember(f"{self._key}.{step}", asdict(check))
        return check

    def _stored(self) -> list[Check]:
        return stored_checks(self._run, self._key)


def stored_checks(run: StoredRun, key: str = "train.checks.") -> list[Check]:
    """The checks a run has made, in the order of their steps."""
    found = [Check(**value) for name, value in run.environment().items() if name.startswith(key)]
    return sorted(found, key=lambda check: check.step)
