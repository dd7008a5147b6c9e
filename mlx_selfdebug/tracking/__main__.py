"""Send the points of a run to trackers, as the process that ``following.track`` starts.

    python -m mlx_selfdebug.tracking RUN TRACKERS

The standard input is a pipe from the process that works on the run. A byte in the pipe says that the run has ended. If that
process dies, the pipe is closed, which says the same.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from mlx_selfdebug.errors import SelfDebugError
from mlx_selfdebug.tracking.following import follow


def main(path: str, trackers: str) -> int:
    """Send the points of the run at ``path`` to ``trackers``, which commas separate, until the run ends. Return the exit code."""
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
