"""Keep the attempts of a run in brief. Each look reads only those that are new."""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlx_selfdebug.repair.policies import EXHAUSTED
from mlx_selfdebug.store import StoredRun

MAX_REPAIRS = 8
"""The number of repairs that are shown."""
MAX_BY_ID = 500
"""The largest number of new attempts that are looked up by id. If there are more, all attempts are read."""
_BRIEF = "SELECT id, arm, kind, parent, finish, outcome, n_completion_tokens FROM attempts"
_STEP = re.compile(r"/\d+$")
"""The number of a step at the end of an arm's name. Training by rewards and its checks have an arm for each step."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What is kept of an attempt."""

    id: str
    arm: str
    """The name of its arm, without the number of a step."""
    is_repair: bool
    """Whether it was made from a failed program: by asking, by an edit, or by a fork."""
    passed: bool
    n_tokens: int
    """The number of generated tokens."""


@dataclass
class Counts:
    """The numbers of some attempts."""

    attempts: int = 0
    passed: int = 0
    repairs: int = 0
    """The number of attempts that were made from a failed program."""
    repaired: int = 0
    """The number of these that passed."""
    n_tokens: int = 0

    def add(self, brief: Brief) -> None:
        self.attempts += 1
        self.passed += brief.passed
        self.repairs += brief.is_repair
        self.repaired += brief.is_repair and brief.passed
        self.n_tokens += brief.n_tokens


@dataclass(frozen=True)
class Totals:
    """The numbers of all attempts that models made. Programs that were given to them do not count."""

    all: Counts = field(default_factory=Counts)
    by_arm: dict[str, Counts] = field(default_factory=dict)


class AttemptLog:
    """The attempts of one run, as they come."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.newest_repairs: deque[str] = deque(maxlen=MAX_REPAIRS)
        """The ids of the last repairs that were seen, the newest first. Of those that came together, the last in the order of
        their keys counts as the newest."""
        self._briefs: dict[str, Brief | None] = {}
        """By id. None stands for a program that was given to a model."""

    def look(self, run: StoredRun) -> None:
        """Take note of the attempts that are new, and of those that were deleted."""
        # The ids have an index of their own, which is far smaller than the attempts.
        ids = {row["id"] for row in run.query("SELECT id FROM attempts")}
        new, gone = ids - self._briefs.keys(), self._briefs.keys() - ids
        for id_ in gone:
            del self._briefs[id_]
        for brief in self._read(run, new):
            if brief and brief.is_repair:
                self.newest_repairs.appendleft(brief.id)
        if new or gone:
            self.totals = _totals(brief for brief in self._briefs.values() if brief)

    def _read(self, run: StoredRun, new: set[str]) -> list[Brief | None]:
        if len(new) <= MAX_BY_ID:
            rows = run.query(f"{_BRIEF} WHERE id IN ({', '.join('?' * len(new))})", tuple(new))
        else:
            rows = [row for row in run.query(_BRIEF) if row["id"] in new]
        briefs = {row["id"]: _brief(row) for row in rows}
        self._briefs |= briefs
        return list(briefs.values())


def _brief(row: sqlite3.Row) -> Brief | None:
    if row["kind"] == "given":
        return None
    is_repair = bool(row["parent"]) and row["finish"] != EXHAUSTED
    arm, passed = _STEP.sub("", row["arm"]), row["outcome"] == "passed"
    return Brief(row["id"], arm, is_repair, passed, row["n_completion_tokens"])


def _totals(briefs: Iterable[Brief]) -> Totals:
    totals = Totals()
    for brief in briefs:
        totals.all.add(brief)
        totals.by_arm.setdefault(brief.arm, Counts()).add(brief)
    return totals
