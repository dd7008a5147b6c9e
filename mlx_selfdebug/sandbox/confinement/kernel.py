"""System calls through ctypes, with OSError for a failure. Linux alone; nothing is loaded until the first call."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

from mlx_selfdebug.sandbox.confinement.syscalls import this_machine

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_KEEPCAPS = 1, 4, 21, 8
PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 28, 38, 47


class Prepared:
    """A system call laid out beforehand. In a forked child each object that is touched costs the copy of a page."""

    def __init__(self, name: str, *arguments: int) -> None:
        machine = this_machine()
        if machine is None:
            raise OSError(errno.ENOSYS, f"no system call table for this machine: {name}")
        self._name = name
        self._function = _libc().syscall
        six = (*arguments, *(0,) * (6 - len(arguments)))
        self._arguments = tuple(ctypes.c_long(value) for value in (machine.numbers[name], *six))

    def __call__(self) -> int:
        """The result. OSError with the kernel's error number."""
        result: int = self._function(*self._arguments)
        if result == -1:
            error = ctypes.get_errno()
            raise OSError(error, f"{self._name}: {os.strerror(error)}")
        return result


def call(name: str, *arguments: int) -> int:
    """The result of a system call; pointers are given as addresses. OSError with its error number, ENOSYS without a table."""
    return Prepared(name, *arguments)()


def prctl(option: int, *arguments: int) -> int:
    """``prctl`` with missing arguments as 0, as some options demand."""
    return call("prctl", option, *arguments, *(0,) * (4 - len(arguments)))


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """``mount``; an empty ``kind`` or ``data`` is left out."""
    texts = [ctypes.create_string_buffer(os.fsencode(text)) for text in (source, target, kind, data)]
    where, to, what, options = (ctypes.addressof(text) if text.value else 0 for text in texts)
    call("mount", where, to, what, flags, options)


def call_on_path(name: str, path: str, *arguments: int, before: tuple[int, ...] = ()) -> int:
    """A system call whose one path stands between ``before`` and ``arguments``."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    return call(name, *before, ctypes.addressof(text), *arguments)


def close_all_but(*fds: int) -> None:
    """Close every other descriptor of this process."""
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
