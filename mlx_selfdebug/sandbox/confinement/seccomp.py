"""Install the filters of ``policy.py`` and ``command_policy.py``.

The child's filter is laid out in memory before the fork, so that installing it costs each child one call.
"""

from __future__ import annotations

import ctypes
import os
from struct import pack_into

from mlx_selfdebug.sandbox.confinement.capabilities import forbid_new_privileges
from mlx_selfdebug.sandbox.confinement.kernel import PR_GET_SECCOMP, Prepared, prctl
from mlx_selfdebug.sandbox.confinement.policy import child_filter
from mlx_selfdebug.sandbox.confinement.syscalls import Machine

_SET_FILTER, _ALL_THREADS = 1, 1
_FILTERING = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """A filter in memory that this process, or one forked from it, can install."""

    def __init__(self, code: bytes) -> None:
        self.code = ctypes.create_string_buffer(code, len(code))
        self._program = _Program(len(code) // 8, ctypes.addressof(self.code))
        self._call = Prepared("seccomp", _SET_FILTER, _ALL_THREADS, ctypes.addressof(self._program))

    def install(self) -> None:
        """Install the filter for every thread of this process, for good. Raises OSError if the kernel refuses."""
        if self._call():
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
    """Install a filter for this machine and return a description of it. Raises OSError if the kernel has no filters."""
    forbid_new_privileges()
    filter_ = Filter(code)
    filter_.install()
    if prctl(PR_GET_SECCOMP) != _FILTERING:
        raise OSError("the filter is not in force")
    return f"{machine.name}: {len(filter_.code) // 8} instructions"
