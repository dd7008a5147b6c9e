"""Count the attempts of a run under way, and know its newest repairs, without reading the same attempt twice.

Attempts are large, and the run is looked at every few seconds. So a look reads a few columns of the new attempts only, and keeps
them in memory.
"""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlx_selfdebug.repair.policies import EXHAUSTED
from mlx_selfdebug.store import StoredRun

MAX_REPAIRS = 8
"""The largest number of newest repairs that are remembered."""
MAX_BY_ID = 500
"""The largest number of new attempts that are selected by their ids. If there are more, one query reads all attempts."""
_SELECT = "SELECT id, arm, kind, parent, finish, outcome, n_completion_tokens FROM attempts"
_STEP = re.compile(r"/\d+$")
"""Matches the number of a step at the end of an arm's name, as in "rewards/000012".

Training by rewards and the checks of held-back tasks have an arm for each step.
"""


@dataclass(frozen=True, slots=True)
class Brief:
    """The few facts about an attempt that are kept."""

    id: str
    arm: str
    """The name of the attempt's arm, without the number of a step."""
    is_repair: bool
    """Whether the attempt was made from a failed program: by a repair prompt, an edit or a fork."""
    passed: bool
    n_tokens: int
    """The number of generated tokens."""


@dataclass
class Counts:
    """Counts over a set of attempts."""

    attempts: int = 0
    passed: int = 0
    """The number of attempts that passed all checks."""
    repairs: int = 0
    """The number of attempts that were made from a failed program."""
    repaired: int = 0
    """The number of repairs that passed all checks."""
    n_tokens: int = 0
    """The number of generated tokens."""

    def add(self, brief: Brief) -> None:
        """Count one more attempt."""
        self.attempts += 1
        self.passed += brief.passed
        self.repairs += brief.is_repair
        self.repaired += brief.is_repair and brief.passed
        self.n_tokens += brief.n_tokens


@dataclass(frozen=True)
class Totals:
    """The counts of all attempts that models made. Programs that a model was given, such as bugs, do not count."""

    all: Counts = field(default_factory=Counts)
    """The counts over all arms."""
    by_arm: dict[str, Counts] = field(default_factory=dict)
    """The counts by the arm's name, without the number of a step."""


class AttemptLog:
    """The attempts of one run so far. ``look`` brings it up to date."""

    def __init__(self) -> None:
        self.totals = Totals()
        """The counts at the last look. A look that finds no change leaves this object as it is."""
        self.newest_repairs: deque[str] = deque(maxlen=MAX_REPAIRS)
        """The ids of the newest repairs, the newest first.

        The repairs that one look finds are ordered by their keys: the last one counts as the newest.
        """
        self._briefs: dict[str, Brief | None] = {}
        """All attempts by id. None stands for a program that a model was given."""

    def look(self, run: StoredRun) -> None:
        """Add the attempts that are new in ``run``, and drop those that were deleted from it."""
        # SQLite reads the ids from their index, which is far smaller than the table of attempts.
        ids = {row["id"] for row in run.query("SELECT id FROM attempts")}
        new, deleted = ids - self._briefs.keys(), self._briefs.keys() - ids
        for id_ in deleted:
            del self._briefs[id_]
        new_briefs = _read(run, new)
        self._briefs |= new_briefs
        for brief in new_briefs.values():
            if brief and brief.is_repair:
                self.newest_repairs.appendleft(brief.id)
        if new or deleted:
            self.totals = _totals(brief for brief in self._briefs.values() if brief)


def _read(run: StoredRun, ids: set[str]) -> dict[str, Brief | None]:
    """Return what is kept of the attempts with these ids, by id."""
    if len(ids) <= MAX_BY_ID:
        rows = run.query(f"{_SELECT} WHERE id IN ({', '.join('?' * len(ids))})", tuple(ids))
    else:
        rows = [row for row in run.query(_SELECT) if row["id"] in ids]
    return {row["id"]: _brief(row) for row in rows}


def _brief(row: sqlite3.Row) -> Brief | None:
    """Return what is kept of the attempt in a row, or None if it is a program that a model was given."""
    if row["kind"] == "given":
        return None
    # A search or a fork that found nothing is stored as an attempt too, but it made no program.
    is_repair = bool(row["parent"]) and row["finish"] != EXHAUSTED
    return Brief(
        id=row["id"],
        arm=_STEP.sub("", row["arm"]),
        is_repair=is_repair,
        passed=row["outcome"] == "passed",
        n_tokens=row["n_completion_tokens"],
    )


def _totals(briefs: Iterable[Brief]) -> Totals:
    """Count attempts, over all arms and by arm."""
    totals = Totals()
    for brief in briefs:
        totals.all.add(brief)
        totals.by_arm.setdefault(brief.arm, Counts()).add(brief)
    return totals
