"""Define what a run knows beside its rows: which model it uses, which tasks it learned from, on which machine a stage ran.

Each fact is stored once, as JSON under a key, by the stage that finds it. The keys are named here and nowhere else. ``Facts`` gives
types to the facts that several packages read. A fact that is not known yet is empty or None.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     run.facts().held_back
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict


class Key(StrEnum):
    """The keys of facts that a run has only once."""

    ID = "id"
    """A random text that tells this run from others of the same name. Only runs that several machines work on have one."""
    MODEL = "model"
    """The origin of the weights that every attempt of the run comes from."""
    ISOLATION = "isolation"
    """The level to which programs were confined."""
    SANDBOX = "sandbox"
    """The layers of the confinement and the results of its probes."""
    BRANCH_OF = "branch.of"
    """The folder of the run whose attempts this run began with."""
    TRAINING_TASKS = "collect.tasks"
    """The ids of the training tasks."""
    SWEPT_TASKS = "sweep.tasks"
    """The ids of the tasks of a sweep (``bench sweep``)."""
    AUDIT = "collect.audit"
    """How many mutants the checks of each training task caught, and which tasks were left out, with the reason."""
    BUG_OPERATORS = "collect.bugs"
    """The operator that made each bug, by the attempt's id."""
    HELD_BACK = "train.held_back"
    """The ids of the training tasks that were kept out of the pairs."""
    PAIRS_LEFT_OUT = "train.left_out"
    """The number of pairs that were too long to be trained on."""
    REWARD_PROMPTS = "rewards.prompts"
    """How many prompts of each kind are rewarded, the shares of the kinds, and a digest of all prompts."""
    REWARD_ENDING = "rewards.ending"
    """After how many steps training by rewards ended, why, and which step's adapter was kept."""
    EVALUATION_TASKS = "eval.tasks"
    """The ids of the evaluation tasks."""
    OVERLAP = "eval.overlap"
    """The pairs of a training task and an evaluation task that are nearly the same or, if there are none, the nearest few."""
    PASS_RATES = "eval.pass_rates"
    """The share of right drafts of each task whose share was known before the evaluation, by the task's id."""
    READINGS = "eval.readings"
    """A few failed programs that the base read, with its surprise at each token."""
    FIGURES = "eval.figures"
    """The figures of each evaluation task, by its id: the domain, the number of hidden checks and the size of the reference."""
    BUGS = "eval.bugs"
    """The bugs of the evaluation: where they come from, and the id, task and operator of each."""
    BUG_FIGURES = "eval.bugs.figures"
    """The figures of the task that each bug was put into, by the bug's id."""
    GATE_FIGURES = "eval.gate.figures"
    """The figures of the held-back tasks, on which the gate is decided."""
    GATE_BUGS = "eval.gate.bugs"
    """The bugs of the gate, which were put into the held-back tasks."""
    GATE_BUG_FIGURES = "eval.gate.bugs.figures"
    """The figures of the task that each bug of the gate was put into, by the bug's id."""


class Family(StrEnum):
    """The prefixes of the keys of facts that a run may have several times. The name of each such fact follows its prefix."""

    MACHINE = "machine"
    """The machine that a stage ran on, by the stage."""
    DEATH = "death"
    """How a process of a stage died, by the stage, the number of the process and the time."""
    PLAN = "train.plan"
    """How training is computed within its budget, by the number of larger shapes that were left out.

    For training by rewards, "rewards." stands before the number.
    """
    VALIDATION = "train.validations"
    """How many failed attempts an adapter repaired, by the digest of what it was trained on and the step."""
    EVALUATED = "eval.model"
    """The digest of the weights of an evaluated model, by the model's name."""

    def key(self, name: str) -> str:
        """Return the key of the fact called ``name``, such as "machine.train"."""
        return f"{self}.{name}"


class StoredSandbox(TypedDict, total=False):
    """How programs were confined. It is empty until a stage has run programs."""

    layers: Mapping[str, str]
    """A detail of each layer of the confinement, by the layer's name."""
    probes: Mapping[str, bool | None]
    """Whether the confinement stopped each probe, by the probe's name; None if nothing is known."""


class StoredMachine(TypedDict):
    """What a stage ran with."""

    versions: Mapping[str, str | None]
    """The version of Python and of each package that matters; None for a package that is not installed."""
    hardware: Mapping[str, str | int | None]


class StoredDeath(TypedDict):
    """How a process of a stage died."""

    reason: str
    after_s: float
    """The seconds that the process had run."""


@dataclass(frozen=True)
class Facts:
    """The facts of a run, as far as they are known."""

    stored: Mapping[str, Any]
    """All facts as plain data, by their keys."""

    @property
    def model(self) -> str | None:
        """The origin of the weights that every attempt of the run comes from."""
        return self.stored.get(Key.MODEL)

    @property
    def isolation(self) -> str | None:
        """The level to which programs were confined."""
        return self.stored.get(Key.ISOLATION)

    @property
    def sandbox(self) -> StoredSandbox:
        """The layers of the confinement and the results of its probes."""
        sandbox: StoredSandbox | None = self.stored.get(Key.SANDBOX)
        return {} if sandbox is None else sandbox

    @property
    def branch_of(self) -> str | None:
        """The folder of the run whose attempts this run began with."""
        return self.stored.get(Key.BRANCH_OF)

    @property
    def training_tasks(self) -> tuple[str, ...]:
        """The ids of the tasks that were drafted for training."""
        return tuple(self.stored.get(Key.TRAINING_TASKS, ()))

    @property
    def weak_tasks(self) -> Mapping[str, str]:
        """The reason why each training task was left out whose checks cannot be trusted, by the task's id."""
        weak: Mapping[str, str] = (self.stored.get(Key.AUDIT) or {}).get("left_out", {})
        return weak

    @property
    def held_back(self) -> tuple[str, ...]:
        """The ids of the training tasks that were kept out of the pairs, to choose a checkpoint and to decide the gate by."""
        return tuple(self.stored.get(Key.HELD_BACK, ()))

    @property
    def n_pairs_left_out(self) -> int:
        """The number of pairs that were too long to be trained on."""
        return int(self.stored.get(Key.PAIRS_LEFT_OUT, 0))

    @property
    def evaluation_tasks(self) -> tuple[str, ...] | None:
        """The ids of the evaluation tasks; None if the run has not been evaluated."""
        ids = self.stored.get(Key.EVALUATION_TASKS)
        return None if ids is None else tuple(ids)

    @property
    def evaluated(self) -> Mapping[str, str]:
        """The digests of the weights that were evaluated, by the models' names."""
        return self.family(Family.EVALUATED)

    @property
    def machines(self) -> Mapping[str, StoredMachine]:
        """The versions of packages and the hardware that each stage ran with, by the stage."""
        return self.family(Family.MACHINE)

    @property
    def training_plans(self) -> tuple[Mapping[str, Any], ...]:
        """The plans by which training was computed, with the fields of ``training.plan.TrainingPlan``.

        There are several if a process died and the next one took a smaller shape, and if training by rewards followed.
        """
        return tuple(plan for _, plan in sorted(self.family(Family.PLAN).items()))

    @property
    def deaths(self) -> Mapping[str, StoredDeath]:
        """The processes of stages that died, by the stage, the number of the process and the time, as in "train.1.1767225600"."""
        return self.family(Family.DEATH)

    def family(self, family: Family) -> dict[str, Any]:
        """Return the facts of a family by their names, without the prefix."""
        prefix = f"{family}."
        return {key.removeprefix(prefix): value for key, value in self.stored.items() if key.startswith(prefix)}
