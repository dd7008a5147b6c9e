"""Limit the number of processes and threads in a process namespace, which Linux does since version 6.14.

    limit = ProcessLimit()        # before the namespaces are entered, while there is a /proc
    ...                           # become the first process of a namespace
    limit.set(256)

The limit holds for every user, root included, unlike RLIMIT_NPROC.
"""

from __future__ import annotations

import os
import re

FIRST_VERSION = (6, 14)
"""The first version of Linux in which every process namespace has this limit of its own."""
_SETTING = "sys/kernel/pid_max"
"""The file below /proc that holds the highest process number. A namespace has no more processes than numbers."""
_RESERVED = 300
"""How many of the lowest numbers are not given out again: the kernel gives each of them only once in a namespace."""


def kernel_version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a kernel's release, such as ``6.14.0-rc1``, or (0, 0) if it does not begin with numbers."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


class ProcessLimit:
    """The limit on the processes of a process namespace, which is made outside and set from inside.

    In older kernels the same file holds the limit of the whole machine, which must not be touched.
    """

    def __init__(self) -> None:
        """Open the files that are needed later. Raises OSError if there is no /proc."""
        self._proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # While this descriptor is open, the setting of the outside keeps its inode, by which it is recognised.
        self._outside = os.open(_SETTING, os.O_PATH | os.O_CLOEXEC, dir_fd=self._proc)

    def set(self, processes: int) -> bool:
        """Let there be at least ``processes`` in the namespace of this process, and at most about 300 more.

        Return whether the limit is set. Afterwards this object is closed.
        """
        try:
            return kernel_version(os.uname().release) >= FIRST_VERSION and self._set(_RESERVED + processes)
        except OSError:
            return False
        finally:
            self.close()

    def _set(self, highest: int) -> bool:
        """Make ``highest`` the highest process number in this namespace, and return whether that was done."""
        setting = os.open(_SETTING, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            if os.fstat(setting).st_ino == os.fstat(self._outside).st_ino:  # the setting of the whole machine
                return False
            os.write(setting, str(highest).encode())
            return True
        finally:
            os.close(setting)

    def close(self) -> None:
        os.close(self._proc)
        os.close(self._outside)
