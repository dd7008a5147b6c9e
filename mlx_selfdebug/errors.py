"""Define every error that this package raises on purpose.

    SelfDebugError            exit code 1, unless a class below says otherwise
    ├── UsageError            exit code 2
    │   ├── ConfigError
    │   ├── TaskError
    │   └── UnknownNameError
    ├── ModelError
    │   ├── DownloadError
    │   ├── FormatError
    │   └── UnreadableError
    ├── StoreError
    ├── BudgetError           exit code 3
    ├── TrainingError
    ├── SandboxError
    ├── UploadError
    ├── ServerError
    ├── DistributedError
    └── TrackingError

A message says in one clear line what is wrong, where, which value is there and what is allowed; the hint says what to type next.
The command line prints both and exits with ``exit_code``; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SelfDebugError(Exception):
    """The base class of all errors of this package."""

    exit_code = 1
    """The exit code of the command line."""
    hint: str | None
    """The command or action that helps, if one is known."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def text(self) -> str:
        """The message, with the hint on a line below it if there is one: what a person should see."""
        return f"{self}\n  help: {self.hint}" if self.hint else str(self)


class UsageError(SelfDebugError):
    """The caller asked for something that does not exist or does not fit."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown key, a value out of range, or a run folder of another configuration."""


class TaskError(UsageError):
    """A task set that cannot be read. The error holds every problem that was found, not only the first."""

    problems: tuple[str, ...]
    """The problems, each as ``file:line: what is wrong``."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__("\n  ".join([message, *problems]), hint=hint)
        self.problems = tuple(problems)


class UnknownNameError(UsageError):
    """A model, task set, domain or command that does not exist. The message lists the known names and suggests the nearest.

    Args:
        kind: what was looked up, such as "model" or "task set".
        name: the name that was asked for.
        allowed: the names that exist.
        hint: the command or action that helps, if one is known.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str], *, hint: str | None = None) -> None:
        names = sorted(allowed)
        sentences = [f"unknown {kind} {name!r}.", did_you_mean(name, names), f"Known: {', '.join(names)}"]
        super().__init__(" ".join(filter(None, sentences)), hint=hint)
        self.name = name


class ModelError(SelfDebugError):
    """A model that cannot be fetched or cannot be trusted."""


class DownloadError(ModelError):
    """No network, an interruption, or no space. What was downloaded is kept."""


class FormatError(ModelError):
    """A file that is truncated, corrupt, hostile or of a kind that is not read."""


class UnreadableError(ModelError):
    """A program that the model cannot read, because it is empty or too long for the model's context."""


class StoreError(SelfDebugError):
    """A run folder that is damaged, locked or full."""


class BudgetError(SelfDebugError):
    """More memory is needed than the budget allows."""

    exit_code = 3
    needed_bytes: int
    """The smallest budget that works."""

    def __init__(self, message: str, *, needed_bytes: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed_bytes = needed_bytes


class TrainingError(SelfDebugError):
    """Training cannot start or cannot go on."""


class UploadError(SelfDebugError):
    """The hub refuses an upload or cannot be reached. The files that the hub had before are unchanged."""


class ServerError(SelfDebugError):
    """A server that cannot go on."""


class SandboxError(SelfDebugError):
    """The test runner itself failed, which is never the fault of the code under test."""


class DistributedError(SelfDebugError):
    """Ranks that work together cannot begin or go on.

    Args:
        on_all_ranks: whether every rank raises the same error. Then only rank 0 prints it.
    """

    def __init__(self, message: str, *, hint: str | None = None, on_all_ranks: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.on_all_ranks = on_all_ranks


class TrackingError(SelfDebugError):
    """A tracker cannot be opened, or does not store what it is sent."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that suggests the name in ``known`` nearest to a mistyped name, or "" if none is near."""
    near = nearest(name, known)
    return f"Did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in ``known`` that a mistyped name was most likely meant to be, or None if none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)
