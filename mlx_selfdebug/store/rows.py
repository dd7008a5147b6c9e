"""Which values make which rows. A table's columns are the fields of its dataclass, in the same order and of the same names.

Texts and numbers are stored as they are, everything else as JSON. A field that a database of before cannot have needs a
default and a migration in schema.py; nothing changes here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, cast, get_origin

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.values import MisfitError, hints_of, parse, plain
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One optimizer step: mean loss a supervised token, in nats."""

    step: int
    loss: float
    n_tokens: int
    learning_rate: float
    grad_norm: float
    wall_s: float


@dataclass(frozen=True)
class StageTime:
    """What a stage took, all its sessions together."""

    name: str
    wall_s: float
    peak_bytes: int
    done: bool


@dataclass(frozen=True)
class MemorySample:
    """The most bytes of the process tree since the sample before, ``at_s`` seconds into a stage, its sessions on end."""

    stage: str
    at_s: float
    n_bytes: int


@dataclass(frozen=True)
class PartTime:
    """Seconds of a stage that one kind of work took; the rest of the stage's is other work."""

    stage: str
    part: str
    wall_s: float


@dataclass(frozen=True)
class Remembered:
    """One thing a run knows of its surroundings; ``value`` is any JSON."""

    key: str
    value: Any


@dataclass(frozen=True)
class Table(Generic[T]):
    """``key`` is the natural key; ``order`` what rows are read by; ``derived`` columns are written for queries, never read back."""

    name: str
    row_type: type[T]
    key: tuple[str, ...]
    order: str
    derived: Mapping[str, Callable[[T], Any]] = field(default_factory=dict)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        return hints_of(cast(Any, self.row_type))

    @cached_property
    def stored(self) -> tuple[str, ...]:
        """The columns that are read back: the dataclass's fields."""
        return tuple(self.hints)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.stored, *self.derived)

    def insert(self, verb: str = "INSERT") -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"{verb} INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"

    def to_row(self, value: T) -> tuple[Any, ...]:
        """Raises StoreError if a whole number does not fit."""
        own = (_encode(getattr(value, name), self.hints[name]) for name in self.stored)
        return (*own, *(_encode(compute(value), str) for compute in self.derived.values()))

    def from_row(self, row: sqlite3.Row) -> T:
        """Raises RowError if the row does not hold such a value."""
        try:
            data = {name: _decode(row[name], self.hints[name]) for name in self.stored}
            value: T = parse(self.row_type, data)
        except (TypeError, ValueError) as error:
            problem = str(error) if isinstance(error, MisfitError) else f"not JSON: {error}"
            raise RowError(f"a row of {self.name}, {self.key_text(row)}: {problem}") from error
        return value

    def read(self, db: sqlite3.Connection, where: str = "", values: tuple[Any, ...] = ()) -> Iterator[T]:
        for row in db.execute(f"SELECT * FROM {self.name} {where} ORDER BY {self.order}", values):
            yield self.from_row(row)

    def key_text(self, row: sqlite3.Row) -> str:
        return ", ".join(f"{name} {row[name]!r}" for name in self.key)


class RowError(ValueError):
    """A row that does not hold what its table's rows hold."""


ATTEMPTS = Table(
    "attempts",
    Attempt,
    ("task_id", "arm", "sample", "round"),
    "task_id, arm, sample, round",
    {"id": lambda a: a.id, "outcome": lambda a: a.verdict.outcome},
)
PAIRS = Table("pairs", Pair, (), "position")
STEPS = Table("steps", Step, ("step",), "step")
STAGES = Table("stages", StageTime, ("name",), "name")
MEMORY = Table("memory", MemorySample, ("stage", "at_s"), "stage, at_s")
PARTS = Table("parts", PartTime, ("stage", "part"), "stage, part")
ENVIRONMENT = Table("environment", Remembered, ("key",), "key")


def read_attempts(db: sqlite3.Connection, arm: str | None = None) -> Iterator[Attempt]:
    """Attempts in the order of their keys: task, arm, sample, round."""
    return ATTEMPTS.read(db, "WHERE arm = ?", (arm,)) if arm else ATTEMPTS.read(db)


def read_pairs(db: sqlite3.Connection) -> list[Pair]:
    """Pairs in training order."""
    return list(PAIRS.read(db))


def storable(text: str) -> str:
    """SQLite stores UTF-8, which has no lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _encode(value: Any, hint: Any) -> Any:
    if _is_text(hint):
        return storable(value)
    if hint in (int, bool):
        if not -(2**63) <= value < 2**63:
            raise StoreError(f"{value} cannot be stored: a whole number has at most 64 bits")
        return int(value)
    return float(value) if hint is float else json.dumps(plain(value))


def _decode(stored: Any, hint: Any) -> Any:
    if _is_text(hint) or hint in (int, float):
        return stored
    return bool(stored) if hint is bool else json.loads(stored)


def _is_text(hint: Any) -> bool:
    return hint is str or get_origin(hint) is Literal
