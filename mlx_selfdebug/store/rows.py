"""Convert values to rows of the database and back.

The columns of a table are the fields of its dataclass, with the same names and in the same order, followed by the derived columns.
Strings and numbers are stored as they are, and everything else as JSON.

A new field needs a default and a migration in schema.py, because older databases do not have its column. This file needs no change.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, cast, get_origin

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.codec import MisfitError, hints_of, parse, plain
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.step import RewardStep, Step

T = TypeVar("T")


@dataclass(frozen=True)
class StageTime:
    """The time and memory that a stage took, over all its sessions."""

    name: str
    """The stage, such as "collect"."""
    wall_s: float
    """The seconds of all sessions together."""
    peak_bytes: int
    """The highest memory of the process tree in any session."""
    done: bool
    """Whether the stage was finished."""


@dataclass(frozen=True)
class MemorySample:
    """The memory of the process tree at one moment of a stage."""

    stage: str
    at_s: float
    """The seconds since the stage began, counted as if its sessions had followed each other without a pause."""
    n_bytes: int
    """The highest memory since the previous sample."""


@dataclass(frozen=True)
class PartTime:
    """The seconds of a stage that one kind of work took. The parts need not add up to the whole stage."""

    stage: str
    part: str
    """The kind of work."""
    wall_s: float


@dataclass(frozen=True)
class Fact:
    """A fact that a run keeps under a key, such as the origin of its model or the tasks it held back."""

    key: str
    value: Any
    """Any JSON data."""


class RowError(ValueError):
    """An error for a row that cannot be converted to a value of its table's dataclass."""


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table whose rows hold values of one dataclass."""

    name: str
    value_type: type[T]
    """The dataclass whose values the rows hold."""
    key: tuple[str, ...]
    """The columns of the natural key. Rows are read in its order."""
    derived: Mapping[str, Callable[[T], str]] = field(default_factory=dict)
    """The columns that are computed from a value, each with the function that computes it.

    They are written for queries and never read back.
    """

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """The type of each field of the dataclass, by the field's name."""
        return hints_of(cast(Any, self.value_type))

    @cached_property
    def stored(self) -> tuple[str, ...]:
        """The columns that are read back, which are the fields of the dataclass."""
        return tuple(self.hints)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the derived ones last."""
        return (*self.stored, *self.derived)

    def insert(self, verb: str = "INSERT") -> str:
        """Return the statement that inserts a row. ``verb`` may be an "INSERT OR ..." of SQLite."""
        marks = ", ".join("?" * len(self.columns))
        return f"{verb} INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"

    def to_row(self, value: T) -> tuple[Any, ...]:
        """Convert a value to the values of ``columns``. Raises StoreError if a whole number does not fit into 64 bits."""
        stored_values = (_encode(getattr(value, name), self.hints[name]) for name in self.stored)
        return (*stored_values, *(_encode(compute(value), str) for compute in self.derived.values()))

    def from_row(self, row: sqlite3.Row) -> T:
        """Convert a row to a value of the dataclass. Raises RowError if the row does not hold a valid one."""
        try:
            data = {name: _decode(row[name], self.hints[name]) for name in self.stored}
        except (TypeError, ValueError) as error:
            raise RowError(f"a row of {self.name}, {self.key_text(row)}: not JSON: {error}") from error
        try:
            return parse(self.value_type, data)
        except MisfitError as error:
            raise RowError(f"a row of {self.name}, {self.key_text(row)}: {error}") from error

    def read(self, db: sqlite3.Connection, where: str = "", values: tuple[Any, ...] = ()) -> Iterator[T]:
        """Yield the values of the rows in the order of their keys.

        ``where`` is a WHERE clause and ``values`` are its parameters; without it all rows are read. Raises RowError.
        """
        for row in db.execute(f"SELECT * FROM {self.name} {where} ORDER BY {', '.join(self.key)}", values):
            yield self.from_row(row)

    def key_text(self, row: sqlite3.Row) -> str:
        """Return the key of a row for a message, such as "stage 'train', at_s 1.5"."""
        return ", ".join(f"{name} {row[name]!r}" for name in self.key)


ATTEMPTS = Table(
    "attempts",
    Attempt,
    ("task_id", "arm", "sample", "round"),
    {"id": lambda a: a.id, "outcome": lambda a: a.verdict.outcome},
)
PAIRS = Table("pairs", Pair, ("position",))
STEPS = Table("steps", Step, ("step",))
REWARD_STEPS = Table("reward_steps", RewardStep, ("step",))
STAGES = Table("stages", StageTime, ("name",))
MEMORY = Table("memory", MemorySample, ("stage", "at_s"))
PARTS = Table("parts", PartTime, ("stage", "part"))
ENVIRONMENT = Table("environment", Fact, ("key",))


def read_attempts(db: sqlite3.Connection, arm: str | None = None) -> Iterator[Attempt]:
    """Yield the attempts, or those of one arm, in the order of their keys: task, arm, sample, round."""
    return ATTEMPTS.read(db, "WHERE arm = ?", (arm,)) if arm else ATTEMPTS.read(db)


def read_pairs(db: sqlite3.Connection) -> list[Pair]:
    """Return the pairs in training order."""
    return list(PAIRS.read(db))


def storable(text: str) -> str:
    """Return the text with its lone surrogates escaped, because SQLite stores UTF-8, which cannot hold them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _encode(value: Any, hint: Any) -> Any:
    """Return a value as SQLite stores it. ``hint`` is its type in the dataclass."""
    if _is_text(hint):
        return storable(value)
    if hint in (int, bool):
        if not -(2**63) <= value < 2**63:
            raise StoreError(f"{value} cannot be stored: a whole number has at most 64 bits")
        return int(value)
    return float(value) if hint is float else json.dumps(plain(value))


def _decode(stored: Any, hint: Any) -> Any:
    """Return a stored value as the plain data that ``parse`` takes."""
    if _is_text(hint) or hint in (int, float):
        return stored
    return bool(stored) if hint is bool else json.loads(stored)


def _is_text(hint: Any) -> bool:
    return hint is str or get_origin(hint) is Literal
