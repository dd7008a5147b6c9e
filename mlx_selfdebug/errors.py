"""Define every error that this package raises on purpose.

    SelfDebugError            one clear line: what is wrong, where, which value, what is allowed, what to type next
    ├── UsageError            the caller asked for something that does not exist or does not fit (exit code 2)
    │   ├── ConfigError       an unknown key, a value out of range, or a run folder of another configuration
    │   ├── TaskError         a task set that cannot be read; carries every problem found, not only the first
    │   └── UnknownNameError  a model, task set, domain or command that does not exist; suggests the nearest
    ├── ModelError            a model that cannot be fetched or cannot be trusted
    │   ├── DownloadError     no network, an interruption, or no space; what was downloaded is kept
    │   ├── FormatError       a file that is truncated, corrupt, hostile or of a kind that is not read
    │   └── UnreadableError   a program that the model cannot read: empty, or too long for its context
    ├── StoreError            a run folder that is damaged, locked or full
    ├── BudgetError           more memory is needed than the budget allows; carries both numbers (exit code 3)
    ├── TrainingError         training cannot start or cannot go on
    └── SandboxError          the test runner itself failed, which is never the fault of the code under test

The command line prints the message and exits with ``exit_code``; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SelfDebugError(Exception):
    """The base class of all errors of this package. ``hint`` is the command or action that helps."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SelfDebugError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class TaskError(UsageError):
    """A task set with problems. ``problems`` lists each of them as ``file:line: what is wrong``."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__("\n  ".join([message, *problems]), hint=hint)
        self.problems = tuple(problems)


class UnknownNameError(UsageError):
    """A name that does not exist. ``kind`` is what was looked up ("model", "task set"), ``name`` what was asked for."""

    def __init__(self, kind: str, name: str, allowed: Iterable[str], *, hint: str | None = None) -> None:
        names = sorted(allowed)
        parts = [f"unknown {kind} {name!r}.", did_you_mean(name, names), f"Known: {', '.join(names)}"]
        super().__init__(" ".join(part for part in parts if part), hint=hint)
        self.name = name


class ModelError(SelfDebugError):
    pass


class DownloadError(ModelError):
    pass


class UnreadableError(ModelError):
    pass


class FormatError(ModelError):
    pass


class StoreError(SelfDebugError):
    pass


class BudgetError(SelfDebugError):
    """A budget that is too small. ``needed_bytes`` is the smallest budget that works."""

    exit_code = 3

    def __init__(self, message: str, *, needed_bytes: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed_bytes = needed_bytes


class TrainingError(SelfDebugError):
    pass


class SandboxError(SelfDebugError):
    pass


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that suggests the nearest of ``known`` for a mistyped name, or "" if none is near."""
    near = nearest(name, known)
    return f"Did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that a mistyped name was most likely meant to be, or None if none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)
