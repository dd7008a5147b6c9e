"""A run as JSONL, out and in: one typed line for each row of its tables, after a header.

The header holds the schema version, the configuration and how many lines of each type follow, so that a file that was cut
short is found out. The adapter and the summary are not part of it.

    {"type": "run", "schema": 2, "lines": {"attempt": 248, ...}, "config": {"seed": 0, ...}}
    {"type": "attempt", "task_id": "starter/gcd", "arm": "collect", "sample": 0, ...}
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from mlx_selfdebug.config import Config, flatten, resolve, to_toml
from mlx_selfdebug.errors import ConfigError, StoreError
from mlx_selfdebug.store.database import open_for_writing, reading, reported, transaction
from mlx_selfdebug.store.files import making_folder, write_atomically
from mlx_selfdebug.store.rows import ATTEMPTS, ENVIRONMENT, MEMORY, PAIRS, PARTS, STAGES, STEPS, Table
from mlx_selfdebug.store.schema import SCHEMA_VERSION
from mlx_selfdebug.store.stored import stored_config
from mlx_selfdebug.store.values import MisfitError, parse

TYPES: Mapping[str, Table[Any]] = MappingProxyType(
    {
        "attempt": ATTEMPTS,
        "pair": PAIRS,
        "step": STEPS,
        "stage": STAGES,
        "memory": MEMORY,
        "part": PARTS,
        "environment": ENVIRONMENT,
    }
)
MAX_PROBLEMS = 100
EXPORT_AGAIN = "write it again with: mlx-selfdebug runs export RUN --output FILE"


def export_run(path: str | Path, file: IO[str]) -> dict[str, int]:
    """Write the run at ``path`` to ``file``, as it is at one moment; how many lines of each type. Raises StoreError."""
    config = stored_config(path)
    if config is None:
        raise StoreError(f"{path} is not a run folder: it has no config.toml", hint="mlx-selfdebug runs list")
    with reading(path) as db, transaction(db):
        counts = {name: _count(db, table) for name, table in TYPES.items()}
        _write(file, {"type": "run", "schema": SCHEMA_VERSION, "lines": counts, "config": flatten(config)})
        for name, table in TYPES.items():
            for value in table.read(db):
                _write(file, {"type": name, **asdict(value)})
    return counts


def import_run(file: str | Path, path: str | Path) -> dict[str, int]:
    """Make a run at ``path`` of what ``export_run`` wrote; how many lines of each type.

    All of it or nothing: raises StoreError with every problem as ``file:line: field: what``, or if ``path`` is not new or empty.
    """
    target = Path(path).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "holds a run" if (target / "run.db").exists() else "is not empty"
        raise StoreError(f"{path} {what}: nothing was imported", hint="choose another folder with --run")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Path(file).open("rb") as lines, making_folder(target) as made:
            counts = _load(Path(file), lines, made)
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}", hint=EXPORT_AGAIN) from error
    return counts


def _load(file: Path, lines: Iterable[bytes], folder: Path) -> dict[str, int]:
    problems = _Problems(file)
    numbered = enumerate(lines, 1)
    header, config = _header(problems, *next(numbered, (1, b"")))
    counts: Counter[str] = Counter()
    with reported(folder / "run.db"), closing(open_for_writing(folder / "run.db")) as db, transaction(db):
        for number, line in numbered:
            if line.strip() and (name := _load_line(db, problems, number, line)):
                counts[name] += 1
        if not problems.found:
            _compare_counts(problems, header, counts)
        problems.raise_any()
    write_atomically(folder / "config.toml", to_toml(config))
    return {name: counts[name] for name in TYPES}


class _Problems:
    """All that is wrong with a file, as ``file:line: what``."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, number: int, *whats: str) -> None:
        self.found += [f"{self.file}:{number}: {what}" for what in whats]

    def raise_any(self) -> None:
        if not self.found:
            return
        more = [f"and {len(self.found) - MAX_PROBLEMS} more"] if len(self.found) > MAX_PROBLEMS else []
        count = f"{len(self.found)} problem{'' if len(self.found) == 1 else 's'}"
        head = f"{self.file}: {count}, nothing was imported"
        raise StoreError("\n  ".join([head, *self.found[:MAX_PROBLEMS], *more]), hint=EXPORT_AGAIN)


@dataclass(frozen=True)
class _Header:
    schema: int
    lines: Any
    config: Any


def _header(problems: _Problems, number: int, line: bytes) -> tuple[_Header, Config]:
    """The first line; where it is wrong, one that fits anything, and the problem is added."""
    fallback = _Header(SCHEMA_VERSION, {}, {}), Config()
    try:
        name, data = _typed(line)
        if name != "run":
            raise MisfitError([f"type: {name!r} where the header of type 'run' belongs"])
        header: _Header = parse(_Header, data)
        if not 1 <= header.schema <= SCHEMA_VERSION:
            raise MisfitError([f"schema: {header.schema}, this program reads up to {SCHEMA_VERSION}"])
        if not isinstance(header.config, dict) or not isinstance(header.lines, dict):
            raise MisfitError(["config and lines: not objects"])
        return header, resolve(overrides=header.config, environment={}).config
    except MisfitError as error:
        problems.add(number, *error.problems)
    except ConfigError as error:
        problems.add(number, str(error))
    return fallback


def _load_line(db: sqlite3.Connection, problems: _Problems, number: int, line: bytes) -> str | None:
    """Insert what a line holds; its type, None if it was refused."""
    try:
        name, data = _typed(line)
        table = TYPES.get(name)
        if table is None:
            raise MisfitError([f"type: {name!r} is none of {', '.join(TYPES)}"])
        db.execute(table.insert(), table.to_row(parse(table.row_type, data)))
    except MisfitError as error:
        problems.add(number, *error.problems)
    except sqlite3.IntegrityError as error:
        problems.add(number, f"a second line of the same key, or a value that is not a number ({error})")
    else:
        return name
    return None


def _typed(line: bytes) -> tuple[str, dict[str, Any]]:
    """A line's type and the rest of its object. Raises MisfitError."""
    try:
        data = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MisfitError([f"not UTF-8 at byte {error.start + 1}"]) from None
    except (ValueError, RecursionError) as error:
        raise MisfitError([f"not JSON: {error}"]) from None
    name = data.pop("type", None) if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise MisfitError(['not an object {"type": ...}'])
    return name, data


def _compare_counts(problems: _Problems, header: _Header, counts: Counter[str]) -> None:
    for name in TYPES:
        if header.lines.get(name, 0) != counts[name]:
            problems.add(1, f"lines.{name}: {header.lines.get(name, 0)!r}, but {counts[name]} are there")


def _count(db: sqlite3.Connection, table: Table[Any]) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])


def _write(file: IO[str], data: dict[str, Any]) -> None:
    # ASCII: no reader takes a line separator inside a text for the end of the line.
    file.write(json.dumps(data) + "\n")
