"""What the model read, to be shown in a report: a few failed programs that an edit put right, with its surprise at each token.

A report is rendered without a model, so the readings are stored with the run, once, after the base has played. They are examples,
chosen by the order of their keys among the searches that ended well; nothing is counted by them.

    >>> with open_stored("runs/first") as run:                                          # doctest: +SKIP
    ...     [(one.task_id, most_surprising(one.shades, 1)) for one in read_readings(run)]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.evaluation.arms import FIRST, arms_named
from mlx_selfdebug.evaluation.played import BASE, BUGS, BUGS_PREFIX, OWN, given_arm
from mlx_selfdebug.repair.picture import Shade
from mlx_selfdebug.repair.reading import read
from mlx_selfdebug.store import Run, StoredRun
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

READINGS = "eval.readings"
MOST = 3
_HALVES = ((BUGS, BUGS_PREFIX, given_arm(BUGS_PREFIX)), (OWN, "", f"{BASE}/{FIRST}"))
"""Each half, what the names of its models begin with, and the arm of the programs that its searches begin with."""


@dataclass(frozen=True)
class StoredReading:
    """A failed program of one ``half``, read as an answer to its task; ``edited`` is what the search made of it, and right."""

    task_id: str
    half: str
    shades: tuple[Shade, ...]
    edited: str

    @property
    def title(self) -> str:
        return f"{self.task_id}: {'a bug' if self.half == BUGS else 'a draft of the model'}"

    @property
    def code(self) -> str:
        """Return the program that was read, without the empty lines around it."""
        return "".join(shade.text for shade in self.shades)


def remember_readings(run: Run, model: Model, tasks: Sequence[Task]) -> None:
    """Read up to ``MOST`` programs that the base's searches put right, bugs first, and store what ``model`` found in them.

    ``model`` wears no adapter. ``tasks`` are those of both halves. A run that has its readings, be they none, keeps them; one
    without an arm that searches for edits gets none. Raises ModelError if the model gives no numbers.
    """
    arms = [arm.name for arm in arms_named(run.config.eval.arms) if arm.edits]
    if not arms or READINGS in run.environment():
        return
    known = {task.id: task for task in tasks}
    found = []
    for half, failed, edited in islice(_put_right(run, arms), MOST):
        shades = read(model, known[edited.task_id], failed.code).shades()
        found.append(
            {
                "task_id": edited.task_id,
                "half": half,
                "shades": [astuple(shade) for shade in shades],
                "edited": edited.code,
            }
        )
    run.remember(READINGS, found)


def read_readings(run: StoredRun) -> list[StoredReading]:
    """Return the stored readings; none for a run of before there were any."""
    return [_stored(one) for one in run.environment().get(READINGS, [])]


def _put_right(run: StoredRun, arms: Sequence[str]) -> Iterator[tuple[str, Attempt, Attempt]]:
    """Half, failed program and right edit of it, one a task; arms that search the same program find the same edit."""
    for half, prefix, begun in _HALVES:
        failed = {attempt.id: attempt for attempt in run.attempts(begun)}
        made = [attempt for arm in arms for attempt in run.attempts(f"{prefix}{BASE}/{arm}")]
        seen: set[str] = set()
        for edited in sorted(made, key=lambda a: (a.task_id, a.arm, a.sample, a.round)):
            right = edited.kind == "edits" and edited.finish == "edited" and edited.passed
            if right and edited.task_id not in seen:
                seen.add(edited.task_id)
                yield half, failed[edited.parent], edited


def _stored(one: dict[str, Any]) -> StoredReading:
    shades = tuple(Shade(text, nats, tuple(rather)) for text, nats, rather in one["shades"])
    return StoredReading(one["task_id"], one["half"], shades, one["edited"])
