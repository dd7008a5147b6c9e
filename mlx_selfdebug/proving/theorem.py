"""Define ``Theorem``, what is to be proved, and ``Proof``, what a checker says about a proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["", "timed_out", "memory", "output", "crashed"]


@dataclass(frozen=True)
class Theorem:
    """A theorem without its proof."""

    name: str
    statement: str
    """The sentence that states it, such as ``Theorem add_zero : forall n, n + 0 = n.``"""
    beginning: tuple[str, ...] = ()
    """The sentences before it: imports and definitions."""
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
    """The line of the script on which the sentence that failed begins, from 1, or 0 if none did."""
    source: str = ""
    """The sentence that failed, or an empty string."""
    goals: tuple[str, ...] = ()
    """The first goals that were left before that sentence, as the checker prints them."""
    n_goals: int = 0
    """The number of all these goals."""
    wall_s: float = 0.0
    """The time that the checker took, in seconds."""
