"""Define ``Theorem``, what is to be proved, and ``CheckedProof``, what a checker says about a proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["", "timed_out", "memory", "output", "crashed"]
"""Why a checker was ended before it gave an answer: a limit on its time, memory or output, or a crash. It is empty otherwise."""


@dataclass(frozen=True)
class Theorem:
    """A theorem without its proof."""

    name: str
    statement: str
    """The text that states the theorem: ``Theorem add_zero : forall n, n + 0 = n.`` in Rocq, up to ``:= by`` in Lean."""
    beginning: tuple[str, ...] = ()
    """The imports and definitions that the theorem needs: a sentence each in Rocq, all of them as one text in Lean."""
    axioms: frozenset[str] = frozenset()
    """The names of the axioms that a proof may use."""


@dataclass(frozen=True)
class CheckedProof:
    """What a checker says about a proof."""

    ending: Ending = ""
    """Why the checker was ended before it gave an answer, or an empty string if it gave one."""
    proved: bool = False
    message: str = ""
    """The checker's message if the theorem is not proved."""
    line: int = 0
    """The line of the script, counted from 1, where the failing part begins, or 0 if the failure is not in the script."""
    source: str = ""
    """The sentence or the line that failed, or an empty string."""
    goals: tuple[str, ...] = ()
    """The first goals that were still open where the proof failed, as the checker prints them."""
    n_goals: int = 0
    """The number of all goals that were open there."""
    wall_s: float = 0.0
    """The time that the checker took, in seconds."""
