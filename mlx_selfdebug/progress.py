"""Report how far long work has come, and measure what its time is spent on.

The library draws nothing by itself: by default it reports to :class:`NullProgress`, which is silent. A caller may pass another
:class:`Progress`; the command line passes :class:`Bars` in a terminal, and :class:`Lines` where its output is kept in a file.

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
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


class Stage(Protocol):
    """A piece of work that is under way."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Report that ``n`` more units are done.

        ``note`` says in a few words what is going on. It is shown until the next note is given.
        """


class Progress(Protocol):
    """A reporter of stages. Stages may nest, and each ends when its ``with`` block ends, even by an exception."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Stage]:
        """Begin the stage ``name``.

        Args:
            name: a word or two for the work, such as "download".
            total: the number of units of work, or None if it is unknown.
            unit: what is counted, in the plural, such as "tensors" or "tasks"; "B" for bytes.
        """


class NullStage:
    """A stage that reports nothing."""

    def advance(self, n: int = 1, note: str = "") -> None:
        pass


class NullProgress:
    """The default progress everywhere, which reports nothing."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Stage]:  # noqa: ARG002
        return nullcontext(NullStage())


class Bars:
    """A progress that writes one line of text per stage to ``file``, by default to stderr.

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
            yield _BarStage(bar)


class _BarStage:
    """A stage that is shown as one bar of tqdm."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def advance(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)


class Lines:
    """A progress that writes a plain line per stage and minute, for output that is kept: a log, a pipe, continuous integration.

        collect: 120 of 300 tasks, 4.1 per second, 44 s left

    A line is written only when the stage reports something. A stage that ends before its first line is due writes nothing.
    """

    def __init__(self, file: TextIO | None = None, interval_s: float = 60.0) -> None:
        """``file`` is stderr by default. ``interval_s`` is the number of seconds between two lines of a stage."""
        self._file = file
        self._interval_s = interval_s

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        stage = _LineStage(name, total, unit, self._file or sys.stderr, self._interval_s)
        yield stage
        stage.end()


class _LineStage:
    """A stage that writes a line when it reports something and ``interval_s`` seconds have passed since its last line."""

    def __init__(self, name: str, total: int | None, unit: str, file: TextIO, interval_s: float) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._file, self._interval_s = file, interval_s
        self._done = 0
        self._note = ""
        self._begin_s = self._last_line_s = time.monotonic()
        self._has_written = False

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        self._note = note or self._note
        if time.monotonic() - self._last_line_s >= self._interval_s:
            self._write()

    def end(self) -> None:
        """Write a last line, if there were others."""
        if self._has_written:
            self._write()

    def _write(self) -> None:
        """Write a line with what is done, the units per second, and the time left or, without a total, the time so far."""
        self._last_line_s = time.monotonic()
        self._has_written = True
        seconds = self._last_line_s - self._begin_s
        rate = self._done / seconds if seconds else 0.0
        done = _amount(self._done, self._unit)
        if self._total:
            done += f" of {_amount(self._total, self._unit)}"
        if self._unit not in ("", "B"):
            done += f" {self._unit}"
        if self._total and rate and self._done < self._total:
            time_text = f"{_duration((self._total - self._done) / rate)} left"
        else:
            time_text = _duration(seconds)
        note = f" ({self._note})" if self._note else ""
        line = f"{self._name}: {done}, {_amount(rate, self._unit)} per second, {time_text}{note}"
        print(line, file=self._file, flush=True)


def _amount(count: float, unit: str) -> str:
    """Return a number of units as text, such as "1,200" or, for bytes, "65.5 MB"."""
    if unit == "B":
        return f"{count / 1e6:.1f} MB"
    return f"{count:,}" if isinstance(count, int) else f"{count:.3g}"


def _duration(seconds: float) -> str:
    """Return a span of time as text, such as "44 s" or "2 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def import_tqdm_quietly() -> None:
    """Import ``tqdm.auto`` without its warning, before another library imports it.

    In a notebook without widgets ``tqdm.auto`` warns that they are missing, but none of our bars needs them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tqdm.auto  # noqa: F401


class Spent:
    """A stopwatch that sums the wall time of each part of the work.

    spent = Spent()
    with spent.on("reading"):
        read_program()
    spent.seconds["reading"]
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """The seconds by part, such as "reading" or "waiting for tests"."""

    def add(self, part: str, seconds: float) -> None:
        """Add ``seconds`` to the time of ``part``."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Add the seconds that the ``with`` block takes to ``part``."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(part, time.monotonic() - begin)
