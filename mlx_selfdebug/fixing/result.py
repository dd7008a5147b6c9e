"""Hold the result of a fix as a value, and show it as text, as HTML and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlx_selfdebug.fixing.change import Change
from mlx_selfdebug.fixing.explaining import Explanation
from mlx_selfdebug.fixing.judging import Origin
from mlx_selfdebug.projects.suite_run import FAILED, PASSED, SKIPPED, SuiteRun

FixOutcome = Literal["fixed", "not_fixed", "nothing_failed"]

MAX_SUSPECTS_SHOWN = 5
"""The largest number of suspects in the text of a result."""
_ORIGIN_PHRASES: Mapping[Origin, str] = {
    "edits": "a small edit",
    "line": "a rewritten line",
    "insertion": "an inserted statement",
    "fork": "a rewrite of the rest of the function",
    "repair": "a repair",
    "draft": "a fresh draft",
}
"""How the text of a result says what a change was made by."""


@dataclass(frozen=True)
class Counts:
    """The numbers of tests that passed, failed and were skipped in one run."""

    passed: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, run: SuiteRun) -> Counts:
        return cls(run.count(PASSED), run.count(FAILED), run.count(SKIPPED))

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


@dataclass(frozen=True, repr=False)
class FixResult:
    """The result of one fix. Printed, or in a notebook, it shows the change, the tests before and after, and what was tried."""

    outcome: FixOutcome
    project: Path
    """The folder of the project."""
    before: Counts
    """The tests before any change."""
    failing: tuple[str, ...] = ()
    """The ids of the tests that failed and were to be fixed."""
    flaky: tuple[str, ...] = ()
    """The ids of tests that passed in one run and failed in another. Nothing is concluded from them."""
    change: Change | None = None
    """The change that fixes all failing tests. If the outcome is "not_fixed", the best change that fixes some of them, or None."""
    after: Counts | None = None
    """The tests with the change, run from the start in a new scratch copy; None if nothing was fixed."""
    others: tuple[Change, ...] = ()
    """Other changes with which the whole suite passes, too."""
    suspects: tuple[tuple[str, float], ...] = ()
    """The functions that were suspected, each with its suspicion from 0 to 1, the most suspicious first."""
    tried: Mapping[Origin, int] = field(default_factory=dict)
    """The number of programs that were tested, by how they were made."""
    decoded_tokens: int = 0
    """The number of tokens that the model wrote."""
    read_tokens: int = 0
    """The number of tokens of suspicious functions that the model read."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step. The seconds of the whole fix are under "total"."""
    notes: tuple[str, ...] = ()
    """What a user should know about the tests, as sentences without a full stop."""
    explained: tuple[Explanation, ...] = ()
    """The functions that the model read, the most suspicious first."""

    @property
    def fixed(self) -> bool:
        return self.outcome == "fixed"

    @property
    def wall_s(self) -> float:
        """How long the whole fix took, in seconds."""
        return self.seconds.get("total", 0.0)

    def to_record(self) -> dict[str, Any]:
        """Return everything but the readings as plain data that JSON can hold."""
        return {
            "outcome": self.outcome,
            "project": str(self.project),
            "before": vars(self.before),
            "after": vars(self.after) if self.after else None,
            "failing": list(self.failing),
            "flaky": list(self.flaky),
            "change": _change_record(self.change) if self.change else None,
            "others": [_change_record(change) for change in self.others],
            "suspects": [{"function": name, "suspicion": round(value, 4)} for name, value in self.suspects],
            "tried": dict(self.tried),
            "decoded_tokens": self.decoded_tokens,
            "read_tokens": self.read_tokens,
            "seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_record(), indent=2)

    def __repr__(self) -> str:
        return f"<FixResult: {self.outcome}, {len(self.failing)} failing tests, {self.wall_s:.1f} s>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        from html import escape

        picture = self.explained[0]._repr_html_() if self.explained else ""
        return f"<pre>{escape(str(self))}</pre>{picture}"

    def _lines(self) -> Iterator[str]:
        """Yield the text of the result, line by line. The diff is a single item."""
        yield from (f"note: {note}" for note in self.notes)
        if self.outcome == "nothing_failed":
            yield f"All tests pass ({self.before}); there is nothing to fix."
            return
        yield f"before: {self.before}"
        yield from self._verdict_lines()
        if self.change:
            if self.change.special_cases:
                yield "warning: this change only special-cases the input of a failing test; review it before you apply it"
            yield from ("", self.change.diff().rstrip("\n"), "")
        if self.others:
            plural = "s" if len(self.others) > 1 else ""
            yield f"{len(self.others)} other change{plural} passed all tests, too"
        yield f"tried:  {self._tried_text()}; {self.decoded_tokens:,} tokens decoded in {self.wall_s:.1f} s"

    def _verdict_lines(self) -> Iterator[str]:
        """Yield the lines that say whether the tests were fixed, and if not, what was suspected and what came nearest."""
        if self.fixed and self.change:
            yield f"after:  {self.after}"
            by = _ORIGIN_PHRASES[self.change.by]
            yield f"fixed:  {self.change.function} in {self.change.file.name}, by {by}"
            return
        if self.suspects:
            yield "not fixed: no change that was tried makes the failing tests pass"
            named = self.suspects[:MAX_SUSPECTS_SHOWN]
            yield "suspected: " + ", ".join(f"{name} ({value:.2f})" for name, value in named)
        else:
            yield "not fixed: the failing tests run no function of the project that may be changed"
        if self.change:
            fixed, failing = len(self.change.fixed), len(self.failing)
            yield f"The best change that was found fixes {fixed} of {failing} failing tests:"

    def _tried_text(self) -> str:
        """Return what was tried, such as "36 edits, 4 lines"."""
        counts = [(n, "edit" if origin == "edits" else origin) for origin, n in self.tried.items() if n]
        return ", ".join(f"{n} {noun}{'s' if n > 1 else ''}" for n, noun in counts) or "nothing"


def _change_record(change: Change) -> dict[str, Any]:
    """Return a change as plain data that JSON can hold."""
    return {
        "file": change.file.name,
        "function": change.function,
        "by": change.by,
        "fixed": list(change.fixed),
        "special_cases": change.special_cases,
        "n_lines": change.n_lines,
        "diff": change.diff(),
    }
