"""Define ``Theorem``, what is to be proved, and ``CheckedProof``, what a checker says about a proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["", "timed_out", "memory", "output", "crashed"]


@dataclass(frozen=True)
class Theorem:
    """A theorem without its proof."""

    name: str
    statement: str
    """What states it: ``Theorem add_zero : forall n, n + 0 = n.`` in Rocq, and in Lean all that stands before ``:= by``."""
    beginning: tuple[str, ...] = ()
    """What stands before it, imports and definitions: its sentences in Rocq, and a single text in Lean."""
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
    """The line of the script on which what failed begins, from 1, or 0 if it has no place there."""
    source: str = ""
    """The sentence or the line that failed, or an empty string."""
    goals: tuple[str, ...] = ()
    """The first goals that were left there, as the checker prints them."""
    n_goals: int = 0
    """The number of all these goals."""
    wall_s: float = 0.0
    """The time that the checker took, in seconds."""
