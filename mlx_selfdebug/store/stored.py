"""Read a stored run, even while another process writes it.

>>> with open_stored("runs/first") as run:                                          # doctest: +SKIP
...     len(run.attempts("collect"))
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlx_selfdebug.config import Config, load_config
from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.notebook import Rows, table
from mlx_selfdebug.store.database import LIST_RUNS, reading, reported
from mlx_selfdebug.store.facts import Facts
from mlx_selfdebug.store.rows import (
    ATTEMPTS,
    ENVIRONMENT,
    MEMORY,
    PARTS,
    REWARD_STEPS,
    STAGES,
    STEPS,
    MemorySample,
    StageTime,
    read_attempts,
    read_pairs,
)
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.step import RewardStep, Step

Call = Callable[[Callable[[sqlite3.Connection], Any]], Any]
"""A function that calls the given function with the run's database and returns its result."""


class StoredRun:
    """The configuration and the rows of the run at ``path``. The rows are read anew at each call.

    Every method raises StoreError if the database cannot be read.
    """

    def __init__(self, path: Path, config: Config, call: Call) -> None:
        self.path = path
        self.config = config
        self._call = call

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def adapter_path(self) -> Path:
        """The folder of the adapter that training ended with."""
        return self.path / "adapter"

    @property
    def training_path(self) -> Path:
        """The folder with the checkpoints of training on pairs. It exists only until the training is finished."""
        return self.path / "training"

    @property
    def rewards_path(self) -> Path:
        """The folder with the checkpoints of training by rewards. It exists only until the training is finished."""
        return self.path / "rewards"

    @property
    def pairs_adapter_path(self) -> Path:
        """The folder of the adapter that was trained on pairs. It exists if training by rewards goes on from that adapter."""
        return self.path / "adapter-of-pairs"

    @property
    def summary_path(self) -> Path:
        """The file with the summary, which is written last."""
        return self.path / "summary.json"

    def attempts(self, arm: str | None = None) -> Rows[Attempt]:
        """Return the attempts, or those of one arm, in the order of their keys: task, arm, sample, round."""
        return Rows(self._call(lambda db: list(read_attempts(db, arm))))

    def pairs(self) -> Rows[Pair]:
        """Return the pairs in training order."""
        return Rows(self._call(read_pairs))

    def attempts_by_id(self, ids: Collection[str]) -> dict[str, Attempt]:
        """Return the attempts with the given ids, by id. Ids that the run does not have are left out."""
        where = f"WHERE id IN ({', '.join('?' * len(ids))})"
        return {attempt.id: attempt for attempt in self._call(lambda db: list(ATTEMPTS.read(db, where, tuple(ids))))}

    def query(self, select: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows of a SELECT statement with its parameters, for questions that no other method answers."""
        return list(self._call(lambda db: db.execute(select, values).fetchall()))

    def to_frame(self) -> Any:
        """Return the attempts as a pandas data frame, one row per attempt. Raises UsageError if pandas is not installed."""
        return self.attempts().to_frame()

    def steps(self) -> Rows[Step]:
        """Return the steps of training on pairs, in order. Skipped steps are missing."""
        return Rows(self._call(lambda db: list(STEPS.read(db))))

    def reward_steps(self) -> Rows[RewardStep]:
        """Return the steps of training by rewards, in order."""
        return Rows(self._call(lambda db: list(REWARD_STEPS.read(db))))

    def stages(self) -> dict[str, StageTime]:
        """Return the time and memory that each stage has taken so far, by the stage's name."""
        return {stage.name: stage for stage in self._call(lambda db: list(STAGES.read(db)))}

    def is_done(self, stage: str) -> bool:
        """Return whether the stage was finished."""
        stages = self.stages()
        return stage in stages and stages[stage].done

    def memory(self) -> list[MemorySample]:
        """Return the memory of the process tree over time, stage by stage."""
        return list(self._call(lambda db: list(MEMORY.read(db))))

    def parts(self) -> dict[str, dict[str, float]]:
        """Return the seconds that each kind of work took, per stage."""
        seconds: dict[str, dict[str, float]] = {}
        for row in self._call(lambda db: list(PARTS.read(db))):
            seconds.setdefault(row.stage, {})[row.part] = row.wall_s
        return seconds

    def facts(self) -> Facts:
        """Return what the run knows beside its rows: model, tasks, machines and so on."""
        return Facts({item.key: item.value for item in self._call(lambda db: list(ENVIRONMENT.read(db)))})

    def _repr_html_(self) -> str:
        return table([self._overview()]) + table(self._counts())

    def _overview(self) -> dict[str, Any]:
        """Return the run's path, model, seed and number of pairs, and what each stage took."""
        stages = {
            name: f"{stage.wall_s:.0f} s, {stage.peak_bytes / 1e9:.1f} GB{'' if stage.done else ', not done'}"
            for name, stage in self.stages().items()
        }
        run = {"run": str(self.path), "model": self.config.model, "seed": self.config.seed, "pairs": len(self.pairs())}
        return {**run, **stages}

    def _counts(self) -> list[dict[str, Any]]:
        """Return the numbers of attempts and of passed attempts per arm."""
        select = "SELECT arm, count(*) AS attempts, sum(outcome = 'passed') AS passed FROM attempts GROUP BY arm ORDER BY arm"
        return [dict(row) for row in self.query(select)]


def stored_config(path: str | Path) -> Config | None:
    """Return the configuration of the run at ``path``, or None if there is no run yet."""
    file = Path(path) / "config.toml"
    return load_config(file=file, environment={}) if file.exists() else None


@contextmanager
def open_stored(path: str | Path, *, leave_nothing: bool = False) -> Iterator[StoredRun]:
    """Open the run at ``path`` for reading. Each call of a method shows the run as it is at that moment.

    With ``leave_nothing``, no file is created in the folder of the run (see ``reading``).

    Raises StoreError if there is no run, or if it is damaged or has an older or newer schema.
    """
    with reading(path, leave_nothing=leave_nothing) as db:
        config = stored_config(path)
        if config is None:
            raise StoreError(f"{path} is not a run folder: it has no config.toml", hint=LIST_RUNS)

        def call(read: Callable[[sqlite3.Connection], Any]) -> Any:
            with reported(Path(path) / "run.db", writing=False):
                return read(db)

        yield StoredRun(Path(path), config, call)
