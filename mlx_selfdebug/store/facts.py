"""Define what a run knows beside its rows: which model it uses, which tasks it learned from, on which machine a stage ran.

Each fact is stored once, as JSON under a key, by the stage that finds it. The keys are named here and nowhere else. ``Facts`` gives
the stored facts their types; what has not been found yet is empty or None.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     run.facts().held_back
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Key(StrEnum):
    """The keys of facts that a run has once."""

    MODEL = "model"
    ISOLATION = "isolation"
    SANDBOX = "sandbox"
    BRANCH_OF = "branch.of"
    TRAINING_TASKS = "collect.tasks"
    AUDIT = "collect.audit"
    BUG_OPERATORS = "collect.bugs"
    HELD_BACK = "train.held_back"
    PAIRS_LEFT_OUT = "train.left_out"
    REWARD_PROMPTS = "rewards.prompts"
    REWARD_ENDING = "rewards.ending"
    EVALUATION_TASKS = "eval.tasks"
    OVERLAP = "eval.overlap"
    PASS_RATES = "eval.pass_rates"
    READINGS = "eval.readings"
    FIGURES = "eval.figures"
    BUGS = "eval.bugs"
    BUG_FIGURES = "eval.bugs.figures"
    GATE_FIGURES = "eval.gate.figures"
    GATE_BUGS = "eval.gate.bugs"
    GATE_BUG_FIGURES = "eval.gate.bugs.figures"


class Family(StrEnum):
    """The first part of the keys of facts that a run has several times, each by a name."""

    MACHINE = "machine"
    """The machine that a stage ran on, by the stage."""
    DEATH = "death"
    """How a process of a stage died, by the stage, the number of the process and the time."""
    PLAN = "train.plan"
    """How training is computed within its budget, by the number of larger shapes that were left out."""
    CHECK = "train.checks"
    """What an epoch's adapter repaired, by what it was trained on and the step."""
    EVALUATED = "eval.model"
    """The digest of the weights of an evaluated model, by the model's name."""

    def key(self, name: str) -> str:
        """Return the key of the member called ``name``."""
        return f"{self}.{name}"


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
        """The level to which the test runner confined programs."""
        return self.stored.get(Key.ISOLATION)

    @property
    def sandbox(self) -> Mapping[str, Any]:
        """The layers of the confinement, and what each probe of it found."""
        sandbox: Mapping[str, Any] = self.stored.get(Key.SANDBOX) or {}
        return sandbox

    @property
    def branch_of(self) -> str | None:
        """The folder of the run whose attempts this one was begun with."""
        return self.stored.get(Key.BRANCH_OF)

    @property
    def training_tasks(self) -> tuple[str, ...]:
        """The ids of the tasks that were drafted for training."""
        return tuple(self.stored.get(Key.TRAINING_TASKS, ()))

    @property
    def weak_tasks(self) -> Mapping[str, str]:
        """The training tasks that were left out because their checks cannot be trusted, each with the reason."""
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
        """The ids of the tasks of the evaluation; None before there was one."""
        ids = self.stored.get(Key.EVALUATION_TASKS)
        return None if ids is None else tuple(ids)

    @property
    def evaluated(self) -> Mapping[str, str]:
        """The digests of the weights that were evaluated, by the models' names."""
        return self.family(Family.EVALUATED)

    @property
    def machines(self) -> Mapping[str, Mapping[str, Any]]:
        """The versions of packages and the hardware that each stage ran with, by the stage."""
        return self.family(Family.MACHINE)

    @property
    def training_plans(self) -> tuple[Mapping[str, Any], ...]:
        """How training was computed within its budget, as ``training.plan.TrainingPlan`` says; more than one if a process died."""
        return tuple(plan for _, plan in sorted(self.family(Family.PLAN).items()))

    @property
    def deaths(self) -> Mapping[str, Mapping[str, Any]]:
        """The processes of stages that died, with the reason and the seconds after which they did."""
        return self.family(Family.DEATH)

    def family(self, family: Family) -> dict[str, Any]:
        """Return the members of a family by their names."""
        prefix = f"{family}."
        return {key.removeprefix(prefix): value for key, value in self.stored.items() if key.startswith(prefix)}
