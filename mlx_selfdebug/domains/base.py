"""Define the protocol that every domain follows.

A domain handles one kind of task. It writes the prompts, takes the code out of a reply, and has the code tested. Most other modules
of this package define one domain each, or two that are closely related, and ``__init__.py`` registers them.
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
    """The part of a test runner that domains use. ``TestRunner`` provides it, and so do the wrappers around a ``TestRunner``."""

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Start a test of ``source`` and return the future of its verdict; see ``TestRunner.submit``."""

    @property
    def manner(self) -> Manner:
        """How programs are to be run, for a domain that does not run them by ``submit``."""

    def kept(self, key: Hashable, opened: Callable[[Level], AbstractContextManager[T]]) -> T:
        """Return what ``opened`` has opened for ``key``, such as the test suite of a project.

        It stays open until the test runner is closed; see ``TestRunner.kept``.
        """


class Domain(Protocol):
    """A kind of task. A domain has no state.

    ``Prompted`` (prompted.py) is a base class to start a domain of your own from.
    """

    name: str
    """The name that tasks refer to the domain by, such as "python"."""
    packages: tuple[str, ...]
    """The packages that the tests of this domain import."""
    install: str
    """The command that installs ``packages``."""

    def require_installed(self) -> None:
        """Raise UsageError if something is not installed that the tests of this domain need."""

    @property
    def reply_prefix(self) -> str:
        """The text that the reply begins with. The prompt ends with it, and the model continues from there."""

    @property
    def stop_text(self) -> str:
        """The text that ends the completion. If it is empty, only the model's own end-of-text token does."""

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
        """Return the message that shows an attempt with the facts of its tests and asks for a better one.

        If the attempt passed, the message says so. It shows at most ``max_facts`` failed checks, and only what ``feedback`` allows.
        It should begin with the message that asks for a draft, so that the model computes the shared beginning only once.
        ``facts_of`` is the attempt whose facts are shown. The default is ``attempt``; a control may show the facts of another one.
        """

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the code to judge in ``text``, which is a completion without ``reply_prefix``. Never raises."""

    def completion(self, code: str) -> str:
        """Return the completion that training teaches for ``code``. ``extract`` must take ``code`` out of it again."""

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Start a test of ``code`` against ``checks`` and return the future of its verdict. Decoding goes on in the meantime."""

    def nothing(self, task: Task) -> str:
        """Return an answer that does nothing. It must fail the hidden checks of its task."""

    def normalise(self, code: str) -> str:
        """Return a normal form of ``code``. It is equal for programs that differ only in layout, comments or docstrings."""

    def tokens(self, code: str) -> Sequence[str]:
        """Return the lexical tokens of ``code``, in which edit distances are counted."""
