"""What a domain is: how a kind of task is asked, read and judged. One file and one registration each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.feedback import EVERYTHING, Feedback
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict


@dataclass(frozen=True)
class Tidied:
    """The code taken out of a completion, and the names of the steps that it took beyond cutting the reply's own fence."""

    code: str
    steps: tuple[str, ...] = ()


class Runner(Protocol):
    """What programs are tested with: a TestRunner, or something that hands on to one."""

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Begin to test ``source``; see ``TestRunner.submit``."""


class Domain(Protocol):
    """Stateless. ``reply_prefix`` is put into the model's mouth, ``stop_text`` ends its completion (empty: its own end does).
    ``packages`` are those that its tests import, ``install`` the command that gets them.

    ``Prompted`` (prompted.py) is a start for one of your own.
    """

    name: str
    packages: tuple[str, ...]
    install: str

    @property
    def reply_prefix(self) -> str: ...

    @property
    def stop_text(self) -> str: ...

    def prompt(self, task: Task, *, feedback: Feedback = EVERYTHING) -> str:
        """The message that asks for a draft."""

    def repair_prompt(
        self,
        task: Task,
        attempt: Attempt,
        *,
        max_facts: int = 3,
        feedback: Feedback = EVERYTHING,
        facts_of: Attempt | None = None,
    ) -> str:
        """The message that shows an attempt and what its tests said. An attempt that passed is shown as such.

        It should begin with the draft's message: what both share is computed once. ``facts_of`` is the attempt whose facts are
        shown, its own unless a control says otherwise.
        """

    def extract(self, text: str, task: Task) -> Tidied:
        """The code in a completion (its text after ``reply_prefix``), as it will be judged. Never raises."""

    def completion(self, code: str) -> str:
        """The completion that would carry ``code``: what training has the model say. ``extract`` undoes it."""

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Test ``code`` against ``checks``; a future, so that decoding goes on meanwhile."""

    def nothing(self, task: Task) -> str:
        """An answer that does nothing, which must fail every task's hidden checks."""

    def normalise(self, code: str) -> str:
        """A form in which two codes are equal if they differ in layout, comments or docstrings alone."""

    def tokens(self, code: str) -> Sequence[str]:
        """The code's lexical tokens, for edit distances."""
