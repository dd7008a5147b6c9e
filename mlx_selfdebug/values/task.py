"""A task: what is asked, where the answer starts, and what decides whether it is right."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_selfdebug.values.checks import Checks


@dataclass(frozen=True)
class Task:
    """One problem with an automatic check.

    ``public`` checks may be shown to a model and feed its repairs; ``hidden`` ones only score.
    ``starter_code`` is what the answer begins with (imports, signature); it may be empty. ``data`` is what the domain's tests need
    beside the checks, as SQL its databases. ``reference`` is a complete answer known to pass, ``wrong`` are answers that must not.
    ``source`` says which set the task came from. ``difficulty`` is "easy", "medium", "hard" or empty; ``pass_rate`` the share of
    drafts that passed when that was measured.
    """

    id: str
    domain: str
    statement: str
    entry_point: str
    starter_code: str = ""
    public: Checks = field(default_factory=Checks)
    hidden: Checks = field(default_factory=Checks)
    data: str = ""
    reference: str = ""
    wrong: tuple[str, ...] = ()
    source: str = ""
    difficulty: str = ""
    pass_rate: float | None = None

    def __repr__(self) -> str:
        return f"Task({self.id!r}, entry_point={self.entry_point!r})"
