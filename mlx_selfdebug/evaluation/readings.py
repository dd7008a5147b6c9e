"""Store how the model read a few failed programs that an edit repaired: its surprise at each token, for a report to show.

A report is rendered without a model, so the readings are stored with the run, once, after the base has been evaluated. They are
examples, and no figure is computed from them: the first few searches that succeeded, in the order of their keys.

    >>> with open_stored("runs/first") as run:                                          # doctest: +SKIP
    ...     [(reading.task_id, most_surprising(reading.shades, 1)) for reading in read_readings(run)]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

from mlx_selfdebug.evaluation.arms import FIRST, ArmKey, arms_named
from mlx_selfdebug.evaluation.played import BASE, BUGS, BUGS_PREFIX, OWN, given_arm
from mlx_selfdebug.repair.edits.searching import EDITED
from mlx_selfdebug.repair.picture import Shade
from mlx_selfdebug.repair.reading import read
from mlx_selfdebug.store import Key, Run, StoredRun
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

MAX_READINGS = 3
"""The largest number of programs whose readings are stored."""
_HALVES = ((BUGS, BUGS_PREFIX, given_arm(BUGS_PREFIX)), (OWN, "", ArmKey(BASE, FIRST)))
"""For each half: its name, the prefix of its models' names, and the arm that holds the programs with which its searches begin."""


@dataclass(frozen=True)
class StoredReading:
    """A failed program that the base read as if it were its own answer to the task."""

    task_id: str
    half: str
    """The half of the evaluation that the program comes from: "own failures" or "bugs"."""
    shades: tuple[Shade, ...]
    """The program's tokens in order, each with the model's surprise at it."""
    edited: str
    """The right program that the search for an edit made of the failed one."""

    @property
    def title(self) -> str:
        """A heading: the task's id, and whether the program is a bug or a draft."""
        return f"{self.task_id}: {'a bug' if self.half == BUGS else 'a draft of the model'}"

    @property
    def code(self) -> str:
        """The program that was read, without the empty lines around it."""
        return "".join(shade.text for shade in self.shades)


class _Record(TypedDict):
    """A reading as it is stored."""

    task_id: str
    half: str
    shades: list[tuple[str, float, Sequence[str]]]
    """The fields of each ``Shade``."""
    edited: str


def remember_readings(run: Run, model: Model, tasks: Sequence[Task]) -> None:
    """Have ``model`` read up to ``MAX_READINGS`` programs that the base's searches repaired, bugs first, and store the readings.

    ``model`` must have no adapter applied, and ``tasks`` are the tasks of both halves. A run whose readings are stored already
    keeps them, even if the stored list is empty. A run without an arm that searches for edits gets none. Raises ModelError if the
    model's logits are not numbers.
    """
    arms = [arm.name for arm in arms_named(run.config.eval.arms) if arm.edits]
    if not arms or Key.READINGS in run.facts().stored:
        return
    tasks_by_id = {task.id: task for task in tasks}
    records = []
    for half, failed, edited in islice(_repaired_programs(run, arms), MAX_READINGS):
        shades = read(model, tasks_by_id[edited.task_id], failed.code).shades()
        records.append(
            _Record(
                task_id=edited.task_id,
                half=half,
                shades=[(shade.text, shade.nats, shade.rather) for shade in shades],
                edited=edited.code,
            )
        )
    run.remember(Key.READINGS, records)


def read_readings(run: StoredRun) -> list[StoredReading]:
    """Return the stored readings. The list is empty for a run that has none."""
    records: list[_Record] = run.facts().stored.get(Key.READINGS, [])
    return [
        StoredReading(
            task_id=record["task_id"],
            half=record["half"],
            shades=tuple(Shade(text, nats, tuple(rather)) for text, nats, rather in record["shades"]),
            edited=record["edited"],
        )
        for record in records
    ]


def _repaired_programs(run: StoredRun, arms: Sequence[str]) -> Iterator[tuple[str, Attempt, Attempt]]:
    """Yield the half, the failed attempt and the edited attempt of each search that succeeded.

    A task is yielded once, since arms that search the same program find the same edit.
    """
    for half, prefix, first_arm in _HALVES:
        failed = {attempt.id: attempt for attempt in run.attempts(first_arm)}
        attempts = [attempt for arm in arms for attempt in run.attempts(ArmKey(f"{prefix}{BASE}", arm))]
        seen: set[str] = set()
        for edited in sorted(attempts, key=lambda a: (a.task_id, a.arm, a.sample, a.round)):
            is_right = edited.kind == "edits" and edited.finish == EDITED and edited.passed
            if is_right and edited.task_id not in seen:
                seen.add(edited.task_id)
                yield half, failed[edited.parent], edited
