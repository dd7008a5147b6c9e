"""Define where a stream keeps its attempts: a record, which is a run's folder or only the memory of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mlx_selfdebug.config import Config
from mlx_selfdebug.distributed import ALONE, Group
from mlx_selfdebug.values.attempt import Attempt


class Record(Protocol):
    """Where a stream keeps its attempts, and finds those that were made before. A ``Run`` is a record."""

    @property
    def config(self) -> Config:
        """The settings, of which the stream uses the seed."""

    @property
    def group(self) -> Group:
        """The machines that work on the same record. Each of them has the attempts of all."""

    def attempts(self, arm: str | None = None) -> Sequence[Attempt]:
        """Return the attempts that are kept, or those of one arm."""

    def add_attempt(self, attempt: Attempt) -> None:
        """Keep one finished attempt."""


class MemoryRecord:
    """A record that is kept in memory only, for attempts that nobody needs later."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.group = ALONE
        self._attempts: list[Attempt] = []

    def attempts(self, arm: str | None = None) -> Sequence[Attempt]:
        """Return the attempts, or those of one arm, in the order in which they were made."""
        return [attempt for attempt in self._attempts if arm in (None, attempt.arm)]

    def add_attempt(self, attempt: Attempt) -> None:
        """Keep one finished attempt."""
        self._attempts.append(attempt)
