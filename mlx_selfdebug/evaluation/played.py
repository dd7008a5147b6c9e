"""What an evaluation stored, put in order: by model, arm and task the attempts that were made, one after the other.

Everything that is said of an evaluation is computed from this, so it can be said again at any time. An evaluation has two halves:
in the first the models begin with drafts of their own, in the second all begin with the same bugs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, Arm, arms_named
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.store import Run, StoredRun
from mlx_selfdebug.values.attempt import Attempt

BASE, ADAPTER = "base", "adapter"
OWN, BUGS = "own failures", "bugs"
"""The two halves."""
HELD_BACK, BUGS_PREFIX = "held back/", "bugs/"
"""What the names of models begin with where the gate plays them, and where they play bugs."""
FIGURES, OWN_BUGS, BUG_FIGURES = "eval.figures", "eval.bugs", "eval.bugs.figures"
GATE_FIGURES, GATE_BUGS, GATE_BUG_FIGURES = "eval.gate.figures", "eval.gate.bugs", "eval.gate.bugs.figures"
OVERLAP, _MODEL = "eval.overlap", "eval.model."

ByArm = Mapping[str, Mapping[str, Sequence[Attempt]]]
"""Arm -> task id -> attempts in the order they were made; those of all arms but "first" begin with the first draft, or the bug."""


@dataclass(frozen=True)
class Played:
    """One half, played by ``models``; ``tokens`` is what an arm may generate for a task.

    Of bugs: ``origins`` gives for each the task it is of, ``operators`` what made it.
    """

    figures: Mapping[str, TaskFigures]
    tokens: int
    models: Mapping[str, ByArm]
    origins: Mapping[str, str] = field(default_factory=dict)
    operators: Mapping[str, str] = field(default_factory=dict)


def given_arm(prefix: str) -> str:
    """The arm of the given programs that all models' arms begin with."""
    return f"{prefix}given"


def remember_figures(run: Run, key: str, figures: Mapping[str, TaskFigures]) -> None:
    """Raises ConfigError if the run was evaluated by other checks."""
    run.require(key, {id_: asdict(one) for id_, one in figures.items()}, "set of checks")


def remember_model(run: Run, name: str, digest: str) -> None:
    """The attempts of ``name`` are those of one set of weights. Raises ConfigError if they are of others."""
    run.require(f"{_MODEL}{name}", digest, f"adapter by the name {name}")


def read_played(run: StoredRun) -> Played | None:
    """The first half; None where no evaluation was finished."""
    return _played(run, FIGURES, "", arms_named(run.config.eval.arms)) if _is_done(run) else None


def read_bugs(run: StoredRun) -> Played | None:
    """The second half; None where no evaluation was finished, or it had none."""
    return _bugs(run, BUG_FIGURES, OWN_BUGS, "", arms_named(run.config.eval.arms)) if _is_done(run) else None


def read_gate(run: StoredRun) -> Played | None:
    """Base and adapter on the tasks held back from training; None where there are none."""
    return _played(run, GATE_FIGURES, HELD_BACK, arms_named(REPAIR))


def read_gate_bugs(run: StoredRun) -> Played | None:
    """Base and adapter on bugs put into the tasks held back from training; None where there are none."""
    return _bugs(run, GATE_BUG_FIGURES, GATE_BUGS, HELD_BACK, arms_named(REPAIR))


def _is_done(run: StoredRun) -> bool:
    return bool(run.stages().get("evaluate", {}).get("done"))


def _played(run: StoredRun, figures_key: str, prefix: str, arms: Sequence[Arm]) -> Played | None:
    figures = _figures(run, figures_key)
    models = {name: by_arm(run, f"{prefix}{name}", arms) for name in _models(run)} if figures else {}
    played = {name: found for name, found in models.items() if found}
    return Played(figures, run.config.eval.tokens, played) if figures else None


def _bugs(run: StoredRun, figures_key: str, key: str, prefix: str, arms: Sequence[Arm]) -> Played | None:
    """A model that has attempted nothing in this half, as one of a run of before, is not in it."""
    figures = _figures(run, figures_key)
    prefix += BUGS_PREFIX
    given = by_task(run.attempts(given_arm(prefix))) if figures else {}
    models = {name: _after(run, f"{prefix}{name}", arms, given) for name in _models(run)} if given else {}
    played = {name: found for name, found in models.items() if any(found[arm] != given for arm in found)}
    if not {BASE, ADAPTER} <= played.keys():
        return None
    units = run.environment()[key]["units"]
    origins, operators = ({unit["id"]: unit[what] for unit in units} for what in ("task", "operator"))
    return Played(figures, run.config.eval.tokens, played, origins, operators)


def _figures(run: StoredRun, key: str) -> dict[str, TaskFigures]:
    return {id_: TaskFigures(**one) for id_, one in run.environment().get(key, {}).items()}


def _models(run: StoredRun) -> list[str]:
    found = sorted(key.removeprefix(_MODEL) for key in run.environment() if key.startswith(_MODEL))
    return [BASE, ADAPTER, *(name for name in found if name not in (BASE, ADAPTER))]


def by_arm(run: StoredRun, model: str, arms: Sequence[Arm]) -> ByArm:
    """The stored attempts of ``model``; nothing where it has drafted nothing."""
    first = by_task(run.attempts(f"{model}/{FIRST}"))
    return _after(run, model, arms, first) if first else {}


def _after(run: StoredRun, model: str, arms: Sequence[Arm], first: Mapping[str, Sequence[Attempt]]) -> ByArm:
    """The first attempts, and what each arm has made of them."""
    found: dict[str, Mapping[str, Sequence[Attempt]]] = {FIRST: first}
    for arm in arms:
        made = by_task(run.attempts(f"{model}/{arm.name}"))
        found[arm.name] = {id_: [*begun, *made.get(id_, [])] for id_, begun in first.items()}
    return found


def by_task(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """By task, in the order they were made."""
    found: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: (a.sample, a.round)):
        found.setdefault(attempt.task_id, []).append(attempt)
    return found
