"""Progress bars on stderr; silent in a pipe or when asked."""

from __future__ import annotations

import sys

from mlx_selfdebug.progress import Bars, NullProgress, Progress


def progress(*, quiet: bool) -> Progress:
    return NullProgress() if quiet or not sys.stderr.isatty() else Bars()
