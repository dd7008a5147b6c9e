"""What a forked child sets on itself before anything untrusted runs. Each step is a bare system call: a page that Python code
touches here is a page copied in every run.
"""

from __future__ import annotations

import os
import resource

MAX_OPEN_FILES = 64
_LAST = 256  # a zygote has few descriptors, and some systems close them one by one


def renumber(*fds: int) -> None:
    """A session of its own, and ``fds`` from 3 on. They must stand above their targets."""
    os.setsid()
    for number, fd in enumerate(fds, 3):
        os.dup2(fd, number, False)


def close_from(fd: int) -> None:
    os.closerange(fd, _LAST)


def set_limits(cpu_s: int, address_space: int) -> None:
    """``cpu_s`` 0 and ``address_space`` (bytes) 0 for none."""
    set_limit = resource.setrlimit
    if cpu_s:
        # The hard limit is one second later, for programs that ignore the signal of the soft one.
        set_limit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    set_limit(resource.RLIMIT_FSIZE, (0, 0))
    set_limit(resource.RLIMIT_CORE, (0, 0))
    set_limit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if address_space:
        set_limit(resource.RLIMIT_AS, (address_space, address_space))
