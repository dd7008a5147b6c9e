"""Define ``Task``: a problem, the code that its answer begins with, and the checks that decide whether an answer is right."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_selfdebug.values.checks import Checks


@dataclass(frozen=True)
class Task:
    """One problem whose answers are checked automatically."""

    id: str
    """The task's id, such as "HumanEval/0". It is part of the key of each attempt on the task."""
    domain: str
    """The name of the domain, such as "python" or "sql"."""
    statement: str
    """The problem in words."""
    entry_point: str
    """The name of the function or class that is tested, or empty for a program."""
    starter_code: str = ""
    """The code that the answer begins with, such as imports and the signature, or for SQL the schema. It may be empty."""
    public: Checks = field(default_factory=Checks)
    """The checks that may be shown to a model and whose facts feed its repairs."""
    hidden: Checks = field(default_factory=Checks)
    """The checks that score an answer."""
    data: str = ""
    """What the tests of the domain need beside the checks, as text. Each domain has its own format, such as databases as JSON."""
    reference: str = ""
    """A complete answer that is known to pass, or empty if there is none."""
    wrong: tuple[str, ...] = ()
    """Answers that are known to be wrong. They must not pass the hidden checks."""
    source: str = ""
    """The name of the task set that the task came from."""
    difficulty: str = ""
    """Either "easy", "medium" or "hard", or empty if the difficulty is not known."""
    pass_rate: float | None = None
    """The share of drafts that passed, from 0 to 1, or None if it was not measured."""

    def __repr__(self) -> str:
        return f"Task({self.id!r}, entry_point={self.entry_point!r})"
