"""Store what the model read, to show it in a report: a few failed programs that an edit fixed, with its surprise at each token.

A report is rendered without a model, so the readings are stored with the run, once, after the base has been evaluated. They are
examples, the first in the order of their keys among the searches that succeeded; no figure is computed from them.

    >>> with open_stored("runs/first") as run:                                          # doctest: +SKIP
    ...     [(one.task_id, most_surprising(one.shades, 1)) for reading in read_readings(run)]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.evaluation.arms import FIRST, ArmKey, arms_named
from mlx_selfdebug.evaluation.played import BASE, BUGS, BUGS_PREFIX, OWN, given_arm
from mlx_selfdebug.repair.picture import Shade
from mlx_selfdebug.repair.reading import read
from mlx_selfdebug.store import Key, Run, StoredRun
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

MAX_READINGS = 3
_HALVES = ((BUGS, BUGS_PREFIX, given_arm(BUGS_PREFIX)), (OWN, "", ArmKey(BASE, FIRST)))
"""For each half: its name, the prefix of its models' names, and the arm of the programs that its searches begin with."""


@dataclass(frozen=True)
class StoredReading:
    """A failed program that the base read as if it were its own answer to the task."""

    task_id: str
    half: str
    """The half of the evaluation that the program comes from: "own failures" or "bugs"."""
    shades: tuple[Shade, ...]
    """The program's tokens in order, each with the model's surprise at it."""
    edited: str
    """The right program that the search for an edit made of it."""

    @property
    def title(self) -> str:
        """A heading: the task's id, and whether the program is a bug or a draft."""
        return f"{self.task_id}: {'a bug' if self.half == BUGS else 'a draft of the model'}"

    @property
    def code(self) -> str:
        """Return the program that was read, without the empty lines around it."""
        return "".join(shade.text for shade in self.shades)


def remember_readings(run: Run, model: Model, tasks: Sequence[Task]) -> None:
    """Read up to ``MAX_READINGS`` programs that the base's searches fixed, bugs first, and store what ``model`` found in them.

    ``model`` must have no adapter applied, and ``tasks`` are those of both halves. A run whose readings are stored already keeps
    them, even if the stored list is empty. A run without an arm that searches for edits gets none. Raises ModelError if the model's
    logits are not numbers.
    """
    arms = [arm.name for arm in arms_named(run.config.eval.arms) if arm.edits]
    if not arms or Key.READINGS in run.facts().stored:
        return
    known = {task.id: task for task in tasks}
    readings = []
    for half, failed, edited in islice(_fixed_programs(run, arms), MAX_READINGS):
        shades = read(model, known[edited.task_id], failed.code).shades()
        readings.append(
            {
                "task_id": edited.task_id,
                "half": half,
                "shades": [astuple(shade) for shade in shades],
                "edited": edited.code,
            }
        )
    run.remember(Key.READINGS, readings)


def read_readings(run: StoredRun) -> list[StoredReading]:
    """Return the stored readings; an empty list for a run that was evaluated by a version without them."""
    return [_stored(data) for data in run.facts().stored.get(Key.READINGS, [])]


def _fixed_programs(run: StoredRun, arms: Sequence[str]) -> Iterator[tuple[str, Attempt, Attempt]]:
    """Yield half, failed program and its right edit, once per task, since arms that search the same program find the same edit."""
    for half, prefix, begun in _HALVES:
        failed = {attempt.id: attempt for attempt in run.attempts(begun)}
        made = [attempt for arm in arms for attempt in run.attempts(ArmKey(f"{prefix}{BASE}", arm))]
        seen: set[str] = set()
        for edited in sorted(made, key=lambda a: (a.task_id, a.arm, a.sample, a.round)):
            right = edited.kind == "edits" and edited.finish == "edited" and edited.passed
            if right and edited.task_id not in seen:
                seen.add(edited.task_id)
                yield half, failed[edited.parent], edited


def _stored(data: dict[str, Any]) -> StoredReading:
    shades = tuple(Shade(text, nats, tuple(rather)) for text, nats, rather in data["shades"])
    return StoredReading(data["task_id"], data["half"], shades, data["edited"])
