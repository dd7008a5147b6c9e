"""A run as its report shows it: all of its records, read once from the folder, and the evidence in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.config import Config
from mlx_selfdebug.evaluation.evidence import Evidence, read_evidence
from mlx_selfdebug.evaluation.metrics import mean_pass_at_k
from mlx_selfdebug.evaluation.overlap import Overlap
from mlx_selfdebug.evaluation.played import OVERLAP
from mlx_selfdebug.evaluation.readings import StoredReading, read_readings
from mlx_selfdebug.machine.facts import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.store.rows import Step
from mlx_selfdebug.training.selection import Check, stored_checks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair

STAGES = ("collect", "train", "evaluate")
"""In the order of a run."""
PASS_AT = (1, 2, 4, 8, 16, 32, 64)


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
    """The training tasks' attempts in numbers. ``pass_at``: k -> unbiased pass@k of the drafts, a share of the tasks."""

    n_tasks: int
    n_solved: int
    n_attempts: int
    outcomes: Mapping[str, int]
    pass_at: Mapping[int, float]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Records:
    """``attempts`` has, by id, those that pairs were made from. ``evidence`` is None where the run was not evaluated.

    ``readings``: up to three failed programs as the base read them. ``overlap``: training tasks that are nearly test tasks; if
    none is, the nearest. ``versions`` and ``hardware`` are those of the last stage that ran.
    """

    path: Path
    config: Config
    environment: Mapping[str, Any]
    stages: tuple[StageRecord, ...]
    steps: tuple[Step, ...]
    checks: Sequence[Check]
    collected: Collected
    pairs: tuple[Pair, ...]
    attempts: Mapping[str, Attempt]
    evidence: Evidence | None
    readings: tuple[StoredReading, ...]
    overlap: tuple[Overlap, ...]
    versions: Mapping[str, str | None]
    hardware: Mapping[str, str | int | None]
    isolation: str | None


def read_records(run: StoredRun) -> Records:
    """Everything, however far the run is."""
    environment, pairs, collected = run.environment(), run.pairs(), run.attempts("collect")
    used = {id_ for pair in pairs for id_ in pair.attempts}
    machine = _machine(environment)
    return Records(
        path=run.path,
        config=run.config,
        environment=environment,
        stages=tuple(_stages(run)),
        steps=tuple(Step(**step) for step in run.steps()),
        checks=stored_checks(run),
        collected=_collected(collected, environment),
        pairs=tuple(pairs),
        attempts={attempt.id: attempt for attempt in collected if attempt.id in used},
        evidence=read_evidence(run),
        readings=tuple(read_readings(run)),
        overlap=tuple(Overlap(**pair) for pair in environment.get(OVERLAP, [])),
        versions=machine["versions"],
        hardware=machine["hardware"],
        isolation=environment.get("isolation"),
    )


def _machine(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the last stage; of this process where none has run."""
    found = [environment[key] for stage in reversed(STAGES) if (key := f"machine.{stage}") in environment]
    return found[0] if found else {"versions": versions(), "hardware": hardware()}


def _stages(run: StoredRun) -> list[StageRecord]:
    stages, parts, memory = run.stages(), run.parts(), run.memory()
    return [
        StageRecord(
            name,
            parts=parts.get(name, {}),
            memory=tuple(Sample(sample.at_s, sample.n_bytes) for sample in memory if sample.stage == name),
            budget_bytes=budget_bytes(run.config, name),
            **stages[name],
        )
        for name in STAGES
        if name in stages
    ]


def budget_bytes(config: Config, stage: str) -> int:
    """What a stage is allowed of memory."""
    budget = config.budget
    return int((budget.training_gb if stage == "train" else budget.inference_gb) * 1e9)


def _collected(attempts: Sequence[Attempt], environment: Mapping[str, Any]) -> Collected:
    drafts = Counter(attempt.task_id for attempt in attempts if attempt.round == 0)
    passed = Counter(attempt.task_id for attempt in attempts if attempt.round == 0 and attempt.passed)
    counts = [(n, passed[task_id]) for task_id, n in drafts.items()]
    most = min(drafts.values(), default=0)
    return Collected(
        n_tasks=len(drafts),
        n_solved=len({attempt.task_id for attempt in attempts if attempt.passed}),
        n_attempts=len(attempts),
        outcomes=dict(Counter(attempt.verdict.outcome for attempt in attempts).most_common()),
        pass_at={k: mean_pass_at_k(counts, k) for k in PASS_AT if k <= most},
        left_out=environment.get("collect.audit", {}).get("left_out", {}),
    )
