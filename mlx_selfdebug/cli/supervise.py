"""Run a stage in its own process, watch it, and start it again if it dies of something that Python cannot catch.

Such deaths are: an abort in C++ when Metal is out of memory, a kill by the out-of-memory killer or the GPU's watchdog, and a hang,
which is ended here.

The watching process holds no model. A restarted stage goes on from what is stored. Training also computes less at a time after each
restart. When the watching process ends, for whatever reason, the stage ends, too.
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
"""The number of deaths after which a stage is started again. After one more death it is given up."""
HANG_S = 1800.0
"""A stage that stores nothing for this many seconds counts as hung."""
POLL_S = 0.2
"""The seconds between two looks at what the stage has stored."""
INTERRUPTED = 130
"""The exit code of a stage that the user interrupted."""


@dataclass(frozen=True)
class Death:
    """The death of a stage's process."""

    reason: str
    """What killed the process, as a phrase such as "killed by SIGABRT"."""
    after_s: float
    """The seconds for which the process had run."""

    def __str__(self) -> str:
        return f"died after {self.after_s:.0f} s ({self.reason})"


def supervise(
    command: Callable[[int], Sequence[str]],
    folder: Path,
    *,
    on_death: Callable[[int, Death], None],
    restarts: int = MAX_RESTARTS,
    hang_s: float = HANG_S,
) -> int:
    """Run ``command(0)``, and ``command(n)`` after the n-th death, until a process ends by itself or the user interrupts it.

    Return the exit code of that process, or ``INTERRUPTED`` if it was interrupted. ``on_death(n, death)`` is called after the n-th
    death, and so also after the last one, when ``n`` is ``restarts + 1`` and no process follows. If nothing is written to a file
    directly in ``folder`` (such as the run's database) for ``hang_s`` seconds, the process is killed, and that counts as a death.
    Raises TrainingError after more than ``restarts`` deaths.
    """
    deaths: list[Death] = []
    while len(deaths) <= restarts:
        end = _run(command(len(deaths)), folder, hang_s)
        if isinstance(end, int):
            return end
        deaths.append(end)
        on_death(len(deaths), end)
    reasons = ", ".join(death.reason for death in deaths)
    raise TrainingError(
        f"the process died {len(deaths)} times: {reasons}; what is finished is stored",
        hint="close other programs and run the same command again, or choose a smaller model",
    )


def end_with_parent() -> None:
    """Have this process, which runs a stage, end when the process that watches it ends.

    The standard input of a stage is a pipe to which nothing is written. A read from it returns only when the watching process has
    ended, because that closes the pipe.
    """

    def wait() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


def process_command(stage: str, run: Path, n_deaths: int, flags: Sequence[str]) -> list[str]:
    """Return the command line that runs a stage of ``run`` as a watched process, after ``n_deaths`` deaths of earlier processes."""
    return [
        sys.executable,
        "-m",
        "mlx_selfdebug",
        stage,
        "--run",
        str(run),
        "--watched",
        "--deaths",
        str(n_deaths),
        *flags,
    ]


def _run(command: Sequence[str], folder: Path, hang_s: float) -> int | Death:
    """Run a command, and return its exit code if it ended by itself or was interrupted, or else its death."""
    begin = time.monotonic()
    # The stage has its own process group, so that Ctrl-C in the terminal does not reach it. It is interrupted below, once.
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, env=_environment()) as process:
        try:
            is_hung = not _wait(process, folder, hang_s)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            return INTERRUPTED
        if is_hung:
            process.kill()
            process.wait()
            return Death(f"killed since nothing was stored for {hang_s:.0f} s", time.monotonic() - begin)
    if process.returncode >= 0:
        return process.returncode
    # SIGINT is the user's. SIGTERM counts as a death: a user's SIGTERM to the group would have ended this process first, so it
    # comes from a daemon such as earlyoom, which ends only the largest process.
    if -process.returncode == signal.SIGINT:
        return INTERRUPTED
    return Death(f"killed by {_signal_name(-process.returncode)}", time.monotonic() - begin)


def _environment() -> dict[str, str]:
    """Return the environment of a stage.

    On macOS, the GPU's watchdog may end long work while the display is on (ml-explore/mlx#3267). The variable relaxes the driver's
    context-store timeout for compute work. That helps on some machines, but not on all.
    """
    relaxed = {"AGX_RELAX_CDM_CTXSTORE_TIMEOUT": "1"} if sys.platform == "darwin" else {}
    return {**relaxed, **os.environ}


def _wait(process: subprocess.Popen[bytes], folder: Path, hang_s: float) -> bool:
    """Wait for the process, and return whether it ended. False means that it has stored nothing for ``hang_s`` seconds."""
    last, since = _last_write(folder), time.monotonic()
    while True:
        try:
            process.wait(POLL_S)
            return True
        except subprocess.TimeoutExpired:
            current = _last_write(folder)
            if current != last:
                last, since = current, time.monotonic()
            if time.monotonic() - since > hang_s:
                return False


def _last_write(folder: Path) -> float:
    """Return the time of the last write to a file directly in the folder of the run, or 0 if the folder cannot be read."""
    try:
        return max((entry.stat().st_mtime for entry in os.scandir(folder)), default=0.0)
    except OSError:
        return 0.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
