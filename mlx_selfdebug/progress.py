"""Report how far long work has come: one small protocol, a silent default, and bars for those who want them.

The library never draws by itself. A caller may pass a :class:`Progress`; the command line passes :class:`Bars`.

    with progress.stage("download", total=491_400_064, unit="B") as stage:
        stage.advance(65_536, note="part 1 of 6")

In a notebook, the bars are plain text and need no widgets:

    sd.collect(run, model, tasks, progress=sd.Bars())
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TextIO


class Stage(Protocol):
    """One piece of work under way."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Report that ``n`` more units are done.

        ``note`` says in a few words what is going on, and stands until the next note.
        """


class Progress(Protocol):
    """A reporter of stages. Stages may nest, and each ends when its ``with`` block ends, even by an exception."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Stage]:
        """Begin the stage ``name`` of ``total`` units of ``unit`` ("B", "tensors", "tasks"); None means an unknown total."""


class NullStage:
    def advance(self, n: int = 1, note: str = "") -> None:
        pass


class NullProgress:
    """The default progress everywhere, which reports nothing."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Stage]:  # noqa: ARG002
        return nullcontext(NullStage())


def without_widgets() -> None:
    """Import ``tqdm.auto`` without its warning, before a library that draws with it imports it.

    In a notebook without widgets it warns that they are missing, and none of our bars needs them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tqdm.auto  # noqa: F401


class Bars:
    """A progress that writes one line of text per stage to ``file``, by default stderr.

    The line shows the share that is done, the time left, the units per second, and the stage's last note.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        from tqdm import tqdm

        scaled = unit == "B"
        with tqdm(
            desc=name, total=total, unit=unit if scaled else f" {unit}", unit_scale=scaled, unit_divisor=1000,
            dynamic_ncols=True, mininterval=0.5, smoothing=0.1, file=self._file or sys.stderr, leave=True,
        ) as bar:  # fmt: skip
            yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)


class Spent:
    """The seconds spent on each kind of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Add the seconds that the block takes to ``part``."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(part, time.monotonic() - begin)
