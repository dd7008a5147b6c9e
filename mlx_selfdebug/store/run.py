"""Open or create a run folder for writing. Only one process at a time writes it, while others may read it.

A stored attempt is never rewritten, so a resumed run adds exactly what is missing. Pairs and steps may be replaced, and the times
of a stage are summed over its sessions.

    >>> with Run("runs/first") as run:                                                  # doctest: +SKIP
    ...     len(run.attempts())
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from mlx_selfdebug.config import Config, differences, load_config, to_toml
from mlx_selfdebug.distributed import ALONE, Group
from mlx_selfdebug.errors import ConfigError, StoreError
from mlx_selfdebug.store.codec import parse
from mlx_selfdebug.store.files import write_atomically
from mlx_selfdebug.store.lock import RunLock
from mlx_selfdebug.store.rows import (
    ATTEMPTS,
    ENVIRONMENT,
    MEMORY,
    PAIRS,
    PARTS,
    REWARD_STEPS,
    STAGES,
    STEPS,
    Fact,
    MemorySample,
    PartTime,
    StageTime,
    storable,
)
from mlx_selfdebug.store.sharing import share_rows
from mlx_selfdebug.store.stored import StoredRun, stored_config
from mlx_selfdebug.store.writer import Writer
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.step import RewardStep, Step

_ADD_STAGE = (
    STAGES.insert() + " ON CONFLICT (name) DO UPDATE SET wall_s = wall_s + excluded.wall_s, "
    "peak_bytes = max(peak_bytes, excluded.peak_bytes), done = excluded.done"
)
_ADD_PART = PARTS.insert() + " ON CONFLICT (stage, part) DO UPDATE SET wall_s = wall_s + excluded.wall_s"
_ADD_ATTEMPT = ATTEMPTS.insert() + f" ON CONFLICT ({', '.join(ATTEMPTS.key)}) DO NOTHING"


class Run(StoredRun):
    """A run folder that is open for writing, created if it does not exist. Use it as a context manager.

    If ``config`` is None, the run keeps its own configuration, and a new run gets the defaults. Raises ConfigError if the run
    was begun with another configuration, and StoreError if the folder is damaged, in use, not writable or not a run folder.
    A database with an older schema is migrated, and a copy of it is kept.
    """

    def __init__(self, path: str | Path, config: Config | None = None) -> None:
        folder = Path(path)
        _make_folder(folder)
        lock = RunLock(folder)
        try:
            settings = _configure(folder, config)
            self._writer = Writer(folder / "run.db")
            super().__init__(folder, settings, self._writer.call)
        except BaseException:
            lock.release()
            raise
        self.group: Group = ALONE
        """The machines that work on the run together."""
        # The finalizer also runs if the run is never closed. It must not refer to the run, which would then never be collected.
        self._end = weakref.finalize(self, _end, self._writer, lock)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            # If the block failed with a StoreError, this one would only repeat it.
            if not isinstance(error, StoreError):
                raise

    def work_with(self, group: Group) -> None:
        """Work on this run together with the other ranks of ``group``, each of which has opened it in a folder of its own.

        Afterwards all ranks have the same rows (``store/sharing.py``). Raises DistributedError if their configurations differ, or
        if a folder belongs to another run.
        """
        if group.size > 1:
            share_rows(self, self._writer.call, group)
        self.group = group

    def close(self) -> None:
        """Store everything that was added, then release the run. Raises StoreError if something could not be stored."""
        self._end()

    def flush(self) -> None:
        """Wait until everything that was added is on disk.

        Raises StoreError if that fails. The rows are kept, and the next flush tries again.
        """
        self._writer.flush()

    def add_attempt(self, attempt: Attempt) -> None:
        """Store one finished attempt. It is on disk within ``writer.WINDOW_S`` plus the time of one commit.

        A stored attempt with the same key is left as it is. Raises StoreError if an attempt added earlier could not be stored.
        """
        self._writer.add(_ADD_ATTEMPT, ATTEMPTS.to_row(attempt))

    def delete_attempts(self, arm: str) -> None:
        """Delete the attempts of an arm, so that they can be made again."""
        self._write("DELETE FROM attempts WHERE arm = ?", (arm,))

    def share_attempts(self, arm: str) -> None:
        """Give all ranks the attempts that any rank has in an arm. All ranks make this call together."""
        if self.group.size == 1:
            return
        own = [asdict(attempt) for attempt in self.attempts(arm)]
        for sent in self.group.gather_json(own):
            for data in sent:
                self.add_attempt(parse(Attempt, data))

    def replace_pairs(self, pairs: Iterable[Pair]) -> None:
        """Store the run's pairs in place of earlier ones. They are given in training order."""
        rows = [PAIRS.to_row(pair) for pair in pairs]

        def replace(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM pairs")
            db.executemany(PAIRS.insert(), rows)

        self._writer.call(replace)

    def add_step(self, step: Step) -> None:
        """Store a step of training on pairs. It replaces a stored step of the same number."""
        self._write(STEPS.insert("INSERT OR REPLACE"), STEPS.to_row(step))

    def delete_steps(self, first: int = 0) -> None:
        """Delete the steps of training on pairs from number ``first`` on."""
        self._write("DELETE FROM steps WHERE step >= ?", (first,))

    def add_reward_step(self, step: RewardStep) -> None:
        """Store a step of training by rewards. It replaces a stored step of the same number."""
        self._write(REWARD_STEPS.insert("INSERT OR REPLACE"), REWARD_STEPS.to_row(step))

    def delete_reward_steps(self, first: int = 0) -> None:
        """Delete the steps of training by rewards from number ``first`` on, but not their attempts."""
        self._write("DELETE FROM reward_steps WHERE step >= ?", (first,))

    def add_stage_time(
        self,
        name: str,
        wall_s: float,
        peak_bytes: int,
        *,
        done: bool,
        parts: Mapping[str, float] | None = None,
        memory: Iterable[tuple[float, int]] = (),
    ) -> None:
        """Add one session to the record of a stage. A resumed stage has several sessions, whose seconds are summed.

        ``peak_bytes`` becomes the stage's peak if it is higher than before. ``parts`` holds the seconds per kind of work.
        ``memory`` holds pairs of the seconds since the session began and the bytes of the process tree.
        """
        stage_row = STAGES.to_row(StageTime(name, wall_s, peak_bytes, done))
        part_rows = [PARTS.to_row(PartTime(name, part, seconds)) for part, seconds in (parts or {}).items()]
        stages = self.stages()
        earlier_s = stages[name].wall_s if name in stages else 0.0
        memory_rows = [MEMORY.to_row(MemorySample(name, earlier_s + at_s, n_bytes)) for at_s, n_bytes in memory]

        def add(db: sqlite3.Connection) -> None:
            db.execute(_ADD_STAGE, stage_row)
            db.executemany(_ADD_PART, part_rows)
            db.executemany(MEMORY.insert("INSERT OR REPLACE"), memory_rows)

        self._writer.call(add)

    def remember(self, key: str, value: Any) -> Any:
        """Store the fact ``value``, which is JSON data, unless one is stored under ``key``. Return the stored value.

        ``key`` is a ``store.facts.Key`` or a key of a ``store.facts.Family``.
        """
        self._write(ENVIRONMENT.insert("INSERT OR IGNORE"), ENVIRONMENT.to_row(Fact(key, value)))
        return self.facts().stored[storable(key)]

    def require(self, key: str, value: Any, subject: str) -> None:
        """Store the fact ``value`` under ``key``, or check that it equals the stored one.

        Raises ConfigError if it does not, with ``subject`` as the name of the fact.
        """
        stored = self.remember(key, value)
        # The stored value has been through JSON, which turns tuples into lists.
        if stored != json.loads(json.dumps(value)):
            raise ConfigError(
                f"{self.path}: this run was made with another {subject} ({_short(stored)}, now {_short(value)})",
                hint="choose another folder with --run",
            )

    def _write(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """Run one statement, whose effect is on disk when this method returns."""
        self._writer.call(lambda db: db.execute(statement, values).close())


def folder_of_rank(path: str | Path, rank: int) -> Path:
    """Return the folder in which a rank has the run at ``path``: rank 0 there, and rank 1 in ``path.rank-1``.

    Each has a folder of its own, so that ranks may share a disk.
    """
    folder = Path(path)
    return folder.with_name(f"{folder.name}.rank-{rank}") if rank else folder


def _configure(path: Path, config: Config | None) -> Config:
    """Return the configuration of the run in the folder ``path``, and write it there if it is new or adjusted.

    Raises ConfigError if ``config`` differs from the stored configuration in more than ``config.ADJUSTABLE`` settings.
    """
    stored = stored_config(path)
    if stored is None:
        config = config or load_config(environment={})
        write_atomically(path / "config.toml", to_toml(config))
        return config
    if config and (lines := differences(stored, config)):
        raise ConfigError(
            f"{path} is a run of another configuration:\n  " + "\n  ".join(lines),
            hint="choose another folder with --run, or leave out these options to continue this run",
        )
    if config and config != stored:
        write_atomically(path / "config.toml", to_toml(config))
    return config or stored


def _end(writer: Writer, lock: RunLock) -> None:
    """Store everything that was added, and release the lock in any case."""
    try:
        writer.close()
    finally:
        lock.release()


def _make_folder(path: Path) -> None:
    """Create the folder if it does not exist. Raises StoreError if that fails, or if it holds something other than a run."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be created: {error.strerror}", hint="choose another folder with --run"
        ) from error
    run_files = {"config.toml", "run.db", "run.lock"}
    if any(path.iterdir()) and not any((path / name).exists() for name in run_files):
        raise StoreError(f"{path} is not empty and not a run folder", hint="choose another folder with --run")


def _short(value: Any, width: int = 60) -> str:
    """Return a value as JSON for a message, cut to ``width`` characters."""
    text = json.dumps(value)
    return text if len(text) <= width else text[: width - 3] + "..."
