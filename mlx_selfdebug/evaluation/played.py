"""What an evaluation stored, put in order: by model, arm and task the attempts that were made, one after the other.

Everything that is said of an evaluation is computed from this, so it can be said again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, Arm, arms_named
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.store import Run, StoredRun

BASE, ADAPTER = "base", "adapter"
HELD_BACK = "held back/"
"""What the names of models begin with where the gate plays them."""
FIGURES, GATE_FIGURES, OVERLAP, _MODEL = "eval.figures", "eval.gate.figures", "eval.overlap", "eval.model."

ByArm = Mapping[str, Mapping[str, Sequence[Attempt]]]
"""Arm -> task id -> attempts in the order they were made; those of all arms but "first" begin with the first draft."""


@dataclass(frozen=True)
class Played:
    """One set of tasks, played by ``models``; ``tokens`` is what an arm may generate for a task."""

    figures: Mapping[str, TaskFigures]
    tokens: int
    models: Mapping[str, ByArm]


def remember_figures(run: Run, key: str, figures: Mapping[str, TaskFigures]) -> None:
    """Raises ConfigError if the run was evaluated by other checks."""
    run.require(key, {id_: asdict(one) for id_, one in figures.items()}, "set of checks")


def remember_model(run: Run, name: str, digest: str) -> None:
    """The attempts of ``name`` are those of one set of weights. Raises ConfigError if they are of others."""
    run.require(f"{_MODEL}{name}", digest, f"adapter by the name {name}")


def read_played(run: StoredRun) -> Played | None:
    """None where no evaluation was finished."""
    done = run.stages().get("evaluate", {}).get("done")
    return _played(run, FIGURES, "", arms_named(run.config.eval.arms)) if done else None


def read_gate(run: StoredRun) -> Played | None:
    """Base and adapter on the tasks held back from training; None where there are none."""
    return _played(run, GATE_FIGURES, HELD_BACK, arms_named(REPAIR))


def _played(run: StoredRun, figures_key: str, prefix: str, arms: Sequence[Arm]) -> Played | None:
    environment = run.environment()
    figures = {id_: TaskFigures(**one) for id_, one in environment.get(figures_key, {}).items()}
    if not figures:
        return None
    found = sorted(key.removeprefix(_MODEL) for key in environment if key.startswith(_MODEL))
    names = [BASE, ADAPTER, *(name for name in found if name not in (BASE, ADAPTER))]
    models = {name: by_arm(run, f"{prefix}{name}", arms) for name in names}
    return Played(figures, run.config.eval.tokens, {name: arms for name, arms in models.items() if arms})


def by_arm(run: StoredRun, model: str, arms: Sequence[Arm]) -> ByArm:
    """The stored attempts of ``model``; nothing where it has drafted nothing."""
    first = by_task(run.attempts(f"{model}/{FIRST}"))
    if not first:
        return {}
    found: dict[str, Mapping[str, Sequence[Attempt]]] = {FIRST: first}
    for arm in arms:
        made = by_task(run.attempts(f"{model}/{arm.name}"))
        found[arm.name] = {id_: [*drafts, *made.get(id_, [])] for id_, drafts in first.items()}
    return found


def by_task(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """By task, in the order they were made."""
    found: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: (a.sample, a.round)):
        found.setdefault(attempt.task_id, []).append(attempt)
    return found
