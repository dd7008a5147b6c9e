"""A stage in a process of its own, watched by this one, and begun again when it dies of what no Python can catch: an abort in C++
where Metal has no memory left, the out-of-memory killer, the GPU's watchdog, or a hang.

This process holds no model. A stage goes on from what is stored; training also computes less at a time from one start to the
next. The stage ends if this process does, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import TrainingError

RESTARTS = 3
HANG_S = 1800.0
"""Seconds in which nothing is stored."""
POLL_S = 0.2
INTERRUPTED = 130


@dataclass(frozen=True)
class Death:
    """How a stage died, and how many seconds it had run."""

    reason: str
    after_s: float


def supervise(
    command: Callable[[int], Sequence[str]],
    folder: Path,
    *,
    died: Callable[[int, Death], None],
    restarts: int = RESTARTS,
    hang_s: float = HANG_S,
) -> int:
    """Run ``command(0)``, and ``command(n)`` after its n-th death; ``died`` is told of each. The exit code of the one that ended.

    Nothing written to in ``folder`` for ``hang_s`` seconds counts as a death. Raises TrainingError if it died more than
    ``restarts`` times.
    """
    deaths: list[Death] = []
    while len(deaths) <= restarts:
        ended = _run(command(len(deaths)), folder, hang_s)
        if isinstance(ended, int):
            return ended
        deaths.append(ended)
        died(len(deaths), ended)
    reasons = ", ".join(death.reason for death in deaths)
    raise TrainingError(
        f"the process died {len(deaths)} times: {reasons}; what is finished is stored",
        hint="close other programs and run the same command again, or take a smaller model",
    )


def end_with_parent() -> None:
    """In the stage: end when the process that watches it does. Its standard input is a pipe that nobody writes to."""

    def wait() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


def _run(command: Sequence[str], folder: Path, hang_s: float) -> int | Death:
    begin = time.monotonic()
    # In a group of its own the stage is not interrupted by the terminal but by us, once.
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, env=_environment()) as process:
        try:
            hung = not _ended(process, folder, hang_s)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            return INTERRUPTED
        if hung:
            process.kill()
            process.wait()
            return Death(f"nothing was stored for {hang_s:.0f} s", time.monotonic() - begin)
    if process.returncode >= 0:
        return process.returncode
    if -process.returncode in (signal.SIGINT, signal.SIGTERM):
        return INTERRUPTED
    return Death(f"killed by {_signal(-process.returncode)}", time.monotonic() - begin)


def _environment() -> dict[str, str]:
    """On macOS the GPU's watchdog may end long work while the display is on; a variable makes it more patient, in part."""
    patient = {"AGX_RELAX_CDM_CTXSTORE_TIMEOUT": "1"} if sys.platform == "darwin" else {}
    return {**patient, **os.environ}


def _ended(process: subprocess.Popen[bytes], folder: Path, hang_s: float) -> bool:
    """False if it hangs."""
    last, since = _written(folder), time.monotonic()
    while True:
        try:
            process.wait(POLL_S)
            return True
        except subprocess.TimeoutExpired:
            now = _written(folder)
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > hang_s:
                return False


def _written(folder: Path) -> float:
    """When anything in the run's folder was last written to."""
    try:
        return max((entry.stat().st_mtime for entry in os.scandir(folder)), default=0.0)
    except OSError:
        return 0.0


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def process_command(stage: str, run: Path, starts: int, flags: Sequence[str]) -> list[str]:
    """This program, for one stage of ``run`` that is watched and has died ``starts`` times."""
    return [
        sys.executable,
        "-m",
        "mlx_selfdebug",
        stage,
        "--run",
        str(run),
        "--watched",
        "--smaller",
        str(starts),
        *flags,
    ]
