"""Define a finding: one fact about the machine, and whether it stands in the way of the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One fact about the machine."""

    name: str
    state: State
    """A warning means that the work is slower or less safe, and a problem that it cannot be done."""
    value: str
    """The fact as text for people, or ``-`` if it is not known."""
    mend: str = ""
    """What to type or do if the state is not ok."""


def ok(name: str, value: str) -> Finding:
    return Finding(name, "ok", value)


def judged(name: str, value: str, *cases: tuple[bool, State, str]) -> Finding:
    """Build a finding from the first case that holds, or an ok finding if none does. A case is (holds, state, mend)."""
    for holds, state, mend in cases:
        if holds:
            return Finding(name, state, value, mend)
    return ok(name, value)


def worst(findings: Sequence[Finding]) -> State:
    states = {finding.state for finding in findings}
    return "problem" if "problem" in states else "warning" if "warning" in states else "ok"
