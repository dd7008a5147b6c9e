"""Run a stage in its own process, watch it, and start it again if it dies of something that Python cannot catch.

That may be an abort in C++ when Metal has no memory left, the out-of-memory killer, the GPU's watchdog, or a hang.

The watching process holds no model. A restarted stage goes on from what is stored, and a training also computes less at a time with
each restart. When the watching process ends, for whatever reason, the stage ends as well.
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

MAX_RESTARTS = 3
HANG_S = 1800.0
"""A stage that stores nothing for this many seconds counts as hung."""
POLL_S = 0.2
INTERRUPTED = 130


@dataclass(frozen=True)
class Death:
    """The death of a stage's process."""

    reason: str
    after_s: float
    """The seconds that the process had run."""

    def __str__(self) -> str:
        return f"died after {self.after_s:.0f} s ({self.reason})"


def supervise(
    command: Callable[[int], Sequence[str]],
    folder: Path,
    *,
    died: Callable[[int, Death], None],
    restarts: int = MAX_RESTARTS,
    hang_s: float = HANG_S,
) -> int:
    """Run ``command(0)``, then ``command(n)`` after the n-th death, and return the exit code of the process that ended by itself.

    ``died`` is called after each death. A process is killed, which counts as a death, if nothing in ``folder`` is written to for
    ``hang_s`` seconds. Raises TrainingError if there are more than ``restarts`` deaths.
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
        hint="close other programs and run the same command again, or choose a smaller model",
    )


def end_with_parent() -> None:
    """End this process, a stage, when the process that watches it ends.

    The standard input of a stage is a pipe to which nothing is written, so that a read returns only when the watcher has ended.
    """

    def wait() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


def _run(command: Sequence[str], folder: Path, hang_s: float) -> int | Death:
    begin = time.monotonic()
    # The stage has its own process group, so that Ctrl-C in the terminal does not reach it. It is interrupted below, once.
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
            return Death(f"killed since nothing was stored for {hang_s:.0f} s", time.monotonic() - begin)
    if process.returncode >= 0:
        return process.returncode
    if -process.returncode in (signal.SIGINT, signal.SIGTERM):
        return INTERRUPTED
    return Death(f"killed by {_signal(-process.returncode)}", time.monotonic() - begin)


def _environment() -> dict[str, str]:
    """Return the environment of a stage.

    On macOS the GPU's watchdog may end long work while the display is on. The variable makes it more patient, in part.
    """
    patient = {"AGX_RELAX_CDM_CTXSTORE_TIMEOUT": "1"} if sys.platform == "darwin" else {}
    return {**patient, **os.environ}


def _ended(process: subprocess.Popen[bytes], folder: Path, hang_s: float) -> bool:
    """Wait for the process and return whether it ended. False means that it hangs."""
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
    """Return the time at which a file in the run's folder was last written to."""
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
    """Return the command that runs one stage of ``run`` as a watched process, after ``starts`` deaths."""
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
