"""Hold what the search for a change starts from, how much it may try, and what that has cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_selfdebug.fixing.locating import Suspect
from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.repair.reading import ProgramReading
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

ARM = "fix"


@dataclass(frozen=True)
class Effort:
    """How much is tried."""

    waves: tuple[int, ...] = (1, 2, 3, 6)
    """The numbers of functions that are searched together: the most suspicious one first, then the next two, and so on."""
    tries: int = 500
    """The largest number of edits that are run for the functions of one wave."""
    late_tries: int = 1500
    """The largest number of edits that are run after the last wave, of all functions together."""
    further: int = 16
    """The number of edits that are still tried after the first one that passes, to have a choice."""
    written: int = 2
    """The number of functions, the most suspicious ones, in which the model writes: lines, rests, or the whole function."""
    lines: int = 4
    """The number of single lines that are written anew in each of them."""
    insertions: int = 4
    """The number of statements that are written between the lines of each of them."""
    forks: int = 2
    """The number of places from which the rest of each of them is written anew."""
    repairs: int = 4
    """The number of repairs of each of them that are shown the facts."""
    drafts: int = 4
    """The number of fresh drafts of each of them."""
    temperature: float = 0.8
    """The temperature of all repairs and drafts but the first, which is greedy."""
    min_p: float = 0.05
    max_tokens: int = 400
    """The largest number of tokens in one completion."""


@dataclass
class Case:
    """A suspicious function with its task and the facts of its failing tests."""

    suspect: Suspect
    task: Task
    verdict: Verdict
    reading: ProgramReading | None = None
    unread: ProgramReading | None = None
    """What stands for the reading where it would take too long."""

    @property
    def function(self) -> Function:
        return self.suspect.function

    @property
    def given(self) -> Attempt:
        """Return the program that fails, as the attempt that others are made from."""
        return Attempt(
            self.task.id, ARM, 0, 0, "", "", "", self.function.program, self.verdict, self.verdict, 0, 0, 0, "given", kind="given"
        )  # fmt: skip


@dataclass
class Spent:
    """What the proposals have cost."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""
    decoded_tokens: int = 0
    read_tokens: int = 0
    tried: dict[str, int] = field(default_factory=dict)
    """The number of programs that were tested, by how they were made."""

    def add(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds
