"""One fact about the machine, and whether it stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """``state``: ok; a warning, with which the work is slower or less safe; or a problem, with which it cannot be done.

    ``value`` is for people, ``-`` where it is not known; ``mend`` says what to type, or do, if it is not ok.
    """

    name: str
    state: State
    value: str
    mend: str = ""


def ok(name: str, value: str) -> Finding:
    return Finding(name, "ok", value)


def judged(name: str, value: str, *cases: tuple[bool, State, str]) -> Finding:
    """The first of ``cases`` that holds, as (holds, state, mend); ok if none does."""
    for holds, state, mend in cases:
        if holds:
            return Finding(name, state, value, mend)
    return ok(name, value)


def worst(findings: Sequence[Finding]) -> State:
    states = {finding.state for finding in findings}
    return "problem" if "problem" in states else "warning" if "warning" in states else "ok"
