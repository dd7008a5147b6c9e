"""Set the descriptors and the limits of a forked child before anything untrusted runs in it.

The functions do little more than make system calls. A child shares the memory pages of its parent until it touches them, so every
page that code here touches is copied in every run.
"""

from __future__ import annotations

import os
import resource

MAX_OPEN_FILES = 64
_MAX_FDS = 256
"""The bound of the descriptors that are closed. A zygote has fewer, and some systems close a range one by one."""


def renumber(*fds: int) -> None:
    """Start a session and copy the descriptors ``fds`` to the numbers from 3 on.

    Their present numbers must be higher than all the new ones, so that no copy takes the place of one that is still needed.
    """
    os.setsid()
    for number, fd in enumerate(fds, 3):
        os.dup2(fd, number, False)


def close_from(fd: int) -> None:
    """Close all descriptors from ``fd`` on."""
    os.closerange(fd, _MAX_FDS)


def set_limits(cpu_s: int, address_space: int) -> None:
    """Limit this process to ``cpu_s`` processor seconds, ``address_space`` bytes of memory, and ``MAX_OPEN_FILES`` open files.

    It can then write neither files nor core dumps. A ``cpu_s`` or ``address_space`` of 0 means no such limit.
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
