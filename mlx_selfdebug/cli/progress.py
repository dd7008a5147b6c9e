"""Choose how progress is shown: as bars on stderr in a terminal, and not at all in a pipe or with ``--quiet``."""

from __future__ import annotations

import sys

from mlx_selfdebug.progress import Bars, NullProgress, Progress


def progress(*, quiet: bool) -> Progress:
    return NullProgress() if quiet or not sys.stderr.isatty() else Bars()
