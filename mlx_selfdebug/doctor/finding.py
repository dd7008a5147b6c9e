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
    state: State
    value: str
    """The fact as text for a person, or ``-`` if it is not known."""
    remedy: str = ""
    """How to fix it: what to type or do. It is empty if the state is ok."""


def ok(name: str, value: str) -> Finding:
    return Finding(name, "ok", value)


def judged(name: str, value: str, *cases: tuple[bool, State, str]) -> Finding:
    """Return a finding by the first of ``cases`` that holds, or an ok finding if none does.

    A case consists of whether it holds, the state, and how to fix it.
    """
    for holds, state, remedy in cases:
        if holds:
            return Finding(name, state, value, remedy)
    return ok(name, value)


def worst(findings: Sequence[Finding]) -> State:
    """Return the worst state of any finding, or "ok" if there are no findings."""
    states = {finding.state for finding in findings}
    return "problem" if "problem" in states else "warning" if "warning" in states else "ok"
