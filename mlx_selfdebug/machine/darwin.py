"""What only macOS can answer: the memory of a process, and the limit of its address space. 0 where nothing can be known.

The layouts are those of XNU's ``bsd/sys/resource.h`` and ``bsd/sys/proc_info.h``; both calls are in ``libSystem``, which every
process has. Elsewhere the calls do not exist and the answer is 0. Standard library and ctypes alone.
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
"""``struct rusage_info_v0``: ``uint8_t ri_uuid[16]``, then ten ``uint64_t``, the eighth of which is ``ri_phys_footprint``; every
later version begins with it. The kernel writes the version asked for, and no more.
"""

_PROC_PIDTASKINFO = 4
_TASKINFO_BYTES = 96
_VIRTUAL_SIZE = 0
"""``struct proc_taskinfo``: six ``uint64_t``, the first of which is ``pti_virtual_size``, then twelve ``int32_t``."""

_SPARE = (0, 64 << 20, 256 << 20, 1 << 30, 4 << 30)


def footprint(pid: int) -> int:
    """``ri_phys_footprint`` of a living process in bytes, what Activity Monitor shows as its memory; 0 where unknown."""
    call = _library_function("proc_pid_rusage")
    buffer = ctypes.create_string_buffer(_RUSAGE_BYTES)
    if call is None or call(pid, _RUSAGE_INFO_V0, buffer) != 0:
        return 0
    return parse_footprint(buffer.raw)


def map_bytes(pid: int) -> int:
    """The size of a process's address space in bytes; 0 where unknown."""
    call = _library_function("proc_pidinfo")
    buffer = ctypes.create_string_buffer(_TASKINFO_BYTES)
    size = ctypes.c_int(_TASKINFO_BYTES)
    if call is None or call(pid, _PROC_PIDTASKINFO, ctypes.c_uint64(0), buffer, size) != _TASKINFO_BYTES:
        return 0
    return parse_map_bytes(buffer.raw)


def parse_footprint(raw: bytes) -> int:
    """The footprint in a ``struct rusage_info_v0`` or later."""
    return int(struct.unpack_from("=Q", raw, _PHYS_FOOTPRINT)[0])


def parse_map_bytes(raw: bytes) -> int:
    """The virtual size in a ``struct proc_taskinfo``."""
    return int(struct.unpack_from("=Q", raw, _VIRTUAL_SIZE)[0])


def address_space_limit(map_bytes: int, budget_bytes: int) -> tuple[int, ...]:
    """Values of RLIMIT_AS to try in turn, so that ``budget_bytes`` may be mapped on top of what is.

    XNU refuses a limit below the size of the map (EINVAL), and the size it reports may leave out what it has reserved.
    """
    page = mmap.PAGESIZE
    return tuple(-(-(map_bytes + budget_bytes + spare) // page) * page for spare in _SPARE)


def limit_address_space(budget_bytes: int, measure: Callable[[int], int] = map_bytes) -> int:
    """Let this process map about ``budget_bytes`` more and no further. The limit in bytes, or 0 where none holds.

    A limit counts only once it was seen to leave the budget and to refuse twice as much: before macOS 12 it was accepted
    and ignored. Until then it can be taken back; afterwards it cannot be raised.
    """
    used = measure(os.getpid())
    before = resource.getrlimit(resource.RLIMIT_AS)
    for limit in address_space_limit(used, budget_bytes) if used else ():
        if _limited(limit, before[1]) and _can_map(budget_bytes):
            if _can_map(2 * budget_bytes + limit - used):
                break
            return limit if _limited(limit, limit) else 0
    _limited(*before)
    return 0


def _limited(soft: int, hard: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    except (OSError, ValueError):
        return False
    return True


def _can_map(size: int) -> bool:
    """Reserves without touching, which costs no memory."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError, OverflowError):
        return False
    return True


@cache
def _library_function(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return function
