"""A run as its report shows it: all of its records, read once from the folder, and the evidence in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.config import Config
from mlx_selfdebug.evaluation.evidence import Evidence
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.store.rows import Step
from mlx_selfdebug.training.pair import Pair


@dataclass(frozen=True)
class Sample:
    """``n_bytes`` of the whole process tree ``at_s`` seconds into a stage."""

    at_s: float
    n_bytes: int


@dataclass(frozen=True)
class StageRecord:
    """A stage: its seconds, its peak, the most it was allowed, where its time went (part -> seconds) and its memory in time."""

    name: str
    wall_s: float
    peak_bytes: int
    budget_bytes: int
    done: bool
    parts: Mapping[str, float]
    memory: tuple[Sample, ...]


@dataclass(frozen=True)
class Collected:
    """The training tasks' attempts in numbers. ``pass_at``: k -> unbiased pass@k of the drafts, in per cent of tasks."""

    n_tasks: int
    n_solved: int
    n_attempts: int
    outcomes: Mapping[str, int]
    pass_at: Mapping[int, float]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Records:
    """``attempts`` has, by id, those that pairs were made from. ``evidence`` is None where the run was not evaluated."""

    path: Path
    config: Config
    environment: Mapping[str, Any]
    stages: tuple[StageRecord, ...]
    steps: tuple[Step, ...]
    checks: Sequence[Any]
    collected: Collected
    pairs: tuple[Pair, ...]
    attempts: Mapping[str, Attempt]
    evidence: Evidence | None
    versions: Mapping[str, str | None]
    hardware: Mapping[str, str | int | None]
    isolation: str | None
