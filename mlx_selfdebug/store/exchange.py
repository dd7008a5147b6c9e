"""Export a run to a JSONL file and import it.

The first line is a header. One line per row of the run's tables follows, and each line names its type. The header holds the schema
version, the configuration and the number of lines of each type, so that a truncated file is noticed. The adapter and the summary
are not exported.

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

from mlx_selfdebug.config import Config, flatten, load_config, to_toml
from mlx_selfdebug.errors import ConfigError, StoreError
from mlx_selfdebug.store.codec import MisfitError, parse
from mlx_selfdebug.store.database import LIST_RUNS, open_for_writing, reading, reported, transaction
from mlx_selfdebug.store.files import making_folder, write_atomically
from mlx_selfdebug.store.rows import ATTEMPTS, ENVIRONMENT, MEMORY, PAIRS, PARTS, REWARD_STEPS, STAGES, STEPS, Table
from mlx_selfdebug.store.schema import SCHEMA_VERSION
from mlx_selfdebug.store.stored import stored_config

TYPES: Mapping[str, Table[Any]] = MappingProxyType(
    {
        "attempt": ATTEMPTS,
        "pair": PAIRS,
        "step": STEPS,
        "reward_step": REWARD_STEPS,
        "stage": STAGES,
        "memory": MEMORY,
        "part": PARTS,
        "environment": ENVIRONMENT,
    }
)
"""The tables by the type of their lines."""
MAX_PROBLEMS = 100
"""The number of problems that an error lists."""
EXPORT_AGAIN = "export it again with: mlx-selfdebug runs export RUN --output FILE"


def export_run(path: str | Path, file: IO[str]) -> dict[str, int]:
    """Write the run at ``path`` to ``file`` and return the number of lines of each type.

    The lines show the run at a single moment, even if it is being written. Raises StoreError.
    """
    config = stored_config(path)
    if config is None:
        raise StoreError(f"{path} is not a run folder: it has no config.toml", hint=LIST_RUNS)
    with reading(path) as db, transaction(db):
        counts = {name: _count(db, table) for name, table in TYPES.items()}
        _write(file, {"type": "run", "schema": SCHEMA_VERSION, "lines": counts, "config": flatten(config)})
        for name, table in TYPES.items():
            for value in table.read(db):
                _write(file, {"type": name, **asdict(value)})
    return counts


def import_run(file: str | Path, path: str | Path) -> dict[str, int]:
    """Create a run at ``path`` from a file that ``export_run`` wrote, and return the number of lines of each type.

    The run is made whole or not at all. Raises StoreError if ``path`` exists and is not an empty folder, or if the file has
    problems, which the error lists as ``file:line: field: problem``.
    """
    target = Path(path).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        reason = "holds a run" if (target / "run.db").exists() else "is not empty"
        raise StoreError(f"{path} {reason}: nothing was imported", hint="choose another folder with --run")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Path(file).open("rb") as lines, making_folder(target) as partial:
            counts = _load(Path(file), lines, partial)
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}", hint=EXPORT_AGAIN) from error
    return counts


def _load(file: Path, lines: Iterable[bytes], folder: Path) -> dict[str, int]:
    """Fill ``folder`` with the run that ``lines`` describe. All lines are read before problems are raised."""
    problems = _Problems(file)
    numbered = enumerate(lines, 1)
    header, config = _header(problems, *next(numbered, (1, b"")))
    counts: Counter[str] = Counter()
    with reported(folder / "run.db"), closing(open_for_writing(folder / "run.db")) as db, transaction(db):
        for number, line in numbered:
            if line.strip() and (name := _load_line(db, problems, number, line)):
                counts[name] += 1
        if not problems.lines:
            _compare_counts(problems, header, counts)
        problems.raise_any()
    write_atomically(folder / "config.toml", to_toml(config))
    return {name: counts[name] for name in TYPES}


class _Problems:
    """The problems of a file, each as ``file:line: problem``."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, number: int, *problems: str) -> None:
        """Add problems of the line ``number``."""
        self.lines += [f"{self.file}:{number}: {problem}" for problem in problems]

    def raise_any(self) -> None:
        """Raise a StoreError that lists the problems, if there are any."""
        if not self.lines:
            return
        more = [f"and {len(self.lines) - MAX_PROBLEMS} more"] if len(self.lines) > MAX_PROBLEMS else []
        count = f"{len(self.lines)} problem{'' if len(self.lines) == 1 else 's'}"
        head = f"{self.file}: {count}, nothing was imported"
        raise StoreError("\n  ".join([head, *self.lines[:MAX_PROBLEMS], *more]), hint=EXPORT_AGAIN)


@dataclass(frozen=True)
class _Header:
    """The first line of a file. Its objects are checked by ``_header``, since the codec does not look into them."""

    schema: int
    lines: Any
    """The number of lines of each type."""
    config: Any
    """The settings by their dotted keys."""


def _header(problems: _Problems, number: int, line: bytes) -> tuple[_Header, Config]:
    """Return the header in the first line. If it is wrong, add the problem and return defaults, so that reading can go on."""
    defaults = _Header(SCHEMA_VERSION, {}, {}), Config()
    try:
        name, data = _parse_line(line)
        if name != "run":
            raise MisfitError([f"type: {name!r}, but the first line must be the header, of type 'run'"])
        header = parse(_Header, data)
        if not 1 <= header.schema <= SCHEMA_VERSION:
            raise MisfitError([f"schema: {header.schema}, but this program reads only up to {SCHEMA_VERSION}"])
        if not isinstance(header.config, dict) or not isinstance(header.lines, dict):
            raise MisfitError(["config and lines must be objects"])
        return header, load_config(overrides=header.config, environment={})
    except MisfitError as error:
        problems.add(number, *error.problems)
    except ConfigError as error:
        problems.add(number, str(error))
    return defaults


def _load_line(db: sqlite3.Connection, problems: _Problems, number: int, line: bytes) -> str | None:
    """Insert the row of a line and return the line's type. If the line is wrong, add its problems and return None."""
    try:
        name, data = _parse_line(line)
        table = TYPES.get(name)
        if table is None:
            raise MisfitError([f"type: {name!r} is not one of {', '.join(TYPES)}"])
        db.execute(table.insert(), table.to_row(parse(table.value_type, data)))
    except MisfitError as error:
        problems.add(number, *error.problems)
    except sqlite3.IntegrityError as error:
        problems.add(number, f"a second line with the same key, or a value that is not a number ({error})")
    else:
        return name
    return None


def _parse_line(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return a line's type and its other data. Raises MisfitError."""
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
        declared = header.lines.get(name, 0)
        if declared != counts[name]:
            problems.add(1, f"lines.{name}: the header says {declared!r}, but there are {counts[name]}")


def _count(db: sqlite3.Connection, table: Table[Any]) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])


def _write(file: IO[str], data: dict[str, Any]) -> None:
    # json.dumps writes ASCII, so no reader mistakes a line separator inside a string for the end of the line.
    file.write(json.dumps(data) + "\n")
