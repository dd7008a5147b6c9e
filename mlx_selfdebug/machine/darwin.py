"""Measure the memory of a process on macOS.

The call is in ``libSystem``, which every process on a Mac has loaded. On other systems it does not exist, and the measured size is
0. The offset below follows the structure in XNU's ``bsd/sys/resource.h``. This module needs only the standard library, since the
sandboxed processes import it without the rest of the package.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache

_RUSAGE_INFO_V0 = 0
_RUSAGE_BYTES = 96
_PHYS_FOOTPRINT = 72
"""The offset of ``ri_phys_footprint`` in ``struct rusage_info_v0``.

The structure is ``uint8_t ri_uuid[16]``, then ten ``uint64_t``. This field is the eighth of them. Every later version begins with
the same fields. The kernel writes the version that is asked for and no more.
"""


def footprint(pid: int) -> int:
    """Return the physical footprint of a living process in bytes, or 0 if it is unknown.

    Activity Monitor shows this figure as the memory of the process.
    """
    call = library_function("proc_pid_rusage")
    buffer = ctypes.create_string_buffer(_RUSAGE_BYTES)
    if call is None or call(pid, _RUSAGE_INFO_V0, buffer) != 0:
        return 0
    return parse_footprint(buffer.raw)


def parse_footprint(raw: bytes) -> int:
    """Return the footprint in bytes that a ``struct rusage_info_v0``, or a later version of it, states."""
    return int(struct.unpack_from("=Q", raw, _PHYS_FOOTPRINT)[0])


@cache
def library_function(name: str) -> Callable[..., int] | None:
    """Return a function of the libraries that this process has loaded, or None if they have no such function."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return function
