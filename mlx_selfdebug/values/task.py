"""Define ``Task``: what is asked, what the answer begins with, and the checks that decide whether it is right."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_selfdebug.values.checks import Checks


@dataclass(frozen=True)
class Task:
    """One problem whose answers are checked automatically."""

    id: str
    domain: str
    """The name of the domain, such as "python" or "sql"."""
    statement: str
    """What is asked, in words."""
    entry_point: str
    """The name of the function or class that is tested, or empty for a program."""
    starter_code: str = ""
    """The code that the answer begins with, such as imports and the signature. It may be empty."""
    public: Checks = field(default_factory=Checks)
    """The checks that may be shown to a model and whose facts feed its repairs."""
    hidden: Checks = field(default_factory=Checks)
    """The checks that only score."""
    data: str = ""
    """The data that the domain's tests need beside the checks, such as the databases of SQL."""
    reference: str = ""
    """A complete answer that is known to pass, or empty if there is none."""
    wrong: tuple[str, ...] = ()
    """Answers that must not pass."""
    source: str = ""
    """The name of the set that the task came from."""
    difficulty: str = ""
    """Either "easy", "medium" or "hard", or empty if it is not known."""
    pass_rate: float | None = None
    """The share of drafts that passed, from 0 to 1, or None if it was not measured."""

    def __repr__(self) -> str:
        return f"Task({self.id!r}, entry_point={self.entry_point!r})"
