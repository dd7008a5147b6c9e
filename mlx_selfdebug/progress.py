"""How long work tells how far it is: one small protocol, and a silent default.

The library never draws a bar. Whoever calls it may pass a :class:`Progress`; the command line passes one that draws.

    with progress.stage("download", total=491_400_064, unit="B") as stage:
        stage.advance(65_536, note="part 1 of 6")
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Stage(Protocol):
    """One piece of work under way."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """``n`` more units are done; ``note`` says in a word or two what is being worked on."""


class Progress(Protocol):
    """Opens stages. Stages may nest; each ends when its ``with`` block does, also by an exception."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Stage]:
        """Begin ``name``: ``total`` units of ``unit`` ("B", "tensors", "tasks"), or None where nobody knows."""


class NullStage:
    def advance(self, n: int = 1, note: str = "") -> None:
        pass


class NullProgress:
    """Reports nothing: the default everywhere."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Stage]:  # noqa: ARG002
        return nullcontext(NullStage())
