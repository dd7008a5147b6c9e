"""Send the points of a run to trackers, as the process that ``following.track`` starts.

    python -m mlx_selfdebug.tracking RUN TRACKERS

The standard input is a pipe. The run has ended when a byte comes through it, or when it is closed.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from mlx_selfdebug.errors import SelfDebugError
from mlx_selfdebug.tracking.following import follow


def main(path: str, trackers: str) -> int:
    """Follow the run at ``path`` and return the exit code."""
    ended = threading.Event()

    def wait() -> None:
        os.read(0, 1)
        ended.set()

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()
    try:
        follow(Path(path), trackers.split(","), ended, _say)
    except SelfDebugError as error:
        _say(f"tracking: {error}")
        return error.exit_code
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
