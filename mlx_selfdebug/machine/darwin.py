"""Measure the memory of a process on macOS, and limit the address space of this process.

Both measuring calls are in ``libSystem``, which every process on a Mac has loaded. On other systems they do not exist, and the
measured size is 0. The offsets below follow the structures in XNU's ``bsd/sys/resource.h`` and ``bsd/sys/proc_info.h``. This module
needs only the standard library, since the sandboxed processes import it without the rest of the package.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import struct
from collections.abc import Callable
from functools import cache

_RUSAGE_INFO_V0 = 0
_RUSAGE_BYTES = 96
_PHYS_FOOTPRINT = 72
"""The offset of ``ri_phys_footprint`` in ``struct rusage_info_v0``.

The structure is ``uint8_t ri_uuid[16]``, then ten ``uint64_t``, of which this is the eighth. Every later version begins with the
same fields. The kernel writes the version that is asked for and no more.
"""

_PROC_PIDTASKINFO = 4
_TASKINFO_BYTES = 96
_VIRTUAL_SIZE = 0
"""The offset of ``pti_virtual_size`` in ``struct proc_taskinfo``.

The structure is six ``uint64_t``, of which this is the first, then twelve ``int32_t``.
"""

_SPARE = (0, 64 << 20, 256 << 20, 1 << 30, 4 << 30)
"""Bytes that ``address_space_limits`` adds to the limit, in the order in which they are tried."""


def footprint(pid: int) -> int:
    """Return the physical footprint of a living process in bytes, or 0 if it is unknown.

    Activity Monitor shows this figure as the memory of the process.
    """
    call = library_function("proc_pid_rusage")
    buffer = ctypes.create_string_buffer(_RUSAGE_BYTES)
    if call is None or call(pid, _RUSAGE_INFO_V0, buffer) != 0:
        return 0
    return parse_footprint(buffer.raw)


def address_space_bytes(pid: int) -> int:
    """Return the size of the address space of a process in bytes, or 0 if it is unknown."""
    call = library_function("proc_pidinfo")
    buffer = ctypes.create_string_buffer(_TASKINFO_BYTES)
    size = ctypes.c_int(_TASKINFO_BYTES)
    if call is None or call(pid, _PROC_PIDTASKINFO, ctypes.c_uint64(0), buffer, size) != _TASKINFO_BYTES:
        return 0
    return parse_address_space(buffer.raw)


def parse_footprint(raw: bytes) -> int:
    """Return the footprint in bytes that a ``struct rusage_info_v0``, or a later version of it, states."""
    return int(struct.unpack_from("=Q", raw, _PHYS_FOOTPRINT)[0])


def parse_address_space(raw: bytes) -> int:
    """Return the virtual size in bytes that a ``struct proc_taskinfo`` states."""
    return int(struct.unpack_from("=Q", raw, _VIRTUAL_SIZE)[0])


def address_space_limits(mapped_bytes: int, budget_bytes: int) -> tuple[int, ...]:
    """Return values of RLIMIT_AS that let a process map ``budget_bytes`` more than the ``mapped_bytes`` it has.

    They are whole pages, and are to be tried in this order. Several values are needed because XNU refuses a limit below the size
    of the address space with EINVAL, and the size that it reports may leave out what it has reserved.
    """
    page = mmap.PAGESIZE
    return tuple(-(-(mapped_bytes + budget_bytes + spare) // page) * page for spare in _SPARE)  # rounded up


def limit_address_space(budget_bytes: int, measure: Callable[[int], int] = address_space_bytes) -> int:
    """Limit this process to mapping about ``budget_bytes`` more. Return the limit in bytes, or 0 if no limit holds.

    A limit counts only after a test has shown that the budget can still be mapped and that twice as much is refused, because
    macOS accepted and ignored the limit before version 12. Until the test has passed, the limit can be taken back. Afterwards
    it cannot be raised.
    """
    mapped = measure(os.getpid())
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    for limit in address_space_limits(mapped, budget_bytes) if mapped else ():
        if _set_limit(limit, hard) and _can_map(budget_bytes):
            if _can_map(2 * budget_bytes + limit - mapped):  # the limit is ignored, so no other value would help
                break
            return limit if _set_limit(limit, limit) else 0
    _set_limit(soft, hard)
    return 0


def _set_limit(soft: int, hard: int) -> bool:
    """Set the limit of the address space, and return whether the system accepted it."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    except (OSError, ValueError):
        return False
    return True


def _can_map(size: int) -> bool:
    """Return whether ``size`` more bytes can be mapped. They are never touched, so the attempt costs no memory."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError, OverflowError):
        return False
    return True


@cache
def library_function(name: str) -> Callable[..., int] | None:
    """Return a function of the libraries that this process has loaded, or None if they have no such function."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return function
