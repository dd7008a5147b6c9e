"""``Run``: a run folder, opened or created, written by one process and read by anyone meanwhile.

Rows have natural keys and are written once: a finished attempt is never rewritten, so a resumed run adds exactly what is
missing.

    >>> with Run("runs/first") as run:                                                  # doctest: +SKIP
    ...     len(run.attempts())
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mlx_selfdebug.config import Config, differences, resolve, to_toml
from mlx_selfdebug.errors import ConfigError, StoreError
from mlx_selfdebug.store.files import write_atomically
from mlx_selfdebug.store.lock import RunLock
from mlx_selfdebug.store.rows import (
    ATTEMPTS,
    ENVIRONMENT,
    MEMORY,
    PAIRS,
    PARTS,
    STAGES,
    STEPS,
    MemorySample,
    PartTime,
    Remembered,
    StageTime,
    Step,
    storable,
)
from mlx_selfdebug.store.stored import StoredRun, stored_config
from mlx_selfdebug.store.writer import Writer
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair

_ADD_STAGE = (
    STAGES.insert() + " ON CONFLICT (name) DO UPDATE SET wall_s = wall_s + excluded.wall_s, "
    "peak_bytes = max(peak_bytes, excluded.peak_bytes), done = excluded.done"
)
_ADD_PART = PARTS.insert() + " ON CONFLICT (stage, part) DO UPDATE SET wall_s = wall_s + excluded.wall_s"
_ADD_ATTEMPT = ATTEMPTS.insert() + f" ON CONFLICT ({', '.join(ATTEMPTS.key)}) DO NOTHING"


class Run(StoredRun):
    """A run folder, opened or created. Use as a context manager.

    ``config`` None takes the run's own, or the defaults for a new one. Raises ConfigError if the run has another
    configuration, StoreError if the folder is damaged, in use, not writable or not a run. A database of an older schema is
    migrated, and a copy of it kept.
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
        self._end = weakref.finalize(self, _end, self._writer, lock)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            # It says what the error under way says already.
            if not isinstance(error, StoreError):
                raise

    def close(self) -> None:
        """Store what was added and let go of the run. Raises StoreError if something could not be stored."""
        self._end()

    def flush(self) -> None:
        """Wait until all that was added is on disk. Raises StoreError if it cannot be; it is tried again at the next flush."""
        self._writer.flush()

    def add_attempt(self, attempt: Attempt) -> None:
        """Store one finished attempt; on disk within 50 ms and one commit. A row that is there stays as it is.

        Raises StoreError if one added before could not be stored.
        """
        self._writer.add(_ADD_ATTEMPT, ATTEMPTS.to_row(attempt))

    def drop_attempts(self, arm: str) -> None:
        """Forget the attempts of ``arm``."""
        self._write("DELETE FROM attempts WHERE arm = ?", (arm,))

    def replace_pairs(self, pairs: Iterable[Pair]) -> None:
        """The run's pairs, in training order; earlier ones are dropped."""
        rows = [PAIRS.to_row(pair) for pair in pairs]

        def replace(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM pairs")
            db.executemany(PAIRS.insert(), rows)

        self._writer.call(replace)

    def add_step(
        self, step: int, *, loss: float, n_tokens: int, learning_rate: float, grad_norm: float, wall_s: float
    ) -> None:
        row = STEPS.to_row(Step(step, loss, n_tokens, learning_rate, grad_norm, wall_s))
        self._write(STEPS.insert("INSERT OR REPLACE"), row)

    def clear_steps(self, first: int = 0) -> None:
        """Drop the training steps from ``first`` on."""
        self._write("DELETE FROM steps WHERE step >= ?", (first,))

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
        """Add a session to a stage: a resumed stage sums up its seconds and raises its peak.

        ``parts``: seconds by kind of work; ``memory``: (seconds into the session, bytes of the process tree).
        """
        stage = STAGES.to_row(StageTime(name, wall_s, peak_bytes, done))
        spent = [PARTS.to_row(PartTime(name, part, seconds)) for part, seconds in (parts or {}).items()]
        before = self.stages().get(name, {}).get("wall_s", 0.0)
        samples = [MEMORY.to_row(MemorySample(name, before + at_s, n_bytes)) for at_s, n_bytes in memory]

        def add(db: sqlite3.Connection) -> None:
            db.execute(_ADD_STAGE, stage)
            db.executemany(_ADD_PART, spent)
            db.executemany(MEMORY.insert("INSERT OR REPLACE"), samples)

        self._writer.call(add)

    def remember(self, key: str, value: Any) -> Any:
        """Store ``value`` under ``key`` unless there is one already; the value stored."""
        self._write(ENVIRONMENT.insert("INSERT OR IGNORE"), ENVIRONMENT.to_row(Remembered(key, value)))
        return self.environment()[storable(key)]

    def require(self, key: str, value: Any, what: str) -> None:
        """The run was made with this ``value`` of ``key``, or it is the first to say so. Raises ConfigError."""
        stored = self.remember(key, value)
        if stored != json.loads(json.dumps(value)):
            raise ConfigError(
                f"{self.path}: this run was made with another {what} ({_short(stored)}, now {_short(value)})",
                hint="choose another folder with --run",
            )

    def _write(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """On disk when this returns."""
        self._writer.call(lambda db: db.execute(statement, values).close())


def _configure(path: Path, config: Config | None) -> Config:
    """The run's configuration, kept in its folder: the one it was begun with, but for what may change."""
    stored = stored_config(path)
    if stored is None:
        config = config or resolve(environment={}).config
        write_atomically(path / "config.toml", to_toml(config))
        return config
    if config and (lines := differences(stored, config)):
        raise ConfigError(
            f"{path} is a run of another configuration:\n  " + "\n  ".join(lines),
            hint="choose another folder with --run, or leave those options out to go on with this run",
        )
    if config and config != stored:
        write_atomically(path / "config.toml", to_toml(config))
    return config or stored


def _end(writer: Writer, lock: RunLock) -> None:
    try:
        writer.close()
    finally:
        lock.release()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror}", hint="choose another folder with --run") from error
    known = {"config.toml", "run.db", "run.lock"}
    if any(path.iterdir()) and not any((path / name).exists() for name in known):
        raise StoreError(f"{path} is not empty and not a run folder", hint="choose another folder with --run")


def _short(value: Any, width: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= width else text[: width - 3] + "..."
