"""Choose how progress is shown: as bars in a terminal, as a line per minute in a pipe or a file, or not at all (``--quiet``)."""

from __future__ import annotations

import sys

from mlx_selfdebug.progress import Bars, Lines, NullProgress, Progress


def progress(*, quiet: bool) -> Progress:
    """Return the progress that suits stderr, to which it is written."""
    if quiet:
        return NullProgress()
    return Bars() if sys.stderr.isatty() else Lines()
