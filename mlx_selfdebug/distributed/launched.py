"""Find out whether ``mlx.launch`` started this process as one of several, and join the others.

``mlx.launch`` starts the same command once on each machine and tells each process its number, the rank, in an environment variable:

    mlx.launch --hostfile hosts.json -- mlx-selfdebug run      # sets MLX_HOSTFILE, and MLX_RANK to 0, 1, ...

This module imports MLX only when it joins other ranks. A command that was started alone never waits for that import here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mlx_selfdebug.distributed.group import ALONE, Group
from mlx_selfdebug.errors import DistributedError

JOIN_S = 90.0
"""The seconds within which all ranks have to be there."""
_BACKENDS = {"MLX_HOSTFILE": "ring", "MLX_IBV_DEVICES": "jaccl", "NCCL_HOST_IP": "nccl", "OMPI_COMM_WORLD_SIZE": "mpi"}
"""The backends of ``mx.distributed``, by the environment variable that a launcher sets for each."""
_RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK")
"""The environment variables that may hold the rank."""
_GUARD = """
import os, signal, sys, time
parent, seconds, message = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
time.sleep(seconds)
if os.getppid() == parent:
    sys.stderr.write(message + "\\n")
    sys.stderr.flush()
    os.kill(parent, signal.SIGKILL)
"""
"""The program of a guard: a process that kills its parent after some seconds, unless the parent has killed the guard by then.

A thread of the parent could not do this: MLX holds Python's global lock while it waits for other ranks to join.
"""


def launched_rank() -> int | None:
    """Return the rank that a launcher gave to this process, or None if it was started alone."""
    if _backend() is None:
        return None
    text = next((os.environ[name] for name in _RANKS if name in os.environ), "")
    return int(text) if text.isdigit() else None


@cache
def join() -> Group:
    """Return the group of this process: the ranks that were launched together, or ``ALONE`` if it was started by itself.

    The first call waits until all ranks are there. If that takes more than ``JOIN_S`` seconds, the process is ended with a message
    on stderr. Raises DistributedError if the backend cannot be started, for example because a port is in use.
    """
    rank, backend = launched_rank(), _backend()
    if rank is None or backend is None:
        return ALONE
    from mlx_selfdebug.models.backend import mx

    waiting = (
        f"Error: rank {rank} has waited {JOIN_S:.0f} seconds for the other ranks\n"
        "  help: see that every machine of the hosts file is on and can be reached: mlx-selfdebug doctor --hosts FILE"
    )
    try:
        with _ended_after(JOIN_S, waiting):
            group = mx.distributed.init(strict=True, backend=backend)
    except (RuntimeError, ValueError) as error:
        raise DistributedError(f"rank {rank} cannot join the others: {error}", hint=_hint(str(error))) from error
    return Group(group.rank(), group.size(), group, on_gpu=backend == "nccl")


def _backend() -> str | None:
    """Return the backend of ``mx.distributed`` for which this process was launched, or None if it was started alone.

    A process also counts as started alone if its hosts file is empty, as it is when ``mlx.launch`` starts a single process.
    """
    name = next((name for name in _BACKENDS if os.environ.get(name)), None)
    if name == "MLX_HOSTFILE":
        file = Path(os.environ[name])
        if file.is_file() and not file.read_text(encoding="utf-8", errors="replace").strip():
            return None
    return _BACKENDS[name] if name else None


def _hint(problem: str) -> str:
    """Return what to do about an error of ``mx.distributed.init``, by its message."""
    if "bind" in problem:  # as in "[ring] Couldn't bind socket (error: 98)"
        return "another program listens on this port: choose others with mlx.launch --starting-port PORT"
    return "look at the hosts file with: mlx-selfdebug doctor --hosts FILE"


@contextmanager
def _ended_after(seconds: float, message: str) -> Iterator[None]:
    """Kill this process, after printing ``message``, if the block takes more than ``seconds`` seconds."""
    arguments = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), str(seconds), message]
    guard = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        guard.kill()
        guard.wait()
