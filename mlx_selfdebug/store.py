"""The run folder: ``config.toml``, ``run.db`` (SQLite, WAL), ``adapter/``, ``summary.json`` (written last).

Rows have natural keys and are written once: a finished attempt is never rewritten, so a resumed run adds exactly what is
missing. One process at a time opens a run for writing; anyone may read the database meanwhile.

    >>> with Run("runs/first") as run:                                                  # doctest: +SKIP
    ...     len(run.attempts())
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mlx_selfdebug.config import Config, differences, resolve, to_toml
from mlx_selfdebug.errors import ConfigError, StoreError
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.training.pair import Pair

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE attempts (
    task_id TEXT NOT NULL, arm TEXT NOT NULL, sample INTEGER NOT NULL, round INTEGER NOT NULL,
    id TEXT NOT NULL UNIQUE, parent TEXT NOT NULL, prompt TEXT NOT NULL, completion TEXT NOT NULL, code TEXT NOT NULL,
    outcome TEXT NOT NULL, verdict TEXT NOT NULL, public TEXT NOT NULL,
    n_prompt_tokens INTEGER NOT NULL, n_completion_tokens INTEGER NOT NULL, seed INTEGER NOT NULL, finish TEXT NOT NULL,
    tidied TEXT NOT NULL,
    PRIMARY KEY (task_id, arm, sample, round)
) WITHOUT ROWID;
CREATE TABLE pairs (
    position INTEGER PRIMARY KEY, kind TEXT NOT NULL, domain TEXT NOT NULL, task_id TEXT NOT NULL,
    prompt TEXT NOT NULL, target TEXT NOT NULL, attempts TEXT NOT NULL
);
CREATE TABLE steps (
    step INTEGER PRIMARY KEY, loss REAL NOT NULL, n_tokens INTEGER NOT NULL, learning_rate REAL NOT NULL,
    grad_norm REAL NOT NULL, wall_s REAL NOT NULL
);
CREATE TABLE stages (name TEXT PRIMARY KEY, wall_s REAL NOT NULL, peak_bytes INTEGER NOT NULL, done INTEGER NOT NULL);
CREATE TABLE environment (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
ATTEMPT_COLUMNS = [
    "task_id",
    "arm",
    "sample",
    "round",
    "id",
    "parent",
    "prompt",
    "completion",
    "code",
    "outcome",
    "verdict",
    "public",
    "n_prompt_tokens",
    "n_completion_tokens",
    "seed",
    "finish",
    "tidied",
]


class Run:
    """A run folder, opened or created. Use as a context manager.

    ``config`` None takes the run's own, or the defaults for a new one. Raises ConfigError if the run has another
    configuration, StoreError if the folder is damaged, in use, not writable or not a run.
    """

    def __init__(self, path: str | Path, config: Config | None = None) -> None:
        self.path = Path(path)
        _make_folder(self.path)
        self._lock = _lock(self.path)
        try:
            self.config = self._configure(config)
            self._db = _open(self.path / "run.db", create=True)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    @property
    def adapter_path(self) -> Path:
        return self.path / "adapter"

    @property
    def summary_path(self) -> Path:
        return self.path / "summary.json"

    def add_attempt(self, attempt: Attempt) -> None:
        """Write one finished attempt; on disk when this returns. A row that is there stays as it is."""
        with self._writing() as db:
            marks = ", ".join("?" * len(ATTEMPT_COLUMNS))
            db.execute(f"INSERT OR IGNORE INTO attempts ({', '.join(ATTEMPT_COLUMNS)}) VALUES ({marks})", _row(attempt))

    def attempts(self, arm: str | None = None) -> list[Attempt]:
        """Attempts in the order of their keys: task, arm, sample, round."""
        return list(read_attempts(self._db, arm))

    def replace_pairs(self, pairs: Iterable[Pair]) -> None:
        """The run's pairs, in training order; earlier ones are dropped."""
        with self._writing() as db:
            db.execute("DELETE FROM pairs")
            rows = (
                (i, p.kind, p.domain, p.task_id, p.prompt, p.target, json.dumps(p.attempts))
                for i, p in enumerate(pairs)
            )
            db.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def pairs(self) -> list[Pair]:
        return read_pairs(self._db)

    def add_step(
        self, step: int, *, loss: float, n_tokens: int, learning_rate: float, grad_norm: float, wall_s: float
    ) -> None:
        with self._writing() as db:
            row = (step, loss, n_tokens, learning_rate, grad_norm, wall_s)
            db.execute("INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?)", row)

    def clear_steps(self) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM steps")

    def steps(self) -> list[dict[str, Any]]:
        """Training steps: step, loss, n_tokens, learning_rate, grad_norm, wall_s."""
        return [dict(row) for row in self._db.execute("SELECT * FROM steps ORDER BY step")]

    def add_stage_time(self, name: str, wall_s: float, peak_bytes: int, *, done: bool) -> None:
        """Add a session's seconds to a stage (a resumed stage sums up) and raise its peak."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO stages VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET wall_s = wall_s + excluded.wall_s, "
                "peak_bytes = max(peak_bytes, excluded.peak_bytes), done = excluded.done",
                (name, wall_s, peak_bytes, int(done)),
            )

    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage name -> wall_s, peak_bytes, done."""
        rows = self._db.execute("SELECT * FROM stages").fetchall()
        return {
            r["name"]: {"wall_s": r["wall_s"], "peak_bytes": r["peak_bytes"], "done": bool(r["done"])} for r in rows
        }

    def remember(self, key: str, value: Any) -> Any:
        """Store ``value`` under ``key`` unless there is one already; the value stored."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO environment VALUES (?, ?)", (key, json.dumps(value)))
        return self.environment()[key]

    def require(self, key: str, value: Any, what: str) -> None:
        """The run was made with this ``value`` of ``key``, or it is the first to say so. Raises ConfigError."""
        stored = self.remember(key, value)
        if stored != json.loads(json.dumps(value)):
            raise ConfigError(
                f"{self.path}: this run was made with another {what} ({_short(stored)}, now {_short(value)})",
                hint="choose another folder with --run",
            )

    def environment(self) -> dict[str, Any]:
        return {
            row["key"]: json.loads(row["value"]) for row in self._db.execute("SELECT * FROM environment ORDER BY key")
        }

    def _configure(self, config: Config | None) -> Config:
        file = self.path / "config.toml"
        if not file.exists():
            config = config or resolve(environment={}).config
            write_atomically(file, to_toml(config))
            return config
        stored = resolve(file=file, environment={}).config
        if config and (lines := differences(stored, config)):
            raise ConfigError(
                f"{self.path} is a run of another configuration:\n  " + "\n  ".join(lines),
                hint="choose another folder with --run, or leave those options out to go on with this run",
            )
        return stored

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db:
                yield self._db
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path / 'run.db'} cannot be written: {error}; what was stored before is kept",
                hint="free some space, then run the same command again",
            ) from error


def stored_config(path: str | Path) -> Config | None:
    """The configuration of the run at ``path``, None if there is no run yet."""
    file = Path(path) / "config.toml"
    return resolve(file=file, environment={}).config if file.exists() else None


@contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A run's database, read-only; works while another process writes it. Raises StoreError if there is no run."""
    file = Path(path) / "run.db"
    if not file.exists():
        raise StoreError(
            f"{path} is not a run folder: it has no run.db", hint="list runs with: mlx-selfdebug runs list"
        )
    db = _open(file, create=False)
    try:
        yield db
    finally:
        db.close()


def read_attempts(db: sqlite3.Connection, arm: str | None = None) -> Iterator[Attempt]:
    where, values = ("WHERE arm = ?", (arm,)) if arm else ("", ())
    for row in db.execute(f"SELECT * FROM attempts {where} ORDER BY task_id, arm, sample, round", values):
        yield _attempt(row)


def read_pairs(db: sqlite3.Connection) -> list[Pair]:
    rows = db.execute("SELECT kind, domain, task_id, prompt, target, attempts FROM pairs ORDER BY position")
    return [Pair(**{**dict(row), "attempts": tuple(json.loads(row["attempts"]))}) for row in rows]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, whole. Raises StoreError."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            f"{path} cannot be written: {error.strerror}", hint="free some space or choose --run"
        ) from error


def _row(a: Attempt) -> tuple[Any, ...]:
    verdict, public = json.dumps(a.verdict.to_dict()), json.dumps(a.public.to_dict())
    key = (a.task_id, a.arm, a.sample, a.round, a.id, a.parent)
    texts = tuple(_storable(text) for text in (a.prompt, a.completion, a.code))
    return (
        *key,
        *texts,
        a.verdict.outcome,
        verdict,
        public,
        a.n_prompt_tokens,
        a.n_completion_tokens,
        a.seed,
        a.finish,
        json.dumps(a.tidied),
    )


def _storable(text: str) -> str:
    """SQLite stores UTF-8, which has no lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _attempt(row: sqlite3.Row) -> Attempt:
    values = {key: row[key] for key in ATTEMPT_COLUMNS if key not in ("id", "outcome")}
    for key in ("verdict", "public"):
        values[key] = Verdict.from_dict(json.loads(values[key]))
    return Attempt(**{**values, "tidied": tuple(json.loads(values["tidied"]))})


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror}", hint="choose another folder with --run") from error
    known = {"config.toml", "run.db", "run.lock"}
    if any(path.iterdir()) and not any((path / name).exists() for name in known):
        raise StoreError(f"{path} is not empty and not a run folder", hint="choose another folder with --run")


def _lock(path: Path) -> IO[str]:
    try:
        handle = (path / "run.lock").open("a+")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}", hint="choose another folder with --run"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        holder = handle.read().strip() or "another process"
        handle.close()
        raise StoreError(
            f"{path} is in use by {holder}", hint="wait for it, or choose another folder with --run"
        ) from None
    handle.truncate(0)
    handle.write(f"process {os.getpid()}")
    handle.flush()
    return handle


def _open(file: Path, *, create: bool) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(file if create else f"file:{file}?mode=ro", uri=not create, isolation_level=None)
        db.row_factory = sqlite3.Row
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if create:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        if create and version == 0:
            db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"{file} has schema version {version}, this program reads {SCHEMA_VERSION}",
                hint="read it with the version of mlx-selfdebug that wrote it, or begin anew with another --run",
            )
        if create:
            db.isolation_level = "DEFERRED"
        return db
    except sqlite3.OperationalError as error:
        raise StoreError(f"{file} cannot be used: {error}", hint="free some space, or choose --run") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{file} is damaged or not a database: {error}. It was left as it is",
            hint="restore it from a copy, or start anew with another --run",
        ) from error


def _short(value: Any, width: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= width else text[: width - 3] + "..."
