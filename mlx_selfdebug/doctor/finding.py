"""Define a finding: one fact about the machine, and whether it makes the work slower, less safe or impossible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]
"""A warning means that the work is slower or less safe, and a problem means that it cannot be done."""


@dataclass(frozen=True)
class Finding:
    """One fact about the machine."""

    name: str
    """What the fact is about, such as "memory"."""
    state: State
    value: str
    """The fact as text for a person, or ``-`` if it is not known."""
    remedy: str = ""
    """How to fix it: what to type or do. It is empty if the state is ok."""


def ok(name: str, value: str) -> Finding:
    """Return a finding whose state is ok."""
    return Finding(name, "ok", value)


def judged(name: str, value: str, *cases: tuple[bool, State, str]) -> Finding:
    """Return a finding with the state of the first case that holds, or an ok finding if none holds.

    A case consists of whether it holds, the state, and how to fix it:

        judged("disk", "0.5 GB free", (free < 1e9, "problem", "free some space"), (free < 5e9, "warning", "free some space"))
    """
    for holds, state, remedy in cases:
        if holds:
            return Finding(name, state, value, remedy)
    return ok(name, value)


def worst(findings: Sequence[Finding]) -> State:
    """Return the worst state of any finding, or "ok" if there are no findings."""
    states = {finding.state for finding in findings}
    if "problem" in states:
        return "problem"
    return "warning" if "warning" in states else "ok"
