"""What ``fix`` has found out and proposes, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlx_selfdebug.fixing.change import Change
from mlx_selfdebug.fixing.explaining import Explained
from mlx_selfdebug.projects.suite_run import FAILED, PASSED, SKIPPED, SuiteRun

FixOutcome = Literal["fixed", "not_fixed", "nothing_failed"]


@dataclass(frozen=True)
class Counts:
    """How many tests passed, failed and were skipped."""

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
    """The result of one ``fix``."""

    outcome: FixOutcome
    project: Path
    before: Counts
    failing: tuple[str, ...] = ()
    """The tests that failed and were to be fixed."""
    flaky: tuple[str, ...] = ()
    """Tests that passed in one run and failed in another; nothing is concluded from them."""
    change: Change | None = None
    """The change that fixes all failing tests, or the best that fixes some of them if the outcome is "not_fixed"."""
    after: Counts | None = None
    """The tests with the change, run from the start in a new scratch copy."""
    others: tuple[Change, ...] = ()
    """Other changes that pass all tests as well."""
    suspects: tuple[tuple[str, float], ...] = ()
    """The functions that were suspected, with their suspicion from 0 to 1."""
    tried: Mapping[str, int] = field(default_factory=dict)
    """The number of programs that were tested, by how they were made."""
    decoded_tokens: int = 0
    read_tokens: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step."""
    notes: tuple[str, ...] = ()
    """What a user should know about the tests."""
    explained: tuple[Explained, ...] = ()
    """The functions that the model read, the most suspicious first."""

    @property
    def fixed(self) -> bool:
        return self.outcome == "fixed"

    @property
    def wall_s(self) -> float:
        return self.seconds.get("total", 0.0)

    def to_record(self) -> dict[str, Any]:
        """Return everything but the readings as plain data."""
        return {
            "outcome": self.outcome,
            "project": str(self.project),
            "before": vars(self.before),
            "after": vars(self.after) if self.after else None,
            "failing": list(self.failing),
            "flaky": list(self.flaky),
            "change": _record(self.change),
            "others": [_record(change) for change in self.others],
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

        pictures = "".join(explained._repr_html_() for explained in self.explained[:1])
        return f"<pre>{escape(str(self))}</pre>{pictures}"

    def _lines(self) -> Sequence[str]:
        lines = [f"note: {note}" for note in self.notes]
        if self.outcome == "nothing_failed":
            return [*lines, f"All tests pass ({self.before}); there is nothing to fix."]
        lines += [f"before: {self.before}"]
        if self.fixed and self.change:
            lines += [
                f"after:  {self.after}",
                f"fixed:  {self.change.function} in {self.change.file.name}, by {_BY[self.change.by]}",
            ]
        else:
            lines += [
                "not fixed: "
                + ("no change that was tried makes the failing tests pass" if self.suspects else _NO_SUSPECT)
            ]
            lines += (
                ["suspected: " + ", ".join(f"{name} ({value:.2f})" for name, value in self.suspects[:5])]
                if self.suspects
                else []
            )
            if self.change:
                lines += [
                    f"The best change that was found fixes {len(self.change.fixed)} of {len(self.failing)} failing tests:"
                ]
        if self.change:
            if self.change.special_cases:
                lines += [
                    "warning: this change only special-cases the input of a failing test; review it before you apply it"
                ]
            lines += ["", self.change.diff().rstrip("\n"), ""]
        if self.others:
            n = len(self.others)
            lines += [f"{n} other change{'s' if n > 1 else ''} would pass all tests too: --json shows them"]
        tried = ", ".join(f"{n} {_MADE[by]}{'s' if n > 1 else ''}" for by, n in self.tried.items() if n)
        lines += [f"tried:  {tried or 'nothing'}; {self.decoded_tokens:,} tokens decoded in {self.wall_s:.1f} s"]
        return lines


_BY = {
    "edits": "a small edit",
    "line": "a rewritten line",
    "insertion": "an inserted statement",
    "fork": "a rewrite of the rest of the function",
    "repair": "a repair",
    "draft": "a fresh draft",
}
_MADE = {
    "edits": "edit",
    "line": "line",
    "insertion": "insertion",
    "fork": "fork",
    "repair": "repair",
    "draft": "draft",
}
_NO_SUSPECT = "the failing tests run no function of the project that may be changed"


def _record(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "file": change.file.name,
        "function": change.function,
        "by": change.by,
        "fixed": list(change.fixed),
        "special_cases": change.special_cases,
        "n_lines": change.n_lines,
        "diff": change.diff(),
    }
