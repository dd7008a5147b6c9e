"""Define the data of a search for a fix: a suspicious function (``Case``), the limits (``Effort``) and the cost (``Cost``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mlx_selfdebug.fixing.judging import Origin
from mlx_selfdebug.fixing.locating import Suspect
from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

Tell = Callable[[str], None]
"""A function that is told in a few words what is going on."""
ARM = "fix"
"""The arm of every attempt that is made to fix a project. The seeds of attempts depend on it."""


@dataclass(frozen=True)
class Effort:
    """How much is tried. Edits are tried in waves of functions, and the model writes in the most suspicious functions only."""

    waves: tuple[int, ...] = (1, 2, 3, 6)
    """The number of functions in each wave: first the most suspicious function alone, then the next two together, and so on."""
    tries: int = 500
    """The largest number of edits that are run per wave."""
    late_tries: int = 1500
    """After the last wave, up to this many further edits are run, of those that the waves have left out because of ``tries``."""
    extra_tries: int = 16
    """The number of edits that a wave still runs after the first one that passes, so that there is a choice."""
    written_functions: int = 2
    """The number of functions in which the model writes."""
    rewritten_lines: int = 4
    """The number of single lines per function that the model writes anew."""
    insertions: int = 4
    """The number of statements per function that the model inserts between two lines."""
    forks: int = 2
    """The number of places per function from which the model writes the rest of the function anew."""
    repairs: int = 4
    """The number of repairs per function. For a repair, the model is shown the function and the facts of its failing tests."""
    drafts: int = 4
    """The number of fresh drafts per function."""
    temperature: float = 0.8
    """The sampling temperature of repairs and drafts. The first repair and the first draft are greedy."""
    min_p: float = 0.05
    """Tokens that are less likely than this share of the likeliest token's probability are not sampled."""
    max_tokens: int = 400
    """The largest number of tokens in one completion."""


@dataclass
class Case:
    """A suspicious function, the repair of it posed as a task for the model, and how its tests fail."""

    suspect: Suspect
    task: Task
    verdict: Verdict
    """How the tests fail, worded as prompts show it."""
    reading: ProgramReading | None = None
    """The model's probability of each token of the function; None before the function is read, or if it cannot be read."""
    syntax_only: ProgramReading | None = None
    """What stands in for ``reading`` if that would take too long. It allows edits by syntax, without the model's probabilities."""

    @property
    def function(self) -> Function:
        return self.suspect.function

    @property
    def failing_attempt(self) -> Attempt:
        """The function as it is, as an attempt that failed. Repairs and forks are made from it."""
        return Attempt(
            task_id=self.task.id,
            arm=ARM,
            sample=0,
            round=0,
            parent="",
            prompt="",
            completion="",
            code=self.function.program,
            verdict=self.verdict,
            public=self.verdict,
            n_prompt_tokens=0,
            n_completion_tokens=0,
            seed=0,
            finish="given",
            kind="given",
        )


@dataclass
class Cost:
    """What a fix has cost so far."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by step, such as "trying edits"."""
    decoded_tokens: int = 0
    """The number of tokens that the model wrote."""
    read_tokens: int = 0
    """The number of tokens of suspicious functions that the model read."""
    tried: Counter[Origin] = field(default_factory=Counter)
    """The number of programs that were tested, by how they were made."""

    def add_seconds(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds
