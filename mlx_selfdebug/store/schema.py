"""Define the tables and the migrations that bring an older database to the current schema.

A new database is created at version 1 and then migrated like an old one, so that both end with the same tables. To change the
tables, append a migration. Never edit a migration that has been released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

Statements = tuple[str, ...]
"""The SQL statements that bring a database from one version of the schema to the next."""

FIRST: Statements = (
    """CREATE TABLE attempts (
        task_id TEXT NOT NULL, arm TEXT NOT NULL, sample INTEGER NOT NULL, round INTEGER NOT NULL,
        id TEXT NOT NULL UNIQUE, parent TEXT NOT NULL, prompt TEXT NOT NULL, completion TEXT NOT NULL, code TEXT NOT NULL,
        outcome TEXT NOT NULL, verdict TEXT NOT NULL, public TEXT NOT NULL,
        n_prompt_tokens INTEGER NOT NULL, n_completion_tokens INTEGER NOT NULL, seed INTEGER NOT NULL, finish TEXT NOT NULL,
        PRIMARY KEY (task_id, arm, sample, round)
    ) WITHOUT ROWID""",
    """CREATE TABLE pairs (
        position INTEGER PRIMARY KEY, kind TEXT NOT NULL, domain TEXT NOT NULL, task_id TEXT NOT NULL,
        prompt TEXT NOT NULL, target TEXT NOT NULL, attempts TEXT NOT NULL
    )""",
    """CREATE TABLE steps (
        step INTEGER PRIMARY KEY, loss REAL NOT NULL, n_tokens INTEGER NOT NULL, learning_rate REAL NOT NULL,
        grad_norm REAL NOT NULL, wall_s REAL NOT NULL
    )""",
    "CREATE TABLE stages (name TEXT PRIMARY KEY, wall_s REAL NOT NULL, peak_bytes INTEGER NOT NULL, done INTEGER NOT NULL)",
    "CREATE TABLE environment (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
"""The tables of version 1."""

MIGRATIONS: tuple[Statements, ...] = (
    # Version 2: the names of the steps that tidied a completion.
    ("ALTER TABLE attempts ADD COLUMN tidied TEXT NOT NULL DEFAULT '[]'",),
    # Version 3: memory over time, and the seconds per kind of work.
    (
        "CREATE TABLE memory (stage TEXT NOT NULL, at_s REAL NOT NULL, n_bytes INTEGER NOT NULL, PRIMARY KEY (stage, at_s))",
        "CREATE TABLE parts (stage TEXT NOT NULL, part TEXT NOT NULL, wall_s REAL NOT NULL, PRIMARY KEY (stage, part))",
    ),
    # Version 4: how an attempt was made, and its cost besides decoded tokens.
    (
        "ALTER TABLE attempts ADD COLUMN kind TEXT NOT NULL DEFAULT 'draft'",
        "ALTER TABLE attempts ADD COLUMN n_read_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE attempts ADD COLUMN n_tries INTEGER NOT NULL DEFAULT 0",
        "UPDATE attempts SET kind = 'repair' WHERE parent <> ''",
    ),
    # Version 5: the prompt of a pair's task alone, on which the base is read to be imitated.
    ("ALTER TABLE pairs ADD COLUMN task_prompt TEXT NOT NULL DEFAULT ''",),
    # Version 6: training by rewards, which learns from the tokens that were decoded.
    (
        "ALTER TABLE attempts ADD COLUMN tokens TEXT NOT NULL DEFAULT '[]'",
        """CREATE TABLE reward_steps (
            step INTEGER PRIMARY KEY, n_groups INTEGER NOT NULL, n_varied INTEGER NOT NULL, n_completions INTEGER NOT NULL,
            reward REAL NOT NULL, passed REAL NOT NULL, copies REAL NOT NULL, n_tokens REAL NOT NULL, loss REAL NOT NULL,
            learning_rate REAL NOT NULL, grad_norm REAL NOT NULL, rollouts_s REAL NOT NULL, tests_s REAL NOT NULL,
            gradient_s REAL NOT NULL
        )""",
    ),
)
"""The migrations from version 1 to the current version, in order. The first leads to version 2."""

SCHEMA_VERSION = 1 + len(MIGRATIONS)
"""The current version of the schema."""


def version_of(db: sqlite3.Connection) -> int:
    """Return the schema version of a database, or 0 if it has none. SQLite keeps it in the file's header."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def upgrade(db: sqlite3.Connection, migrations: Sequence[Statements] = MIGRATIONS) -> None:
    """Migrate a database, which may be empty, to the newest version. The caller has opened a transaction."""
    steps = (FIRST, *migrations)
    present = version_of(db)
    # A database of version n has taken the first n steps.
    for version, statements in enumerate(steps[present:], present + 1):
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
