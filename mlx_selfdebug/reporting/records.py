"""Read all that the report of a run shows: the rows and facts in the run's folder, and the evidence that follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.config import Config
from mlx_selfdebug.evaluation.evidence import Evidence, read_evidence
from mlx_selfdebug.evaluation.metrics import mean_pass_at_k
from mlx_selfdebug.evaluation.overlap import Overlap
from mlx_selfdebug.evaluation.readings import StoredReading, read_readings
from mlx_selfdebug.machine.this_machine import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.reporting.words import RewardEnding
from mlx_selfdebug.store import Facts, Key, StoredRun
from mlx_selfdebug.training.dead_end import DeadEnd, dead_end
from mlx_selfdebug.training.selection import REWARDS, Validation, stored_validations
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.step import RewardStep, Step

STAGES = ("collect", "train", "rewards", "evaluate")
"""The stages in the order in which a run goes through them."""
PASS_AT = (1, 2, 4, 8, 16, 32, 64)
"""The numbers of drafts k for which pass@k is reported."""


@dataclass(frozen=True)
class Sample:
    """One measurement of the memory that a stage takes."""

    at_s: float
    """Seconds since the stage began."""
    n_bytes: int
    """Memory of the whole process tree, in bytes."""


@dataclass(frozen=True)
class StageRecord:
    """The time and memory that one stage of a run took."""

    name: str
    """One of ``STAGES``."""
    wall_s: float
    """Seconds over all sessions of the stage."""
    peak_bytes: int
    """The largest memory of the whole process tree at any time, in bytes."""
    budget_bytes: int
    """The memory that the stage was allowed, in bytes."""
    done: bool
    """Whether the stage is finished."""
    parts: Mapping[str, float]
    """Seconds by kind of work, such as "decoding"."""
    memory: tuple[Sample, ...]
    """The memory over time, in order."""


@dataclass(frozen=True)
class Collected:
    """Counts of the attempts on the training tasks."""

    n_tasks: int
    """The number of tasks that were drafted."""
    n_solved: int
    """The number of tasks that at least one attempt solved."""
    n_attempts: int
    outcomes: Mapping[str, int]
    """The number of attempts per outcome, most frequent first."""
    pass_at: Mapping[int, float]
    """The unbiased estimate of pass@k from the drafts, averaged over the tasks, by k."""
    left_out: Mapping[str, str]
    """The reason for each task that was left out because its checks cannot be trusted, by task id."""


@dataclass(frozen=True)
class Records:
    """Everything that the report of a run shows."""

    path: Path
    """The folder of the run."""
    config: Config
    facts: Facts
    """Values that the run stores by key, beside its rows."""
    stages: tuple[StageRecord, ...]
    """The stages that were begun, in the order of ``STAGES``."""
    steps: tuple[Step, ...]
    """The optimizer steps of the training on pairs."""
    validations: Sequence[Validation]
    """The repairs of held-back tasks after each epoch, by which the epoch to keep was chosen."""
    reward_steps: tuple[RewardStep, ...]
    """The steps of the training by rewards."""
    reward_validations: Sequence[Validation]
    """The repairs of held-back tasks during the training by rewards, by which the step to keep was chosen."""
    reward_ending: RewardEnding
    """How the training by rewards ended; empty if it has not ended, or if there was none."""
    collected: Collected
    pairs: tuple[Pair, ...]
    """The pairs that the adapter is trained on."""
    attempts: Mapping[str, Attempt]
    """The attempts that pairs were made from, by id."""
    evidence: Evidence | None
    """What follows from the evaluation; None if the run was not evaluated."""
    readings: tuple[StoredReading, ...]
    """Some failed programs, as the base model read them."""
    overlap: tuple[Overlap, ...]
    """Pairs of a training task and a test task that are nearly the same; if there are none, the most similar pairs."""
    versions: Mapping[str, str | None]
    """The versions of packages on the machine of the furthest stage that has run; None for a package that was not installed."""
    hardware: Mapping[str, str | int | None]
    """The hardware of the machine of the furthest stage that has run; None for a property that is not known."""
    isolation: str | None
    """The level to which the test runner confined programs; None if no program was run."""
    dead_end: DeadEnd | None
    """Why the run can never be trained, and what to do instead; None if it can be, or is trained."""


def read_records(run: StoredRun) -> Records:
    """Return the records of a run, which may be at any stage."""
    outline = read_outline(run)
    attempts = run.attempts("collect")
    used = {id_ for pair in outline.pairs for id_ in pair.attempts}
    return replace(
        outline,
        collected=_collected(attempts, outline.facts),
        attempts={attempt.id: attempt for attempt in attempts if attempt.id in used},
        evidence=read_evidence(run),
        readings=tuple(read_readings(run)),
    )


def read_outline(run: StoredRun) -> Records:
    """Return the records of a run without its attempts and what follows from them, which are most of the work of reading.

    ``collected``, ``attempts``, ``evidence`` and ``readings`` are empty.
    """
    facts = run.facts()
    machine = _machine(facts)
    return Records(
        path=run.path,
        config=run.config,
        facts=facts,
        stages=tuple(_stages(run)),
        steps=tuple(run.steps()),
        validations=stored_validations(run),
        reward_steps=tuple(run.reward_steps()),
        reward_validations=stored_validations(run, REWARDS),
        reward_ending=facts.stored.get(Key.REWARD_ENDING) or RewardEnding(),
        collected=_collected([], facts),
        pairs=tuple(run.pairs()),
        attempts={},
        evidence=None,
        readings=(),
        overlap=tuple(Overlap(**pair) for pair in facts.stored.get(Key.OVERLAP, [])),
        versions=machine["versions"],
        hardware=machine["hardware"],
        isolation=facts.isolation,
        dead_end=dead_end(run),
    )


def _machine(facts: Facts) -> Mapping[str, Any]:
    """Return the versions and the hardware of the furthest stage that has run, or those of this machine if no stage has run."""
    machines = [facts.machines[stage] for stage in reversed(STAGES) if stage in facts.machines]
    return machines[0] if machines else {"versions": versions(), "hardware": hardware()}


def _stages(run: StoredRun) -> list[StageRecord]:
    """Return the records of the stages that were begun, in the order of ``STAGES``."""
    stages, parts, memory = run.stages(), run.parts(), run.memory()
    return [
        StageRecord(
            name=name,
            wall_s=stages[name].wall_s,
            peak_bytes=stages[name].peak_bytes,
            budget_bytes=budget_bytes(run.config, name),
            done=stages[name].done,
            parts=parts.get(name, {}),
            memory=tuple(Sample(sample.at_s, sample.n_bytes) for sample in memory if sample.stage == name),
        )
        for name in STAGES
        if name in stages
    ]


def budget_bytes(config: Config, stage: str) -> int:
    """Return the memory budget of a stage in bytes."""
    budget = config.budget
    return int((budget.training_gb if stage in ("train", "rewards") else budget.inference_gb) * 1e9)


def _collected(attempts: Sequence[Attempt], facts: Facts) -> Collected:
    """Count the attempts on the training tasks."""
    drafts = Counter(attempt.task_id for attempt in attempts if attempt.round == 0)
    passed = Counter(attempt.task_id for attempt in attempts if attempt.round == 0 and attempt.passed)
    counts = [(n, passed[task_id]) for task_id, n in drafts.items()]
    # pass@k can be estimated for a task only from at least k drafts of it. Up to the minimum over the tasks, each mean is one over
    # all tasks, so the values for different k can be compared.
    max_k = min(drafts.values(), default=0)
    return Collected(
        n_tasks=len(drafts),
        n_solved=len({attempt.task_id for attempt in attempts if attempt.passed}),
        n_attempts=len(attempts),
        outcomes=dict(Counter(attempt.verdict.outcome for attempt in attempts).most_common()),
        pass_at={k: mean_pass_at_k(counts, k) for k in PASS_AT if k <= max_k},
        left_out=facts.weak_tasks,
    )
