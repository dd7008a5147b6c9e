"""Make system calls through ctypes and raise OSError if one fails. Linux only; the C library is loaded by the first call."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

from mlx_selfdebug.sandbox.confinement.syscalls import this_machine

ADDR_NO_RANDOMIZE = 0x0040000
"""The flag of ``personality`` with which programs are loaded at the same addresses each time."""
# Options of ``prctl`` (``linux/prctl.h``).
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER = 1, 4, 21, 8, 36
PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 28, 38, 47


class Prepared:
    """A system call whose arguments are converted beforehand, so that a forked child only has to make it.

    Every object that a forked child touches costs it the copy of a memory page. Raises OSError if there is no system call table for
    this machine.
    """

    def __init__(self, name: str, *arguments: int) -> None:
        machine = this_machine()
        if machine is None:
            raise OSError(errno.ENOSYS, f"cannot call {name}: there is no system call table for this machine")
        self._name = name
        self._function = _libc().syscall
        all_arguments = (*arguments, *(0,) * (6 - len(arguments)))
        self._arguments = tuple(ctypes.c_long(value) for value in (machine.numbers[name], *all_arguments))

    def __call__(self) -> int:
        """Make the call and return its result. Raises OSError with the kernel's error number."""
        result: int = self._function(*self._arguments)
        if result == -1:
            error = ctypes.get_errno()
            raise OSError(error, f"{self._name}: {os.strerror(error)}")
        return result


def call(name: str, *arguments: int) -> int:
    """Make a system call and return its result. Pointers are passed as addresses.

    Raises OSError with the kernel's error number, or with ENOSYS if there is no system call table for this machine.
    """
    return Prepared(name, *arguments)()


def prctl(option: int, *arguments: int) -> int:
    """Call ``prctl`` with 0 for the missing arguments, and return its result. Some options demand the zeros.

    Raises OSError like ``call``.
    """
    return call("prctl", option, *arguments, *(0,) * (4 - len(arguments)))


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Call ``mount`` and raise OSError like ``call``. An empty text is passed as a null pointer."""
    texts = [ctypes.create_string_buffer(os.fsencode(text)) for text in (source, target, kind, data)]
    source_at, target_at, kind_at, data_at = (ctypes.addressof(text) if text.value else 0 for text in texts)
    call("mount", source_at, target_at, kind_at, flags, data_at)


def call_on_path(name: str, path: str, *arguments: int, before: tuple[int, ...] = ()) -> int:
    """Make a system call whose arguments are ``before``, ``path`` and ``arguments``, in this order, and return its result.

    Raises OSError like ``call``.
    """
    text = ctypes.create_string_buffer(os.fsencode(path))
    return call(name, *before, ctypes.addressof(text), *arguments)


def close_all_but(*fds: int) -> None:
    """Close every descriptor of this process except ``fds``."""
    start = 0
    for fd in (*sorted(fds), os.sysconf("SC_OPEN_MAX")):
        if fd > start:  # closerange(0, 0) would close everything
            os.closerange(start, fd)
        start = fd + 1


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
