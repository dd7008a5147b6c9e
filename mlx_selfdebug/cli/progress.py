"""Progress bars on stderr; silent in a pipe or when asked."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from mlx_selfdebug.progress import NullProgress, Progress


class _Bar:
    """One bar. Notes that recur (outcomes, say) are counted; the rest show as they come."""

    def __init__(self, bar: tqdm[None]) -> None:
        self._bar = bar
        self._passed: Counter[str] = Counter()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._bar.update(n)
        if note == "passed":
            self._passed[note] += 1
            self._bar.set_postfix_str(f"{self._passed[note]} passed", refresh=False)
        elif note and not self._passed:
            self._bar.set_postfix_str(note, refresh=False)


class Bars:
    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[_Bar]:
        scaled = unit == "B"
        with tqdm(
            desc=name, total=total, unit=unit if scaled else f" {unit}", unit_scale=scaled, unit_divisor=1000,
            dynamic_ncols=True, mininterval=0.5, smoothing=0.1, file=sys.stderr, leave=True,
        ) as bar:  # fmt: skip
            yield _Bar(bar)


def progress(*, quiet: bool) -> Progress:
    return NullProgress() if quiet or not sys.stderr.isatty() else Bars()
