"""Install the seccomp filters of ``policy.py`` and ``command_policy.py``.

The filter of the children is laid out in memory before the fork, so that each child only has to write its number into it and make
one system call.
"""

from __future__ import annotations

import ctypes
import os
from struct import pack_into

from mlx_selfdebug.sandbox.confinement.capabilities import forbid_new_privileges
from mlx_selfdebug.sandbox.confinement.kernel import PR_GET_SECCOMP, Prepared, prctl
from mlx_selfdebug.sandbox.confinement.policy import child_filter
from mlx_selfdebug.sandbox.confinement.syscalls import Machine

# The operation and the flag of the call (``linux/seccomp.h``).
_SET_MODE_FILTER, _FOR_ALL_THREADS = 1, 1
_MODE_FILTER = 2
"""What PR_GET_SECCOMP answers while a filter is in force."""


class _Program(ctypes.Structure):
    """``struct sock_fprog``: the number of instructions and the address of the first."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """A filter in memory that this process, or one forked from it, can install."""

    def __init__(self, code: bytes) -> None:
        self.code = ctypes.create_string_buffer(code, len(code))
        self._program = _Program(len(code) // 8, ctypes.addressof(self.code))
        self._call = Prepared("seccomp", _SET_MODE_FILTER, _FOR_ALL_THREADS, ctypes.addressof(self._program))

    def install(self) -> None:
        """Install the filter for every thread of this process, for good. Raises OSError if the kernel refuses."""
        if self._call():  # the call returns the number of a thread that it could not bring along
            raise OSError("the filter could not be installed for every thread")


class ChildFilter(Filter):
    """The second filter, into which each child puts its own process number."""

    def __init__(self, machine: Machine) -> None:
        prepared = child_filter(machine)
        super().__init__(prepared.code)
        self._pid_offsets = prepared.pid_offsets

    def install(self) -> None:
        """Install the filter with the number of this process. Call this in the forked child."""
        pid = os.getpid()
        for offset in self._pid_offsets:
            pack_into("I", self.code, offset, pid)
        super().install()


def enter(machine: Machine, code: bytes) -> str:
    """Install the filter ``code``, which was made for this machine, and return a description of it.

    Raises OSError if the kernel has no filters.
    """
    forbid_new_privileges()
    filter_ = Filter(code)
    filter_.install()
    if prctl(PR_GET_SECCOMP) != _MODE_FILTER:
        raise OSError("the filter is not in force")
    return f"{machine.name}: {len(filter_.code) // 8} instructions"
