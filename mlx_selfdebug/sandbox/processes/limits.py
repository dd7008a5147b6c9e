"""Set the descriptors and limits of a forked child before anything untrusted runs.

Each step is a bare system call, because every memory page that Python code touches here has to be copied in every run.
"""

from __future__ import annotations

import os
import resource

MAX_OPEN_FILES = 64
# A zygote has few descriptors, and some systems close them one by one.
_MAX_FDS = 256


def renumber(*fds: int) -> None:
    """Start a session and move ``fds`` to the numbers from 3 on.

    Their present numbers must be higher than any of the new ones.
    """
    os.setsid()
    for number, fd in enumerate(fds, 3):
        os.dup2(fd, number, False)


def close_from(fd: int) -> None:
    os.closerange(fd, _MAX_FDS)


def set_limits(cpu_s: int, address_space: int) -> None:
    """Set the limits of this process: processor seconds, bytes of address space, files and core dumps.

    If ``cpu_s`` or ``address_space`` is 0, there is no such limit.
    """
    set_limit = resource.setrlimit
    if cpu_s:
        # The hard limit is one second later, for programs that ignore the signal of the soft one.
        set_limit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    set_limit(resource.RLIMIT_FSIZE, (0, 0))
    set_limit(resource.RLIMIT_CORE, (0, 0))
    set_limit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if address_space:
        set_limit(resource.RLIMIT_AS, (address_space, address_space))
