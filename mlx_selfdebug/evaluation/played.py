"""Read the attempts that an evaluation stored, by model, arm and task. Store the tasks' figures and the models' digests.

Every figure of an evaluation is computed from these attempts, so it can be computed again at any time. An evaluation has two
halves. In the first, each model begins with drafts of its own. In the second, all models begin with the same bugs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, Arm, ArmKey, answer, arms_named
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.store import Family, Key, Run, StoredRun
from mlx_selfdebug.values.attempt import Attempt

BASE, ADAPTER = "base", "adapter"
"""The names of the two models that every evaluation compares."""
OWN, BUGS = "own failures", "bugs"
"""The names of the two halves."""
HELD_BACK_PREFIX, BUGS_PREFIX = "held back/", "bugs/"
"""What a model's name begins with in an ``ArmKey`` on the tasks of the gate, and on bugs."""

ByArm = Mapping[str, Mapping[str, Sequence[Attempt]]]
"""By arm and then by task id, the attempts in the order in which they were made. They begin with the first draft, or the bug."""


@dataclass(frozen=True)
class Played:
    """The attempts of one half of an evaluation, or of the gate."""

    figures: Mapping[str, TaskFigures]
    """The domain, the number of hidden checks and the length of the reference, by task id."""
    tokens: int
    """How many tokens an arm may generate per task."""
    models: Mapping[str, ByArm]
    """The attempts, by the names of the models without prefixes. "base" and "adapter" come first."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """The task that each bug was put into, by the bug's id; empty in the half of own failures."""
    operators: Mapping[str, str] = field(default_factory=dict)
    """The operator that made each bug, by the bug's id; empty in the half of own failures."""

    @cached_property
    def answers(self) -> Mapping[ArmKey, Mapping[str, Attempt]]:
        """Every arm's answer to every task within ``tokens``, by arm and task id."""
        return {
            ArmKey(model, arm): {id_: answer(attempts, self.tokens) for id_, attempts in attempts_by_task.items()}
            for model, arms in self.models.items()
            for arm, attempts_by_task in arms.items()
        }

    @cached_property
    def solved(self) -> Mapping[ArmKey, frozenset[str]]:
        """Ids of the tasks whose answer is right, by arm."""
        return {
            key: frozenset(id_ for id_, answered in answers.items() if answered.passed)
            for key, answers in self.answers.items()
        }


def given_arm(prefix: str) -> str:
    """Return the name of the arm that holds the given programs, with which the arms of all models begin."""
    return f"{prefix}given"


def remember_figures(run: Run, key: str, figures: Mapping[str, TaskFigures]) -> None:
    """Store the tasks' figures under ``key``. Raises ConfigError if the run was evaluated with other checks before."""
    run.require(key, {id_: asdict(task) for id_, task in figures.items()}, "set of checks")


def remember_model(run: Run, name: str, digest: str) -> None:
    """Store the digest of the weights that the attempts of ``name`` come from. Raises ConfigError if another one is stored."""
    run.require(Family.EVALUATED.key(name), digest, f"adapter by the name {name}")


def read_own_failures(run: StoredRun) -> Played | None:
    """Return the half of the models' own failures, or None if the evaluation is not finished."""
    if not run.is_done("evaluate"):
        return None
    return _read_half(run, Key.FIGURES, "", arms_named(run.config.eval.arms))


def read_bugs(run: StoredRun) -> Played | None:
    """Return the half of the bugs, or None if the evaluation is not finished or had no bugs."""
    if not run.is_done("evaluate"):
        return None
    return _read_half_of_bugs(run, Key.BUG_FIGURES, Key.BUGS, "", arms_named(run.config.eval.arms))


def read_gate(run: StoredRun) -> Played | None:
    """Return the attempts of base and adapter on the tasks held back from training, or None if there are none."""
    return _read_half(run, Key.GATE_FIGURES, HELD_BACK_PREFIX, arms_named(REPAIR))


def read_gate_bugs(run: StoredRun) -> Played | None:
    """Return the attempts of base and adapter on bugs put into the tasks held back from training, or None if there are none."""
    return _read_half_of_bugs(run, Key.GATE_BUG_FIGURES, Key.GATE_BUGS, HELD_BACK_PREFIX, arms_named(REPAIR))


def _read_half(run: StoredRun, figures_key: str, prefix: str, arms: Sequence[Arm]) -> Played | None:
    """Return the attempts that begin with drafts, or None if no figures are stored under ``figures_key``."""
    figures = _figures(run, figures_key)
    if not figures:
        return None
    models = {name: by_arm(run, f"{prefix}{name}", arms) for name in _models(run)}
    return Played(figures, run.config.eval.tokens, {name: attempts for name, attempts in models.items() if attempts})


def _read_half_of_bugs(
    run: StoredRun, figures_key: str, bugs_key: str, prefix: str, arms: Sequence[Arm]
) -> Played | None:
    """Return the attempts that begin with bugs, or None if there are no bugs or base or adapter did not attempt them."""
    figures, prefix = _figures(run, figures_key), prefix + BUGS_PREFIX
    given = by_task(run.attempts(given_arm(prefix)))
    if not figures or not given:
        return None
    models = {name: _continue_from(run, f"{prefix}{name}", arms, given) for name in _models(run)}
    # A model that was evaluated before there were bugs has attempted nothing in this half, so it is left out.
    models = {
        name: arms_of for name, arms_of in models.items() if any(attempts != given for attempts in arms_of.values())
    }
    if not {BASE, ADAPTER} <= models.keys():
        return None
    stored_bugs = run.facts().stored[bugs_key]["units"]
    origins = {bug["id"]: bug["task"] for bug in stored_bugs}
    operators = {bug["id"]: bug["operator"] for bug in stored_bugs}
    return Played(figures, run.config.eval.tokens, models, origins, operators)


def _figures(run: StoredRun, key: str) -> dict[str, TaskFigures]:
    return {id_: TaskFigures(**stored) for id_, stored in run.facts().stored.get(key, {}).items()}


def _models(run: StoredRun) -> list[str]:
    """Return the names of the evaluated models: base, adapter, then the others in alphabetical order."""
    names = sorted(run.facts().evaluated)
    return [BASE, ADAPTER, *(name for name in names if name not in (BASE, ADAPTER))]


def by_arm(run: StoredRun, model: str, arms: Sequence[Arm]) -> ByArm:
    """Return the stored attempts of ``model`` by arm and task, or an empty mapping if it has no first drafts.

    ``model`` is the model's name with its prefixes.
    """
    first = by_task(run.attempts(ArmKey(model, FIRST)))
    return _continue_from(run, model, arms, first) if first else {}


def _continue_from(run: StoredRun, model: str, arms: Sequence[Arm], first: Mapping[str, Sequence[Attempt]]) -> ByArm:
    """Return, by arm, the first attempts on every task followed by those that the arm made after them."""
    attempts: dict[str, Mapping[str, Sequence[Attempt]]] = {FIRST: first}
    for arm in arms:
        further = by_task(run.attempts(ArmKey(model, arm.name)))
        attempts[arm.name] = {id_: [*begun, *further.get(id_, [])] for id_, begun in first.items()}
    return attempts


def by_task(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """Group attempts by task id, in the order in which they were made."""
    grouped: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: (a.sample, a.round)):
        grouped.setdefault(attempt.task_id, []).append(attempt)
    return grouped
