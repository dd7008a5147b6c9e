"""The protocol that every domain follows. A domain says how one kind of task is asked, how a reply is read, and how it is judged.

Each file here defines one domain, or two that are closely related; ``__init__.py`` registers them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import Manner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.feedback import EVERYTHING, MAX_FACTS, Feedback
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Tidied:
    """The code that was taken out of a completion."""

    code: str
    steps: tuple[str, ...] = ()
    """The names of the steps that were needed, beyond cutting the reply at its own closing fence."""


class Runner(Protocol):
    """The interface of a test runner that domains use: ``TestRunner`` has it, and so have wrappers around one."""

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Start to test ``source`` and return its future verdict; see ``TestRunner.submit``."""

    @property
    def manner(self) -> Manner:
        """Return how programs are run, for a domain that runs them by other means than ``submit``."""

    def kept(self, key: Hashable, opened: Callable[[Level], AbstractContextManager[T]]) -> T:
        """Return what a domain runs programs with, which stays open as long as the test runner does; see ``TestRunner.kept``."""


class Domain(Protocol):
    """A kind of task. A domain has no state.

    ``Prompted`` (prompted.py) is a base class to start a domain of your own from.
    """

    name: str
    packages: tuple[str, ...]
    """The packages that the tests of this domain import."""
    install: str
    """The command that installs ``packages``."""

    @property
    def reply_prefix(self) -> str:
        """Return the text that the reply begins with. It is given to the model, which continues it."""

    @property
    def stop_text(self) -> str:
        """Return the text that ends the completion. If it is empty, the model's own end-of-text token does."""

    def prompt(self, task: Task, *, feedback: Feedback = EVERYTHING) -> str:
        """Return the message that asks for a draft. ``feedback.public_checks`` decides whether it shows the public checks."""

    def repair_prompt(
        self,
        task: Task,
        attempt: Attempt,
        *,
        max_facts: int = MAX_FACTS,
        feedback: Feedback = EVERYTHING,
        facts_of: Attempt | None = None,
    ) -> str:
        """Return the message that shows an attempt with the facts of its tests, or says that it passed.

        At most ``max_facts`` failed checks are shown. The message should begin with the draft's message, since the model then
        computes the shared beginning only once.
        ``facts_of`` is the attempt whose facts are shown. It is ``attempt`` itself unless a control shows the facts of another one.
        """

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the code in ``text``, which is a completion without ``reply_prefix``, as it will be judged. Never raises."""

    def completion(self, code: str) -> str:
        """Return the completion that carries ``code``, which is what training teaches. ``extract`` gets ``code`` back."""

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Test ``code`` against ``checks`` and return a future verdict, so that decoding can go on in the meantime."""

    def nothing(self, task: Task) -> str:
        """Return an answer that does nothing. It must fail the hidden checks of every task."""

    def normalise(self, code: str) -> str:
        """Return a normal form that is equal for two programs that differ only in layout, comments or docstrings."""

    def tokens(self, code: str) -> Sequence[str]:
        """Return the lexical tokens of ``code``, from which edit distances are computed."""
