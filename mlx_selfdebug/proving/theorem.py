"""Define ``Theorem``, what is to be proved, and ``CheckedProof``, what a checker says about a proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["", "timed_out", "memory", "output", "crashed"]
"""Why a checker ended before it gave an answer: at a limit on its time, memory or output, or by a crash.

It is empty if the checker gave an answer.
"""


@dataclass(frozen=True)
class Theorem:
    """A theorem without its proof."""

    name: str
    """The name of the theorem in ``statement``."""
    statement: str
    """The text that states the theorem: ``Theorem add_zero : forall n, n + 0 = n.`` in Rocq, up to ``:= by`` in Lean."""
    beginning: tuple[str, ...] = ()
    """The imports and definitions that the theorem needs: a sentence each in Rocq, all of them as one text in Lean."""
    axioms: frozenset[str] = frozenset()
    """The names of the axioms that a proof may use."""


@dataclass(frozen=True)
class CheckedProof:
    """The verdict of a checker on a proof."""

    ending: Ending = ""
    """Why the checker ended before it gave an answer, or an empty string if it gave one."""
    proved: bool = False
    """Whether the checker accepted the proof, and the proof rests on no axiom that is not allowed."""
    message: str = ""
    """The reason why the theorem is not proved, on one line, or an empty string."""
    line: int = 0
    """The number, from 1, of the line of the script on which the failing part begins, or 0 if no part of the script failed."""
    source: str = ""
    """The sentence (Rocq) or the line (Lean) that failed, or an empty string."""
    goals: tuple[str, ...] = ()
    """The first goals that were still open where the proof failed, as the checker prints them. At most four are kept."""
    n_goals: int = 0
    """The number of all goals that were open there."""
    wall_s: float = 0.0
    """The time that the checker took, in seconds."""
